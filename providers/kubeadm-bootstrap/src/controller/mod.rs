//! The KubeadmConfig controller: observe, plan, render, report.

mod certificates;
mod discovery;
mod files;
mod init_lock;
mod observe;
mod publish;
mod report;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Resource;
use windlass_api::bootstrap::{self, KubeadmConfig};
use windlass_api::core::{Cluster, Machine};
use windlass_model::{Key, Secret};
use windlass_pki::{KeySource, PkiError};
use windlass_plan::kubeadm_config::{Progress, Step, Waiting, plan, token};
use windlass_runtime::{Cache, Controller, ManagementError, Outcome, Pass, StepError, Watches};
use windlass_workload::{What, Workloads};

use crate::render::{RenderError, Task, render};
use observe::Scene;

/// Secrets and workload clusters do not wake us: how soon to look again for what is missing there.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Makes bootstrap data of KubeadmConfigs.
pub struct KubeadmConfigs {
    keys: Arc<dyn KeySource>,
    workloads: Workloads,
}

/// A pass failed: one variant per step.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum KubeadmConfigError {
    /// The init lock could not be read, taken or released.
    #[error("cannot handle the init lock of the Cluster")]
    InitLock(#[source] ManagementError),
    /// Certificates could not be read.
    #[error("cannot read the certificates of the Cluster")]
    Certificates(#[source] ManagementError),
    /// A Secret that the spec refers to could not be read.
    #[error("cannot read what the spec refers to")]
    Content(#[source] ManagementError),
    /// No random bytes.
    #[error("cannot make a bootstrap token")]
    Random(#[source] PkiError),
    /// The token could not be written to the workload cluster.
    #[error("cannot write the bootstrap token to Cluster {0}")]
    Token(Key, #[source] Box<kube::Error>),
    /// Discovery could not be recorded in the spec.
    #[error("cannot record how the host finds its cluster")]
    Discovery(#[source] ManagementError),
    /// The bootstrap data could not be published.
    #[error("cannot publish the bootstrap data")]
    Publish(#[source] ManagementError),
    /// The status could not be written.
    #[error("cannot report")]
    Status(#[source] ManagementError),
}

impl StepError for KubeadmConfigError {
    fn step(&self) -> &'static str {
        self.into()
    }
}

/// Why a step did not end with bootstrap data: something to report, or an error.
enum Halt {
    /// Report this and look again later.
    Report(Progress),
    Error(KubeadmConfigError),
}

impl From<KubeadmConfigError> for Halt {
    fn from(error: KubeadmConfigError) -> Self {
        Self::Error(error)
    }
}

impl From<RenderError> for Halt {
    fn from(error: RenderError) -> Self {
        Self::Report(Progress::Failed(error.to_string()))
    }
}

impl KubeadmConfigs {
    /// A controller that gets tokens from `keys` and reaches workload clusters through `workloads`.
    pub fn new(keys: Arc<dyn KeySource>, workloads: Workloads) -> Self {
        Self { keys, workloads }
    }

    /// Does what was planned; says how far it came and when to look again.
    async fn act(&self, step: Step, scene: &mut Scene, pass: &Pass) -> Result<(Progress, Outcome), Halt> {
        match step {
            Step::Idle => Ok((Progress::Available, Outcome::Rest)),
            Step::Wait(waiting) => Ok((Progress::Waiting(waiting), Outcome::Rest)),
            Step::Adopt(secret) => {
                scene.secret = Some(secret);
                Ok((Progress::Available, Outcome::Rest))
            }
            Step::Init => self.init(scene, pass).await,
            Step::JoinControlPlane | Step::JoinWorker => {
                self.join(scene, pass, step == Step::JoinControlPlane).await
            }
            Step::KeepToken => {
                let next = discovery::keep_token(scene, &self.workloads, pass).await?;
                Ok((Progress::Available, next))
            }
        }
    }

    /// Data for the first machine, once it holds the init lock.
    async fn init(&self, scene: &mut Scene, pass: &Pass) -> Result<(Progress, Outcome), Halt> {
        if !init_lock::take(scene, pass).await? {
            return Ok((Progress::Waiting(Waiting::InitLock), Outcome::Again(LOOK_AGAIN)));
        }
        let certificates = certificates::read(scene, pass).await?;
        let version = scene.version()?;
        let (files, users) = files::resolve(scene, pass).await?;
        let cluster = scene.facts();
        let task = Task::Init { cluster, certificates: &certificates };
        let data = render(&scene.config.spec, &version, &task, &files, &users)?;
        self.publish(scene, pass, data).await
    }

    /// Data for a machine that joins: its discovery is recorded before anything is made of it, so that a
    /// pass that is cut short is continued with the same token.
    async fn join(
        &self,
        scene: &mut Scene,
        pass: &Pass,
        control_plane: bool,
    ) -> Result<(Progress, Outcome), Halt> {
        let certificates = certificates::read(scene, pass).await?;
        let version = scene.version()?;
        let Ok(connected) = self.workloads.get(&scene.cluster_key()) else {
            return Ok((Progress::Waiting(Waiting::Workload), Outcome::Again(LOOK_AGAIN)));
        };
        discovery::complete(scene, &certificates, self.keys.as_ref(), pass).await?;
        discovery::make_token(scene, &connected.client, pass).await?;
        let (files, users) = files::resolve(scene, pass).await?;
        let task = if control_plane {
            Task::JoinControlPlane { certificates: &certificates }
        } else {
            Task::JoinWorker
        };
        let spec = discovery::for_rendering(scene, &certificates);
        let data = render(&spec, &version, &task, &files, &users)?;
        let (progress, outcome) = self.publish(scene, pass, data).await?;
        Ok((progress, outcome.soonest(Outcome::Again(token::CHECK))))
    }

    async fn publish(
        &self,
        scene: &mut Scene,
        pass: &Pass,
        data: Secret<Vec<u8>>,
    ) -> Result<(Progress, Outcome), Halt> {
        let name = publish::publish(scene, pass, data).await?;
        scene.secret = Some(name);
        Ok((Progress::Available, Outcome::Rest))
    }
}

impl Controller for KubeadmConfigs {
    type Object = KubeadmConfig;
    type Error = KubeadmConfigError;
    const NAME: &'static str = "kubeadmconfig";

    fn watches(&self, watches: &mut Watches<'_, Self>) {
        let all = |namespace: &str, cluster: &str, cache: &Cache| -> Vec<Key> {
            let configs = cache.of_cluster::<KubeadmConfig>(namespace, cluster);
            configs.iter().map(|config| windlass_runtime::key_of(config.as_ref())).collect()
        };
        let connections = self
            .workloads
            .subscribe()
            .filter_map(|event| std::future::ready((event.what == What::Connected).then_some(event.cluster)));
        watches
            .kind::<Machine>(|machine, _| config_of(machine).into_iter().collect())
            .kind::<Cluster>(move |cluster, cache| {
                let key = windlass_runtime::key_of(cluster);
                all(&key.namespace, &key.name, cache)
            })
            .stream(connections, move |cluster, cache| all(&cluster.namespace, &cluster.name, cache));
    }

    async fn reconcile(&self, config: Arc<KubeadmConfig>, pass: &Pass) -> Result<Outcome, Self::Error> {
        if config.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::Rest);
        }
        let Some(mut scene) = Scene::observe(config, pass) else { return Ok(Outcome::Rest) };
        if let Some(why) = scene.paused() {
            report::paused(&scene, pass, why).await?;
            return Ok(Outcome::Rest);
        }
        let observed = scene.observed();
        init_lock::release(&scene, &observed, pass).await?;
        let step = plan(&observed);
        if step == Step::Idle && !observed.created {
            return Ok(Outcome::Rest);
        }
        match self.act(step, &mut scene, pass).await {
            Ok((progress, outcome)) => {
                let held_back = report::report(&scene, pass, &progress).await?;
                Ok(outcome.soonest(held_back))
            }
            Err(Halt::Report(progress)) => {
                let held_back = report::report(&scene, pass, &progress).await?;
                Ok(Outcome::Again(LOOK_AGAIN).soonest(held_back))
            }
            Err(Halt::Error(error)) => Err(error),
        }
    }
}

/// The KubeadmConfig that a Machine gets its data from.
fn config_of(machine: &Machine) -> Option<Key> {
    let reference = machine.spec.bootstrap.config_ref.as_ref()?;
    (reference.api_group == bootstrap::GROUP && reference.kind == KubeadmConfig::kind(&()))
        .then(|| windlass_runtime::key_of(machine).sibling(reference.name.clone()))
}
