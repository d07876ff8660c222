//! The KubeadmControlPlane controller: observe, plan, act, report.

use std::sync::Arc;
use std::time::Duration;

use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::control_plane::KubeadmControlPlane;
use windlass_api::core::{Cluster, Machine};
use windlass_api::names::finalizer;
use windlass_contract::CloneError;
use windlass_kubeadm_bootstrap::RenderError;
use windlass_model::{Key, Time};
use windlass_pki::{KeySource, KubeconfigError, PkiError};
use windlass_plan::control_plane::conditions::excuses;
use windlass_plan::control_plane::health::Reach;
use windlass_plan::control_plane::{
    Action, Certificates, ControlPlane, Etcd, Machine as Seen, Plan, plan, preflight,
};
use windlass_runtime::{Cache, Controller, ManagementError, Outcome, Pass, StepError, Watches, key_of};
use windlass_workload::{EtcdConnector, EtcdError, ServerCertificates, What, WorkloadEvent, Workloads};

use crate::act::COMPONENT;
use crate::adopt::Owned;
use crate::keys::Keys;
use crate::observe::{Scene, is_control_plane};
use crate::{act, adopt, certificates, expiry, report, template, workload};

/// How soon to look again at what nobody tells us of (etcd's membership, kubeadm's notes, an API server that comes
/// up): the first time, and in the long run (as upstream). Between them it takes as long again as a fraction of
/// what has been waited for, so that nothing is noticed much later than it happens, and nothing is polled that
/// is stuck.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// That fraction.
const PATIENCE: u32 = 20;
/// How soon to look at what we have just changed in etcd, and after a machine was let go.
const AT_ONCE: Duration = Duration::from_millis(10);
const LEAVING: Duration = Duration::from_secs(2);
/// How long the same trouble blocks a change before an event tells of it, and how long before it tells again. A
/// machine that joins takes less than a minute, and is no trouble.
const BLOCKED: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(5));
/// How long troubles are left out of the condition `Available`.
const EXCUSED: Duration = Duration::from_secs(10);

/// Makes and looks after kubeadm control planes.
pub struct KubeadmControlPlanes {
    pub(crate) keys: Keys,
    pub(crate) workloads: Workloads,
    pub(crate) etcd: Arc<dyn EtcdConnector>,
    pub(crate) servers: Arc<dyn ServerCertificates>,
}

