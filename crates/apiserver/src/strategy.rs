//! What kinds do differently from one another, in one place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use windlass_apimachinery::FieldError;

use crate::call::Part;
use crate::kinds::{Generation, Hook, Kind, Version};
use crate::object::{finalizers, member, meta_str, metadata_mut};

/// Fills in what belongs to the client that left it out.
pub fn default(kind: &Kind, object: &mut Value) {
    match kind.hook {
        Hook::CustomResourceDefinition => crate::crd::default(object),
        Hook::Secret => {
            string_data(object);
            let kind = member(object, "type");
            if kind.as_str().unwrap_or_default().is_empty() {
                *kind = json!("Opaque");
            }
        }
        _ => {}
    }
}

/// New objects have no status of the client's.
pub fn drop_status(kind: &Kind, object: &mut Value) {
    // A node registers itself together with its status.
    if !(kind.builtin && kind.kind == "Node") {
        remove(object, "status");
    }
}

/// Prepares an object that is to be created.
pub fn before_create(kind: &Kind, version: &Version, object: &mut Value) {
    if version.status {
        drop_status(kind, object);
    }
    if kind.generation != Generation::None {
        metadata_mut(object).insert("generation".to_owned(), json!(1));
    }
    match kind.hook {
        Hook::CustomResourceDefinition | Hook::Secret => default(kind, object),
        _ => {}
    }
}

fn remove(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(key);
    }
}

/// `stringData` is write-only: it moves into `data`.
fn string_data(object: &mut Value) {
    let Some(Value::Object(texts)) = object.as_object_mut().and_then(|map| map.remove("stringData")) else {
        return;
    };
    let data = member(object, "data");
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    for (key, text) in texts {
        data[key] = json!(BASE64.encode(text.as_str().unwrap_or_default()));
    }
}

/// Limits a change to the part of the object that was written.
pub fn isolate(kind: &Kind, version: &Version, part: Part, old: &Value, new: &mut Value) {
    match part {
        Part::Object => {
            if version.status {
                restore(old, new, "status");
            }
        }
        Part::Status => {
            let status = new.get_mut("status").map(Value::take);
            let metadata = new["metadata"].take();
            *new = old.clone();
            match status {
                Some(status) => *member(new, "status") = status,
                None => remove(new, "status"),
            }
            // Kubelets label their node together with its status; custom
            // kinds let nothing but the status through.
            let free: &[&str] = match kind.kind.as_str() {
                _ if !kind.builtin => &["managedFields"],
                "Deployment" => &["managedFields", "annotations"],
                _ => &["managedFields", "labels", "annotations"],
            };
            copy_metadata(&metadata, new, free);
            copy_metadata(&metadata, new, &["resourceVersion"]);
        }
        // The scale is translated into a change of the object beforehand.
        Part::Finalize | Part::Scale => restore(old, new, "status"),
        Part::Approval => approval(old, new),
        Part::EphemeralContainers => limit(old, new, &["/spec/ephemeralContainers"]),
        Part::Resize => limit(old, new, &["/spec/containers", "/spec/initContainers"]),
        // These do not change the object through its own body.
        Part::Eviction | Part::Binding | Part::Token | Part::Log | Part::Connect => *new = old.clone(),
    }
}

/// Everything but the conditions of the status stays as it was.
fn approval(old: &Value, new: &mut Value) {
    limit(old, new, &["/status/conditions"]);
}

/// Takes only the values at these pointers from `new`, and its metadata of the write.
fn limit(old: &Value, new: &mut Value, pointers: &[&str]) {
    let wanted = std::mem::replace(new, old.clone());
    for pointer in pointers {
        let Some((parent, key)) = pointer.rsplit_once('/') else { continue };
        let mut slot = &mut *new;
        for name in parent.split('/').filter(|name| !name.is_empty()) {
            slot = member(slot, name);
        }
        match wanted.pointer(pointer) {
            Some(value) => *member(slot, key) = value.clone(),
            None => remove(slot, key),
        }
    }
    copy_metadata(&wanted["metadata"], new, &["managedFields", "labels", "annotations", "resourceVersion"]);
}

