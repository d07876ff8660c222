//! Names, labels, annotations, finalizers and the rest of `metadata`.
//!
//! Rules and texts are those of `k8s.io/apimachinery/pkg/util/validation` and
//! `pkg/api/validation`.

use serde_json::{Map, Value};

use crate::FieldError;

/// Largest sum of the lengths of all annotation keys and values, in bytes.
pub const MAX_ANNOTATIONS: usize = 256 * 1024;
/// Characters of generated name suffixes: no vowels, nothing that looks alike.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of a generated suffix.
pub const SUFFIX: usize = 5;
/// Longest base a suffix is put after.
const MAX_BASE: usize = 63 - SUFFIX;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Which names a kind allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameRule {
    /// DNS-1123 subdomain, up to 253 bytes: most kinds and all custom ones.
    #[default]
    Subdomain,
    /// DNS-1123 label, up to 63 bytes: namespaces.
    Label,
    /// DNS-1035 label: services.
    ServiceName,
    /// Anything that can be one segment of a path: RBAC kinds.
    PathSegment,
}

/// The name for a `generateName` base: the base cut to 58 bytes and five
/// characters picked by `random`.
pub fn generate_name(base: &str, random: [u8; SUFFIX]) -> String {
    let mut end = base.len().min(MAX_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let suffix = random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    base[..end].chars().chain(suffix).collect()
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().all(|b| inner(b) || b == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

fn is_name_part(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_alphanumeric();
    text.bytes().all(|b| edge(b) || matches!(b, b'-' | b'_' | b'.'))
        && text.bytes().next().is_some_and(edge)
        && text.bytes().last().is_some_and(edge)
}

/// DNS-1123 label: what is wrong with it, in words.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 63 {
        out.push("must be no more than 63 characters".to_owned());
    }
    if !is_label(text) {
        let dots = text.split('.').all(is_label);
        out.push(if dots { "must not contain dots".to_owned() } else { LABEL.to_owned() });
    }
    out
}

/// DNS-1123 subdomain: what is wrong with it, in words.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 253 {
        out.push("must be no more than 253 characters".to_owned());
    }
    if !text.split('.').all(is_label) {
        out.push(SUBDOMAIN.to_owned());
    }
    out
}

/// DNS-1035 label, which begins with a letter: what is wrong with it, in words.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 63 {
        out.push("must be no more than 63 characters".to_owned());
    }
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.push(LABEL_1035.to_owned());
    }
    out
}

/// Checks a name by the rule of its kind.
pub fn name(rule: NameRule, text: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => dns_subdomain(text),
        NameRule::Label => dns_label(text),
        NameRule::ServiceName => dns1035_label(text),
        NameRule::PathSegment if text == "." || text == ".." => vec![format!("may not be '{text}'")],
        NameRule::PathSegment => ["/", "%"]
            .into_iter()
            .filter(|part| text.contains(part))
            .map(|part| format!("may not contain '{part}'"))
            .collect(),
    }
}

/// Checks the base of a name by the rule of its kind: it may end in a dash.
fn base(rule: NameRule, text: &str) -> Vec<String> {
    match rule {
        NameRule::PathSegment if text == "." || text == ".." => Vec::new(),
        NameRule::PathSegment => name(rule, text),
        NameRule::Subdomain | NameRule::Label | NameRule::ServiceName => match text.strip_suffix('-') {
            Some(rest) if !rest.is_empty() => {
                let kept = rest.char_indices().next_back().map_or("", |(at, _)| &rest[..at]);
                name(rule, &format!("{kept}a"))
            }
            _ => name(rule, text),
        },
    }
}

