//! The cells of compiled-in kinds' tables, by kind and heading: what
//! `kubectl get` shows.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::columns::age;

macro_rules! cell {
    ($object:ident => $value:expr) => {
        Some(|$object: &Value, _: Timestamp| json!($value))
    };
    ($object:ident, $now:ident => $value:expr) => {
        Some(|$object: &Value, $now: Timestamp| json!($value))
    };
}

// Below the macro, which is seen from there on.
mod core;
mod network;
mod other;
mod storage;
mod workloads;

/// Computes a cell.
pub(in crate::kinds) type Compute = fn(&Value, Timestamp) -> Value;

fn text(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn count(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer) == Some(&Value::Bool(true))
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn len(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}

/// A text, or something else where it is empty.
fn or(text: String, other: &str) -> Value {
    json!(if text.is_empty() { other.to_owned() } else { text })
}

/// One field of all items, with commas.
fn joined(items: &[Value], field: &str) -> String {
    let texts: Vec<String> = items.iter().map(|item| text(item, field)).collect();
    texts.join(",")
}

fn labels(object: &Value, pointer: &str) -> String {
    let map = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = map.map(|(key, value)| format!("{key}={}", text(value, ""))).collect();
    pairs.join(",")
}

/// A `LabelSelector`, or the plain map of old kinds.
fn selector(object: &Value, pointer: &str) -> String {
    let Some(value) = object.pointer(pointer) else { return String::new() };
    if value.get("matchLabels").is_none() && value.get("matchExpressions").is_none() {
        return labels(object, pointer);
    }
    let mut parts = vec![labels(value, "/matchLabels")];
    for requirement in list(value, "/matchExpressions") {
        let (key, values) = (text(requirement, "/key"), joined(list(requirement, "/values"), ""));
        parts.push(match text(requirement, "/operator").as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key,
            _ => format!("!{key}"),
        });
    }
    parts.retain(|part| !part.is_empty());
    parts.join(",")
}

/// `ReadWriteOnce` as `RWO`.
fn modes(object: &Value, pointer: &str) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    list(object, pointer).iter().map(short).collect::<Vec<_>>().join(",")
}

fn since(object: &Value, pointer: &str, now: Timestamp) -> Value {
    match object.pointer(pointer) {
        Some(time @ Value::String(_)) => json!(age(Some(time), now)),
        _ => json!("<none>"),
    }
}

/// The cells under a heading, if they are known.
pub(in crate::kinds) fn of(kind: &str, heading: &str) -> Option<Compute> {
    match heading {
        "Name" => cell!(o => text(o, "/metadata/name")),
        "Age" => cell!(o, now => age(o.pointer("/metadata/creationTimestamp"), now)),
        "Created At" => cell!(o => text(o, "/metadata/creationTimestamp")),
        _ => workloads::workload(kind, heading)
            .or_else(|| core::core(kind, heading))
            .or_else(|| network::network(kind, heading))
            .or_else(|| storage::storage(kind, heading))
            .or_else(|| other::other(kind, heading))
            .or_else(|| other::control(kind, heading)),
    }
}
