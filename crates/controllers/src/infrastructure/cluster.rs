//! The controller of a cluster's infrastructure.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::mpsc::UnboundedReceiver;
use windlass_api::core::Cluster;
use windlass_api::names::conditions::reason;
use windlass_model::{Condition, Key};
use windlass_plan::infra::{ClusterSituation, ClusterStep, Seen, plan_cluster, waiting};
use windlass_provider::{
    ClusterInfrastructure, ClusterInstance, ClusterRequest, ErrorKind, InstanceState, Token,
};
use windlass_runtime::{
    Controller, GroupKind, ManagementError, Outcome, Pass, StepError, Watches, conditions, key_of, uid_of,
};

use super::cooldown::Cooldown;
use super::kinds::{ClusterKind, ClusterReport};
use super::scene::Untold;
use super::{Registry, scene, told};

/// How long a provider may be out of reach before that is said of infrastructure that is there.
const OUT_OF_REACH: Duration = Duration::from_secs(10);
/// When infrastructure on its way out is looked at again, where the provider does not say.
const LEAVING: Duration = Duration::from_secs(15);
/// How long a ConfigMap that the spec refers to has to appear.
const MISSING: Duration = Duration::from_secs(5);

/// Looks after the cluster infrastructure of one kind.
#[derive(Debug)]
pub struct ClusterController<K> {
    backends: Registry<dyn ClusterInfrastructure>,
    news: Mutex<Vec<UnboundedReceiver<Key>>>,
    cooldown: Cooldown,
    /// Of deletions, which a create that was refused must not hold up.
    deletions: Cooldown,
    kind: PhantomData<fn() -> K>,
}