/// Checks a qualified name such as a label key: `[prefix/]name`.
pub fn qualified_name(text: &str, field: &str, errors: &mut Vec<FieldError>) {
    let mut say = |detail: String| errors.push(FieldError::invalid(field, text, detail));
    let (prefix, part) = match text.split_once('/') {
        None => (None, text),
        Some((_, rest)) if rest.contains('/') => {
            return say("a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')".to_owned());
        }
        Some((prefix, part)) => (Some(prefix), part),
    };
    match prefix {
        Some("") => say("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            for error in dns_subdomain(prefix) {
                say(format!("prefix part {error}"));
            }
        }
        None => {}
    }
    if part.is_empty() {
        say("name part must be non-empty".to_owned());
    } else if part.len() > 63 {
        say("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name_part(part) {
        say(NAME_PART.to_owned());
    }
}

/// Checks the value of a label.
pub fn label_value(text: &str, field: &str, errors: &mut Vec<FieldError>) {
    if text.len() > 63 {
        errors.push(FieldError::invalid(field, text, "must be no more than 63 bytes"));
    }
    if !text.is_empty() && !is_name_part(text) {
        errors.push(FieldError::invalid(field, text, LABEL_VALUE));
    }
}

/// Checks `metadata` of an object to be stored; `namespaced` is the kind's scope.
pub fn validate(metadata: &Map<String, Value>, rule: NameRule, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default();
    if !text("generateName").is_empty() {
        errors.extend(
            base(rule, text("generateName"))
                .into_iter()
                .map(|detail| FieldError::invalid("metadata.generateName", text("generateName"), detail)),
        );
    }
    if text("name").is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        errors.extend(
            name(rule, text("name"))
                .into_iter()
                .map(|detail| FieldError::invalid("metadata.name", text("name"), detail)),
        );
    }
    match (namespaced, text("namespace")) {
        (true, "") => errors.push(FieldError::required("metadata.namespace", "")),
        (true, namespace) => {
            errors.extend(
                dns_label(namespace)
                    .into_iter()
                    .map(|detail| FieldError::invalid("metadata.namespace", namespace, detail)),
            );
        }
        (false, "") => {}
        (false, _) => errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type")),
    }
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|g| *g < 0) {
        let text = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("metadata.generation", generation, text));
    }
    labels(metadata.get("labels").and_then(Value::as_object), "metadata.labels", &mut errors);
    annotations(metadata, &mut errors);
    owners(metadata, &mut errors);
    finalizers(metadata, &mut errors);
    managers(metadata, &mut errors);
    errors
}

/// Checks how the metadata of an object may change.
pub fn validate_update(new: &Map<String, Value>, old: &Map<String, Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if old.contains_key("deletionTimestamp") {
        no_new_finalizers(new, old, &mut errors);
    }
    for key in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        if new.get(key) != old.get(key) {
            let value = new.get(key).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(format!("metadata.{key}"), value, "field is immutable"));
        }
    }
    labels(new.get("labels").and_then(Value::as_object), "metadata.labels", &mut errors);
    annotations(new, &mut errors);
    owners(new, &mut errors);
    managers(new, &mut errors);
    errors
}

fn no_new_finalizers(new: &Map<String, Value>, old: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    let before: Vec<&str> = texts(old, "finalizers").collect();
    let mut added: Vec<&str> = texts(new, "finalizers").filter(|name| !before.contains(name)).collect();
    if added.is_empty() {
        return;
    }
    added.sort_unstable();
    added.dedup();
    let list: Vec<String> = added.into_iter().map(crate::quote).collect();
    let text = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        list.join(", ")
    );
    errors.push(FieldError::forbidden("metadata.finalizers", text));
}

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// What built-in kinds demand of finalizers: a domain, or a name that is known.
pub fn kube_finalizers(metadata: &Map<String, Value>) -> Vec<FieldError> {
    let text = "name is neither a standard finalizer name nor is it fully qualified";
    texts(metadata, "finalizers")
        .enumerate()
        .filter(|(_, name)| !name.contains('/') && !STANDARD_FINALIZERS.contains(name))
        .map(|(index, name)| FieldError::invalid(format!("metadata.finalizers[{index}]"), name, text))
        .collect()
}

