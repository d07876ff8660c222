//! Admission: the defaults and rules that a schema cannot say.
//!
//! Pure functions, a file per kind, with two doors: the embedded API server calls them in process, webhooks
//! call them on any other Kubernetes. They are upstream's rules (controllers' reference §1.2 to §1.11) and a
//! few of our own, which are marked so.
//!
//! The API server calls [`default`] before it validates the schema and [`validate`] after.

mod cluster;
mod dev;
mod error;
mod kubeadm_config;
mod kubeadm_control_plane;
mod machine;
mod machine_deployment;
mod machine_set;
mod naming;
mod shared;
#[cfg(test)]
mod testing;

use kube_core::GroupVersionKind;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::error::{FieldError, Reason, Review};
pub use self::naming::{NamingError, render as render_name};
pub use self::shared::SUPPORTED_MINORS;
use crate::bootstrap::{KubeadmConfig, KubeadmConfigTemplate};
use crate::control_plane::{KubeadmControlPlane, KubeadmControlPlaneTemplate};
use crate::core::{Cluster, Machine, MachineDeployment, MachineSet};
use crate::infrastructure::{DevCluster, DevClusterTemplate, DevMachine, DevMachineTemplate};
use crate::{bootstrap, control_plane, core, infrastructure};

/// What a request does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The object is new.
    Create,
    /// The object changes.
    Update,
    /// The object goes away.
    Delete,
}

/// What a review must know besides the object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Nothing will be written.
    pub dry_run: bool,
    /// What is served beyond the ordinary.
    pub gates: Gates,
}

/// Features that upstream keeps behind gates. All are off unless someone serves them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gates {
    /// Taints of Machines are put on their Nodes (`MachineTaintPropagation`).
    pub taints: bool,
}

/// The rules of one kind.
trait Rules: Serialize + DeserializeOwned {
    /// Fills in what the client left open.
    fn default(&mut self, _old: Option<&Self>) {}

    /// Finds what is wrong. `old` is the object before an update.
    fn validate(&self, old: Option<&Self>, options: Options, review: &mut Review);
}

/// Whether objects of this kind have defaults or rules here.
pub fn has_rules(kind: &GroupVersionKind) -> bool {
    Kind::find(kind).is_some()
}

/// Fills in what the client left open. Objects of other kinds, and objects that do not have the shape of
/// their kind (the schema will say so), stay as they are.
///
/// An update that changes nothing defaults depend on is left alone, too: it has its defaults already. The
/// object must have its final name (some defaults are made from it).
pub fn default(kind: &GroupVersionKind, operation: Operation, object: &mut Value, old: Option<&Value>) {
    let old = match operation {
        Operation::Delete => return,
        Operation::Create => None,
        Operation::Update => old,
    };
    if old.is_some_and(|old| same(object, old)) {
        return;
    }
    if let Some(Kind { default, .. }) = Kind::find(kind) {
        default(object, old);
    }
}

/// Finds what is wrong with an object that has passed its schema. Objects of other kinds have no rules here.
pub fn validate(
    kind: &GroupVersionKind,
    operation: Operation,
    object: &Value,
    old: Option<&Value>,
) -> Review {
    validate_with(Options::default(), kind, operation, object, old)
}

/// [`validate`] with options other than the usual ones.
///
/// An update that changes neither spec nor labels nor annotations is never refused: what exists may be
/// finished with and deleted even if a newer release would no longer let it in.
pub fn validate_with(
    options: Options,
    kind: &GroupVersionKind,
    operation: Operation,
    object: &Value,
    old: Option<&Value>,
) -> Review {
    let old = match operation {
        Operation::Delete => return Review::default(),
        Operation::Create => None,
        Operation::Update => old,
    };
    if old.is_some_and(|old| same(object, old)) {
        return Review::default();
    }
    Kind::find(kind).map(|Kind { validate, .. }| validate(options, object, old)).unwrap_or_default()
}

/// Whether all that the rules look at is the same.
fn same(object: &Value, old: &Value) -> bool {
    ["/spec", "/metadata/labels", "/metadata/annotations"]
        .into_iter()
        .all(|member| object.pointer(member) == old.pointer(member))
}

/// Finds what is wrong with a new scale (autoscaling/v1) of an object: `parent` is the object as it is.
pub fn validate_scale(kind: &GroupVersionKind, scale: &Value, parent: &Value) -> Review {
    let mut review = Review::default();
    if is::<KubeadmControlPlane>(kind)
        && let Ok(parent) = KubeadmControlPlane::deserialize_value(parent)
    {
        let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64);
        kubeadm_control_plane::validate_replicas(
            replicas.and_then(|replicas| i32::try_from(replicas).ok()),
            &parent.spec,
            &mut review,
        );
    }
    review
}

/// The untyped doors to the rules of one kind.
struct Kind {
    default: fn(&mut Value, Option<&Value>),
    validate: fn(Options, &Value, Option<&Value>) -> Review,
}

impl Kind {
    fn of<T: Rules>() -> Self {
        Self { default: default_value::<T>, validate: validate_value::<T> }
    }

