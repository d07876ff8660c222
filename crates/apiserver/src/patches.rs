//! Patches of objects and of their scale, and what is said about them.

use serde_json::{Value, json};
use windlass_apimachinery::json::{self as strict, JsonError};
use windlass_apimachinery::{FieldError, go, patch, quote, schema};

use crate::call::Call;
use crate::decode::{duplicate, trim, wrong_time};
use crate::kinds::Words;
use crate::negotiate::PatchType;
use crate::request::Options;
use crate::status::{ApiError, Details, GroupKind};

/// Members an operation of a JSON patch may have.
const OPERATION: [&str; 4] = ["op", "path", "from", "value"];

/// A patch whose bytes were read.
#[derive(Debug)]
pub struct PatchBody {
    /// The patch, or why it is none: said only when there is something to patch.
    pub value: Result<Value, ApiError>,
    /// Keys that occur twice in it, as complaints.
    pub findings: Vec<String>,
}

impl Call<'_> {
    /// The value of a patch other than apply.
    pub fn decode_patch(&self, body: &[u8], kind: PatchType) -> PatchBody {
        let operations = kind == PatchType::Json;
        let decoded = match strict::decode(body) {
            Ok(decoded) => decoded,
            Err(error) => {
                return PatchBody { value: Err(bad_patch(self, kind, &error)), findings: Vec::new() };
            }
        };
        let value =
            if operations { check_operations(decoded.value) } else { check_merge(self, kind, decoded.value) };
        let mut findings: Vec<String> = if decoded.duplicates {
            strict::duplicates(body).iter().map(|path| duplicate(path)).collect()
        } else {
            Vec::new()
        };
        if operations {
            for finding in &mut findings {
                finding.insert_str(0, "json patch ");
            }
            if let Ok(Value::Array(list)) = &value {
                findings.extend(unknown_in_operations(list));
            }
        }
        PatchBody { value, findings }
    }

    /// Checks an object that a patch made, and drops fields its kind does not
    /// know. `whole` makes the object again as the patch made it, and `shown`
    /// shows it in an error: both only for one.
    ///
    /// # Errors
    /// 422 when it is no object of the kind any more or, in strict mode, when
    /// the patch or the object says too much.
    pub fn patched(
        &self,
        object: &mut Value,
        mut findings: Vec<String>,
        words: Words,
        whole: impl Fn() -> Value,
        shown: impl Fn(&Value) -> String,
    ) -> Result<(), ApiError> {
        let bad = |why: &str| bad_result(&shown(&whole()), why);
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
        if self.kind.builtin {
            if kind != self.kind.kind || api_version != self.api_version {
                return Err(bad(&self.unconvertible(&api_version, &kind)));
            }
            let schema = self.version().schema();
            let metadata = &object["metadata"];
            let odd = !metadata.is_object() && !metadata.is_null();
            let shaped = if odd { schema::Shaped::default() } else { schema.shape(object) };
            let typed = self.version().typed(object, words);
            if let Err(why) = typed {
                return Err(bad(&why));
            }
            if odd || shaped.mismatch || shaped.unknown {
                let bytes = whole().to_string();
                let found = schema.complaints(&self.kind.kind, bytes.as_bytes());
                if odd || shaped.mismatch {
                    return Err(bad(found.mismatch.as_deref().unwrap_or("a value is of a wrong type")));
                }
                findings.extend(found.strict);
            }
            if let Some(why) = wrong_time(&object["metadata"]) {
                return Err(bad(&why));
            }
            trim(object);
        } else {
            if kind.is_empty() {
                return Err(bad(&format!("Object 'Kind' is missing in '{}'", whole())));
            }
            match self.known_fields(object) {
                Ok(unknown) => findings.extend(unknown),
                Err(why) => return Err(bad(&why)),
            }
        }
        self.answer_findings(findings, bad)
    }
}

