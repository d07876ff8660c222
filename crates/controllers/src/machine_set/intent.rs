//! What a set wants its machines to be.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde_json::{Value, json};
use windlass_api::core::{DeletionTimeouts, Machine, MachineSet, MachineSpec};
use windlass_api::names;
use windlass_model::label_value;

use crate::references::{annotation, controller, is_leaving};
use crate::templates::instance_ref;

/// `nodeDeletionTimeoutSeconds` where nobody says one (upstream's default).
const NODE_DELETION_TIMEOUT: i32 = 10;

/// Labels of a machine and of what belongs to it.
pub(super) fn labels(set: &MachineSet) -> BTreeMap<String, String> {
    let mut labels = set.spec.template.metadata.labels.clone();
    labels.insert(names::LABEL_CLUSTER_NAME.to_owned(), set.spec.cluster_name.clone());
    labels.insert(names::LABEL_SET_NAME.to_owned(), label_value(&set.name_any()));
    labels
}

/// Annotations of a machine and of what belongs to it.
pub(super) fn annotations(set: &MachineSet) -> BTreeMap<String, String> {
    set.spec.template.metadata.annotations.clone()
}

/// The whole intent for a machine. What cannot change in place stays as it is on an `existing` one.
pub(super) fn machine(set: &MachineSet, name: &str, existing: Option<&Machine>) -> Value {
    let spec = match existing {
        Some(machine) => kept(set, machine),
        None => fresh(set, name),
    };
    json!({
        "metadata": {
            "name": name,
            "namespace": set.namespace(),
            "labels": labels(set),
            "annotations": annotations(set),
            "finalizers": [names::finalizer::MACHINE],
            "ownerReferences": [controller(set)],
        },
        "spec": spec,
    })
}

fn fresh(set: &MachineSet, name: &str) -> MachineSpec {
    let mut spec = set.spec.template.spec.clone();
    spec.cluster_name.clone_from(&set.spec.cluster_name);
    spec.infrastructure_ref = instance_ref(&spec.infrastructure_ref, name);
    spec.bootstrap.config_ref = spec.bootstrap.config_ref.map(|template| instance_ref(&template, name));
    spec.deletion = timeouts(set);
    spec
}

fn kept(set: &MachineSet, machine: &Machine) -> MachineSpec {
    let template = &set.spec.template.spec;
    let mut spec = MachineSpec {
        cluster_name: machine.spec.cluster_name.clone(),
        infrastructure_ref: machine.spec.infrastructure_ref.clone(),
        version: machine.spec.version.clone(),
        failure_domain: machine.spec.failure_domain.clone(),
        ..MachineSpec::default()
    };
    spec.bootstrap.config_ref.clone_from(&machine.spec.bootstrap.config_ref);
    if spec.bootstrap.config_ref.is_none() {
        spec.bootstrap.data_secret_name.clone_from(&machine.spec.bootstrap.data_secret_name);
    }
    spec.readiness_gates.clone_from(&template.readiness_gates);
    spec.min_ready_seconds = template.min_ready_seconds;
    spec.deletion = timeouts(set);
    spec.taints.clone_from(&template.taints);
    spec
}

fn timeouts(set: &MachineSet) -> DeletionTimeouts {
    let mut timeouts = set.spec.template.spec.deletion;
    timeouts.node_deletion_timeout_seconds.get_or_insert(NODE_DELETION_TIMEOUT);
    timeouts
}

/// `machine` with the fields that follow the template even while it goes.
pub(super) fn parting(set: &MachineSet, machine: &Machine) -> Machine {
    let template = &set.spec.template.spec;
    let mut after = machine.clone();
    after.spec.readiness_gates.clone_from(&template.readiness_gates);
    after.spec.min_ready_seconds = template.min_ready_seconds;
    after.spec.deletion = timeouts(set);
    after.spec.taints.clone_from(&template.taints);
    after
}

/// Whether a machine, or one of `companions`, is not as the template says.
pub(super) fn drifted(set: &MachineSet, machine: &Machine, companions: &[ObjectMeta]) -> bool {
    if parting(set, machine).spec != machine.spec {
        return true;
    }
    !is_leaving(machine)
        && (machine_drifted(set, machine) || companions.iter().any(|meta| companion_drifted(set, meta)))
}

/// Whether labels or annotations of the machine itself have to be written.
pub(super) fn machine_drifted(set: &MachineSet, machine: &Machine) -> bool {
    metadata_drifted(set, &machine.metadata) || parting(set, machine).spec != machine.spec
}

/// Whether labels or annotations of what belongs to a machine have to be written.
pub(super) fn companion_drifted(set: &MachineSet, meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_none() && metadata_drifted(set, meta)
}

/// Something is missing or different; or, while the set's latest spec has not been reported, something is
/// there that may have been removed from the template: an apply tells, and changes nothing if it was not.
fn metadata_drifted(set: &MachineSet, meta: &ObjectMeta) -> bool {
    let (labels, annotations) = (labels(set), annotations(set));
    let lacks = |wanted: &BTreeMap<String, String>, present: Option<&BTreeMap<String, String>>| {
        wanted.iter().any(|(key, value)| present.and_then(|present| present.get(key)) != Some(value))
    };
    if lacks(&labels, meta.labels.as_ref()) || lacks(&annotations, meta.annotations.as_ref()) {
        return true;
    }
    let reported = set.status.as_ref().and_then(|status| status.observed_generation);
    // What Cluster API itself notes in annotations never comes from a template.
    let noted =
        |key: &str| key.split_once('/').is_some_and(|(domain, _)| domain.ends_with("cluster.x-k8s.io"));
    let foreign = meta.labels.iter().flatten().any(|(key, _)| !labels.contains_key(key))
        || meta.annotations.iter().flatten().any(|(key, _)| !annotations.contains_key(key) && !noted(key));
    // A set that has never reported has removed nothing.
    reported.is_some() && reported != set.metadata.generation && foreign
}

/// Whether the set may have lost a label since a companion was made of its template.
pub(super) fn cloned(meta: &ObjectMeta) -> bool {
    annotation(meta, names::ANNOTATION_CLONED_FROM_NAME).is_some()
}
