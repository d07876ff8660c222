//! The controller of an infrastructure machine.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret as CoreSecret;
use kube::ResourceExt;
use tokio::sync::mpsc::UnboundedReceiver;
use windlass_api::core::{Cluster, Machine};
use windlass_api::names::conditions::reason;
use windlass_api::names::{LABEL_CONTROL_PLANE, secret};
use windlass_model::{Condition, Key, Secret};
use windlass_plan::infra::{MachineSituation, MachineStep, Seen, plan_machine, waiting};
use windlass_provider::{ErrorKind, Instance, InstanceState, MachineRequest, Machines, Token};
use windlass_runtime::{
    Controller, GroupKind, ManagementError, Outcome, Pass, StepError, Watches, conditions, key_of, uid_of,
};

use super::cooldown::Cooldown;
use super::kinds::{InstanceReport, MachineKind, MachineReport};
use super::{Registry, scene, told};
use crate::Patience;

/// How long a provider may be out of reach before that is said of machines that run: most troubles of that
/// sort pass, and a thousand machines would say so.
const OUT_OF_REACH: Duration = Duration::from_secs(10);
/// When a machine on its way out is looked at again, where the provider does not say.
const LEAVING: Duration = Duration::from_secs(15);
/// How long bootstrap data that is not where it should be has to appear.
const MISSING: Duration = Duration::from_secs(5);
/// The format of bootstrap data that names none, as upstream has it.
const CLOUD_CONFIG: &str = "cloud-config";

/// Looks after the infrastructure machines of one kind.
#[derive(Debug)]
pub struct MachineController<K> {
    backends: Registry<dyn Machines>,
    news: Mutex<Vec<UnboundedReceiver<Key>>>,
    patience: Patience,
    cooldown: Cooldown,
    /// Of deletions, which a create that was refused must not hold up.
    deletions: Cooldown,
    kind: PhantomData<fn() -> K>,
}

/// Which step of a pass failed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum MachineError {
    /// The provider could not say whether the machine exists.
    #[error("cannot look up the machine")]
    Find(#[source] windlass_provider::Error),
    /// The bootstrap data could not be read.
    #[error("cannot read the bootstrap data")]
    ReadBootstrapData(#[source] ManagementError),
    /// The bootstrap data is not where the Machine says.
    #[error(
        "cannot find the bootstrap data: Secret {secret} with the key `value` does not exist; see the Machine's spec.bootstrap"
    )]
    MissingBootstrapData {
        /// The Secret.
        secret: Key,
    },
    /// The intent could not be recorded.
    #[error("cannot record that the machine is wanted")]
    Record(#[source] ManagementError),
    /// The provider did not make the machine.
    #[error("cannot create the machine")]
    Create(#[source] windlass_provider::Error),
    /// The provider did not delete the machine.
    #[error("cannot delete the machine")]
    Delete(#[source] windlass_provider::Error),
    /// The status could not be written.
    #[error("cannot report the machine's status")]
    Report(#[source] ManagementError),
}

impl StepError for MachineError {
    fn step(&self) -> &'static str {
        self.into()
    }
}

impl<K: MachineKind> MachineController<K> {
    /// A controller over these backends. `news` names the objects whose machines changed by themselves; each
    /// backend may have its own.
    pub fn new(
        backends: Registry<dyn Machines>,
        news: impl IntoIterator<Item = UnboundedReceiver<Key>>,
    ) -> Self {
        Self {
            backends,
            news: Mutex::new(news.into_iter().collect()),
            patience: Patience::default(),
            cooldown: Cooldown::default(),
            deletions: Cooldown::default(),
            kind: PhantomData,
        }
    }

    /// Another patience with statuses that only say how far a machine is.
    #[must_use]
    pub fn patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }
}

/// One pass under way.
struct Visit<'a, K: MachineKind> {
    controller: &'a MachineController<K>,
    object: K::Object,
    pass: &'a Pass,
    provider: &'a Arc<dyn Machines>,
    spec: serde_json::Value,
    token: Token,
    machine: Option<Arc<Machine>>,
    cluster: Option<Arc<Cluster>>,
}

impl<K: MachineKind> Controller for MachineController<K> {
    type Object = K::Object;
    type Error = MachineError;
    const NAME: &'static str = K::NAME;