/// Which step of a pass failed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum ClusterError {
    /// The provider could not say whether the infrastructure exists.
    #[error("cannot look up the infrastructure")]
    Find(#[source] windlass_provider::Error),
    /// What the spec refers to could not be read.
    #[error("cannot read the configuration that the spec refers to")]
    Configuration(#[source] ManagementError),
    /// The intent could not be recorded.
    #[error("cannot record that the infrastructure is wanted")]
    Record(#[source] ManagementError),
    /// The provider did not make the infrastructure.
    #[error("cannot create the infrastructure")]
    Create(#[source] windlass_provider::Error),
    /// The provider did not delete the infrastructure.
    #[error("cannot delete the infrastructure")]
    Delete(#[source] windlass_provider::Error),
    /// The status could not be written.
    #[error("cannot report the infrastructure's status")]
    Report(#[source] ManagementError),
}

impl StepError for ClusterError {
    fn step(&self) -> &'static str {
        self.into()
    }
}

impl<K: ClusterKind> ClusterController<K> {
    /// A controller over these backends.
    pub fn new(backends: Registry<dyn ClusterInfrastructure>) -> Self {
        Self {
            backends,
            news: Mutex::default(),
            cooldown: Cooldown::default(),
            deletions: Cooldown::default(),
            kind: PhantomData,
        }
    }

    /// Also wakes up for the objects named here, whose infrastructure changed by itself.
    #[must_use]
    pub fn news(self, news: impl IntoIterator<Item = UnboundedReceiver<Key>>) -> Self {
        Self { news: Mutex::new(news.into_iter().collect()), ..self }
    }
}

/// One pass under way.
struct Visit<'a, K: ClusterKind> {
    controller: &'a ClusterController<K>,
    object: K::Object,
    pass: &'a Pass,
    provider: &'a Arc<dyn ClusterInfrastructure>,
    token: Token,
    request: ClusterRequest,
}

impl<K: ClusterKind> Controller for ClusterController<K> {
    type Object = K::Object;
    type Error = ClusterError;
    const NAME: &'static str = K::NAME;

    fn finalizer() -> Option<&'static str> {
        Some(K::FINALIZER)
    }

    fn finalizer_up_front() -> bool {
        false
    }

    fn watches(&self, watches: &mut Watches<'_, Self>) {
        let own = GroupKind::of::<K::Object>();
        watches.kind::<Cluster>(move |cluster, cache| {
            let reference = cluster.spec.infrastructure_ref.as_ref();
            let reference = reference.filter(|it| (&it.api_group, &it.kind) == (&own.group, &own.kind));
            let key = reference.map(|reference| key_of(cluster).sibling(reference.name.clone()));
            let object = key.as_ref().and_then(|key| cache.get::<K::Object>(key));
            let concerned = object.is_some_and(|object| {
                scene::concerns(&*object, K::is_provisioned(&object), K::conditions(&object), cluster)
            });
            key.filter(|_| concerned).into_iter().collect()
        });
        for news in self.news.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            watches.trigger(news);
        }
    }

    async fn reconcile(&self, object: Arc<K::Object>, pass: &Pass) -> Result<Outcome, ClusterError> {
        let cluster = scene::owner_cluster(&*object, &pass.cache);
        let leaving = scene::is_deleting(&*object);
        if scene::is_managed_elsewhere(&*object) || (!leaving && cluster.is_none()) {
            return Ok(Outcome::Rest); // Somebody else's, or not yet anybody's.
        }
        let paused = scene::paused(&*object, cluster.as_deref());
        if paused.is_true() {
            return report::<K>(&object, pass, vec![paused], None).await.map(|()| Outcome::Rest);
        }
        let (name, spec) = K::backend(&object);
        let provider = match self.backends.get(name) {
            Ok(provider) => provider,
            // If the object is held, another build may have made something, which only that build can delete.
            Err(message) => return amiss::<K>(&object, pass, "BackendNotAvailable", message, paused).await,
        };
        let config = match scene::texts(K::config(&object), pass).await {
            Ok(config) => config,
            Err(Untold::Unread(error)) => return Err(ClusterError::Configuration(error)),
            Err(Untold::Missing(_)) if leaving => BTreeMap::new(),
            Err(Untold::Missing(what)) => {
                amiss::<K>(&object, pass, "ConfigMapNotFound", what, paused).await?;
                return Ok(Outcome::Again(MISSING));
            }
        };
        let owner = cluster.as_ref().map(|cluster| key_of(&**cluster)).unwrap_or_default();
        let request = ClusterRequest {
            name: pass.key.name.clone(),
            cluster: owner.clone(),
            cluster_uid: cluster.as_ref().map(|cluster| uid_of(&**cluster)).unwrap_or_default(),
            endpoint: K::endpoint(&object),
            spec,
            config,
            annotations: object.annotations().clone(),
            prefers_ipv6: cluster.as_ref().is_some_and(|cluster| prefers_ipv6(cluster)),
        };
        let token = Token::of(&uid_of(&*object)).from_object(pass.key.clone(), owner);
        let object = (*object).clone();
        Visit { controller: self, object, pass, provider, token, request }.run(paused).await
    }
}

/// Whether the addresses inside a cluster are of IPv6 first.
fn prefers_ipv6(cluster: &Cluster) -> bool {
    let network = &cluster.spec.cluster_network;
    let ranges = network.services.as_ref().or(network.pods.as_ref());
    ranges.and_then(|ranges| ranges.cidr_blocks.first()).is_some_and(|range| range.contains(':'))
}

impl<K: ClusterKind> Visit<'_, K> {
    /// Observe, plan, apply, report.
    async fn run(mut self, paused: Condition) -> Result<Outcome, ClusterError> {
        let seen = match self.look().await {
            Ok(seen) => seen,
            Err(error) => return self.out_of_sight(error, paused).await,
        };
        self.controller.cooldown.seen(&self.token);
        let step = plan_cluster(ClusterSituation {
            deleting: scene::is_deleting(&self.object),
            provisioned: K::is_provisioned(&self.object),
            seen: seen.as_ref().map(|instance| match instance.state {
                InstanceState::Pending => Seen::Pending,
                InstanceState::Running => Seen::Running,
                InstanceState::Failed { .. } => Seen::Failed,
                InstanceState::Deleting => Seen::Deleting,
            }),
        });
        let (told, instance, outcome) = match step {
            ClusterStep::Delete => return self.delete(paused).await,
            ClusterStep::Vanished => {
                let message =
                    "the infrastructure is gone, though nobody here deleted it; create the cluster anew";
                (self.not_there(reason::OBJECT_DELETED, message), None, Ok(Outcome::Rest))
            }
            ClusterStep::Follow => self.follow(seen).await?,
            ClusterStep::Create => match self.rests(&self.controller.cooldown) {
                Some(left) => return Ok(Outcome::Again(left)),
                None => self.create().await?,
            },
        };
        self.say(told, paused, instance).await?;
        outcome
    }

    /// The stages of infrastructure that is not there, and why.
    fn not_there(&self, reason: &'static str, message: &str) -> Vec<Condition> {
        match self.provider.stages() {
            [] => vec![told::unready(reason, message)],
            stages => waiting(stages, reason, message),
        }
    }

    /// Writes what the stages are, with their sum. Infrastructure without stages has a sum only while
    /// something is amiss.
    async fn say(
        &self,
        mut stages: Vec<Condition>,
        paused: Condition,
        instance: Option<ClusterInstance>,
    ) -> Result<(), ClusterError> {
        let told = if self.provider.stages().is_empty() {
            stages.push(paused);
            stages
        } else {
            told::all(stages, paused)
        };
        report::<K>(&self.object, self.pass, told, instance).await
    }

    /// The provider cannot be asked. That is the state of infrastructure which is still awaited; of one that
    /// is there it is said only when it lasts.
    async fn out_of_sight(
        &self,
        error: windlass_provider::Error,
        paused: Condition,
    ) -> Result<Outcome, ClusterError> {
        if let ErrorKind::Throttled { retry_after } = error.kind {
            return Ok(Outcome::Again(retry_after));
        }
        let (stages, current) = (self.provider.stages(), K::conditions(&self.object));
        let lasts = self.controller.cooldown.unseen(&self.token, self.pass.now) >= OUT_OF_REACH;
        let told = match (scene::is_deleting(&self.object), K::is_provisioned(&self.object)) {
            (true, _) => Some(told::leaving(Some(&error), stages, current)),
            (false, false) => Some(self.not_there(error.kind.as_str(), &error.message)),
            (false, true) => lasts.then(|| told::out_of_sight(&error, stages, current)),
        };
        if let Some(told) = told {
            self.say(told, paused, None).await?;
        }
        Err(ClusterError::Find(error))
    }

    /// What the provider has; kept up to date as long as it shall stay. Without the finalizer nothing was
    /// ever asked for, and there is nothing to look for.
    async fn look(&self) -> windlass_provider::Result<Option<ClusterInstance>> {
        if !scene::is_held(&self.object, K::FINALIZER) {
            Ok(None)
        } else if scene::is_deleting(&self.object) {
            self.provider.find(&self.token).await
        } else {
            self.provider.follow(&self.token, &self.request).await
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

    /// A provider that does not make it.
    fn failed(&self, error: windlass_provider::Error) -> Told {
        let told = self.not_there(error.kind.as_str(), &error.message);
        let outcome = self.after_failure(&self.controller.cooldown, &error);
        (told, None, outcome.ok_or(ClusterError::Create(error)))
    }

    /// Records that the infrastructure is wanted, with all that is known of it beforehand, and only then
    /// asks for it.
    async fn create(&mut self) -> Result<Told, ClusterError> {
        let proposal = match self.provider.propose(&self.token, &self.request).await {
            Ok(proposal) => proposal,
            Err(error) => return Ok(self.failed(error)),
        };
        let mut wanted = self.object.clone();
        scene::hold(&mut wanted, K::FINALIZER);
        wanted.annotations_mut().extend(proposal.annotations);
        if let Some(endpoint) = &proposal.endpoint {
            K::set_endpoint(&mut wanted, endpoint);
            self.request.endpoint = Some(endpoint.clone());
        }
        self.record(wanted).await?;
        match self.provider.create(&self.token, &self.request).await {
            Ok(instance) => {
                self.controller.cooldown.forget(&self.token);
                self.follow(Some(instance)).await
            }
            Err(error) => Ok(self.failed(error)),
        }
    }

    async fn record(&mut self, wanted: K::Object) -> Result<(), ClusterError> {
        let written =
            self.pass.management.update(&self.object, &wanted).await.map_err(ClusterError::Record)?;
        self.object = written.unwrap_or(wanted);
        Ok(())
    }

    /// Says what the provider says. The endpoint is the provider's to decide until it is reported.
    async fn follow(&mut self, seen: Option<ClusterInstance>) -> Result<Told, ClusterError> {
        let Some(instance) = seen else { return Ok((vec![], None, Ok(Outcome::Rest))) };
        let mut wanted = self.object.clone();
        scene::hold(&mut wanted, K::FINALIZER);
        wanted.annotations_mut().extend(instance.annotations.clone());
        if let Some(endpoint) = instance.endpoint.as_ref().filter(|_| !K::is_provisioned(&self.object)) {
            K::set_endpoint(&mut wanted, endpoint);
        }
        self.record(wanted).await?;
        let told = match (&instance.state, self.provider.stages()) {
            (InstanceState::Failed { message }, []) => {
                std::iter::once(told::unready("Failed", message)).chain(instance.conditions.clone()).collect()
            }
            (InstanceState::Failed { message }, _) => told::failed(message, instance.conditions.clone()),
            (InstanceState::Pending | InstanceState::Running | InstanceState::Deleting, _) => {
                instance.conditions.clone()
            }
        };
        let outcome = instance.next_change.map_or(Outcome::Rest, Outcome::Again);
        Ok((told, Some(instance), Ok(outcome)))
    }

    /// Asks for the deletion, and releases the object only when the provider finds nothing any more. It is
    /// asked for even where nothing was found: what a create left half-made is not found, but goes.
    async fn delete(&self, paused: Condition) -> Result<Outcome, ClusterError> {
        let ClusterController { cooldown, deletions, .. } = self.controller;
        if let Some(left) = self.rests(deletions) {
            return Ok(Outcome::Again(left));
        }
        let (stages, current) = (self.provider.stages(), K::conditions(&self.object));
        if let Err(error) = self.provider.delete(&self.token).await {
            self.say(told::leaving(Some(&error), stages, current), paused, None).await?;
            return self.after_failure(deletions, &error).ok_or(ClusterError::Delete(error));
        }
        cooldown.forget(&self.token);
        deletions.forget(&self.token);
        let Some(left) = self.provider.find(&self.token).await.map_err(ClusterError::Find)? else {
            return Ok(Outcome::Released);
        };
        self.say(told::leaving(None, stages, current), paused, None).await?;
        Ok(Outcome::Again(left.next_change.unwrap_or(LEAVING)))
    }
}

/// The conditions, what the provider says, and how the pass ends.
type Told = (Vec<Condition>, Option<ClusterInstance>, Result<Outcome, ClusterError>);

/// Something is amiss before the provider can be asked.
async fn amiss<K: ClusterKind>(
    object: &K::Object,
    pass: &Pass,
    reason: &'static str,
    message: String,
    paused: Condition,
) -> Result<Outcome, ClusterError> {
    let told = vec![told::unready(reason, message), paused];
    report::<K>(object, pass, told, None).await.map(|()| Outcome::Rest)
}

async fn report<K: ClusterKind>(
    object: &K::Object,
    pass: &Pass,
    told: Vec<Condition>,
    instance: Option<ClusterInstance>,
) -> Result<(), ClusterError> {
    let generation = kube::Resource::meta(object).generation;
    let healthy = instance.is_some() && told.iter().all(|condition| condition.kind != told::READY);
    let current = K::conditions(object);
    let current = if healthy { conditions::without(current, &[told::READY]) } else { current.to_vec() };
    let conditions = conditions::merge(&current, told, generation, pass.now);
    let running = instance.as_ref().is_some_and(|instance| instance.state == InstanceState::Running);
    let failure_domains = instance.map(|instance| instance.failure_domains);
    let mut after = object.clone();
    K::report(&mut after, ClusterReport { conditions, running, failure_domains });
    pass.management.update_status(object, &after).await.map(drop).map_err(ClusterError::Report)
}
