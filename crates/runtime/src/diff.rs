//! What changed between two copies of an object, as JSON merge patches.

use serde_json::{Map, Value, json};

/// The merge patch (RFC 7386) that turns `before` into `after`; `None` where they are equal.
pub(crate) fn merge(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut patch = Map::new();
            for (name, value) in after {
                match before.get(name) {
                    Some(old) => {
                        if let Some(change) = merge(old, value) {
                            patch.insert(name.clone(), change);
                        }
                    }
                    None if value.is_null() => {}
                    None => {
                        patch.insert(name.clone(), value.clone());
                    }
                }
            }
            for name in before.keys().filter(|name| !after.contains_key(*name)) {
                patch.insert(name.clone(), Value::Null);
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (_, _) => (before != after).then(|| after.clone()),
    }
}

/// Metadata that a controller may change.
const METADATA: [&str; 4] = ["labels", "annotations", "finalizers", "ownerReferences"];
/// Lists in it, which a merge patch replaces whole and which have several writers.
const LISTS: [&str; 2] = ["finalizers", "ownerReferences"];

/// The patch of everything but status. It carries the resource version of `before` when it replaces a list
/// that others write too.
pub(crate) fn main(before: &Value, after: &Value) -> Option<Value> {
    let mut patch = Map::new();
    for (name, change) in top_level(before, after) {
        patch.insert(name, change);
    }
    let meta = |object: &Value| {
        let fields = METADATA.iter().filter_map(|name| {
            let value = object.get("metadata")?.get(*name)?;
            Some(((*name).to_owned(), value.clone()))
        });
        Value::Object(fields.collect())
    };
    if let Some(mut change) = merge(&meta(before), &meta(after)) {
        let locked = LISTS.iter().any(|name| change.get(name).is_some());
        if let (true, Some(fields)) = (locked, change.as_object_mut()) {
            fields.extend(lock(before));
        }
        patch.insert("metadata".to_owned(), change);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Changes of `spec`, `data` and whatever else a kind has beside metadata and status.
fn top_level(before: &Value, after: &Value) -> Map<String, Value> {
    let plain = |object: &Value| {
        let fields = object.as_object().into_iter().flatten();
        let fields = fields
            .filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status" | "apiVersion" | "kind"));
        Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    match merge(&plain(before), &plain(after)) {
        Some(Value::Object(change)) => change,
        Some(_) | None => Map::new(),
    }
}

/// The patch of status. It carries the resource version of `before` when conditions change: they are a list
/// with several writers.
pub(crate) fn status(before: &Value, after: &Value) -> Option<Value> {
    let of = |object: &Value| object.get("status").cloned().unwrap_or_else(|| json!({}));
    let change = merge(&of(before), &of(after))?;
    let mut patch = Map::new();
    if holds_conditions(&change) {
        patch.insert("metadata".to_owned(), Value::Object(lock(before)));
    }
    patch.insert("status".to_owned(), change);
    Some(Value::Object(patch))
}

/// Whether a list of conditions stands anywhere in the change (upstream has old ones under `deprecated`).
fn holds_conditions(change: &Value) -> bool {
    match change {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name == "conditions" || holds_conditions(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    }
}

fn lock(before: &Value) -> Map<String, Value> {
    let version = before.pointer("/metadata/resourceVersion").cloned();
    version.map(|version| ("resourceVersion".to_owned(), version)).into_iter().collect()
}

/// What the lock of [`main`] protects.
pub(crate) fn main_part(object: &Value) -> Vec<Value> {
    let fields = LISTS.iter().map(|name| object.get("metadata").and_then(|meta| meta.get(*name)));
    fields.map(|field| field.cloned().unwrap_or(Value::Null)).collect()
}

/// What the lock of [`status`] protects.
pub(crate) fn status_part(object: &Value) -> Vec<Value> {
    vec![object.get("status").cloned().unwrap_or(Value::Null)]
}

/// The resource version that a patch insists on.
pub(crate) fn locked_at(patch: &Value) -> Option<u64> {
    patch.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_says_only_what_changed() {
        for (before, after, patch) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"a": 2}), Some(json!({"a": 2}))),
            (json!({"a": 1, "b": 2}), json!({"b": 2}), Some(json!({"a": null}))),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 3, "c": 2}}), Some(json!({"a": {"b": 3}}))),
            (json!({"a": [1, 2]}), json!({"a": [1]}), Some(json!({"a": [1]}))),
            (json!({}), json!({"a": null}), None),
            (json!({"a": {}}), json!({}), Some(json!({"a": null}))),
        ] {
            assert_eq!(merge(&before, &after), patch, "{before} -> {after}");
        }
    }

    #[test]
    fn lists_with_several_writers_are_locked() {
        let object = |finalizers: Value, label: &str| {
            json!({
                "metadata": {"resourceVersion": "7", "finalizers": finalizers, "labels": {"a": label}},
                "spec": {"replicas": 1}, "status": {"x": 1},
            })
        };
        let label = main(&object(json!(["f"]), "1"), &object(json!(["f"]), "2"));
        assert_eq!(label, Some(json!({"metadata": {"labels": {"a": "2"}}})));
        let list = main(&object(json!(["f"]), "1"), &object(json!([]), "1"));
        assert_eq!(list, Some(json!({"metadata": {"finalizers": [], "resourceVersion": "7"}})));
        assert_eq!(main(&object(json!([]), "1"), &object(json!([]), "1")), None);
    }

    #[test]
    fn conditions_are_locked_and_other_status_is_not() {
        let object = |replicas: i32, ready: &str| {
            json!({
                "metadata": {"resourceVersion": "7"},
                "status": {"replicas": replicas, "conditions": [{"type": "Ready", "status": ready}]},
            })
        };
        assert_eq!(status(&object(1, "True"), &object(2, "True")), Some(json!({"status": {"replicas": 2}})));
        let patch = status(&object(1, "True"), &object(1, "False")).unwrap();
        assert_eq!(locked_at(&patch), Some(7));
        assert_eq!(status(&object(1, "True"), &object(1, "True")), None);
    }
}
