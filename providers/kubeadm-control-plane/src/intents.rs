//! What a control plane machine is made of: Machine, KubeadmConfig and infrastructure machine.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde_json::{Value, json};
use windlass_api::bootstrap::{InitConfiguration, JoinConfiguration, KubeadmConfig, KubeadmConfigSpec};
use windlass_api::control_plane::KubeadmControlPlane;
use windlass_api::core::Machine;
use windlass_api::names::{
    ANNOTATION_CLONED_FROM_GROUP_KIND, ANNOTATION_CLONED_FROM_NAME, ANNOTATION_KCP_PRE_TERMINATE_DELETE_HOOK,
    LABEL_CLUSTER_NAME, LABEL_CONTROL_PLANE, LABEL_CONTROL_PLANE_NAME, finalizer,
};
use windlass_model::naming::Naming;
use windlass_model::{Key, Version, label_value};
use windlass_plan::control_plane::conditions::readiness_gates;
use windlass_plan::control_plane::machine_name;
use windlass_runtime::{Cached, key_of, uid_of};

use crate::observe::Scene;

/// kubeadm starts kubelets against the local API server from 1.31 on; the gate went in 1.36.
const LOCAL_MODE: &str = "ControlPlaneKubeletLocalMode";

/// An owner reference to the object that controls another.
pub(crate) fn owner_of<K: Cached>(object: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: key_of(object).name,
        uid: uid_of(object).0,
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Labels of a machine and everything it is made of.
pub(crate) fn labels(scene: &Scene) -> BTreeMap<String, String> {
    let mut labels = scene.object.spec.machine_template.metadata.labels.clone();
    labels.insert(LABEL_CLUSTER_NAME.to_owned(), scene.cluster_key().name);
    labels.insert(LABEL_CONTROL_PLANE.to_owned(), String::new());
    labels.insert(LABEL_CONTROL_PLANE_NAME.to_owned(), label_value(&scene.key().name));
    labels
}

/// Annotations of the parts of a machine; the Machine has our hook beside them.
pub(crate) fn annotations(scene: &Scene) -> BTreeMap<String, String> {
    scene.object.spec.machine_template.metadata.annotations.clone()
}

/// The name of the next machine.
pub(crate) fn next_name(scene: &Scene, taken: impl Fn(&Key) -> bool) -> String {
    let (key, cluster) = (scene.key(), scene.cluster_key());
    let generation = scene.object.metadata.generation.unwrap_or_default();
    let uid = uid_of(scene.object.as_ref()).0;
    let naming = Naming {
        template: scene.object.spec.machine_naming.template.as_deref(),
        base: &key.name,
        values: vec![(".cluster.name", &cluster.name), (".kubeadmControlPlane.name", &key.name)],
    };
    machine_name(&naming, &uid, generation, |name| taken(&key.sibling(name)))
}

/// A new Machine as it shall be.
pub(crate) fn machine(scene: &Scene, name: &str, domain: Option<&str>) -> Value {
    let template = &scene.object.spec.machine_template.spec.infrastructure_ref;
    let parts = json!({
        "bootstrap": { "configRef": {
            "apiGroup": windlass_api::bootstrap::GROUP,
            "kind": KubeadmConfig::kind(&()),
            "name": name,
        } },
        "infrastructureRef": {
            "apiGroup": template.api_group,
            "kind": template.kind.strip_suffix("Template").unwrap_or_default(),
            "name": name,
        },
    });
    intent(scene, name, domain, &scene.object.spec.version, &parts)
}

/// A Machine that exists as it shall be: with the parts, the version and the domain that it has.
pub(crate) fn existing(scene: &Scene, machine: &Machine) -> Value {
    let mut parts = json!({ "infrastructureRef": machine.spec.infrastructure_ref });
    if let Some(reference) = &machine.spec.bootstrap.config_ref {
        parts["bootstrap"] = json!({ "configRef": reference });
    }
    let version = machine.spec.version.as_deref().unwrap_or_default();
    intent(scene, &key_of(machine).name, machine.spec.failure_domain.as_deref(), version, &parts)
}

fn intent(scene: &Scene, name: &str, domain: Option<&str>, version: &str, parts: &Value) -> Value {
    let key = scene.key();
    let template = &scene.object.spec.machine_template.spec;
    let mut annotations = annotations(scene);
    annotations.insert(ANNOTATION_KCP_PRE_TERMINATE_DELETE_HOOK.to_owned(), String::new());
    let own = readiness_gates(scene.external_etcd()).into_iter().map(|kind| json!({ "conditionType": kind }));
    let gates: Vec<Value> = own.chain(template.readiness_gates.iter().map(|gate| json!(gate))).collect();
    let mut spec = parts.clone();
    spec["clusterName"] = json!(scene.cluster_key().name);
    spec["version"] = json!(version);
    spec["readinessGates"] = json!(gates);
    if let Some(domain) = domain {
        spec["failureDomain"] = json!(domain);
    }
    if template.deletion != windlass_api::core::DeletionTimeouts::default() {
        spec["deletion"] = json!(template.deletion);
    }
    if !template.taints.is_empty() {
        spec["taints"] = json!(template.taints);
    }
    json!({
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": labels(scene),
            "annotations": annotations,
            "finalizers": [finalizer::MACHINE],
            "ownerReferences": [owner_of(scene.object.as_ref())],
        },
        "spec": spec,
    })
}

/// What a machine's parts are called, what is on them and who owns them.
fn part(scene: &Scene, machine: &Machine, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": scene.key().namespace,
        "labels": labels(scene),
        "annotations": annotations(scene),
        "ownerReferences": [owner_of(machine)],
    })
}