/// What is said about finalizers of custom objects that are new.
pub fn finalizer_warnings(new: &Map<String, Value>, old: Option<&Map<String, Value>>) -> Vec<String> {
    let before: Vec<&str> = old.map(|old| texts(old, "finalizers").collect()).unwrap_or_default();
    let mut added: Vec<&str> = texts(new, "finalizers").filter(|name| !before.contains(name)).collect();
    added.sort_unstable();
    added.dedup();
    let mut out = Vec::new();
    for name in added {
        let mut wrong = Vec::new();
        qualified_name(name, "", &mut wrong);
        let mut say = |text: &str| out.push(format!("metadata.finalizers: {}: {text}", crate::quote(name)));
        for error in &wrong {
            say(&error.detail);
        }
        if name.contains('/') || STANDARD_FINALIZERS.contains(&name) {
            continue;
        }
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        say(&format!(
            "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    out
}

/// The texts of a list of the metadata.
fn texts<'a>(metadata: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a str> {
    metadata.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Longest name of a field manager, in bytes.
pub const MAX_MANAGER: usize = 128;

/// Checks the name of a field manager.
pub fn field_manager(name: &str, field: &str, errors: &mut Vec<FieldError>) {
    if name.len() > MAX_MANAGER {
        errors.push(FieldError::too_long(field, Value::Null, MAX_MANAGER as u64));
    }
    for (at, c) in name.char_indices().filter(|(_, c)| c.is_control()) {
        let text = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        errors.push(FieldError::invalid(field, name, text));
    }
}

fn managers(metadata: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    let list = metadata.get("managedFields").and_then(Value::as_array);
    for (index, entry) in list.into_iter().flatten().enumerate() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let at = || format!("metadata.managedFields[{index}]");
        if !matches!(text("operation"), "Apply" | "Update") {
            let detail = "must be `Apply` or `Update`";
            errors.push(FieldError::invalid(format!("{}.operation", at()), text("operation"), detail));
        }
        if !matches!(text("fieldsType"), "" | "FieldsV1") {
            let field = format!("{}.fieldsType", at());
            errors.push(FieldError::invalid(field, text("fieldsType"), "must be `FieldsV1`"));
        }
        if text("manager").len() > MAX_MANAGER || text("manager").contains(char::is_control) {
            field_manager(text("manager"), &format!("{}.manager", at()), errors);
        }
    }
}

/// Checks the keys and values of labels.
pub fn labels(labels: Option<&Map<String, Value>>, field: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.into_iter().flatten() {
        qualified_name(key, field, errors);
        label_value(value.as_str().unwrap_or_default(), field, errors);
    }
}

fn annotations(metadata: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    let Some(annotations) = metadata.get("annotations").and_then(Value::as_object) else { return };
    for key in annotations.keys() {
        qualified_name(&key.to_lowercase(), "metadata.annotations", errors);
    }
    let size: usize =
        annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long("metadata.annotations", Value::Null, MAX_ANNOTATIONS as u64));
    }
}

fn owners(metadata: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "metadata.ownerReferences";
    let Some(owners) = metadata.get("ownerReferences").and_then(Value::as_array) else { return };
    let mut controller: Option<String> = None;
    for owner in owners {
        let text = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version.is_empty() || api_version.matches('/').count() > 1 || api_version.ends_with('/') {
            let field = format!("{FIELD}.apiVersion");
            errors.push(FieldError::invalid(field, api_version, "version must not be empty"));
        }
        for name in ["kind", "name", "uid"].into_iter().filter(|name| text(name).is_empty()) {
            errors.push(FieldError::invalid(format!("{FIELD}.{name}"), "", "must not be empty"));
        }
        if api_version == "v1" && kind == "Event" {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(FIELD, owner.clone(), detail));
        }
        if owner.get("controller").and_then(Value::as_bool) != Some(true) {
            continue;
        }
        let current = format!("{kind}/{}", text("name"));
        match &controller {
            None => controller = Some(current),
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {current}"
                );
                errors.push(FieldError::invalid(FIELD, owners.clone(), detail));
            }
        }
    }
}

