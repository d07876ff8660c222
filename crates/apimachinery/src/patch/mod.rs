//! The patches of the Kubernetes API.

mod operations;
mod strategic;

use serde_json::{Map, Value};

pub use operations::json;
pub use strategic::strategic;

/// Most operations taken in one JSON patch, as kube-apiserver.
pub const MAX_OPERATIONS: usize = 10_000;

/// Most bytes of JSON that the `copy` operations of one patch may copy
/// together, as kube-apiserver: copies of copies double each time.
pub const MAX_COPIED: usize = 3 << 20;

/// Why a patch cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is malformed: 400.
    #[error("cannot decode patch: {0}")]
    Malformed(String),
    /// A directive of a strategic patch, or an item it is about, is wrong: 500, as upstream has it.
    #[error("{0}")]
    Directive(String),
    /// `$retainKeys` is no list, or leaves out what the patch sets: 400.
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    /// More operations than allowed: 413.
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// The patch does not fit the object, as a failed `test` or a path that is not there: 422.
    /// Why, in the words of the library kube-apiserver uses, which clients of webhooks read.
    #[error("{0}")]
    Unprocessable(String),
}

/// Applies a JSON merge patch (RFC 7386). Nulls in lists stay, as in the
/// library kube-apiserver uses.
pub fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge_members(target, patch),
        (target @ Value::Object(_), patch) => *target = patch.clone(),
        (target, patch) => *target = without_nulls(patch),
    }
}

fn merge_members(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
            continue;
        }
        match target.get_mut(name) {
            Some(old) => merge(old, value),
            None => {
                target.insert(name.clone(), without_nulls(value));
            }
        }
    }
}

/// The value without members that are null, in lists too.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
