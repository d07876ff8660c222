//! Type errors of compiled-in kinds, in the words of Go's JSON decoder or of the converter that makes objects of the
//! results of strategic patches (apimachinery's `pkg/runtime/converter.go`).

use serde_json::Value;
use windlass_apimachinery::schema::{Found, Mismatch, Step};

use super::definitions::Definitions;

/// Whose words an error has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`
    Decoder,
    /// `unrecognized type: int32`
    Converter,
}

/// What is wrong with an object.
pub(super) fn explain(source: &Definitions, definition: &str, mismatch: &Mismatch, words: Words) -> String {
    let found = match &mismatch.found {
        Found::Text(text) => return text.clone(),
        Found::Type(found) => found,
    };
    let mut at = Place { holder: definition.to_owned(), path: String::new(), schema: Value::Null };
    for step in &mismatch.path {
        at.follow(source, definition, step);
    }
    let holder = at.holder.rsplit('.').next().unwrap_or_default();
    let (path, wanted) = (at.path.trim_start_matches('.'), go_type(&at.schema));
    if words == Words::Converter {
        return unconverted(found, &wanted);
    }
    format!("json: cannot unmarshal {found} into Go struct field {holder}.{path} of type {wanted}")
}

/// What the converter says of a value of a JSON type where a Go type is wanted.
fn unconverted(found: &str, wanted: &str) -> String {
    let (name, number) = found.split_once(' ').unwrap_or((found, ""));
    let kind = match name {
        "number" if number.contains(['.', 'e', 'E']) => "float64",
        "number" => "int64",
        "array" => "slice",
        "object" => "map",
        other => other,
    };
    match wanted {
        "string" | "int" | "int32" | "int64" | "float64" if kind.ends_with("64") => {
            format!("cannot convert {kind} to {wanted}")
        }
        "string" | "bool" | "int" | "int32" | "int64" | "float64" => format!("unrecognized type: {wanted}"),
        _ if wanted.starts_with("map[") => format!("cannot restore map from {kind}"),
        _ if wanted.starts_with("[]") => format!("cannot restore slice from {kind}"),
        _ => format!("cannot restore struct from: {kind}"),
    }
}

/// A place in a definition.
struct Place {
    /// The struct the last named field belongs to.
    holder: String,
    path: String,
    schema: Value,
}

impl Place {
    fn follow(&mut self, source: &Definitions, root: &str, step: &Step) {
        let within = match self.schema.get("$ref").and_then(Value::as_str) {
            Some(name) => Some(name.to_owned()),
            None if self.schema.is_null() => Some(root.to_owned()),
            None => None,
        };
        match (step, within) {
            (Step::Item, _) => self.schema = self.schema["items"].clone(),
            (Step::Name(name), Some(holder)) => {
                self.schema = source.raw(&holder)["properties"][name.as_str()].clone();
                if let Some(embedded) = self.schema.pointer("/x-go/in").and_then(Value::as_str) {
                    self.path.push('.');
                    self.path.push_str(embedded);
                }
                self.path.push('.');
                self.path.push_str(name);
                self.holder = holder;
            }
            // Keys of maps are not part of the path.
            (Step::Name(_), None) => self.schema = self.schema["additionalProperties"].clone(),
        }
    }
}

fn go_type(schema: &Value) -> String {
    if let Some(name) = schema.pointer("/x-go/type").and_then(Value::as_str) {
        return name.to_owned();
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        if name.ends_with("IntOrString") {
            return "int32".to_owned();
        }
        let mut parts = name.rsplit('.');
        let (kind, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        return format!("{package}.{kind}");
    }
    match (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str()) {
        ("integer", Some(format)) => format.to_owned(),
        ("integer", None) => "int".to_owned(),
        ("boolean", _) => "bool".to_owned(),
        ("number", _) => "float64".to_owned(),
        ("string", Some("byte")) => "[]uint8".to_owned(),
        ("array", _) => format!("[]{}", go_type(&schema["items"])),
        ("object", _) => format!("map[string]{}", go_type(&schema["additionalProperties"])),
        _ => "string".to_owned(),
    }
}
