//! What namespaces do differently: their label, their phase, the finalizers of
//! their content, and who may set them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_apimachinery::FieldError;
use windlass_apimachinery::meta;

use crate::call::Part;
use crate::kinds::{Hook, Kind};
use crate::object::{Meta, member, meta_str};

/// The label every namespace has: its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Waits for the content of the namespace to go.
const CONTENT: &str = "kubernetes";

/// What belongs to whoever writes a namespace, though it was left out: the
/// label, when the name is known, and the phase in a status that is written.
pub fn default(kind: &Kind, part: Part, object: &mut Value) {
    if kind.hook != Hook::Namespace {
        return;
    }
    let name = meta_str(object, "name").to_owned();
    if !name.is_empty() {
        label(object, &name);
    }
    if part == Part::Status {
        activate(object);
    }
    // None is the same as an empty list.
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
        && spec.get("finalizers").is_some_and(|list| *list == json!([]))
    {
        spec.remove("finalizers");
    }
}

/// What a new namespace is given by the server itself.
pub fn before_create(kind: &Kind, object: &mut Value) {
    if kind.hook != Hook::Namespace {
        return;
    }
    let name = meta_str(object, "name").to_owned();
    label(object, &name);
    *member(object, "status") = json!({"phase": "Active"});
    let finalizers = member(member(object, "spec"), "finalizers");
    match finalizers.as_array_mut() {
        Some(list) if list.iter().any(|known| known == CONTENT) => {}
        Some(list) => list.push(json!(CONTENT)),
        None => *finalizers = json!([CONTENT]),
    }
}

/// Takes back what a write of this part of a namespace may not change.
pub fn before_update(kind: &Kind, part: Part, old: &Value, new: &mut Value) {
    if kind.hook != Hook::Namespace {
        return;
    }
    if part != Part::Finalize {
        restore(old, new, "spec");
    }
    if part != Part::Status {
        restore(old, new, "status");
    }
    if part == Part::Finalize && new.pointer("/spec/finalizers").is_none_or(|list| *list == json!([])) {
        *member(new, "spec") = json!({});
    }
}

fn restore(old: &Value, new: &mut Value, key: &str) {
    match (old.get(key), new.as_object_mut()) {
        (Some(value), _) => *member(new, key) = value.clone(),
        (None, Some(map)) => {
            map.remove(key);
        }
        (None, None) => {}
    }
}

fn label(object: &mut Value, name: &str) {
    *member(member(member(object, "metadata"), "labels"), NAME_LABEL) = json!(name);
}

fn activate(object: &mut Value) {
    let phase = member(member(object, "status"), "phase");
    if phase.as_str().unwrap_or_default().is_empty() {
        *phase = json!("Active");
    }
}

/// Everything wrong with the finalizers and the phase of a namespace.
pub fn validate(kind: &Kind, part: Part, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if kind.hook != Hook::Namespace {
        return Vec::new();
    }
    match (part, old) {
        (Part::Object, None) => finalizers(object, |_| "spec.finalizers".to_owned()),
        (Part::Finalize, _) => finalizers(object, |index| format!("spec.finalizers[{index}]")),
        (Part::Status, Some(_)) => phase(object),
        _ => Vec::new(),
    }
}

fn phase(object: &Value) -> Vec<FieldError> {
    let phase = object.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    let (wanted, state) = if meta_str(object, "deletionTimestamp").is_empty() {
        ("Active", "empty")
    } else {
        ("Terminating", "not empty")
    };
    if phase == wanted {
        return Vec::new();
    }
    let why = format!("may only be '{wanted}' if `deletionTimestamp` is {state}");
    vec![FieldError::invalid("status.Phase", phase, why)]
}

fn finalizers(object: &Value, field: impl Fn(usize) -> String) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let list = object.pointer("/spec/finalizers").and_then(Value::as_array).into_iter().flatten();
    for (index, finalizer) in list.enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        let before = errors.len();
        meta::qualified_name(name, &field(index), &mut errors);
        let known = matches!(name, CONTENT | "orphan" | "foregroundDeletion");
        if errors.len() == before && !known && !name.contains('/') {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(field(index), name, why));
        }
    }
    errors
}

