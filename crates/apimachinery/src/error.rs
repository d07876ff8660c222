//! Errors about single fields of an object, printed as Kubernetes prints them.

use std::fmt;

use serde_json::Value;

/// What is wrong with a field; the words of `k8s.io/apimachinery/pkg/util/validation/field`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FieldErrorKind {
    /// A value that must be there is not.
    Required,
    /// A value breaks a rule.
    Invalid,
    /// A value is of the wrong JSON type.
    TypeInvalid,
    /// A value is not one of those supported.
    NotSupported,
    /// A value occurs twice where it must be unique.
    Duplicate,
    /// Something the value refers to is not there.
    NotFound,
    /// A value may not be set here.
    Forbidden,
    /// A text is too long.
    TooLong,
    /// A list or map has too many entries.
    TooMany,
    /// A list or map has too few entries.
    TooFew,
    /// The check itself failed.
    Internal,
}

impl FieldErrorKind {
    /// The `reason` of a Status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotFound => "FieldValueNotFound",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::Internal => "InternalError",
        }
    }

    /// The words a message starts with.
    pub fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::NotFound => "Not found",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::Internal)
    }
}

/// One error at one field. Displays as `field: words: value: detail`, as Kubernetes' `field.Error`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct FieldError {
    /// Path of the field, such as `spec.containers[0].name`.
    pub field: String,
    /// What is wrong.
    pub kind: FieldErrorKind,
    /// The value found. Without one, none is printed.
    pub bad_value: Option<Value>,
    /// Printed instead of the value, as it is.
    pub printed: Option<Box<str>>,
    /// The rule that was broken, in words; may be empty.
    pub detail: String,
}

impl FieldError {
    /// An error with a value.
    pub fn new(
        kind: FieldErrorKind,
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            kind,
            bad_value: Some(value.into()),
            printed: None,
            detail: detail.into(),
        }
    }

    /// An error with a value in a form of its own.
    pub fn printed(
        kind: FieldErrorKind,
        field: impl Into<String>,
        value: crate::schema::check::Printed,
        detail: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), kind, bad_value: None, printed: Some(value.0), detail: detail.into() }
    }

    /// The field must be set.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            kind: FieldErrorKind::Required,
            bad_value: None,
            printed: None,
            detail: detail.into(),
        }
    }

    /// The value breaks a rule.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, field, value, detail)
    }

    /// The field may not be set or changed here.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            kind: FieldErrorKind::Forbidden,
            bad_value: None,
            printed: None,
            detail: detail.into(),
        }
    }

    /// The value occurs twice.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, field, value, "")
    }

    /// The value is none of `supported`, which are named in the given order.
    pub fn not_supported<S: AsRef<str>>(
        field: impl Into<String>,
        value: impl Into<Value>,
        supported: &[S],
    ) -> Self {
        let names: Vec<String> = supported.iter().map(|name| quote(name.as_ref())).collect();
        let detail =
            if names.is_empty() { String::new() } else { format!("supported values: {}", names.join(", ")) };
        Self::new(FieldErrorKind::NotSupported, field, value, detail)
    }

    /// The text is longer than `max` bytes.
    pub fn too_long(field: impl Into<String>, value: impl Into<Value>, max: u64) -> Self {
        Self::new(
            FieldErrorKind::TooLong,
            field,
            value,
            format!("may not be more than {max} {}", if max == 1 { "byte" } else { "bytes" }),
        )
    }

    /// The list or map has `actual` entries, more than `max`.
    pub fn too_many(field: impl Into<String>, actual: usize, max: u64) -> Self {
        let noun = if max == 1 { "item" } else { "items" };
        Self::new(FieldErrorKind::TooMany, field, actual, format!("must have at most {max} {noun}"))
    }

    /// The `reason` of the Status cause for this error.
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }

    /// The message without the field: the `message` of a Status cause.
    pub fn body(&self) -> String {
        let mut out = self.kind.words().to_owned();
        if self.kind.shows_value() {
            match (&self.printed, &self.bad_value) {
                (Some(text), _) => out.extend([": ", text]),
                (None, None) => {}
                (None, Some(Value::String(text))) => out.extend([": ", &quote(text)]),
                (None, Some(value)) => {
                    out.push_str(": ");
                    write_value(&mut out, value);
                }
            }
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Members of owner references in the order of their Go type, which is the
/// order they are printed in; all other objects are printed sorted.
const OWNER: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Array(list) if list.iter().all(Value::is_object) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(map)
            if map.contains_key("uid") && map.keys().all(|key| OWNER.contains(&key.as_str())) =>
        {
            let members: Vec<String> =
                OWNER.iter().filter_map(|key| Some(format!("{}:{}", quote(key), map.get(*key)?))).collect();
            out.push('{');
            out.push_str(&members.join(","));
            out.push('}');
        }
        value => out.push_str(&crate::schema::check::go_json(value)),
    }
}

/// A text in double quotes, escaped as Go's `%q`.
pub fn quote(text: &str) -> String {
    use fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