fn unfit(error: &patch::PatchError) -> ApiError {
    match error {
        patch::PatchError::Malformed(_) | patch::PatchError::RetainKeys => {
            ApiError::bad_request(error.to_string())
        }
        patch::PatchError::Directive(text) => ApiError::new(500, "", text.clone()),
        patch::PatchError::TooManyOperations(_) => {
            let text = format!("Request entity too large: {error}");
            ApiError::new(413, "RequestEntityTooLarge", text)
        }
        // Upstream does not say what was wrong.
        patch::PatchError::Unprocessable(_) => {
            let text = "the server rejected our request due to an error in our request";
            let mut error = ApiError::new(422, "Invalid", text);
            error.details = Some(Box::<Details>::default());
            error
        }
    }
}

/// What is wrong with the options that only patches have.
pub fn options_error(options: &Options, apply: bool) -> Option<FieldError> {
    if apply {
        let missing = options.field_manager.is_empty();
        return missing.then(|| FieldError::required("fieldManager", "is required for apply patch"));
    }
    let text = "may not be specified for non-apply patch";
    options.force.is_some().then(|| FieldError::forbidden("force", text))
}

/// The error of a patch that is no JSON.
pub fn bad_patch(call: &Call<'_>, kind: PatchType, error: &JsonError) -> ApiError {
    use crate::request::FieldValidation::Ignore;
    if kind == PatchType::Strategic {
        return ApiError::bad_request(error.to_string());
    }
    if call.options.field_validation == Ignore {
        return ApiError::bad_request("Invalid JSON Patch");
    }
    ApiError::bad_request(format!("error decoding patch: {error}"))
}

/// What a merge patch is in Go.
const MAP: &str = "value of type map[string]interface {}";

fn undecodable(found: &Value, wanted: &str) -> ApiError {
    ApiError::bad_request(format!("error decoding patch: {}", go::misfit(found, wanted)))
}

/// Checks the form of a merge patch.
///
/// # Errors
/// 400 unless it is an object; a strategic one may be null and changes nothing then.
pub fn check_merge(call: &Call<'_>, kind: PatchType, patch: Value) -> Result<Value, ApiError> {
    use crate::request::FieldValidation::Ignore;
    match &patch {
        Value::Object(_) => Ok(patch),
        Value::Null if kind == PatchType::Strategic => Ok(json!({})),
        other if kind == PatchType::Strategic => Err(ApiError::bad_request(go::misfit(other, MAP))),
        Value::Null => Err(ApiError::bad_request("Invalid JSON Patch")),
        _ if call.options.field_validation == Ignore => Err(ApiError::bad_request("Invalid JSON Patch")),
        other => Err(undecodable(other, MAP)),
    }
}

/// Checks the form of a JSON patch: a list of objects, or null.
///
/// # Errors
/// 400.
pub fn check_operations(operations: Value) -> Result<Value, ApiError> {
    let bad = |found: &Value, wanted: &str| Err(undecodable(found, wanted));
    let list = match operations {
        Value::Array(list) => list,
        Value::Null => return Ok(json!([])),
        other => return bad(&other, "value of type []handlers.jsonPatchOp"),
    };
    for operation in &list {
        match operation {
            Value::Null => {}
            Value::Object(map) => {
                for key in ["op", "path", "from"] {
                    if let Some(value) = map.get(key).filter(|value| !value.is_string() && !value.is_null()) {
                        return bad(value, &format!("struct field jsonPatchOp.{key} of type string"));
                    }
                }
            }
            other => return bad(other, "value of type handlers.jsonPatchOp"),
        }
    }
    Ok(Value::Array(list))
}

/// Complaints about members that operations of a JSON patch do not have.
pub fn unknown_in_operations(operations: &[Value]) -> Vec<String> {
    let unknown = operations.iter().enumerate().flat_map(|(index, operation)| {
        let keys = operation.as_object().into_iter().flat_map(serde_json::Map::keys);
        keys.filter(|key| !OPERATION.contains(&key.as_str()))
            .map(move |key| format!("json patch unknown field {}", quote(&format!("[{index}].{key}"))))
    });
    unknown.collect()
}

