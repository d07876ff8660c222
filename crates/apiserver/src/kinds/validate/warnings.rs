//! What is allowed in compiled-in kinds, but probably not meant.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::At;

/// Where kinds keep their pods' specification.
const PODS: &[(&str, &str, &[&str])] = &[
    ("", "Pod", &["spec"]),
    ("", "PodTemplate", &["template", "spec"]),
    ("", "ReplicationController", &["spec", "template", "spec"]),
    ("apps", "DaemonSet", &["spec", "template", "spec"]),
    ("apps", "Deployment", &["spec", "template", "spec"]),
    ("apps", "ReplicaSet", &["spec", "template", "spec"]),
    ("apps", "StatefulSet", &["spec", "template", "spec"]),
    ("batch", "CronJob", &["spec", "jobTemplate", "spec", "template", "spec"]),
    ("batch", "Job", &["spec", "template", "spec"]),
];

/// What to tell the writer of an object; of a changed one, only when what it
/// asks for has changed, and never of pods: people seldom change those by hand.
pub fn warnings(group: &str, kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
    let generation = |object: &Value| object.pointer("/metadata/generation").cloned();
    if old.is_some_and(|old| kind == "Pod" || generation(old) == generation(object)) {
        return Vec::new();
    }
    let Some((.., path)) = PODS.iter().find(|(g, k, _)| (*g, *k) == (group, kind)) else { return Vec::new() };
    let spec = At::root(object).down(path);
    let containers = ["initContainers", "containers"].map(|list| spec.child(list));
    containers.iter().flat_map(At::items).flat_map(|container| hidden_variables(&container)).collect()
}

/// Variables that replace one of the same name without making use of it.
fn hidden_variables(container: &At<'_>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for variable in container.child("env").items() {
        let (name, value) = (variable.child("name"), variable.child("value"));
        let reference = format!("$({})", name.text());
        let builds_on_it = value.text() != reference && value.text().contains(&reference);
        if !seen.insert(name.text().to_owned()) && !builds_on_it {
            let name = windlass_apimachinery::quote(name.text());
            out.push(format!(
                "{}: hides previous definition of {name}, which may be dropped when using apply",
                variable.path
            ));
        }
    }
    out
}