fn finalizers(metadata: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    let Some(list) = metadata.get("finalizers").and_then(Value::as_array) else { return };
    let names = || list.iter().filter_map(Value::as_str);
    for name in names() {
        qualified_name(name, "metadata.finalizers", errors);
    }
    if names().any(|name| name == "orphan") && names().any(|name| name == "foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid("metadata.finalizers", list.clone(), detail));
    }
}

/// The fields of `ObjectMeta` and the JSON type of each.
const FIELDS: [(&str, Shape); 15] = [
    ("annotations", Shape::Texts),
    ("creationTimestamp", Shape::Text),
    ("deletionGracePeriodSeconds", Shape::Integer),
    ("deletionTimestamp", Shape::Text),
    ("finalizers", Shape::TextList),
    ("generateName", Shape::Text),
    ("generation", Shape::Integer),
    ("labels", Shape::Texts),
    ("managedFields", Shape::Objects),
    ("name", Shape::Text),
    ("namespace", Shape::Text),
    ("ownerReferences", Shape::Objects),
    ("resourceVersion", Shape::Text),
    ("selfLink", Shape::Text),
    ("uid", Shape::Text),
];

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Integer,
    Texts,
    TextList,
    Objects,
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text, value) => value.is_string(),
            (Self::Integer, value) => value.is_i64(),
            (Self::Texts, Value::Object(map)) => map.values().all(Value::is_string),
            (Self::TextList, Value::Array(list)) => list.iter().all(Value::is_string),
            (Self::Objects, Value::Array(list)) => list.iter().all(Value::is_object),
            (Self::Texts | Self::TextList | Self::Objects, _) => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Texts => "map of strings",
            Self::TextList => "list of strings",
            Self::Objects => "list of objects",
        }
    }
}

/// Brings the `metadata` of a decoded object into the form of `ObjectMeta`:
/// removes nulls, empty values and unknown fields. Returns the paths of the
/// unknown fields.
///
/// # Errors
/// The first field of a wrong JSON type (a `BadRequest`).
pub fn coerce(object: &mut Value) -> Result<Vec<String>, FieldError> {
    let Some(object) = object.as_object_mut() else { return Ok(Vec::new()) };
    match object.get_mut("metadata") {
        None => Ok(Vec::new()),
        Some(Value::Null) => {
            object.remove("metadata");
            Ok(Vec::new())
        }
        Some(Value::Object(metadata)) => coerce_fields(metadata),
        Some(other) => Err(FieldError::invalid("metadata", other.clone(), "must be an object")),
    }
}

fn coerce_fields(metadata: &mut Map<String, Value>) -> Result<Vec<String>, FieldError> {
    let (mut unknown, mut wrong) = (Vec::new(), None);
    metadata.retain(|name, value| {
        let Ok(at) = FIELDS.binary_search_by(|(field, _)| (*field).cmp(name.as_str())) else {
            unknown.push(format!("metadata.{name}"));
            return false;
        };
        let shape = FIELDS[at].1;
        if let (Shape::Texts, Value::Object(map)) = (shape, &mut *value) {
            map.values_mut()
                .filter(|value| value.is_null())
                .for_each(|value| *value = Value::String(String::new()));
        }
        // `managedFields: []` is a request to forget owners: it must get through.
        let empty = match &*value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty() && name != "managedFields",
            Value::Bool(_) | Value::Number(_) => false,
        };
        if !empty && !shape.fits(value) && wrong.is_none() {
            wrong = Some(FieldError::invalid(
                format!("metadata.{name}"),
                value.clone(),
                format!("must be a {}", shape.name()),
            ));
        }
        !empty
    });
    wrong.map_or(Ok(unknown), Err)
}