/// The error of a patch that made something that is no object of the kind.
pub fn bad_result(shown: &str, why: &str) -> ApiError {
    let error = FieldError::invalid("patch", shown, why);
    ApiError::invalid(GroupKind { group: "", kind: "" }, "", &[error])
}

/// Applies a patch to a copy of the object; for the scale, to a copy of the
/// scale, whose replicas then go into the object.
///
/// # Errors
/// 400 and 422 when the patch does not fit.
pub fn apply(call: &Call<'_>, kind: PatchType, body: &PatchBody, old: &Value) -> Result<Value, ApiError> {
    let patch = body.value.as_ref().map_err(Clone::clone)?;
    let mut new = old.clone();
    patched(call, kind, patch, &mut new)?;
    let findings = body.findings.clone();
    let words = if kind == PatchType::Strategic { Words::Converter } else { Words::Decoder };
    let whole = || {
        let mut again = old.clone();
        // It was applied before.
        let _ = patched(call, kind, patch, &mut again);
        again
    };
    call.patched(&mut new, findings, words, whole, |result| match kind {
        PatchType::Strategic => go::plain(patch),
        PatchType::Json | PatchType::Merge | PatchType::Apply => {
            let mut out = String::new();
            write_patched(&mut out, Some(old), result, call.kind.builtin, Members::Sorted);
            out
        }
    })?;
    Ok(new)
}

/// Applies a patch to an object or its scale.
///
/// # Errors
/// 400 and 422 when the patch does not fit.
pub fn patched(call: &Call<'_>, kind: PatchType, patch: &Value, target: &mut Value) -> Result<(), ApiError> {
    match kind {
        PatchType::Merge => {
            patch::merge(target, patch);
            Ok(())
        }
        PatchType::Strategic if patch.is_object() => {
            patch::strategic(target, patch, call.version().schema()).map_err(|error| unfit(&error))?;
            // The result is made an object of the kind, whatever the patch says it is.
            target["apiVersion"] = Value::from(call.api_version.as_str());
            target["kind"] = Value::from(call.kind.kind.as_str());
            Ok(())
        }
        PatchType::Json => {
            let operations = patch.as_array().map_or(&[][..], Vec::as_slice);
            patch::json(target, operations).map_err(|error| unfit(&error))
        }
        PatchType::Strategic | PatchType::Apply => Err(ApiError::bad_request("the patch is not an object")),
    }
}

/// In which order the members of an object are written.
#[derive(Clone, Copy)]
enum Members {
    Sorted,
    Metadata,
    Manager,
}

/// Members of the metadata and of a manager in the order of their Go types.
const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];
const MANAGER: [&str; 7] =
    ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];

/// Writes the result of a patch as upstream has it in its errors: what the
/// patch touched is sorted, the rest is in the order of the Go types.
fn write_patched(out: &mut String, old: Option<&Value>, new: &Value, typed: bool, order: Members) {
    match new {
        Value::Object(map) => {
            let touched = old != Some(new);
            let mut keys: Vec<&String> = map.keys().collect();
            let rank: &[&str] = match order {
                Members::Metadata if typed && !touched => &METADATA,
                Members::Manager if typed => &MANAGER,
                _ => &[],
            };
            keys.sort_by_key(|key| rank.iter().position(|name| *name == key.as_str()));
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                let below = match (order, key.as_str()) {
                    (Members::Sorted, "metadata") => Members::Metadata,
                    (Members::Metadata, "managedFields") => Members::Manager,
                    (Members::Sorted | Members::Metadata | Members::Manager, _) => Members::Sorted,
                };
                write_patched(out, old.and_then(|old| old.get(key)), &map[key], typed, below);
            }
            out.push('}');
        }
        Value::Array(list) if matches!(order, Members::Manager) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_patched(out, Some(item), item, typed, Members::Manager);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}