    fn finalizer() -> Option<&'static str> {
        Some(K::FINALIZER)
    }

    fn finalizer_up_front() -> bool {
        false
    }

    fn watches(&self, watches: &mut Watches<'_, Self>) {
        let own = GroupKind::of::<K::Object>();
        watches.kind::<Machine>(move |machine, cache| {
            let reference = &machine.spec.infrastructure_ref;
            if (&reference.api_group, &reference.kind) != (&own.group, &own.kind) {
                return vec![];
            }
            let key = key_of(machine).sibling(reference.name.clone());
            let waits = |object: &K::Object| !K::is_provisioned(object) || scene::is_deleting(object);
            cache.get::<K::Object>(&key).filter(|object| waits(object)).map(|_| key).into_iter().collect()
        });
        watches.kind::<Cluster>(|cluster, cache| {
            let key = key_of(cluster);
            let objects = cache.of_cluster::<K::Object>(&key.namespace, &key.name);
            let concerned = |object: &Arc<K::Object>| {
                scene::concerns(&**object, K::is_provisioned(object), K::conditions(object), cluster)
            };
            objects.into_iter().filter(concerned).map(|object| key_of(&*object)).collect()
        });
        for news in self.news.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            watches.trigger(news);
        }
    }

    async fn reconcile(&self, object: Arc<K::Object>, pass: &Pass) -> Result<Outcome, MachineError> {
        let machine = scene::owner_machine(&*object, &pass.cache);
        let cluster = scene::cluster_key(&*object).and_then(|key| pass.cache.get::<Cluster>(&key));
        let leaving = scene::is_deleting(&*object);
        if !leaving && (machine.is_none() || cluster.is_none()) {
            return Ok(Outcome::Rest); // The Machine controller has not taken it yet.
        }
        let paused = scene::paused(&*object, cluster.as_deref());
        if paused.is_true() {
            return report::<K>(&object, pass, &self.patience, vec![paused], None).await;
        }
        let (name, spec) = K::backend(&object);
        let provider = match self.backends.get(name) {
            Ok(provider) => provider,
            Err(message) => return unsupported::<K>(&object, pass, &self.patience, paused, message).await,
        };
        let owner = scene::cluster_key(&*object).unwrap_or_default();
        let token = Token::of(&uid_of(&*object)).from_object(pass.key.clone(), owner);
        let object = (*object).clone();
        Visit { controller: self, object, pass, provider, spec, token, machine, cluster }.run(paused).await
    }
}

