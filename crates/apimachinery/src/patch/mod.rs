//! The patches of the Kubernetes API.

mod strategic;

use serde_json::{Map, Value};

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
    /// More operations than allowed: 413.
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// The patch does not fit the object, as a failed `test` or a path that is not there: 422.
    #[error("the server rejected our request due to an error in our request: {0}")]
    Unprocessable(String),
}

/// Applies a JSON merge patch (RFC 7386).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a JSON patch (RFC 6902); on error `target` is unchanged.
///
/// # Errors
/// A malformed patch, too many operations, or one that does not fit.
pub fn json(target: &mut Value, operations: &Value) -> Result<(), PatchError> {
    if let Some(count) = operations.as_array().map(Vec::len).filter(|count| *count > MAX_OPERATIONS) {
        return Err(PatchError::TooManyOperations(count));
    }
    let patch: json_patch::Patch = serde::Deserialize::deserialize(operations)
        .map_err(|error: serde_json::Error| PatchError::Malformed(error.to_string()))?;
    let mut new = target.clone();
    let mut copied = 0;
    for operation in &patch.0 {
        if let json_patch::PatchOperation::Copy(copy) = operation
            && let Some(value) = new.pointer(copy.from.as_str())
        {
            copied += value.to_string().len();
            if copied > MAX_COPIED {
                let detail = format!("the copy operations copy more than {MAX_COPIED} bytes");
                return Err(PatchError::Unprocessable(detail));
            }
        }
        json_patch::patch(&mut new, std::slice::from_ref(operation))
            .map_err(|error| PatchError::Unprocessable(error.to_string()))?;
    }
    if !crate::json::is_shallow(&new) {
        let detail = format!("the result is nested deeper than {} levels", crate::json::MAX_DEPTH);
        return Err(PatchError::Unprocessable(detail));
    }
    *target = new;
    Ok(())
}
