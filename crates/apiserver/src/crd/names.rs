//! What the server reports in a definition: accepted names, conditions,
//! stored versions. Steps, reasons and texts are those of the controllers in
//! apiextensions-apiserver.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CLEANUP, text, texts, versions};
use crate::object::member;
use crate::rules;

/// Annotation by which definitions in groups of the Kubernetes community say
/// that they were approved.
pub const APPROVED: &str = "api-approved.kubernetes.io";

/// Names other definitions of a group have: resources, then kinds.
#[derive(Debug, Default)]
pub struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    /// Adds the accepted names of a definition.
    pub fn add(&mut self, accepted: &Value) {
        let name = |key: &str| accepted[key].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        self.resources.extend([name("plural"), name("singular")].into_iter().flatten());
        self.resources.extend(texts(accepted, "/shortNames"));
        self.kinds.extend([name("kind"), name("listKind")].into_iter().flatten());
    }
}

/// What a definition leaves out.
pub fn default(definition: &mut Value) {
    let kind = text(definition, "/spec/names/kind").to_owned();
    let Some(spec) = definition.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if let Some(names) = spec.get_mut("names").filter(|names| names.is_object()) {
        let empty = |names: &Value, key: &str| names[key].as_str().is_none_or(str::is_empty);
        if empty(names, "singular") {
            names["singular"] = json!(kind.to_lowercase());
        }
        if empty(names, "listKind") && !kind.is_empty() {
            names["listKind"] = json!(format!("{kind}List"));
        }
    }
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    if let Some(service) = spec.pointer_mut("/conversion/webhook/clientConfig/service")
        && service.is_object()
        && service["port"].is_null()
    {
        service["port"] = json!(443);
    }
}

/// Notes the storage version among those objects are stored at.
pub fn note_storage(definition: &mut Value) {
    let storage = versions(definition).iter().find(|version| version["storage"] == true);
    let Some(name) = storage.and_then(|version| version["name"].as_str()).map(str::to_owned) else { return };
    let mut stored = texts(definition, "/status/storedVersions");
    if !stored.contains(&name) {
        stored.push(name);
        *member(member(definition, "status"), "storedVersions") = json!(stored);
    }
}

/// The status of a new definition.
pub fn begin(definition: &mut Value) {
    definition["status"] = json!({"acceptedNames": {"plural": "", "kind": ""}});
    note_storage(definition);
}

/// The next thing to report, if anything is left.
pub fn next(definition: &Value, taken: &Taken, now: Timestamp) -> Option<Value> {
    let mut new = definition.clone();
    if definition["spec"]["names"] != definition["status"]["acceptedNames"] {
        let status = member(&mut new, "status");
        if accept(status, &definition["spec"]["names"], taken, now) {
            return Some(new);
        }
    }
    let conditions = &definition["status"]["conditions"];
    if is_true(conditions, "NamesAccepted") && !is_true(conditions, "Established") {
        let text = "the initial names have been accepted";
        let status = member(&mut new, "status");
        condition(status, "Established", "True", "InitialNamesAccepted", text, now);
        return Some(new);
    }
    if is_protected(text(definition, "/spec/group")) {
        let annotation = definition["metadata"]["annotations"][APPROVED].as_str().unwrap_or_default();
        let approval = approval(annotation);
        let kind = "KubernetesAPIApprovalPolicyConformant";
        if condition(
            member(&mut new, "status"),
            kind,
            approval.status,
            approval.reason,
            &approval.message,
            now,
        ) {
            return Some(new);
        }
    }
    None
}