/// A pass failed: one variant per step.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum KubeadmControlPlaneError {
    /// A Secret could not be read or written.
    #[error("cannot look after the certificates")]
    Certificates(#[source] ManagementError),
    /// A key or certificate could not be made or read.
    #[error("cannot make or read a certificate: if somebody else wrote its Secret, write a valid PEM there")]
    Keys(#[source] PkiError),
    /// The kubeconfig could not be made or read.
    #[error("cannot look after the kubeconfig")]
    Kubeconfig(#[source] KubeconfigError),
    /// Another owner's control plane machines are in the cluster.
    #[error(
        "Machine {0} is a control plane machine that this KubeadmControlPlane does not own: delete it or its label"
    )]
    MixedManagement(Key),
    /// Control plane machines without an owner cannot become ours.
    #[error("cannot adopt Machine {machine}: {why}")]
    AdoptionFailed {
        /// The machine.
        machine: Key,
        /// Why not, and what to do.
        why: String,
    },
    /// What kubeadm noted in the workload cluster cannot be read.
    #[error(
        "cannot read ClusterConfiguration in ConfigMap kube-system/kubeadm-config of the workload cluster: write \
         valid YAML there"
    )]
    Notes,
    /// There is no configuration for a kubeadm of this version.
    #[error("cannot write kubeadm's configuration")]
    Kubeadm(#[source] RenderError),
    /// `spec.version` is none.
    #[error("cannot read spec.version")]
    Version(#[source] windlass_model::ParseVersionError),
    /// The workload cluster was asked and did not answer.
    #[error("cannot look at the workload cluster")]
    Workload(#[source] Box<kube::Error>),
    /// The machine template could not be read.
    #[error("cannot read the machine template")]
    Template(#[source] ManagementError),
    /// The Cluster could not be made an owner of the machine template.
    #[error("cannot make the Cluster an owner of the machine template")]
    OwnTemplate(#[source] ManagementError),
    /// The machine template is missing.
    #[error("{kind} {key} does not exist: create it, or correct spec.machineTemplate.spec.infrastructureRef")]
    TemplateMissing {
        /// The kind of the template.
        kind: String,
        /// The template.
        key: Key,
    },
    /// The machine template is no template.
    #[error("cannot use the machine template")]
    Clone(#[source] CloneError),
    /// A Machine, its KubeadmConfig or its infrastructure machine could not be written.
    #[error("cannot write a machine")]
    Machine(#[source] ManagementError),
    /// A Machine could not be deleted.
    #[error("cannot delete a machine")]
    Delete(#[source] ManagementError),
    /// etcd did not do it.
    #[error("cannot change etcd")]
    Etcd(#[source] EtcdError),
    /// The status could not be written.
    #[error("cannot report")]
    Status(#[source] ManagementError),
}

impl StepError for KubeadmControlPlaneError {
    fn step(&self) -> &'static str {
        self.into()
    }
}

impl KubeadmControlPlanes {
    /// A controller with keys from `keys`, workload clusters through `workloads` and their etcd through
    /// `etcd`.
    pub fn new(keys: Arc<dyn KeySource>, workloads: Workloads, etcd: Arc<dyn EtcdConnector>) -> Self {
        let servers = Arc::new(workloads.clone());
        Self { keys: Keys::new(keys), workloads, etcd, servers }
    }

    /// The same, looking at the certificates of API servers through `servers` instead of a port-forward.
    #[must_use]
    pub fn with_server_certificates(self, servers: Arc<dyn ServerCertificates>) -> Self {
        Self { servers, ..self }
    }

    /// When to look again although nothing has happened.
    fn next(scene: &Scene, plan: &Plan, now: Time) -> Outcome {
        match plan.actions.last() {
            // Nobody tells us that etcd has changed.
            Some(Action::MoveLeader { .. } | Action::RemoveMember { .. }) => return Outcome::Again(AT_ONCE),
            // If the way to the cluster leads through the machine that goes, it answers nothing before it is gone.
            Some(Action::ReleaseHook { .. }) => return Outcome::Again(LEAVING),
            Some(
                Action::Initialize { .. } | Action::ScaleUp { .. } | Action::Delete { .. } | Action::Release,
            )
            | None => {}
        }
        let world = &scene.world;
        let external = world.etcd == Etcd::External;
        let well = |m: &Seen| m.components_healthy() && (external || m.member_healthy());
        let excused = if excuses(world) { Outcome::Again(EXCUSED) } else { Outcome::Rest };
        // Secrets wake nobody.
        let missing = match world.certificates {
            Certificates::Missing(_) => Outcome::Again(LOOK_AGAIN.1),
            Certificates::Available | Certificates::Unknown => Outcome::Rest,
        };
        match world.reach {
            Reach::NoInfrastructure => Outcome::Rest,
            Reach::Up if world.strays.is_empty() && world.machines.iter().all(well) => Outcome::Rest,
            Reach::Up | Reach::NotInitialized => Outcome::Again(look_again(world, now)),
            // The connection says when it is back.
            Reach::Down(_) => Outcome::Again(LOOK_AGAIN.1),
        }
        .soonest(excused)
        .soonest(missing)
    }

    /// Tells people what keeps the control plane from changing, once that has lasted.
    fn tell(&self, scene: &Scene, plan: &Plan, pass: &Pass) {
        let cluster = scene.cluster_uid();
        let ill =
            plan.waits.iter().any(|wait| [preflight::COMPONENTS, preflight::ETCD].contains(&wait.as_str()));
        if !ill || !plan.actions.is_empty() {
            self.keys.remember(&cluster, |known| known.blocked = None);
            return;
        }
        let text = preflight::troubles(&scene.world);
        let mut known = self.keys.known(&cluster).blocked.filter(|(said, ..)| *said == text);
        let (_, since, told) = known.get_or_insert_with(|| (text.clone(), pass.now, false));
        let wait = if *told { BLOCKED.1 } else { BLOCKED.0 };
        if pass.now.since(*since) >= wait {
            (*since, *told) = (pass.now, true);
            let text = format!(
                "Waiting for control plane to pass preflight checks to continue reconciliation: {text}"
            );
            pass.events.warning(COMPONENT, scene.object.as_ref(), "ControlPlaneUnhealthy", text);
        }
        self.keys.remember(&cluster, |kept| kept.blocked = known);
    }
}

/// A fraction of the time since a machine came, or began to go.
fn look_again(world: &ControlPlane, now: Time) -> Duration {
    let (soonest, latest) = LOOK_AGAIN;
    let times = world.machines.iter().map(|machine| machine.deleting.unwrap_or(machine.created));
    times.max().map_or(latest, |last| (now.since(last) / PATIENCE).clamp(soonest, latest))
}

impl Controller for KubeadmControlPlanes {
    type Object = KubeadmControlPlane;
    type Error = KubeadmControlPlaneError;
    const NAME: &'static str = "kubeadmcontrolplane";

    fn finalizer() -> Option<&'static str> {
        Some(finalizer::KUBEADM_CONTROL_PLANE)
    }

    fn watches(&self, watches: &mut Watches<'_, Self>) {
        watches
            .kind::<Machine>(of_machine)
            .kind::<Cluster>(|cluster, _| of_cluster(cluster).into_iter().collect())
            .reads::<KubeadmConfig>()
            .stream(self.workloads.subscribe(), of_event);
    }

    async fn reconcile(&self, object: Arc<KubeadmControlPlane>, pass: &Pass) -> Result<Outcome, Self::Error> {
        let Some(mut scene) = Scene::observe(object, pass)? else { return Ok(Outcome::Rest) };
        if let Some(why) = scene.paused() {
            report::paused(&scene, pass, why).await?;
            return Ok(Outcome::Rest);
        }
        match &scene.owned {
            Owned::Ours => {}
            Owned::Orphans(orphans) => {
                adopt::adopt(&scene.object, &scene.version, orphans, pass).await?;
                return Ok(Outcome::Rest);
            }
            Owned::Foreign(machine) => {
                return Err(KubeadmControlPlaneError::MixedManagement(machine.clone()));
            }
        }
        template::belong(&scene, pass).await?;
        certificates::ensure(self, &mut scene, pass).await?;
        workload::look(self, &mut scene, pass).await?;
        let plan = plan(&scene.world);
        let acted = act::act(self, &scene, &plan, pass).await;
        if plan.actions.contains(&Action::Release) {
            self.keys.forget(&scene.cluster_uid());
            acted?;
            return Ok(Outcome::Released);
        }
        // What was seen is reported even if acting on it failed.
        let held_back = report::report(&scene, &plan, acted.is_ok(), pass).await?;
        acted?;
        self.tell(&scene, &plan, pass);
        let expiry = expiry::note(self, &scene, pass).await?;
        Ok(Self::next(&scene, &plan, pass.now).soonest(held_back).soonest(expiry))
    }
}

/// The control plane of a Cluster, if it is one of ours.
fn of_cluster(cluster: &Cluster) -> Option<Key> {
    let reference = cluster.spec.control_plane_ref.as_ref()?;
    let ours =
        reference.kind == "KubeadmControlPlane" && reference.api_group == windlass_api::control_plane::GROUP;
    ours.then(|| key_of(cluster).sibling(reference.name.clone()))
}

/// The control plane that news from a workload cluster concern. Of nodes only its own count: workers report
/// all the time.
fn of_event(event: WorkloadEvent, cache: &Cache) -> Vec<Key> {
    let WorkloadEvent { cluster: key, what } = event;
    let ours = match what {
        What::Connected | What::Disconnected | What::Pods => true,
        What::Node(name) => cache.of_cluster::<Machine>(&key.namespace, &key.name).iter().any(|machine| {
            let node = machine.status.as_ref().and_then(|status| status.node_ref.as_ref());
            is_control_plane(machine) && node.is_none_or(|node| node.name == name)
        }),
    };
    let cluster = cache.get::<Cluster>(&key).filter(|_| ours);
    cluster.and_then(|cluster| of_cluster(&cluster)).into_iter().collect()
}

/// The control plane that a Machine concerns: its owner; or, for a worker on its way out, the one of its
/// cluster, which may be waiting for that.
fn of_machine(machine: &Machine, cache: &Cache) -> Vec<Key> {
    let key = key_of(machine);
    if !is_control_plane(machine) && machine.metadata.deletion_timestamp.is_none() {
        return Vec::new();
    }
    let cluster = cache.get::<Cluster>(&key.sibling(machine.spec.cluster_name.clone()));
    cluster.and_then(|cluster| of_cluster(&cluster)).into_iter().collect()
}
