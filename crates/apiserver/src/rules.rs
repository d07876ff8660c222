//! Rules of every object: its type, its metadata, when it changed; rules of
//! the options of writes.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use windlass_apimachinery::meta::{self, NameRule};
use windlass_apimachinery::{FieldError, go};

use crate::kinds::{Hook, Kind, Version};
use crate::request::Options;
use crate::status::{ApiError, GroupKind};

/// A time as Kubernetes writes it: RFC 3339 in whole seconds.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Why a decoded body says no type at all, in the words of Go.
pub fn untyped(object: &Value) -> Option<String> {
    let found = |value: &Value| match value {
        Value::Null => None,
        Value::Bool(_) => Some("bool"),
        Value::Number(_) => Some("number"),
        Value::String(_) => Some("string"),
        Value::Array(_) => Some("array"),
        Value::Object(_) => Some("object"),
    };
    let Value::Object(map) = object else {
        let wanted = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        return found(object).map(|found| format!("{found} into Go value of type {wanted}"));
    };
    ["apiVersion", "kind"].into_iter().find_map(|key| {
        let value = map.get(key).filter(|value| !value.is_string())?;
        Some(format!("{} into Go struct field .{key} of type string", found(value)?))
    })
}

/// Checks `apiVersion` and `kind` of a body against the path; fills them in.
/// For kinds that are only answered.
///
/// # Errors
/// 400.
pub fn check_type(kind: &Kind, api_version: &str, object: &mut Value) -> Result<(), ApiError> {
    for (key, expected) in [("kind", kind.kind.as_str()), ("apiVersion", api_version)] {
        let slot = crate::object::member(object, key);
        match slot.as_str() {
            Some(given) if given == expected => {}
            Some("") | None => *slot = json!(expected),
            Some(given) => {
                return Err(ApiError::bad_request(format!(
                    "the {key} in the data ({given}) does not match the expected {key} ({expected})"
                )));
            }
        }
    }
    Ok(())
}

/// Checks the version that a custom object says it has.
///
/// # Errors
/// 400 when it is not the one of the path.
pub fn check_version(object: &Value, api_version: &str) -> Result<(), ApiError> {
    let given = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if given == api_version {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "the API version in the data ({given}) does not match the expected API version ({api_version})"
    )))
}

/// What is wrong with the type of a custom object that was decoded.
pub fn type_meta(kind: &Kind, api_version: &str, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, expected) in [("kind", kind.kind.as_str()), ("apiVersion", api_version)] {
        let given = object.get(key).and_then(Value::as_str).unwrap_or_default();
        if given != expected {
            errors.push(FieldError::invalid(key, given, format!("must be {expected}")));
        }
    }
    errors
}

/// Checks the options of a write; `kind` names them in the error.
///
/// # Errors
/// 422.
pub fn check_options(
    options: &Options,
    kind: &'static str,
    first: Option<FieldError>,
) -> Result<(), ApiError> {
    let mut errors: Vec<FieldError> = first.into_iter().collect();
    if kind != "DeleteOptions" {
        meta::field_manager(&options.field_manager, "fieldManager", &mut errors);
    }
    if options.dry_run_values.iter().any(|value| value != "All") {
        let given = Value::from(options.dry_run_values.clone());
        errors.push(FieldError::not_supported("dryRun", given, &["All"]));
    }
    if let Some(given) = options.bad_field_validation.as_deref().filter(|_| kind != "DeleteOptions") {
        errors.push(FieldError::not_supported("fieldValidation", given, &["", "Ignore", "Strict", "Warn"]));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(GroupKind { group: "meta.k8s.io", kind }, "", &errors))
}

/// Whether a `PUT` to a name where nothing is makes an object (the strategies
/// of kube-apiserver, `AllowCreateOnUpdate`).
pub fn creates_on_update(kind: &Kind) -> bool {
    kind.builtin
        && matches!(
            (kind.group.as_str(), kind.kind.as_str()),
            ("", "LimitRange" | "Event" | "Service" | "Endpoints")
                | ("events.k8s.io", "Event")
                | ("coordination.k8s.io" | "rbac.authorization.k8s.io", _)
                | ("node.k8s.io", "RuntimeClass")
        )
}