impl<K: MachineKind> Visit<'_, K> {
    /// Observe, plan, apply, report.
    async fn run(mut self, paused: Condition) -> Result<Outcome, MachineError> {
        let stages = self.provider.stages(self.is_control_plane());
        let seen = match self.look().await {
            Ok(seen) => seen,
            Err(error) => return self.out_of_sight(error, stages, paused).await,
        };
        self.controller.cooldown.seen(&self.token);
        let (told, instance, outcome) = match plan_machine(self.situation(seen.as_ref())) {
            MachineStep::Delete => return self.delete(stages, paused).await,
            MachineStep::Wait(on) => (waiting(stages, on.reason(), ""), None, Ok(Outcome::Rest)),
            MachineStep::Vanished => {
                let message =
                    "the machine is gone, though nobody here deleted it; delete the Machine to replace it";
                (waiting(stages, reason::OBJECT_DELETED, message), None, Ok(Outcome::Rest))
            }
            MachineStep::Follow => self.follow(seen).await?,
            MachineStep::Create => match self.rests(&self.controller.cooldown) {
                Some(left) => return Ok(Outcome::Again(left)),
                None => self.create(stages).await?,
            },
        };
        let reported = self.say(told, paused, instance).await?;
        outcome.map(|outcome| outcome.soonest(reported))
    }

    /// Writes what the stages are, with their sum.
    async fn say(
        &self,
        stages: Vec<Condition>,
        paused: Condition,
        instance: Option<InstanceReport>,
    ) -> Result<Outcome, MachineError> {
        let told = told::all(stages, paused);
        report::<K>(&self.object, self.pass, &self.controller.patience, told, instance).await
    }

    /// The provider cannot be asked. That is the state of a machine which is still awaited; of one that runs
    /// it is said only when it lasts.
    async fn out_of_sight(
        &self,
        error: windlass_provider::Error,
        stages: &[&'static str],
        paused: Condition,
    ) -> Result<Outcome, MachineError> {
        if let ErrorKind::Throttled { retry_after } = error.kind {
            return Ok(Outcome::Again(retry_after));
        }
        let current = K::conditions(&self.object);
        let lasts = self.controller.cooldown.unseen(&self.token, self.pass.now) >= OUT_OF_REACH;
        let told = match (scene::is_deleting(&self.object), K::is_provisioned(&self.object)) {
            (true, _) => Some(told::leaving(Some(&error), stages, current)),
            (false, false) => Some(waiting(stages, error.kind.as_str(), &error.message)),
            (false, true) => lasts.then(|| told::out_of_sight(&error, stages, current)),
        };
        if let Some(told) = told {
            self.say(told, paused, None).await?;
        }
        Err(MachineError::Find(error))
    }

    /// What the provider has; kept up to date as long as it shall stay. Without the finalizer nothing was
    /// ever asked for, and there is nothing to look for.
    async fn look(&self) -> windlass_provider::Result<Option<Instance>> {
        if !scene::is_held(&self.object, K::FINALIZER) {
            Ok(None)
        } else if scene::is_deleting(&self.object) {
            self.provider.find(&self.token).await
        } else {
            self.provider.follow(&self.token, self.object.annotations()).await
        }
    }

    /// How long the provider must not be asked again.
    fn rests(&self, cooldown: &Cooldown) -> Option<Duration> {
        let generation = kube::Resource::meta(&self.object).generation;
        cooldown.left(&self.token, generation, self.pass.now)
    }

    /// Remembers how long the provider must not be asked again, and what the pass ends with.
    fn after_failure(&self, cooldown: &Cooldown, error: &windlass_provider::Error) -> Option<Outcome> {
        let generation = kube::Resource::meta(&self.object).generation;
        let rest = cooldown.rest(&self.token, error.kind, generation, self.pass.now);
        rest.map(Outcome::Again)
    }

    fn is_control_plane(&self) -> bool {
        self.object.labels().contains_key(LABEL_CONTROL_PLANE)
            || self.machine.as_ref().is_some_and(|machine| machine.labels().contains_key(LABEL_CONTROL_PLANE))
    }

    fn situation(&self, seen: Option<&Instance>) -> MachineSituation {
        let initialization = self.cluster.as_ref().and_then(|cluster| cluster.status.as_ref());
        let initialization = initialization.map(|status| &status.initialization);
        let data = self.machine.as_ref().and_then(|machine| machine.spec.bootstrap.data_secret_name.as_ref());
        MachineSituation {
            deleting: scene::is_deleting(&self.object),
            provisioned: K::is_provisioned(&self.object),
            seen: seen.map(|instance| match instance.state {
                InstanceState::Pending => Seen::Pending,
                InstanceState::Running => Seen::Running,
                InstanceState::Failed { .. } => Seen::Failed,
                InstanceState::Deleting => Seen::Deleting,
            }),
            cluster_provisioned: initialization
                .is_some_and(|initialization| initialization.infrastructure_provisioned == Some(true)),
            control_plane: self.is_control_plane(),
            control_plane_initialized: initialization
                .is_some_and(|initialization| initialization.control_plane_initialized == Some(true)),
            bootstrap_data: data.is_some(),
        }
    }

    /// Records that the machine is wanted, and only then asks for it: whatever crashes in between, the
    /// finalizer keeps the object until the machine has been looked for.
    async fn create(&mut self, stages: &[&'static str]) -> Result<Told, MachineError> {
        let request = match self.request().await {
            Err(missing @ MachineError::MissingBootstrapData { .. }) => {
                let told = waiting(stages, "BootstrapDataNotFound", &missing.to_string());
                return Ok((told, None, Ok(Outcome::Again(MISSING))));
            }
            request => request?,
        };
        let mut wanted = self.object.clone();
        scene::hold(&mut wanted, K::FINALIZER);
        if let Some(id) = self.provider.provider_id(&self.token, &request) {
            K::set_provider_id(&mut wanted, id);
        }
        self.record(wanted).await?;
        match self.provider.create(&self.token, &request).await {
            Ok(instance) => {
                self.controller.cooldown.forget(&self.token);
                self.follow(Some(instance)).await
            }
            Err(error) => {
                let told = waiting(stages, error.kind.as_str(), &error.message);
                let outcome = self.after_failure(&self.controller.cooldown, &error);
                let outcome = outcome.ok_or(MachineError::Create(error));
                Ok((told, None, outcome))
            }
        }
    }

    async fn request(&self) -> Result<MachineRequest, MachineError> {
        let spec = self.machine.as_ref().map(|machine| &machine.spec);
        let name = spec.and_then(|spec| spec.bootstrap.data_secret_name.clone()).unwrap_or_default();
        let key = self.pass.key.sibling(name);
        let found = self.pass.management.get::<CoreSecret>(&key).await;
        let found = found.map_err(MachineError::ReadBootstrapData)?;
        let mut data = found.and_then(|found| found.data).unwrap_or_default();
        let format = data.remove(secret::KEY_FORMAT).and_then(|format| String::from_utf8(format.0).ok());
        let format = format.filter(|format| !format.is_empty());
        let data =
            data.remove(secret::KEY_VALUE).ok_or(MachineError::MissingBootstrapData { secret: key })?;
        Ok(MachineRequest {
            cluster: self.cluster.as_ref().map(|cluster| key_of(&**cluster)).unwrap_or_default(),
            cluster_uid: self.cluster.as_ref().map(|cluster| uid_of(&**cluster)).unwrap_or_default(),
            name: self.pass.key.name.clone(),
            version: spec.and_then(|spec| spec.version.clone()).unwrap_or_default(),
            control_plane: self.is_control_plane(),
            failure_domain: spec.and_then(|spec| spec.failure_domain.clone()),
            bootstrap_data: Secret::new(data.0),
            bootstrap_format: format.unwrap_or_else(|| CLOUD_CONFIG.to_owned()),
            annotations: self.object.annotations().clone(),
            spec: self.spec.clone(),
        })
    }

    async fn record(&mut self, wanted: K::Object) -> Result<(), MachineError> {
        let written =
            self.pass.management.update(&self.object, &wanted).await.map_err(MachineError::Record)?;
        self.object = written.unwrap_or(wanted);
        Ok(())
    }

    /// Says what the provider says; the provider id goes into the spec before the machine is reported.
    async fn follow(&mut self, seen: Option<Instance>) -> Result<Told, MachineError> {
        let Some(Instance { provider_id, state, addresses, failure_domain, conditions, next_change }) = seen
        else {
            return Ok((vec![], None, Ok(Outcome::Rest)));
        };
        let mut wanted = self.object.clone();
        scene::hold(&mut wanted, K::FINALIZER);
        if K::provider_id(&wanted).is_none() {
            K::set_provider_id(&mut wanted, provider_id);
        }
        self.record(wanted).await?;
        let conditions = match &state {
            InstanceState::Failed { message } => told::failed(message, conditions),
            InstanceState::Pending | InstanceState::Running | InstanceState::Deleting => conditions,
        };
        let running = state == InstanceState::Running;
        let outcome = next_change.map_or(Outcome::Rest, Outcome::Again);
        Ok((conditions, Some(InstanceReport { running, addresses, failure_domain }), Ok(outcome)))
    }

    /// Asks for the deletion, and releases the object only when the provider does not find the machine. It
    /// is asked for even where nothing was found: what a create left half-made is not found, but goes.
    async fn delete(&self, stages: &[&'static str], paused: Condition) -> Result<Outcome, MachineError> {
        let MachineController { cooldown, deletions, .. } = self.controller;
        if let Some(left) = self.rests(deletions) {
            return Ok(Outcome::Again(left));
        }
        let current = K::conditions(&self.object);
        if let Err(error) = self.provider.delete(&self.token).await {
            self.say(told::leaving(Some(&error), stages, current), paused, None).await?;
            return self.after_failure(deletions, &error).ok_or(MachineError::Delete(error));
        }
        cooldown.forget(&self.token);
        deletions.forget(&self.token);
        let Some(left) = self.provider.find(&self.token).await.map_err(MachineError::Find)? else {
            return Ok(Outcome::Released);
        };
        let reported = self.say(told::leaving(None, stages, current), paused, None).await?;
        Ok(Outcome::Again(left.next_change.unwrap_or(LEAVING)).soonest(reported))
    }
}

/// The stages, what the provider says, and how the pass ends.
type Told = (Vec<Condition>, Option<InstanceReport>, Result<Outcome, MachineError>);

/// Writes the status: at once where somebody acts on it, else when it has stayed so for a moment.
async fn report<K: MachineKind>(
    object: &K::Object,
    pass: &Pass,
    patience: &Patience,
    told: Vec<Condition>,
    instance: Option<InstanceReport>,
) -> Result<Outcome, MachineError> {
    let generation = kube::Resource::meta(object).generation;
    let starts = instance.as_ref().is_some_and(|instance| instance.running) && !K::is_provisioned(object);
    let urgent = starts || !told::is_on_its_way(&told);
    let merged = conditions::merge(K::conditions(object), told, generation, pass.now);
    let mut after = object.clone();
    K::report(&mut after, MachineReport { conditions: merged, instance });
    patience.report(pass, object, &after, urgent).await.map_err(MachineError::Report)
}

/// The object asks for a backend that is not there. If it is held, another build may have made something
/// for it, which only that build can delete.
async fn unsupported<K: MachineKind>(
    object: &K::Object,
    pass: &Pass,
    patience: &Patience,
    paused: Condition,
    message: String,
) -> Result<Outcome, MachineError> {
    let ready = told::unready("BackendNotAvailable", message);
    report::<K>(object, pass, patience, vec![ready, paused], None).await
}