/// What is left in a namespace that is being removed.
#[derive(Debug, Default)]
pub struct Remaining {
    /// `plural.group` → how many objects.
    resources: BTreeMap<String, usize>,
    /// Finalizer → how many objects have it.
    finalizers: BTreeMap<String, usize>,
}

impl Remaining {
    /// Takes note of an object.
    pub fn count(&mut self, kind: &Kind, meta: &Meta) {
        *self.resources.entry(format!("{}.{}", kind.plural, kind.group)).or_default() += 1;
        for finalizer in &meta.finalizers {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// The conditions of the namespace, in the words of kube-controller-manager
    /// (`namespace/deletion/status_condition_utils.go`).
    pub fn conditions(&self, before: &[Value], now: &str) -> Value {
        let list = |counts: &BTreeMap<String, usize>, word: &str| {
            let each = counts.iter().map(|(name, count)| format!("{name} {word} {count} resource instances"));
            each.collect::<Vec<_>>().join(", ")
        };
        let remaining = (!self.resources.is_empty()).then(|| {
            let text = format!("Some resources are remaining: {}", list(&self.resources, "has"));
            ("SomeResourcesRemain", text)
        });
        let held = (!self.finalizers.is_empty()).then(|| {
            let text = "Some content in the namespace has finalizers remaining";
            ("SomeFinalizersRemain", format!("{text}: {}", list(&self.finalizers, "in")))
        });
        let mut conditions = Vec::new();
        for (kind, reason, message, trouble) in [
            (
                "NamespaceDeletionDiscoveryFailure",
                "ResourcesDiscovered",
                "All resources successfully discovered",
                None,
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
                None,
            ),
            (
                "NamespaceDeletionContentFailure",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
                None,
            ),
            ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed", remaining),
            (
                "NamespaceFinalizersRemaining",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
                held,
            ),
        ] {
            let status = if trouble.is_some() { "True" } else { "False" };
            let (reason, message) = trouble.unwrap_or((reason, message.to_owned()));
            let old = before.iter().find(|condition| condition["type"] == kind);
            let since =
                old.filter(|old| old["status"] == status).and_then(|old| old["lastTransitionTime"].as_str());
            conditions.push(json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": since.unwrap_or(now),
            }));
        }
        let known = |condition: &&Value| !conditions.iter().any(|ours| ours["type"] == condition["type"]);
        let others: Vec<Value> = before.iter().filter(known).cloned().collect();
        others.into_iter().chain(conditions).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KindSet;

    #[test]
    fn only_finalize_changes_the_finalizers_and_only_status_the_phase() {
        let kinds = KindSet::builtin();
        let kind = kinds.get("", "namespaces").unwrap();
        let old = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let sent = json!({"metadata": {"name": "a"}, "spec": {"finalizers": []}, "status": {"phase": "X"}});
        for (part, finalizers, phase) in [
            (Part::Object, json!({"finalizers": ["kubernetes"]}), "Active"),
            (Part::Status, json!({"finalizers": ["kubernetes"]}), "X"),
            (Part::Finalize, json!({}), "Active"),
        ] {
            let mut new = sent.clone();
            before_update(kind, part, &old, &mut new);
            assert_eq!(
                (&new["spec"], new["status"]["phase"].as_str().unwrap()),
                (&finalizers, phase),
                "{part:?}"
            );
        }
    }

    #[test]
    fn phases_follow_the_deletion() {
        for (object, faults) in [
            (json!({"metadata": {}, "status": {"phase": "Active"}}), 0),
            (json!({"metadata": {}, "status": {"phase": "Terminating"}}), 1),
            (
                json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}, "status": {"phase": "Active"}}),
                1,
            ),
        ] {
            assert_eq!(phase(&object).len(), faults, "{object}");
        }
        assert_eq!(
            finalizers(&json!({"spec": {"finalizers": ["a", "b/c", "kubernetes"]}}), |_| String::new()).len(),
            1
        );
    }
}
