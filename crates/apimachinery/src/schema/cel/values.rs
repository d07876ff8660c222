//! JSON values as values of CEL, and the names of their fields.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use kube_cel::cel::Value as Cel;
use kube_cel::cel::objects::{Key, Map};
use serde_json::Value;

use crate::schema::format::{Format, nanoseconds};
use crate::schema::node::{Additional, Kind, Node};

/// A JSON value as its schema types it.
pub(super) fn to_cel(node: Option<&Node>, value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => number_to_cel(node, number),
        Value::String(text) => text_to_cel(node, text),
        Value::Array(list) => {
            let items = node.and_then(|node| node.items.as_deref());
            Cel::List(Arc::new(list.iter().map(|item| to_cel(items, item)).collect()))
        }
        Value::Object(map) => {
            let is_map = node.is_none_or(|node| !matches!(node.additional, Additional::None));
            let mut entries = HashMap::with_capacity(map.len());
            for (name, value) in map {
                let value = to_cel(node.and_then(|node| node.field(name).node()), value);
                let key = if is_map { name.clone() } else { escape(name) };
                // Rules may name such a field with and without escapes.
                if !is_map && RESERVED.contains(&name.as_str()) {
                    entries.insert(Key::String(Arc::new(name.clone())), value.clone());
                }
                entries.insert(Key::String(Arc::new(key)), value);
            }
            Cel::Map(Map { map: Arc::new(entries) })
        }
    }
}

fn number_to_cel(node: Option<&Node>, number: &serde_json::Number) -> Cel {
    let float = node.is_some_and(|node| node.kind == Kind::Number);
    if let (Some(integer), false) = (number.as_i64(), float) {
        return Cel::Int(integer);
    }
    let value = number.as_f64().unwrap_or(f64::NAN);
    let integer = node.is_some_and(|node| node.kind == Kind::Integer);
    #[expect(clippy::cast_possible_truncation, reason = "whole and within i64 by the same condition")]
    if integer && value.fract() == 0.0 && value.abs() < 9.0e18 {
        Cel::Int(value as i64)
    } else {
        Cel::Float(value)
    }
}

fn text_to_cel(node: Option<&Node>, text: &str) -> Cel {
    let format = node
        .filter(|node| node.kind == Kind::String)
        .and_then(|node| node.checks.as_ref())
        .and_then(|checks| checks.format);
    let typed = match format {
        Some(Format::DateTime) => chrono::DateTime::parse_from_rfc3339(text).ok().map(Cel::Timestamp),
        Some(Format::Date) => {
            chrono::DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z")).ok().map(Cel::Timestamp)
        }
        Some(Format::Duration) => {
            nanoseconds(text).map(|nanos| Cel::Duration(chrono::Duration::nanoseconds(nanos)))
        }
        Some(Format::Byte) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .ok()
            .map(|bytes| Cel::Bytes(Arc::new(bytes))),
        _ => None,
    };
    typed.unwrap_or_else(|| Cel::String(Arc::new(text.to_owned())))
}

/// Words that are no names in CEL.
pub(super) const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The identifier by which rules name a property (the escapes of
/// "Validation rules" in the Kubernetes documentation).
pub(super) fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}
