//! What a pass over a KubeadmControlPlane looks at in the management cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use windlass_api::bootstrap::{EncryptionAlgorithm, KubeadmConfig};
use windlass_api::control_plane::KubeadmControlPlane;
use windlass_api::core::{Cluster, Machine};
use windlass_api::names::{
    ANNOTATION_CLONED_FROM_GROUP_KIND, ANNOTATION_CLONED_FROM_NAME, ANNOTATION_DELETE_MACHINE,
    ANNOTATION_KCP_PRE_TERMINATE_DELETE_HOOK, ANNOTATION_PAUSED, ANNOTATION_PRE_TERMINATE_DELETE_HOOK,
    LABEL_CONTROL_PLANE,
};
use windlass_model::{Key, Time, Uid, Version};
use windlass_pki::Algorithm;
use windlass_plan::control_plane::health::Reach;
use windlass_plan::control_plane::{self as plan, Certificates, ControlPlane, Etcd, Hooks};
use windlass_runtime::{GroupKind, Pass, conditions, key_of, time, uid_of};

use crate::adopt::Owned;
use crate::controller::KubeadmControlPlaneError;
use crate::{compare, intents};

/// A KubeadmControlPlane, its Cluster and its machines.
pub(crate) struct Scene {
    pub(crate) object: Arc<KubeadmControlPlane>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) machines: Vec<Arc<Machine>>,
    /// Whose they are.
    pub(crate) owned: Owned,
    pub(crate) version: Version,
    /// What decisions are made from.
    pub(crate) world: ControlPlane,
    /// Whether what `world` says of the workload cluster was seen in this pass.
    pub(crate) fresh: bool,
}

impl Scene {
    /// None until the Cluster has taken the control plane for its own.
    pub(crate) fn observe(
        object: Arc<KubeadmControlPlane>,
        pass: &Pass,
    ) -> Result<Option<Self>, KubeadmControlPlaneError> {
        let owners = object.metadata.owner_references.iter().flatten();
        let owner = owners.clone().find(|owner| {
            owner.kind == Cluster::kind(&()) && owner.api_version.starts_with("cluster.x-k8s.io/")
        });
        let Some(cluster) =
            owner.and_then(|owner| pass.cache.get::<Cluster>(&pass.key.sibling(owner.name.clone())))
        else {
            return Ok(None);
        };
        let version: Version = object.spec.version.parse().map_err(KubeadmControlPlaneError::Version)?;
        let all = pass.cache.of_cluster::<Machine>(&pass.key.namespace, &key_of(cluster.as_ref()).name);
        let (machines, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|machine| is_control_plane(machine));
        let owned = owned(&machines, &uid_of(object.as_ref()), object.metadata.deletion_timestamp.is_some());
        let world = world(&object, &cluster, &machines, others.len(), &version, pass);
        Ok(Some(Self { object, cluster, machines, owned, version, world, fresh: false }))
    }

    /// Why nothing may be done, if so.
    pub(crate) fn paused(&self) -> Option<&'static str> {
        let annotations = self.object.metadata.annotations.as_ref();
        if self.cluster.spec.paused == Some(true) {
            Some("Cluster spec.paused is set to true")
        } else if annotations.is_some_and(|annotations| annotations.contains_key(ANNOTATION_PAUSED)) {
            Some("KubeadmControlPlane has the cluster.x-k8s.io/paused annotation")
        } else {
            None
        }
    }

    pub(crate) fn key(&self) -> Key {
        key_of(self.object.as_ref())
    }

    pub(crate) fn cluster_key(&self) -> Key {
        key_of(self.cluster.as_ref())
    }

    pub(crate) fn cluster_uid(&self) -> Uid {
        uid_of(self.cluster.as_ref())
    }

    /// `host:port` of the API server.
    pub(crate) fn endpoint(&self) -> Option<String> {
        let (host, port) = self.cluster.spec.control_plane_endpoint.complete()?;
        Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
    }

    pub(crate) fn external_etcd(&self) -> bool {
        self.object.spec.kubeadm_config_spec.cluster_configuration.etcd.external.is_some()
    }

    /// The algorithm of the cluster's keys.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self.object.spec.kubeadm_config_spec.cluster_configuration.encryption_algorithm {
            None | Some(EncryptionAlgorithm::Rsa2048) => Algorithm::Rsa2048,
            Some(EncryptionAlgorithm::Rsa3072) => Algorithm::Rsa3072,
            Some(EncryptionAlgorithm::Rsa4096) => Algorithm::Rsa4096,
            Some(EncryptionAlgorithm::EcdsaP256) => Algorithm::EcdsaP256,
            Some(EncryptionAlgorithm::EcdsaP384) => Algorithm::EcdsaP384,
        }
    }

    /// The kind of the machine template.
    pub(crate) fn template_kind(&self) -> GroupKind {
        let reference = &self.object.spec.machine_template.spec.infrastructure_ref;
        GroupKind::new(reference.api_group.clone(), reference.kind.clone())
    }

    /// The Machine of a name.
    pub(crate) fn machine(&self, name: &str) -> Option<&Arc<Machine>> {
        self.machines.iter().find(|machine| machine.metadata.name.as_deref() == Some(name))
    }
}