/// The KubeadmConfig of the machine that initializes the cluster, or of one that joins.
pub(crate) fn bootstrap(scene: &Scene, owner: &Machine, first: bool) -> Value {
    let mut spec = kubeadm(&scene.object, &scene.version);
    if first {
        spec.join_configuration = JoinConfiguration::default();
        spec.cluster_configuration.control_plane_endpoint =
            spec.cluster_configuration.control_plane_endpoint.or_else(|| scene.endpoint());
    } else {
        spec.init_configuration = InitConfiguration::default();
        spec.join_configuration.control_plane.get_or_insert_default();
    }
    json!({ "metadata": part(scene, owner, &key_of(owner).name), "spec": spec })
}

/// What the control plane says to kubeadm, with what it leaves to us.
pub(crate) fn kubeadm(object: &KubeadmControlPlane, version: &Version) -> KubeadmConfigSpec {
    let mut spec = object.spec.kubeadm_config_spec.clone();
    if wants_local_mode(version) {
        spec.cluster_configuration.feature_gates.entry(LOCAL_MODE.to_owned()).or_insert(true);
    }
    spec
}

/// The same, for a machine that has its KubeadmConfig already: what new machines get unasked is no reason to replace
/// one that was made without, as one that was adopted.
pub(crate) fn kubeadm_beside(
    object: &KubeadmControlPlane,
    version: &Version,
    found: &KubeadmConfigSpec,
) -> KubeadmConfigSpec {
    let mut spec = kubeadm(object, version);
    let gates = |spec: &KubeadmConfigSpec| spec.cluster_configuration.feature_gates.contains_key(LOCAL_MODE);
    if !gates(&object.spec.kubeadm_config_spec) && !gates(found) {
        spec.cluster_configuration.feature_gates.remove(LOCAL_MODE);
    }
    spec
}

fn wants_local_mode(version: &Version) -> bool {
    (1, 31) <= (version.major, version.minor) && (version.major, version.minor) < (1, 36)
}

/// Labels and annotations of the part `found`, for the manager that keeps them in line. What the part was
/// cloned from stays.
pub(crate) fn metadata(scene: &Scene, found: &Value) -> Value {
    let mut annotations = annotations(scene);
    let origin = [ANNOTATION_CLONED_FROM_NAME, ANNOTATION_CLONED_FROM_GROUP_KIND];
    annotations.extend(origin.into_iter().filter_map(|key| {
        let value = found["metadata"]["annotations"].get(key)?.as_str()?;
        Some((key.to_owned(), value.to_owned()))
    }));
    json!({ "metadata": {
        "name": found["metadata"]["name"],
        "namespace": scene.key().namespace,
        "labels": labels(scene),
        "annotations": annotations,
    } })
}

/// Whether a part has the labels and annotations that it shall have, and none that the template has lost.
pub(crate) fn labelled(scene: &Scene, meta: &ObjectMeta) -> bool {
    let has = |wanted: BTreeMap<String, String>, found: Option<&BTreeMap<String, String>>| {
        wanted.iter().all(|(key, value)| found.and_then(|found| found.get(key)) == Some(value))
    };
    has(labels(scene), meta.labels.as_ref())
        && has(annotations(scene), meta.annotations.as_ref())
        && !may_have_lost(scene, meta)
}

/// Whether something is there that may have come from an earlier template: an apply tells. Asked only until the
/// latest spec has been acted on; what Cluster API itself notes in annotations never comes from a template.
pub(crate) fn may_have_lost(scene: &Scene, meta: &ObjectMeta) -> bool {
    let acted_on = scene.object.status.as_ref().and_then(|status| status.observed_generation);
    // A control plane that has never been acted on has lost nothing.
    if acted_on.is_none() || acted_on == scene.object.metadata.generation {
        return false;
    }
    let (labels, annotations) = (labels(scene), annotations(scene));
    let noted =
        |key: &str| key.split_once('/').is_some_and(|(domain, _)| domain.ends_with("cluster.x-k8s.io"));
    meta.labels.iter().flatten().any(|(key, _)| !labels.contains_key(key))
        || meta.annotations.iter().flatten().any(|(key, _)| !annotations.contains_key(key) && !noted(key))
}

/// Whether everything `intent` says of labels, annotations and those parts of the spec that may change in
/// place is so already.
pub(crate) fn in_place(intent: &Value, machine: &Machine) -> bool {
    let now = serde_json::to_value(machine).unwrap_or_default();
    let paths = [
        "/metadata/labels",
        "/metadata/annotations",
        "/spec/readinessGates",
        "/spec/deletion",
        "/spec/taints",
    ];
    paths.into_iter().all(|path| match intent.pointer(path) {
        None => true,
        Some(wanted) => holds(wanted, now.pointer(path).unwrap_or(&Value::Null)),
    })
}

/// Whether `found` has everything that `wanted` has.
fn holds(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().all(|(key, value)| found.get(key).is_some_and(|found| holds(value, found)))
        }
        (Value::Object(wanted), Value::Null) => wanted.is_empty(),
        (wanted, found) => wanted == found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_is_for_the_versions_that_know_it() {
        for (version, wanted) in
            [("v1.30.9", false), ("v1.31.0", true), ("v1.35.2", true), ("v1.36.0", false)]
        {
            assert_eq!(wants_local_mode(&version.parse().unwrap()), wanted, "{version}");
        }
    }

    #[test]
    fn what_is_more_than_wanted_does_not_matter() {
        let wanted = json!({ "a": "1" });
        assert!(holds(&wanted, &json!({ "a": "1", "b": "2" })));
        assert!(!holds(&wanted, &json!({ "a": "2" })));
        assert!(!holds(&wanted, &Value::Null));
        assert!(holds(&json!({}), &Value::Null));
    }
}
