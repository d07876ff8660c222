//! Patches of objects and of their scale.

use serde_json::{Value, json};
use windlass_apimachinery::{FieldError, patch};

use windlass_apimachinery::managed;

use crate::call::{Call, Part};
use crate::kinds::Kind;
use crate::negotiate::PatchType;
use crate::object::{member, metadata_mut};
use crate::scale;
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

/// Applies a patch to a copy of the object; for the scale, to a copy of the
/// scale, whose replicas then go into the object.
///
/// # Errors
/// 400 and 422 when the patch does not fit.
pub fn apply(call: &Call<'_>, kind: PatchType, patch: &Value, old: &Value) -> Result<Value, ApiError> {
    if call.part == Part::Scale {
        let mut scaled = scale::of(&call.kind, call.version(), old)?;
        patched(call, kind, patch, &mut scaled)?;
        return scale::into_object(call.version(), old, &scaled);
    }
    let mut new = old.clone();
    patched(call, kind, patch, &mut new)?;
    call.known_fields(&mut new, &[])?;
    Ok(new)
}

fn patched(call: &Call<'_>, kind: PatchType, patch: &Value, target: &mut Value) -> Result<(), ApiError> {
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

/// Applies a configuration to an existing object.
///
/// # Errors
/// 400 and 422 for a configuration that cannot be applied, 409 when another
/// manager owns a field.
pub fn server_side_apply(call: &Call<'_>, config: &Value, old: &Value) -> Result<Value, ApiError> {
    let force = call.options.force == Some(true);
    if call.part == Part::Scale {
        let scaled = scale::merged(&call.kind, call.version(), old, config)?;
        return scale::into_object(call.version(), old, &scaled);
    }
    managed::apply(
        &call.writer(&crate::rules::seconds(call.now)),
        call.version().schema(),
        Some(old),
        config,
        force,
    )
    .map_err(|error| apply_error(&call.kind, &error))
}

/// Prepares a configuration: what may not be in it, and what its manager
/// cannot claim.
///
/// # Errors
/// 400 and 422.
pub fn configuration(call: &Call<'_>, mut config: Value) -> Result<Value, ApiError> {
    if call.options.field_manager.is_empty() {
        let what = GroupKind { group: "meta.k8s.io", kind: "PatchOptions" };
        let error = FieldError::required("fieldManager", "is required for apply patch");
        return Err(ApiError::invalid(what, "", &[error]));
    }
    let metadata = metadata_mut(&mut config);
    if metadata.get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    metadata.remove("managedFields");
    match call.part {
        Part::Scale => return Ok(config),
        Part::Status => {
            if let Some(map) = config.as_object_mut() {
                map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            }
            metadata_mut(&mut config)
                .retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "uid" | "resourceVersion"));
        }
        _ => {
            if call.version().status
                && let Some(map) = config.as_object_mut()
            {
                map.remove("status");
            }
        }
    }
    call.known_fields(&mut config, &[])?;
    if config["metadata"].is_null() {
        *member(&mut config, "metadata") = json!({});
    }
    Ok(config)
}

/// What a client reads when an apply is refused.
pub fn apply_error(kind: &Kind, error: &managed::ApplyError) -> ApiError {
    let text = error.to_string();
    match error {
        managed::ApplyError::Conflicts(managed::Conflicts(conflicts)) => {
            let answer = ApiError::new(409, "Conflict", text);
            conflicts.iter().fold(answer, |answer, conflict| {
                answer.cause("FieldManagerConflict", conflict.message(), &conflict.field)
            })
        }
        managed::ApplyError::Version { .. } | managed::ApplyError::ManagedFields => {
            ApiError::bad_request(text)
        }
        managed::ApplyError::Undecodable => ApiError::internal(format!("{text} of a {}", kind.kind)),
        managed::ApplyError::Untyped { .. } => ApiError::new(500, "", text),
    }
}