/// Whether a Machine is one of a control plane.
pub(crate) fn is_control_plane(machine: &Machine) -> bool {
    machine.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL_CONTROL_PLANE))
}

/// Whose control plane machines these are. Who goes away does not take anything over any more.
fn owned(machines: &[Arc<Machine>], ours: &Uid, going: bool) -> Owned {
    let controller = |machine: &Machine| {
        let mut owners = machine.metadata.owner_references.iter().flatten();
        owners.find(|owner| owner.controller == Some(true)).map(|owner| Uid(owner.uid.clone()))
    };
    let others = |machine: &&Arc<Machine>| controller(machine).is_some_and(|owner| owner != *ours);
    if let Some(foreign) = machines.iter().find(others) {
        return Owned::Foreign(key_of(foreign.as_ref()));
    }
    let orphans: Vec<_> = machines.iter().filter(|machine| controller(machine).is_none()).cloned().collect();
    match orphans.first() {
        None => Owned::Ours,
        Some(orphan) if going => Owned::Foreign(key_of(orphan.as_ref())),
        Some(_) => Owned::Orphans(orphans),
    }
}

fn world(
    object: &KubeadmControlPlane,
    cluster: &Cluster,
    machines: &[Arc<Machine>],
    workers: usize,
    version: &Version,
    pass: &Pass,
) -> ControlPlane {
    let status = object.status.clone().unwrap_or_default();
    let cluster_status = cluster.status.clone().unwrap_or_default();
    let domains = cluster_status.failure_domains.iter().filter(|domain| domain.control_plane == Some(true));
    let external = object.spec.kubeadm_config_spec.cluster_configuration.etcd.external.is_some();
    ControlPlane {
        desired: usize::try_from(object.spec.replicas.unwrap_or(1)).unwrap_or_default(),
        surge: surge(object),
        deleting: object.metadata.deletion_timestamp.is_some(),
        initialized: status.initialization.control_plane_initialized == Some(true),
        infrastructure_provisioned: cluster_status.initialization.infrastructure_provisioned == Some(true),
        endpoint_known: cluster.spec.control_plane_endpoint.complete().is_some(),
        certificates: Certificates::Unknown,
        reach: Reach::NoInfrastructure,
        domains: domains.map(|domain| domain.name.clone()).collect(),
        machines: machines.iter().map(|machine| observe_machine(machine, object, version, pass)).collect(),
        workers,
        etcd: if external { Etcd::External } else { Etcd::Unseen("it has not been asked".to_owned()) },
        strays: Vec::new(),
        available: conditions::is_true(&status.conditions, "Available"),
        waits_for_other_hooks: (version.major, version.minor) >= (1, 31),
    }
}

/// `maxSurge` is 0 or 1; 1 unless it says otherwise.
fn surge(object: &KubeadmControlPlane) -> usize {
    let strategy = object.spec.rollout.strategy.as_ref();
    let none = IntOrString::Int(0);
    usize::from(strategy.and_then(|strategy| strategy.rolling_update.max_surge.as_ref()) != Some(&none))
}

