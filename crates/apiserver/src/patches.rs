//! Patches of objects and of their scale, other than apply.

use serde_json::Value;
use windlass_apimachinery::{FieldError, patch};

use crate::call::Call;
use crate::negotiate::PatchType;
use crate::status::{ApiError, GroupKind};

fn unfit(error: &patch::PatchError) -> ApiError {
    match error {
        patch::PatchError::Malformed(_) => ApiError::bad_request(error.to_string()),
        patch::PatchError::TooManyOperations(_) => {
            ApiError::new(413, "RequestEntityTooLarge", error.to_string())
        }
        patch::PatchError::Unprocessable(_) => ApiError::new(422, "Invalid", error.to_string()),
    }
}

/// Applies a patch to a copy of the object.
///
/// # Errors
/// 400 and 422 when the patch does not fit.
pub fn apply(call: &Call<'_>, kind: PatchType, patch: &Value, old: &Value) -> Result<Value, ApiError> {
    let mut new = old.clone();
    patched(call, kind, patch, &mut new)?;
    let text = new.to_string();
    if let Err(why) = call.version().typed(&mut new) {
        let error = FieldError::invalid("patch", text, why);
        return Err(ApiError::invalid(GroupKind { group: "", kind: "" }, "", &[error]));
    }
    call.known_fields(&mut new, &[])?;
    Ok(new)
}

/// Applies a patch to an object or its scale.
///
/// # Errors
/// 400 and 422 when the patch does not fit.
pub fn patched(call: &Call<'_>, kind: PatchType, patch: &Value, target: &mut Value) -> Result<(), ApiError> {
    match kind {
        PatchType::Merge if patch.is_object() => {
            patch::merge(target, patch);
            Ok(())
        }
        PatchType::Strategic if patch.is_object() => {
            patch::strategic(target, patch, call.version().schema()).map_err(|error| unfit(&error))
        }
        PatchType::Json => patch::json(target, patch).map_err(|error| unfit(&error)),
        PatchType::Merge | PatchType::Strategic | PatchType::Apply => {
            Err(ApiError::bad_request("the patch is not an object"))
        }
    }
}