fn restore(old: &Value, new: &mut Value, key: &str) {
    match old.get(key) {
        Some(value) => *member(new, key) = value.clone(),
        None => remove(new, key),
    }
}

fn copy_metadata(from: &Value, to: &mut Value, keys: &[&str]) {
    let metadata = metadata_mut(to);
    for key in keys {
        match from.get(key) {
            Some(value) => metadata.insert((*key).to_owned(), value.clone()),
            None => metadata.remove(*key),
        };
    }
}

/// Raises `metadata.generation` when the kind's rule says so; annotations that
/// come with a status do not count.
pub fn raise_generation(kind: &Kind, version: &Version, part: Part, old: &Value, new: &mut Value) {
    let changed = match kind.generation {
        Generation::None => return,
        Generation::Fixed => false,
        Generation::Spec => old.get("spec") != new.get("spec"),
        Generation::SpecAndAnnotations => {
            old.get("spec") != new.get("spec")
                || part != Part::Status
                    && old["metadata"].get("annotations") != new["metadata"].get("annotations")
        }
        Generation::Content => content_differs(old, new, version.status),
    };
    let before = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let now = if changed { before + 1 } else { before };
    metadata_mut(new).insert("generation".to_owned(), json!(now));
}

fn content_differs(old: &Value, new: &Value, status_apart: bool) -> bool {
    let content = |object: &Value| -> Vec<(String, Value)> {
        let map = object.as_object().into_iter().flatten();
        map.filter(|(key, _)| *key != "metadata" && !(status_apart && *key == "status"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    content(old) != content(new)
}

/// Whether nothing keeps a deleted object any more.
pub fn is_finished(kind: &Kind, object: &Value) -> bool {
    let deleting = !meta_str(object, "deletionTimestamp").is_empty();
    // A pod goes when whoever runs it says so, by deleting it without grace.
    let graceful =
        object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    deleting
        && graceful <= 0
        && finalizers(object).is_empty()
        && !(kind.hook == Hook::Namespace && has_content_finalizer(object))
}

/// Whether a namespace still waits for its content to go.
pub fn has_content_finalizer(namespace: &Value) -> bool {
    namespace.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}

/// Rules of single kinds beyond their schemas.
pub fn validate(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    match kind.hook {
        Hook::CustomResourceDefinition => Vec::new(),
        _ if kind.builtin => {
            let old = old.map(|old| kind.as_ruled(old));
            crate::kinds::validate(&kind.group, &kind.kind, &kind.as_ruled(object), old.as_deref())
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KindSet;

    #[test]
    fn string_data_becomes_data() {
        let kinds = KindSet::builtin();
        let kind = kinds.get("", "secrets").unwrap();
        let mut secret = json!({"metadata": {}, "data": {"a": "eA=="}, "stringData": {"b": "y"}});
        default(kind, &mut secret);
        assert_eq!(secret, json!({"metadata": {}, "type": "Opaque", "data": {"a": "eA==", "b": "eQ=="}}));
    }

    #[test]
    fn only_the_rule_of_the_kind_raises_the_generation() {
        let kinds = KindSet::builtin();
        let deployment = kinds.get("apps", "deployments").unwrap();
        let old = json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}, "status": {"a": 1}});
        let annotated = json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"replicas": 1}});
        for (part, new, expected) in [
            (Part::Object, json!({"metadata": {"labels": {}}, "spec": {"replicas": 1}}), 3),
            (Part::Object, json!({"metadata": {}, "spec": {"replicas": 2}}), 4),
            (
                Part::Object,
                json!({"metadata": {"generation": 99}, "spec": {"replicas": 1}, "status": {"a": 2}}),
                3,
            ),
            (Part::Object, annotated.clone(), 4),
            (Part::Status, annotated, 3),
        ] {
            let mut changed = new.clone();
            raise_generation(deployment, &deployment.versions[0], part, &old, &mut changed);
            assert_eq!(changed["metadata"]["generation"], expected, "{part:?} {new}");
        }
    }
}