fn observe_machine(
    machine: &Machine,
    object: &KubeadmControlPlane,
    version: &Version,
    pass: &Pass,
) -> plan::Machine {
    let meta = &machine.metadata;
    let status = machine.status.clone().unwrap_or_default();
    let at = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().map(time::from_meta)
    };
    let annotations = meta.annotations.clone().unwrap_or_default();
    let hook = |ours: bool| {
        annotations.keys().any(|key| {
            key.starts_with(ANNOTATION_PRE_TERMINATE_DELETE_HOOK)
                && (key == ANNOTATION_KCP_PRE_TERMINATE_DELETE_HOOK) == ours
        })
    };
    let deleting = conditions::find(&status.conditions, "Deleting");
    plan::Machine {
        name: meta.name.clone().unwrap_or_default(),
        created: at(&meta.creation_timestamp).unwrap_or_default(),
        deleting: at(&meta.deletion_timestamp),
        domain: machine.spec.failure_domain.clone().or(status.failure_domain),
        node: status.node_ref.map(|node| node.name),
        outdated: outdated(machine, object, version, pass),
        marked: annotations.contains_key(ANNOTATION_DELETE_MACHINE),
        conditions: conditions::read_all(&status.conditions),
        lately: BTreeSet::new(),
        failing: conditions::find(&status.conditions, "HealthCheckSucceeded")
            .is_some_and(|condition| condition.status == "False"),
        hooks: Hooks {
            ours: hook(true),
            others: hook(false),
            reached: deleting.is_some_and(|condition| condition.reason == "WaitingForPreTerminateHook"),
        },
    }
}

/// In what a machine differs from what a new one would be.
fn outdated(machine: &Machine, object: &KubeadmControlPlane, version: &Version, pass: &Pass) -> Vec<String> {
    let mut reasons = Vec::new();
    let has = machine.spec.version.as_deref().unwrap_or_default();
    if has.parse::<Version>().ok().as_ref() != Some(version) {
        reasons.push(format!("Version {has}, {version} required"));
    }
    if let Some(config) = config_of(machine, pass)
        && !compare::same(&config.spec, &intents::kubeadm_beside(object, version, &config.spec))
    {
        reasons.push("KubeadmConfig is not up-to-date".to_owned());
    }
    let template = &object.spec.machine_template.spec.infrastructure_ref;
    let host = &machine.spec.infrastructure_ref;
    let kind = GroupKind::new(host.api_group.clone(), host.kind.clone());
    if let Some(found) = pass.cache.external(&kind, &pass.key.sibling(host.name.clone())).found() {
        let annotations: &BTreeMap<String, String> = &found.metadata.annotations.clone().unwrap_or_default();
        let says =
            |annotation: &str, wanted: &str| annotations.get(annotation).is_none_or(|said| said == wanted);
        let group_kind = format!("{}.{}", template.kind, template.api_group);
        if !says(ANNOTATION_CLONED_FROM_NAME, &template.name)
            || !says(ANNOTATION_CLONED_FROM_GROUP_KIND, &group_kind)
        {
            reasons.push(format!("{} is not up-to-date", host.kind));
        }
    }
    let born = machine.metadata.creation_timestamp.as_ref().map(time::from_meta).unwrap_or_default();
    if let Some(after) = object.spec.rollout.after.as_ref().map(time::from_meta)
        && due(after, born, pass.now)
    {
        reasons.push("KubeadmControlPlane spec.rolloutAfter expired".to_owned());
    }
    let until = machine.status.as_ref().and_then(|status| status.certificates_expiry_date.as_ref());
    if let (Some(until), Some(days)) = (until, object.spec.rollout.before.certificates_expiry_days)
        && expires(time::from_meta(until), days, pass.now)
    {
        reasons.push("Certificates will expire soon".to_owned());
    }
    reasons
}

/// The KubeadmConfig of a machine; a machine that has lost it is as it was.
fn config_of(machine: &Machine, pass: &Pass) -> Option<Arc<KubeadmConfig>> {
    let reference = machine.spec.bootstrap.config_ref.as_ref()?;
    pass.cache.get::<KubeadmConfig>(&pass.key.sibling(reference.name.clone()))
}

/// Whether certificates that are valid `until` then have to be made again `days` before, and that is now.
fn expires(until: Time, days: i32, now: Time) -> bool {
    const DAY: u64 = 24 * 60 * 60;
    let before = Duration::from_secs(u64::try_from(days).unwrap_or_default() * DAY);
    until.until(now) < before
}

/// Whether a machine is due because everything older than `after` is to be replaced.
fn due(after: Time, born: Time, now: Time) -> bool {
    after <= now && born < after
}