/// Whether objects may be replaced without saying which version was known
/// (`AllowUnconditionalUpdate`).
pub fn updates_unconditionally(kind: &Kind) -> bool {
    let (group, name) = (kind.group.as_str(), kind.kind.as_str());
    kind.builtin
        && kind.hook != Hook::CustomResourceDefinition
        && !matches!(group, "coordination.k8s.io" | "admissionregistration.k8s.io" | "node.k8s.io")
        && !matches!(
            (group, name),
            ("policy", "PodDisruptionBudget")
                | ("storage.k8s.io", "CSIDriver" | "CSIStorageCapacity" | "VolumeAttachment" | "CSINode")
                | ("certificates.k8s.io", "ClusterTrustBundle" | "PodCertificateRequest")
                | ("apiregistration.k8s.io", "APIService")
        )
}

/// The error of a whole replacement that does not say which version it knew.
pub fn missing_resource_version(kind: &Kind, name: &str) -> ApiError {
    let error = FieldError::invalid("metadata.resourceVersion", json!(0), "must be specified for an update");
    ApiError::invalid(GroupKind { group: &kind.group, kind: &kind.plural }, name, &[error])
}

fn metadata_of(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata").and_then(Value::as_object)
}

fn name_rule(kind: &Kind) -> NameRule {
    match (kind.group.as_str(), kind.kind.as_str()) {
        _ if !kind.builtin => NameRule::Subdomain,
        ("", "Namespace") => NameRule::Label,
        ("", "Service") => NameRule::ServiceName,
        // Names of addresses are addresses, of which their rules see to.
        ("rbac.authorization.k8s.io", _) | ("networking.k8s.io", "IPAddress") => NameRule::PathSegment,
        _ => NameRule::Subdomain,
    }
}

/// Everything wrong with the metadata of an object; as often as upstream
/// finds it, since clients get a cause for each time.
pub fn metadata(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let nothing = Map::new();
    let new = metadata_of(object).unwrap_or(&nothing);
    let own = meta::validate(new, name_rule(kind), kind.namespaced);
    // Definitions are checked by their own server, which takes any finalizer.
    let domains = if kind.builtin && kind.hook != Hook::CustomResourceDefinition {
        meta::kube_finalizers(new)
    } else {
        Vec::new()
    };
    let Some(old) = old else { return [own, domains].concat() };
    let change = meta::validate_update(new, metadata_of(old).unwrap_or(&nothing));
    if own.is_empty() && domains.is_empty() && change.is_empty() {
        return Vec::new();
    }
    let common = meta::validate(new, NameRule::PathSegment, kind.namespaced);
    if kind.builtin && kind.group == "coordination.k8s.io" {
        [common, change.clone(), change, domains].concat()
    } else if kind.builtin {
        [common, change.clone(), change, domains.clone(), own, domains].concat()
    } else {
        [common, change.clone(), change].concat()
    }
}

/// What is wrong with the numbers and the text that the scale of a custom
/// object shows.
pub fn scale(version: &Version, object: &Value, whole: bool) -> Vec<FieldError> {
    let Some(paths) = &version.scale else { return Vec::new() };
    let mut errors = Vec::new();
    if whole {
        count(&paths.spec_replicas, object, &mut errors);
    }
    count(&paths.status_replicas, object, &mut errors);
    if let Some(path) = &paths.selector
        && let Err(why) = nested(object, path, "string", Value::is_string)
    {
        errors.push(FieldError::invalid(path.as_str(), "", why));
    }
    errors
}

