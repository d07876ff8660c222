//! A place in an object under validation, and the rules every field may need.

use serde_json::Value;
use windlass_apimachinery::meta;
pub use windlass_apimachinery::meta::dns1035_label;
use windlass_apimachinery::{FieldError, FieldErrorKind};

/// What was found wrong.
pub type Errors = Vec<FieldError>;

/// A value with its path.
#[derive(Clone, Debug)]
pub struct At<'a> {
    pub path: String,
    pub value: &'a Value,
}

impl<'a> At<'a> {
    /// The object itself.
    pub fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    /// A field; null when it is missing.
    pub fn child(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { path, value: self.value.get(name).unwrap_or(&Value::Null) }
    }

    /// A field of a field.
    pub fn down(&self, names: &[&str]) -> Self {
        names.iter().fold(self.clone(), |at, name| at.child(name))
    }

    /// The items of a list.
    pub fn items(&self) -> impl Iterator<Item = At<'a>> + use<'a> {
        let path = self.path.clone();
        let list = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().enumerate().map(move |(index, value)| At { path: format!("{path}[{index}]"), value })
    }

    /// The entries of a map.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let path = self.path.clone();
        let map = self.value.as_object().into_iter().flatten();
        map.map(move |(key, value)| (key.as_str(), At { path: format!("{path}[{key}]"), value }))
    }

    pub fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    pub fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// Whether there is a value at all.
    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether a text, list or map holds something.
    pub fn is_filled(&self) -> bool {
        match self.value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Bool(_) | Value::Number(_) => true,
        }
    }

    pub fn required(&self, errors: &mut Errors, detail: &str) {
        errors.push(FieldError::required(self.path.clone(), detail));
    }

    pub fn invalid(&self, errors: &mut Errors, detail: impl Into<String>) {
        errors.push(FieldError::invalid(self.path.clone(), self.value.clone(), detail));
    }

    pub fn forbidden(&self, errors: &mut Errors, detail: &str) {
        errors.push(FieldError::forbidden(self.path.clone(), detail));
    }

    pub fn duplicate(&self, errors: &mut Errors) {
        errors.push(FieldError::duplicate(self.path.clone(), self.value.clone()));
    }

    pub fn not_found(&self, errors: &mut Errors) {
        errors.push(FieldError::new(FieldErrorKind::NotFound, self.path.clone(), self.value.clone(), ""));
    }

    pub fn not_supported(&self, errors: &mut Errors, supported: &[&str]) {
        errors.push(FieldError::not_supported(self.path.clone(), self.value.clone(), supported));
    }

    /// The value must be among these; an empty text is missing.
    pub fn one_of(&self, errors: &mut Errors, supported: &[&str]) {
        if self.text().is_empty() {
            self.required(errors, "");
        } else if !supported.contains(&self.text()) {
            self.not_supported(errors, supported);
        }
    }

    /// Like [`At::one_of`], but the value may be missing.
    pub fn maybe_one_of(&self, errors: &mut Errors, supported: &[&str]) {
        if self.is_filled() && !supported.contains(&self.text()) {
            self.not_supported(errors, supported);
        }
    }

    /// All that is wrong by a rule over texts.
    pub fn by(&self, errors: &mut Errors, rule: impl Fn(&str) -> Vec<String>) {
        for detail in rule(self.text()) {
            self.invalid(errors, detail);
        }
    }

    /// A text that must be there and obey a rule.
    pub fn required_by(&self, errors: &mut Errors, rule: impl Fn(&str) -> Vec<String>) {
        if self.is_filled() {
            self.by(errors, rule);
        } else {
            self.required(errors, "");
        }
    }

    /// A number must not be negative.
    pub fn not_negative(&self, errors: &mut Errors) {
        if self.int().is_some_and(|number| number < 0) {
            errors.push(FieldError::invalid(
                self.path.clone(),
                self.value.clone(),
                "must be greater than or equal to 0",
            ));
        }
    }

    /// A number must lie between these, bounds included.
    pub fn between(&self, errors: &mut Errors, low: i64, high: i64) {
        if self.int().is_some_and(|number| !(low..=high).contains(&number)) {
            self.invalid(errors, format!("must be between {low} and {high}, inclusive"));
        }
    }

    /// A port number.
    pub fn port(&self, errors: &mut Errors) {
        self.between(errors, 1, 65535);
    }

    /// A port number or the name of one.
    pub fn port_or_name(&self, errors: &mut Errors) {
        match self.value {
            Value::String(_) => self.by(errors, port_name),
            _ => self.port(errors),
        }
    }

    /// The value must be as it was.
    pub fn immutable(&self, errors: &mut Errors, old: &At<'_>) {
        if self.value != old.value {
            self.invalid(errors, "field is immutable");
        }
    }

    /// Labels, or anything that is compared with them.
    pub fn labels(&self, errors: &mut Errors) {
        meta::labels(self.value.as_object(), &self.path, errors);
    }

    /// A qualified name such as a label key.
    pub fn qualified(&self, errors: &mut Errors) {
        meta::qualified_name(self.text(), &self.path, errors);
    }
}

/// Names of ports (IANA service names).
pub fn port_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 15 {
        out.push("must be no more than 15 characters".to_owned());
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') || text.is_empty() {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// Keys of ConfigMaps and Secrets.
pub fn config_key(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 253 {
        out.push("must be no more than 253 characters".to_owned());
    }
    let good = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !good {
        out.push("a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".to_owned());
    } else if text == "." {
        out.push("must not be '.'".to_owned());
    } else if text == ".." {
        out.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        out.push("must not start with '..'".to_owned());
    }
    out
}

/// Names of environment variables: printable, without `=`.
pub fn env_name(text: &str) -> Vec<String> {
    let good = text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=');
    if good {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .to_owned(),
    ]
}