    fn find(kind: &GroupVersionKind) -> Option<Self> {
        if kind.version != crate::VERSION {
            return None;
        }
        match (kind.group.as_str(), kind.kind.as_str()) {
            (core::GROUP, "Cluster") => Some(Self::of::<Cluster>()),
            (core::GROUP, "Machine") => Some(Self::of::<Machine>()),
            (core::GROUP, "MachineSet") => Some(Self::of::<MachineSet>()),
            (core::GROUP, "MachineDeployment") => Some(Self::of::<MachineDeployment>()),
            (bootstrap::GROUP, "KubeadmConfig") => Some(Self::of::<KubeadmConfig>()),
            (bootstrap::GROUP, "KubeadmConfigTemplate") => Some(Self::of::<KubeadmConfigTemplate>()),
            (control_plane::GROUP, "KubeadmControlPlane") => Some(Self::of::<KubeadmControlPlane>()),
            (control_plane::GROUP, "KubeadmControlPlaneTemplate") => {
                Some(Self::of::<KubeadmControlPlaneTemplate>())
            }
            (infrastructure::GROUP, "DevCluster") => Some(Self::of::<DevCluster>()),
            (infrastructure::GROUP, "DevClusterTemplate") => Some(Self::of::<DevClusterTemplate>()),
            (infrastructure::GROUP, "DevMachine") => Some(Self::of::<DevMachine>()),
            (infrastructure::GROUP, "DevMachineTemplate") => Some(Self::of::<DevMachineTemplate>()),
            _ => None,
        }
    }
}

fn is<K: kube_core::Resource<DynamicType = ()>>(kind: &GroupVersionKind) -> bool {
    kind.group == K::group(&()) && kind.version == K::version(&()) && kind.kind == K::kind(&())
}

/// Reads a type from a JSON tree.
trait DeserializeValue: DeserializeOwned {
    fn deserialize_value(value: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(value)
    }
}

impl<T: DeserializeOwned> DeserializeValue for T {}

fn default_value<T: Rules>(object: &mut Value, old: Option<&Value>) {
    let Ok(mut typed) = T::deserialize_value(object) else { return };
    let old = old.and_then(|old| T::deserialize_value(old).ok());
    let Ok(before) = serde_json::to_value(&typed) else { return };
    typed.default(old.as_ref());
    if let Ok(after) = serde_json::to_value(&typed) {
        transfer(&before, &after, object);
    }
}

fn validate_value<T: Rules>(options: Options, object: &Value, old: Option<&Value>) -> Review {
    let mut review = Review::default();
    match T::deserialize_value(object) {
        Ok(typed) => {
            let old = old.and_then(|old| T::deserialize_value(old).ok());
            typed.validate(old.as_ref(), options, &mut review);
        }
        // The message could quote a credential, and the schema has had its say already.
        Err(_) => {
            review.required("", "the object does not have the shape of its kind; see `kubectl explain`");
        }
    }
    review
}

/// Makes the change from `before` to `after` in `target` and leaves everything else there untouched: what
/// our types do not know, and empty objects, which the schema must still see.
fn transfer(before: &Value, after: &Value, target: &mut Value) {
    if before == after {
        return;
    }
    match (before, after, target) {
        (Value::Object(before), Value::Object(after), Value::Object(target)) => {
            for (member, value) in after {
                transfer_member(before.get(member), value, member, target);
            }
            for member in before.keys().filter(|member| !after.contains_key(*member)) {
                target.remove(member);
            }
        }
        (_, after, target) => *target = after.clone(),
    }
}

fn transfer_member(
    before: Option<&Value>,
    after: &Value,
    member: &str,
    target: &mut serde_json::Map<String, Value>,
) {
    if before == Some(after) {
        return;
    }
    let empty = Value::Object(serde_json::Map::new());
    let place = target.entry(member).or_insert_with(|| empty.clone());
    transfer(before.unwrap_or(&empty), after, place);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_touch_nothing_but_what_they_fill() {
        let kind = GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "Machine");
        let mut machine = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": "m", "labels": { "a": "b" } },
            "spec": { "clusterName": "c", "version": "1.35.0", "bootstrap": {}, "later": { "x": [1] },
                      "infrastructureRef": { "apiGroup": "g", "kind": "K", "name": "n" } },
        });
        default(&kind, Operation::Create, &mut machine, None);
        assert_eq!(
            machine,
            json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
                "metadata": { "name": "m", "labels": { "a": "b", "cluster.x-k8s.io/cluster-name": "c" } },
                "spec": { "clusterName": "c", "version": "v1.35.0", "bootstrap": {}, "later": { "x": [1] },
                          "deletion": { "nodeDeletionTimeoutSeconds": 10 },
                          "infrastructureRef": { "apiGroup": "g", "kind": "K", "name": "n" } },
            })
        );
        let settled = machine.clone();
        default(&kind, Operation::Update, &mut machine, Some(&settled));
        assert_eq!(machine, settled, "defaulting twice changes nothing more");
    }

    #[test]
    fn what_is_not_ours_or_has_no_shape_is_left_alone() {
        let mut odd = json!({ "spec": { "clusterName": 7 } });
        for (group, version, kind) in [
            ("cluster.x-k8s.io", "v1beta2", "Machine"),
            ("cluster.x-k8s.io", "v1beta1", "Machine"),
            ("example.com", "v1", "Thing"),
        ] {
            default(&GroupVersionKind::gvk(group, version, kind), Operation::Create, &mut odd, None);
            assert_eq!(odd, json!({ "spec": { "clusterName": 7 } }));
        }
        let machine = GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "Machine");
        assert!(!validate(&machine, Operation::Create, &odd, None).allowed());
        assert!(validate(&machine, Operation::Delete, &odd, None).allowed());
        let thing = GroupVersionKind::gvk("example.com", "v1", "Thing");
        assert!(validate(&thing, Operation::Create, &odd, None).allowed());
    }

    #[test]
    fn an_update_that_changes_nothing_of_ours_is_never_refused() {
        let kind = GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "Cluster");
        let old = json!({ "metadata": { "name": "c", "finalizers": ["f"] }, "spec": { "paused": true } });
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!([]);
        assert!(!validate(&kind, Operation::Create, &old, None).allowed());
        assert!(validate(&kind, Operation::Update, &new, Some(&old)).allowed());
        new["spec"]["paused"] = json!(false);
        assert!(!validate(&kind, Operation::Update, &new, Some(&old)).allowed());
    }
}
