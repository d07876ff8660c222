//! Rules of every object: its type, its metadata, when it changed.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use windlass_apimachinery::FieldError;
use windlass_apimachinery::meta::{self, NameRule};

use crate::kinds::Kind;
use crate::object::{finalizers, member, meta_str};
use crate::status::ApiError;

/// A time as Kubernetes writes it: RFC 3339 in whole seconds.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Checks `apiVersion` and `kind` against the path. Typed clients may leave
/// them out for compiled-in kinds.
pub fn check_type(kind: &Kind, api_version: &str, object: &mut Value) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the body is not an object"));
    }
    for (key, expected, what) in
        [("kind", kind.kind.as_str(), "kind"), ("apiVersion", api_version, "API version")]
    {
        let slot = member(object, key);
        match slot.as_str() {
            Some(given) if given == expected => {}
            Some("") | None if kind.builtin && (slot.is_null() || slot == "") => *slot = json!(expected),
            Some("") | None => {
                let text = format!("Object '{key}' is missing or not a text");
                return Err(ApiError::bad_request(text));
            }
            Some(given) => {
                return Err(ApiError::bad_request(format!(
                    "the {what} in the data ({given}) does not match the expected {what} ({expected})"
                )));
            }
        }
    }
    Ok(())
}

/// The error of a whole replacement that does not say which version it knew.
pub fn missing_resource_version() -> FieldError {
    FieldError::invalid("metadata.resourceVersion", json!(0), "must be specified for an update")
}

/// Everything wrong with the metadata of an object.
pub fn metadata(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let rule = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => NameRule::Label,
        ("", "Service") => NameRule::ServiceName,
        ("rbac.authorization.k8s.io", _) => NameRule::PathSegment,
        _ => NameRule::Subdomain,
    };
    let nothing = Map::new();
    let metadata = object["metadata"].as_object().unwrap_or(&nothing);
    let mut errors = meta::validate(metadata, rule, kind.namespaced);
    if let Some(old) = old {
        deletion(object, old, &mut errors);
    }
    errors
}

/// An object that is being deleted takes no new finalizers.
fn deletion(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if meta_str(old, "deletionTimestamp").is_empty() {
        return;
    }
    let before = finalizers(old);
    let added: Vec<&str> = finalizers(object).into_iter().filter(|f| !before.contains(f)).collect();
    if !added.is_empty() {
        let text = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
        );
        errors.push(FieldError::forbidden("metadata.finalizers", text));
    }
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
    old.len() == new.len()
        && old.iter().zip(new).all(|(old, new)| {
            let without_time = |entry: &Value| {
                let mut entry = entry.clone();
                entry.as_object_mut().map(|map| map.remove("time"));
                entry
            };
            without_time(old) == without_time(new)
        })
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
}