/// Accepts what names can be accepted; whether anything changed.
fn accept(status: &mut Value, wanted: &Value, taken: &Taken, now: Timestamp) -> bool {
    let before = status.clone();
    let mut accepted = status["acceptedNames"].clone();
    if !accepted.is_object() {
        accepted = json!({});
    }
    let mut conflict = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (key, reason) in [
        ("plural", "PluralConflict"),
        ("singular", "SingularConflict"),
        ("shortNames", "ShortNamesConflict"),
        ("kind", "KindConflict"),
        ("listKind", "ListKindConflict"),
    ] {
        let used = if key.to_lowercase().contains("kind") { &taken.kinds } else { &taken.resources };
        let own = texts_of(&accepted[key]);
        let found: Vec<String> = texts_of(&wanted[key])
            .into_iter()
            .filter(|name| !own.contains(name) && used.contains(*name))
            .map(in_use)
            .collect();
        if found.is_empty() {
            copy(&mut accepted, wanted, key);
        } else {
            let list = found.join(", ");
            conflict = Some((reason, if found.len() == 1 { list } else { format!("[{list}]") }));
        }
    }
    copy(&mut accepted, wanted, "categories");
    for key in ["plural", "kind"] {
        if accepted[key].is_null() {
            accepted[key] = json!("");
        }
    }
    status["acceptedNames"] = accepted;
    let ok = conflict.is_none();
    let (reason, message) = conflict.unwrap_or_else(|| ("NoConflicts", "no conflicts found".to_owned()));
    let changed =
        condition(status, "NamesAccepted", if ok { "True" } else { "False" }, reason, &message, now);
    if !is_true(&status["conditions"], "Established") {
        let (reason, message) = if ok {
            ("Installing", "the initial names have been accepted")
        } else {
            ("NotAccepted", "not all names are accepted")
        };
        if ok || find(&status["conditions"], "Established").is_none() {
            condition(status, "Established", "False", reason, message, now);
        }
    }
    changed || before["acceptedNames"] != status["acceptedNames"]
}

fn texts_of(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) if !text.is_empty() => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Vec::new(),
    }
}

fn copy(to: &mut Value, from: &Value, key: &str) {
    match from.get(key) {
        Some(value) => to[key] = value.clone(),
        None => {
            to.as_object_mut().map(|map| map.remove(key));
        }
    }
}

fn find<'a>(conditions: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions.as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Whether a condition is `True`.
pub fn is_true(conditions: &Value, kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Sets a condition; whether that changed it.
fn condition(
    status: &mut Value,
    kind: &str,
    truth: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let slot = member(status, "conditions");
    let mut list = slot.as_array().cloned().unwrap_or_default();
    let mut new = json!({
        "type": kind, "status": truth, "reason": reason, "message": message,
        "lastTransitionTime": rules::seconds(now),
    });
    match list.iter_mut().find(|condition| condition["type"] == kind) {
        Some(old) => {
            if old["status"] == truth {
                new["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            if *old == new {
                return false;
            }
            *old = new;
        }
        None => list.push(new),
    }
    *slot = Value::from(list);
    true
}

/// Says that the objects of a definition are being deleted; whether that is news.
pub fn terminating(definition: &mut Value, now: Timestamp) -> bool {
    let text = "CustomResource deletion is in progress";
    let status = member(definition, "status");
    condition(status, "Terminating", "True", "InstanceDeletionInProgress", text, now)
}

/// Marks a definition for deletion: its objects go before it does.
pub fn begin_deletion(definition: &mut Value, now: Timestamp) {
    let metadata = member(definition, "metadata");
    metadata["deletionTimestamp"] = json!(rules::seconds(now));
    let mut finalizers = texts(metadata, "/finalizers");
    if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
        finalizers.push(CLEANUP.to_owned());
    }
    metadata["finalizers"] = json!(finalizers);
    let text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    let status = member(definition, "status");
    condition(status, "Terminating", "True", "InstanceDeletionPending", text, now);
}

/// Whether a group belongs to the Kubernetes community, whose reviews its
/// definitions must have passed.
pub fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

/// What the approval annotation says.
pub struct Approval {
    /// Status of the condition.
    pub status: &'static str,
    /// Reason of the condition.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

/// Reads the approval annotation; empty when there is none.
pub fn approval(annotation: &str) -> Approval {
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    let is_url = annotation.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && rest.split(['/', '?', '#']).next().is_some_and(|host| !host.is_empty())
    });
    if annotation.is_empty() {
        let message = format!("protected groups must have approval annotation {APPROVED:?}, {see}");
        Approval { status: "False", reason: "MissingAnnotation", message }
    } else if annotation.starts_with("unapproved") {
        let message = format!("not approved: {annotation:?}");
        Approval { status: "False", reason: "UnapprovedAnnotation", message }
    } else if is_url {
        Approval {
            status: "True",
            reason: "ApprovedAnnotation",
            message: format!("approved in {annotation}"),
        }
    } else {
        let message = format!(
            "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {see}"
        );
        Approval { status: "False", reason: "InvalidAnnotation", message }
    }
}

/// Whether the approval of a definition allows it to be written.
pub fn approval_state(definition: &Value) -> &'static str {
    approval(definition["metadata"]["annotations"][APPROVED].as_str().unwrap_or_default()).reason
}
