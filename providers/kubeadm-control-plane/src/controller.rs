//! The KubeadmControlPlane controller: observe, plan, act, report.

use std::sync::Arc;
use std::time::Duration;

use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::control_plane::KubeadmControlPlane;
use windlass_api::core::{Cluster, Machine};
use windlass_api::names::finalizer;
use windlass_contract::CloneError;
use windlass_model::Key;
use windlass_pki::{KeySource, KubeconfigError, PkiError};
use windlass_plan::control_plane::health::Reach;
use windlass_plan::control_plane::{Action, Plan, plan};
use windlass_runtime::{Cache, Controller, ManagementError, Outcome, Pass, StepError, Watches, key_of};
use windlass_workload::{EtcdConnector, EtcdError, What, WorkloadEvent, Workloads};

use crate::keys::Keys;
use crate::observe::{Scene, is_control_plane};
use crate::{act, certificates, report, template, workload};

/// How soon to look again while a node is there but not all of its pods and members are: etcd tells nobody
/// when its membership changes.
const SETTLING: Duration = Duration::from_secs(2);
/// How soon to look again while the control plane is not healthy for other reasons (as upstream).
const UNHEALTHY: Duration = Duration::from_secs(20);

/// Makes and looks after kubeadm control planes.
pub struct KubeadmControlPlanes {
    pub(crate) keys: Keys,
    pub(crate) workloads: Workloads,
    pub(crate) etcd: Arc<dyn EtcdConnector>,
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
        Self { keys: Keys::new(keys), workloads, etcd }
    }

    /// When to look again although nothing has happened.
    fn next(scene: &Scene, plan: &Plan) -> Outcome {
        let changes_etcd =
            |action: &Action| matches!(action, Action::MoveLeader { .. } | Action::RemoveMember { .. });
        if plan.actions.iter().any(changes_etcd) {
            // Nobody tells us that etcd has changed.
            return Outcome::Again(Duration::from_millis(10));
        }
        let world = &scene.world;
        let healthy = world.machines.iter().all(|m| m.components_healthy() && m.member_healthy());
        match world.reach {
            Reach::Up if healthy => Outcome::Rest,
            Reach::Up if world.machines.iter().any(|m| m.node.is_some() && m.deleting.is_none()) => {
                Outcome::Again(SETTLING)
            }
            Reach::Up | Reach::Down(_) | Reach::NotInitialized => Outcome::Again(UNHEALTHY),
            Reach::NoInfrastructure => Outcome::Rest,
        }
    }
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
        Ok(Self::next(&scene, &plan).soonest(held_back))
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
