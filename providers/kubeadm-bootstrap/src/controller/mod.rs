//! The KubeadmConfig controller: observe, plan, render, report.

mod certificates;
mod discovery;
mod files;
mod init_lock;
mod observe;
mod owner;
mod publish;
mod report;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Resource;
use windlass_api::bootstrap::{self, KubeadmConfig};
use windlass_api::core::{Cluster, Machine};
use windlass_model::Key;
use windlass_pki::{KeySource, KubeconfigError, PkiError};
use windlass_plan::kubeadm_config::{Hosts, Progress, Step, Waiting, plan, token};
use windlass_runtime::{Cache, Controller, ManagementError, Outcome, Pass, StepError, Watches};
use windlass_workload::{What, Workloads};

use crate::render::{Certificates, RenderError, Rendered, Task, render};
use discovery::Kept;
use observe::Scene;

/// Makes bootstrap data of KubeadmConfigs.
pub struct KubeadmConfigs {
    keys: Arc<dyn KeySource>,
    workloads: Workloads,
    token_ttl: Duration,
}

/// A pass failed: one variant per step.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum KubeadmConfigError {
    /// The MachinePool that owns the config could not be read.
    #[error("cannot read the owner of the KubeadmConfig")]
    Owner(#[source] ManagementError),
    /// The init lock could not be read, taken or released.
    #[error("cannot handle the init lock of the Cluster")]
    InitLock(#[source] ManagementError),
    /// The Secrets of certificates could not be read or written.
    #[error("cannot read or write the certificates of the Cluster")]
    Certificates(#[source] ManagementError),
    /// Keys or certificates could not be made.
    #[error("cannot make the certificates of the Cluster")]
    Keys(#[source] PkiError),
    /// The kubeconfig could not be made.
    #[error("cannot make the kubeconfig of the Cluster")]
    Kubeconfig(#[source] KubeconfigError),
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
    /// A controller that gets keys and tokens from `keys` and reaches workload clusters through `workloads`.
    pub fn new(keys: Arc<dyn KeySource>, workloads: Workloads) -> Self {
        Self { keys, workloads, token_ttl: token::TTL }
    }

    /// With bootstrap tokens that live this long without upkeep, instead of a quarter of an hour.
    #[must_use]
    pub fn with_token_ttl(self, token_ttl: Duration) -> Self {
        Self { token_ttl, ..self }
    }

    /// Does what was planned; says how far it came and when to look again.
    async fn act(&self, step: Step, scene: &mut Scene, pass: &Pass) -> Result<(Progress, Outcome), Halt> {
        match step {
            Step::Idle => Ok((Progress::Available, Outcome::Rest)),
            Step::Wait(waiting) => Ok((Progress::Waiting(waiting), Outcome::Rest)),
            Step::Adopt(secret) => {
                publish::adopt(scene, pass, &secret).await?;
                scene.secret = Some(secret);
                Ok((Progress::Available, Outcome::Rest))
            }
            Step::Init => self.init(scene, pass).await,
            Step::JoinControlPlane | Step::JoinWorker => self.join(scene, pass).await,
            Step::KeepToken(hosts) => self.keep_token(hosts, scene, pass).await,
        }
    }

    /// Data for the first machine. It is published once it is complete and the machine holds the init lock.
    async fn init(&self, scene: &mut Scene, pass: &Pass) -> Result<(Progress, Outcome), Halt> {
        let locked = (Progress::Waiting(Waiting::InitLock), Outcome::Rest);
        if !init_lock::is_open(scene, pass).await? {
            return Ok(locked);
        }
        if certificates::ensure(scene, &self.keys, pass).await? {
            self.workloads.nudge(&scene.cluster_key());
        }
        let certificates = certificates::read(scene, pass).await?;
        let version = scene.version()?;
        let (files, users) = files::resolve(scene, pass).await?;
        let task = Task::Init { cluster: scene.facts(), certificates: &certificates };
        let rendered = render(&scene.config.spec, &version, &task, &files, &users)?;
        if !init_lock::take(scene, pass).await? {
            return Ok(locked);
        }
        let published = self.publish(scene, pass, &rendered).await;
        if let Err(Halt::Report(_)) = published {
            init_lock::give_back(scene, pass).await?;
        }
        published
    }

    /// Data for hosts that join: their discovery is recorded before anything is made of it, so that a pass
    /// that is cut short is continued with the same token.
    async fn join(&self, scene: &mut Scene, pass: &Pass) -> Result<(Progress, Outcome), Halt> {
        let certificates = certificates::read(scene, pass).await?;
        scene.version()?;
        let Ok(connected) = self.workloads.get(&scene.cluster_key()) else {
            return Ok((Progress::Waiting(Waiting::Workload), Outcome::Rest));
        };
        discovery::complete(scene, &certificates, self.keys.as_ref(), pass).await?;
        let rendered = joining(scene, &certificates, pass).await?;
        // Its life begins when everything else is there.
        discovery::make_token(scene, &connected.client, self.token_ttl, pass).await?;
        let (progress, outcome) = self.publish(scene, pass, &rendered).await?;
        Ok((progress, outcome.soonest(Outcome::Again(token::check(self.token_ttl)))))
    }

    /// Looks after the token of data that is out.
    async fn keep_token(
        &self,
        hosts: Hosts,
        scene: &mut Scene,
        pass: &Pass,
    ) -> Result<(Progress, Outcome), Halt> {
        if !discovery::has_token(scene) {
            return Ok((Progress::Available, Outcome::Rest));
        }
        let check = Outcome::Again(token::check(self.token_ttl));
        // Without a connection there is nothing to do; its return wakes us.
        let Ok(connected) = self.workloads.get(&scene.cluster_key()) else {
            return Ok((Progress::Available, check));
        };
        let client = &connected.client;
        match discovery::keep_token(scene, hosts, client, self.token_ttl, pass).await? {
            Kept::Again(after) => Ok((Progress::Available, Outcome::Again(after))),
            Kept::Rotate => {
                let certificates = certificates::read(scene, pass).await?;
                let before = discovery::rotate(scene, self.keys.as_ref())?;
                let rendered = joining(scene, &certificates, pass).await?;
                discovery::make_token(scene, client, self.token_ttl, pass).await?;
                let (progress, _) = self.publish(scene, pass, &rendered).await?;
                discovery::remember(scene, before, pass).await?;
                Ok((progress, check))
            }
        }
    }

    async fn publish(
        &self,
        scene: &mut Scene,
        pass: &Pass,
        rendered: &Rendered,
    ) -> Result<(Progress, Outcome), Halt> {
        let name = publish::publish(scene, pass, rendered).await?;
        if !rendered.oddities.is_empty() {
            let message = format!("additionalConfig: {}", rendered.oddities.join(", "));
            pass.events.warning(Self::NAME, &scene.config, "AdditionalConfig", message);
        }
        scene.secret = Some(name);
        Ok((Progress::Available, Outcome::Rest))
    }
}

/// Renders data for hosts that join; discovery is complete.
async fn joining(scene: &Scene, certificates: &Certificates, pass: &Pass) -> Result<Rendered, Halt> {
    let version = scene.version()?;
    let (files, users) = files::resolve(scene, pass).await?;
    let task = if scene.owner.is_control_plane() {
        Task::JoinControlPlane { certificates }
    } else {
        Task::JoinWorker
    };
    let spec = discovery::for_rendering(scene, certificates);
    Ok(render(&spec, &version, &task, &files, &users)?)
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
        let Some(mut scene) = Scene::observe(config, pass).await? else { return Ok(Outcome::Rest) };
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
        let (progress, outcome) = match self.act(step, &mut scene, pass).await {
            Ok(done) => done,
            Err(Halt::Report(progress)) => (progress, Outcome::Rest),
            Err(Halt::Error(error)) => return Err(error),
        };
        let held_back = report::report(&scene, pass, &progress).await?;
        let again = progress.again().map_or(Outcome::Rest, Outcome::Again);
        Ok(outcome.soonest(again).soonest(held_back))
    }
}

/// The KubeadmConfig that a Machine gets its data from.
fn config_of(machine: &Machine) -> Option<Key> {
    let reference = machine.spec.bootstrap.config_ref.as_ref()?;
    (reference.api_group == bootstrap::GROUP && reference.kind == KubeadmConfig::kind(&()))
        .then(|| windlass_runtime::key_of(machine).sibling(reference.name.clone()))
}