fn count(path: &str, object: &Value, errors: &mut Vec<FieldError>) {
    match nested(object, path, "int64", Value::is_i64) {
        Err(why) => errors.push(FieldError::invalid(path, 0, why)),
        Ok(value) => {
            let count = value.and_then(Value::as_i64).unwrap_or(0);
            if count < 0 {
                errors.push(FieldError::invalid(path, count, "should be a non-negative integer"));
            } else if count > i64::from(i32::MAX) {
                let text = format!("should be less than or equal to {}", i32::MAX);
                errors.push(FieldError::invalid(path, count, text));
            }
        }
    }
}

/// The value at a path of names; an error in the words of upstream when
/// something on the way is of a wrong type.
fn nested<'a>(
    object: &'a Value,
    path: &str,
    wanted: &str,
    fits: fn(&Value) -> bool,
) -> Result<Option<&'a Value>, String> {
    let mut here = object;
    let wrong = |value: &Value, wanted: &str| {
        let (shown, found) = (go::plain(value), go::type_name(value));
        format!("{path} accessor error: {shown} is of the type {found}, expected {wanted}")
    };
    for key in path.split('.').filter(|key| !key.is_empty()) {
        let Value::Object(map) = here else {
            return if here.is_null() { Ok(None) } else { Err(wrong(here, "map[string]interface{}")) };
        };
        match map.get(key) {
            Some(value) => here = value,
            None => return Ok(None),
        }
    }
    if fits(here) { Ok(Some(here)) } else { Err(wrong(here, wanted)) }
}

/// Removes owner references that are there already; the UIDs of those removed.
pub fn dedup_owners(object: &mut Value) -> Vec<String> {
    let list = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
    let Some(list) = list.filter(|list| list.len() > 1) else { return Vec::new() };
    let mut removed = Vec::new();
    let mut kept: Vec<Value> = Vec::with_capacity(list.len());
    for owner in list.drain(..) {
        if kept.contains(&owner) {
            removed.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            kept.push(owner);
        }
    }
    *list = kept;
    removed
}

/// The warning about owner references that were removed.
pub fn owners_warning(removed: &[String], after_admission: bool) -> String {
    let when = if after_admission { " after mutating admission happens" } else { "" };
    format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        removed.join(", ")
    )
}

/// Whether two versions of an object differ in nothing, or only in the times
/// of their field managers.
pub fn same_but_times(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    old.len() == new.len()
        && old.iter().all(|(key, value)| match new.get(key) {
            Some(other) if key == "metadata" => same_metadata(value, other),
            Some(other) => value == other,
            None => false,
        })
}

fn same_metadata(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    old.len() == new.len()
        && old.iter().all(|(key, value)| match new.get(key) {
            Some(other) if key == "managedFields" => same_managers(value, other),
            Some(other) => value == other,
            None => false,
        })
}

fn same_managers(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_array(), new.as_array()) else { return old == new };
    let same = |(old, new): (&Value, &Value)| match (old.as_object(), new.as_object()) {
        (Some(old), Some(new)) => {
            old.len() == new.len()
                && old.iter().all(|(key, value)| match new.get(key) {
                    Some(other) => key == "time" || value == other,
                    None => false,
                })
        }
        _ => old == new,
    };
    old.len() == new.len() && old.iter().zip(new).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_time_of_a_manager_is_no_change() {
        let object = |time: &str, replicas: i32| json!({"metadata": {"managedFields": [{"manager": "a", "time": time}]}, "spec": {"replicas": replicas}});
        assert!(same_but_times(&object("1", 1), &object("2", 1)));
        assert!(!same_but_times(&object("1", 1), &object("1", 2)));
        assert!(!same_but_times(&object("1", 1), &json!({"metadata": {}, "spec": {"replicas": 1}})));
    }

    #[test]
    fn the_same_owner_twice_is_one() {
        let mut object = json!({"metadata": {"ownerReferences": [{"uid": "1"}, {"uid": "2"}, {"uid": "1"}, {"uid": "1", "name": "n"}]}});
        assert_eq!(dedup_owners(&mut object), ["1"]);
        assert_eq!(object["metadata"]["ownerReferences"].as_array().map(Vec::len), Some(3));
    }
}
