//! What a deployment wants its sets to be.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Value, json};
use windlass_api::core::{MachineDeployment, MachineSet, MachineSetSpec, MachineSpec};
use windlass_api::names;
use windlass_model::label_value;
use windlass_plan::machine_deployment::{Intent, Strategy, template_hash};

use crate::references::{controller, count, label, natural};

/// Annotations that a deployment does not hand on to its sets.
const OWN_ANNOTATIONS: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    names::ANNOTATION_REVISION,
    names::ANNOTATION_REVISION_HISTORY,
    names::ANNOTATION_DESIRED_REPLICAS,
    names::ANNOTATION_MAX_REPLICAS,
];

/// The fields of a template that cannot change in place.
fn fixed(template: &MachineSpec) -> Value {
    json!({
        "version": template.version,
        "failureDomain": template.failure_domain,
        "bootstrap": template.bootstrap,
        "infrastructureRef": template.infrastructure_ref,
    })
}

/// Those of the deployment's template, as one text.
pub(super) fn fingerprint(deployment: &MachineDeployment) -> String {
    fixed(&deployment.spec.template.spec).to_string()
}

/// Whether a set's template is the deployment's, fields that change in place left out.
pub(super) fn matches(deployment: &MachineDeployment, set: &MachineSet) -> bool {
    fixed(&deployment.spec.template.spec) == fixed(&set.spec.template.spec)
}

/// Labels of the deployment's template, with those that every machine of it has.
fn template_labels(deployment: &MachineDeployment, hash: &str) -> BTreeMap<String, String> {
    let mut labels = deployment.spec.template.metadata.labels.clone();
    labels.insert(names::LABEL_CLUSTER_NAME.to_owned(), deployment.spec.cluster_name.clone());
    labels.insert(names::LABEL_DEPLOYMENT_NAME.to_owned(), label_value(&deployment.name_any()));
    labels.insert(names::LABEL_MACHINE_TEMPLATE_HASH.to_owned(), hash.to_owned());
    labels
}

/// Annotations of a set: the deployment's, and what it says about its sets. Without the revision and
/// without `disable-machine-create`, which are decided per set.
fn annotations(deployment: &MachineDeployment, strategy: Strategy) -> BTreeMap<String, String> {
    let own = deployment.annotations().iter().filter(|(name, _)| !OWN_ANNOTATIONS.contains(&name.as_str()));
    let mut annotations: BTreeMap<_, _> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let desired = deployment.spec.replicas.map_or(0, natural);
    let most = desired + strategy.bounds(desired).surge;
    annotations.insert(names::ANNOTATION_DESIRED_REPLICAS.to_owned(), desired.to_string());
    annotations.insert(names::ANNOTATION_MAX_REPLICAS.to_owned(), most.to_string());
    annotations
}

/// The hash label of a set; one that was adopted may have none.
fn hash_of(deployment: &MachineDeployment, name: &str, existing: Option<&MachineSet>) -> String {
    let known = existing.and_then(|set| label(&set.metadata, names::LABEL_MACHINE_TEMPLATE_HASH));
    known.map_or_else(|| template_hash(&fingerprint(deployment), name), str::to_owned)
}

/// A set's spec: fields that change in place are the deployment's, the others stay as they are on an
/// `existing` one.
fn spec(deployment: &MachineDeployment, name: &str, existing: Option<&MachineSet>) -> MachineSetSpec {
    let hash = hash_of(deployment, name, existing);
    let mut spec = MachineSetSpec {
        cluster_name: deployment.spec.cluster_name.clone(),
        replicas: existing.and_then(|set| set.spec.replicas),
        selector: deployment.spec.selector.clone(),
        template: deployment.spec.template.clone(),
        machine_naming: deployment.spec.machine_naming.clone(),
        deletion: deployment.spec.deletion,
    };
    spec.selector
        .match_labels
        .get_or_insert_default()
        .insert(names::LABEL_MACHINE_TEMPLATE_HASH.to_owned(), hash.clone());
    spec.template.metadata.labels = template_labels(deployment, &hash);
    if let Some(set) = existing {
        // Selectors are fixed for life, and an adopted set may have another one.
        spec.selector.clone_from(&set.spec.selector);
        let kept = &set.spec.template.spec;
        let template = &mut spec.template.spec;
        template.version.clone_from(&kept.version);
        template.failure_domain.clone_from(&kept.failure_domain);
        template.bootstrap.clone_from(&kept.bootstrap);
        template.infrastructure_ref.clone_from(&kept.infrastructure_ref);
    }
    spec
}

/// The whole intent for a set.
pub(super) fn set(
    deployment: &MachineDeployment,
    strategy: Strategy,
    intent: &Intent,
    existing: Option<&MachineSet>,
) -> Value {
    let Intent { name, current: _, replicas, revision, create_disabled } = intent;
    let mut annotations = annotations(deployment, strategy);
    annotations.insert(names::ANNOTATION_REVISION.to_owned(), revision.to_string());
    let disabled = create_disabled.to_string();
    annotations.insert(names::ANNOTATION_DISABLE_MACHINE_CREATE.to_owned(), disabled);
    let mut spec = spec(deployment, name, existing);
    spec.replicas = Some(count(*replicas));
    json!({
        "metadata": {
            "name": name,
            "namespace": deployment.namespace(),
            "labels": spec.template.metadata.labels,
            "annotations": annotations,
            "finalizers": [names::finalizer::MACHINE_SET],
            "ownerReferences": [controller(deployment)],
        },
        "spec": spec,
    })
}

/// Whether labels, annotations or in-place fields of a set are not as the deployment says.
pub(super) fn drifted(deployment: &MachineDeployment, strategy: Strategy, set: &MachineSet) -> bool {
    let wanted = spec(deployment, &set.name_any(), Some(set));
    let lacks = |wanted: &BTreeMap<String, String>, present: &BTreeMap<String, String>| {
        wanted.iter().any(|(key, value)| present.get(key) != Some(value))
    };
    // The template's labels are the set's own, and what is removed there has to be removed here.
    wanted != set.spec
        || lacks(&wanted.template.metadata.labels, set.labels())
        || lacks(&annotations(deployment, strategy), set.annotations())
}
