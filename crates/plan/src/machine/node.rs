//! What a Node must look like because of its Machine.
//!
//! Labels and annotations of certain domains follow the Machine. What was set is remembered on the Node
//! itself, so that removals follow too while everything foreign stays.

use std::collections::BTreeMap;

use windlass_model::Condition;

use super::Labels;
use super::taints::{self, MachineTaint, Taint, TaintChange};

/// Annotations that say whose Node it is, and what was set on it.
const CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
const CLUSTER_NAMESPACE: &str = "cluster.x-k8s.io/cluster-namespace";
const MACHINE: &str = "cluster.x-k8s.io/machine";
const OWNER_KIND: &str = "cluster.x-k8s.io/owner-kind";
const OWNER_NAME: &str = "cluster.x-k8s.io/owner-name";
const LABELS_FROM_MACHINE: &str = "cluster.x-k8s.io/labels-from-machine";
const ANNOTATIONS_FROM_MACHINE: &str = "cluster.x-k8s.io/annotations-from-machine";
const TAINTS_FROM_MACHINE: &str = "cluster.x-k8s.io/taints-from-machine";
/// Label of Nodes whose machines the provider may take away.
const INTERRUPTIBLE: &str = "cluster.x-k8s.io/interruptible";

/// A Node as one Machine sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// It has the taint of Nodes whose kubelet does not answer.
    pub unreachable: bool,
    /// `status.volumesAttached`, by name.
    pub volumes: Vec<String>,
    /// `Ready` and the pressure conditions.
    pub conditions: Vec<Condition>,
    /// What has to be written for it to be in line; `None` when it is.
    pub alignment: Option<Alignment>,
}

/// One write to a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alignment {
    /// Name of the Node.
    pub node: String,
    /// Labels to set, or to remove (`None`).
    pub labels: BTreeMap<String, Option<String>>,
    /// Annotations to set, or to remove (`None`).
    pub annotations: BTreeMap<String, Option<String>>,
    /// Taints to set, or to take away.
    pub taints: TaintChange,
}

/// Who owns the Machine: the annotations `owner-kind` and `owner-name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerRef<'a> {
    /// `MachineSet`, `KubeadmControlPlane`, …
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// A Node and its Machine, side by side.
#[derive(Debug, Clone)]
pub struct Tracked<'a> {
    /// Name of the Node.
    pub node: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
    /// Its annotations.
    pub annotations: &'a Labels,
    /// Its taints.
    pub taints: &'a [Taint],
    /// Namespace of Cluster and Machine.
    pub namespace: &'a str,
    /// Name of the Cluster.
    pub cluster: &'a str,
    /// Name of the Machine.
    pub machine: &'a str,
    /// Its controller.
    pub owner: Option<OwnerRef<'a>>,
    /// Its labels.
    pub machine_labels: &'a Labels,
    /// Its annotations.
    pub machine_annotations: &'a Labels,
    /// Its taints.
    pub machine_taints: &'a [MachineTaint],
    /// Its set is being replaced by one of a newer template; none where that is not known.
    pub outdated: Option<bool>,
    /// The infrastructure says that it may be taken away.
    pub interruptible: bool,
}

/// Labels of these domains follow the Machine.
fn label_follows(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    domain == "node-role.kubernetes.io"
        || in_domain(domain, "node-restriction.kubernetes.io")
        || in_domain(domain, "node.cluster.x-k8s.io")
}

/// Annotations of this domain follow the Machine.
fn annotation_follows(key: &str) -> bool {
    in_domain(key.split_once('/').map_or("", |(domain, _)| domain), "node.cluster.x-k8s.io")
}

fn in_domain(domain: &str, parent: &str) -> bool {
    domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

/// The write that brings the Node in line, if it needs one.
pub fn align(seen: &Tracked<'_>) -> Option<Alignment> {
    let following = |from: &Labels, follows: fn(&str) -> bool| -> Labels {
        from.iter().filter(|(key, _)| follows(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let mut labels = following(seen.machine_labels, label_follows);
    let mut annotations = following(seen.machine_annotations, annotation_follows);
    let lists = [(LABELS_FROM_MACHINE, keys(&labels)), (ANNOTATIONS_FROM_MACHINE, keys(&annotations))];
    let mut removed_labels = forgotten(seen.annotations.get(LABELS_FROM_MACHINE), &labels);
    let removed_annotations = forgotten(seen.annotations.get(ANNOTATIONS_FROM_MACHINE), &annotations);

    if seen.interruptible {
        labels.insert(INTERRUPTIBLE.to_owned(), String::new());
        removed_labels.retain(|key| key != INTERRUPTIBLE);
    }
    let said = [(CLUSTER_NAME, seen.cluster), (CLUSTER_NAMESPACE, seen.namespace), (MACHINE, seen.machine)];
    annotations.extend(said.map(|(key, value)| (key.to_owned(), value.to_owned())));
    if let Some(OwnerRef { kind, name }) = seen.owner {
        annotations.insert(OWNER_KIND.to_owned(), kind.to_owned());
        annotations.insert(OWNER_NAME.to_owned(), name.to_owned());
    }
    annotations.extend(lists.map(|(key, list)| (key.to_owned(), list)));
    let tracked = seen.annotations.get(TAINTS_FROM_MACHINE).map(String::as_str);
    let (taints, remembered) = taints::change(seen.taints, seen.machine_taints, tracked, seen.outdated);
    annotations.extend(remembered.map(|list| (TAINTS_FROM_MACHINE.to_owned(), list)));

    let alignment = Alignment {
        node: seen.node.to_owned(),
        labels: difference(seen.labels, labels, removed_labels),
        annotations: difference(seen.annotations, annotations, removed_annotations),
        taints,
    };
    let nothing =
        alignment.labels.is_empty() && alignment.annotations.is_empty() && alignment.taints.is_empty();
    (!nothing).then_some(alignment)
}

fn keys(labels: &Labels) -> String {
    labels.keys().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// Keys that were set before and are not wanted any more.
fn forgotten(tracked: Option<&String>, wanted: &Labels) -> Vec<String> {
    let before = tracked.map_or("", String::as_str).split(',').filter(|key| !key.is_empty());
    before.filter(|key| !wanted.contains_key(*key)).map(str::to_owned).collect()
}

fn difference(present: &Labels, wanted: Labels, removed: Vec<String>) -> BTreeMap<String, Option<String>> {
    let gone = removed.into_iter().filter(|key| present.contains_key(key)).map(|key| (key, None));
    let set = wanted.into_iter().filter(|(key, value)| present.get(key) != Some(value));
    gone.chain(set.map(|(key, value)| (key, Some(value)))).collect()
}
