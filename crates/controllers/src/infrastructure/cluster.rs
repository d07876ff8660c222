//! The controller of a cluster's infrastructure.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use windlass_api::core::Cluster;
use windlass_api::names::conditions::reason;
use windlass_model::{Condition, Status};
use windlass_plan::infra::{ClusterSituation, ClusterStep, Seen, plan_cluster};
use windlass_provider::{ClusterInfrastructure, ClusterInstance, ClusterRequest, InstanceState, Token};
use windlass_runtime::{
    Controller, GroupKind, ManagementError, Outcome, Pass, StepError, Watches, conditions, key_of, uid_of,
};

use super::cooldown::Cooldown;
use super::kinds::{ClusterKind, ClusterReport};
use super::{Registry, scene};

/// The condition that says whether the infrastructure can be used; only there while it cannot.
const READY: &str = "Ready";

/// Looks after the cluster infrastructure of one kind.
#[derive(Debug)]
pub struct ClusterController<K> {
    backends: Registry<dyn ClusterInfrastructure>,
    cooldown: Cooldown,
    kind: PhantomData<fn() -> K>,
}

/// Which step of a pass failed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum ClusterError {
    /// The provider could not say whether the infrastructure exists.
    #[error("cannot look up the infrastructure")]
    Find(#[source] windlass_provider::Error),
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
        Self { backends, cooldown: Cooldown::default(), kind: PhantomData }
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
            Err(message) => {
                let ready = Condition::new(READY, Status::False, "BackendNotAvailable").because(message);
                return report::<K>(&object, pass, vec![ready, paused], None).await.map(|()| Outcome::Rest);
            }
        };
        let request = ClusterRequest {
            name: pass.key.name.clone(),
            cluster: cluster.as_ref().map(|cluster| key_of(&**cluster)).unwrap_or_default(),
            cluster_uid: cluster.as_ref().map(|cluster| uid_of(&**cluster)).unwrap_or_default(),
            endpoint: K::endpoint(&object),
            spec,
            config: BTreeMap::new(),
            annotations: object.annotations().clone(),
        };
        let (token, object) = (Token::of(&uid_of(&*object)), (*object).clone());
        Visit { controller: self, object, pass, provider, token, request }.run(paused).await
    }
}

impl<K: ClusterKind> Visit<'_, K> {
    /// Observe, plan, apply, report.
    async fn run(mut self, paused: Condition) -> Result<Outcome, ClusterError> {
        let seen = self.look().await.map_err(ClusterError::Find)?;
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
        let (mut told, instance, outcome) = match step {
            ClusterStep::Delete => return self.delete().await,
            ClusterStep::Release => {
                self.controller.cooldown.forget(&self.token);
                return Ok(Outcome::Released);
            }
            ClusterStep::Vanished => {
                let message =
                    "the infrastructure is gone, though nobody here deleted it; create the cluster anew";
                (vec![unready(reason::OBJECT_DELETED, message)], None, Ok(Outcome::Rest))
            }
            ClusterStep::Follow => self.follow(seen).await?,
            ClusterStep::Create => match self.rests() {
                Some(left) => return Ok(Outcome::Again(left)),
                None => self.create().await?,
            },
        };
        told.push(paused);
        report::<K>(&self.object, self.pass, told, instance).await?;
        outcome
    }

    /// What the provider has; kept up to date as long as it shall stay.
    async fn look(&self) -> windlass_provider::Result<Option<ClusterInstance>> {
        if scene::is_deleting(&self.object) {
            self.provider.find(&self.token).await
        } else {
            self.provider.follow(&self.token, &self.request).await
        }
    }

    /// How long the provider must not be asked again.
    fn rests(&self) -> Option<Duration> {
        let generation = kube::Resource::meta(&self.object).generation;
        self.controller.cooldown.left(&self.token, generation, self.pass.now)
    }

    /// Remembers how long the provider must not be asked again, and what the pass ends with.
    fn after_failure(&self, error: &windlass_provider::Error) -> Option<Outcome> {
        let generation = kube::Resource::meta(&self.object).generation;
        let rest = self.controller.cooldown.rest(&self.token, error.kind, generation, self.pass.now);
        rest.map(Outcome::Again)
    }

    /// A provider that does not make it.
    fn failed(&self, error: windlass_provider::Error) -> Told {
        let told = vec![unready(error.kind.as_str(), &error.message)];
        let outcome = self.after_failure(&error).ok_or(ClusterError::Create(error));
        (told, None, outcome)
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
        let mut told = instance.conditions.clone();
        if let InstanceState::Failed { message } = &instance.state {
            told.insert(0, unready("Failed", message));
        }
        let outcome = instance.next_change.map_or(Outcome::Rest, Outcome::Again);
        Ok((told, Some(instance), Ok(outcome)))
    }

    /// Asks for the deletion, and releases the object only when the provider finds nothing any more.
    async fn delete(&self) -> Result<Outcome, ClusterError> {
        if let Some(left) = self.rests() {
            return Ok(Outcome::Again(left));
        }
        if let Err(error) = self.provider.delete(&self.token).await {
            return self.after_failure(&error).ok_or(ClusterError::Delete(error));
        }
        self.controller.cooldown.forget(&self.token);
        let left = self.provider.find(&self.token).await.map_err(ClusterError::Find)?;
        Ok(match left {
            None => Outcome::Released,
            Some(instance) => instance.next_change.map_or(Outcome::Rest, Outcome::Again),
        })
    }
}

/// The conditions, what the provider says, and how the pass ends.
type Told = (Vec<Condition>, Option<ClusterInstance>, Result<Outcome, ClusterError>);

fn unready(reason: &'static str, message: &str) -> Condition {
    Condition::new(READY, Status::False, reason).because(message)
}

async fn report<K: ClusterKind>(
    object: &K::Object,
    pass: &Pass,
    told: Vec<Condition>,
    instance: Option<ClusterInstance>,
) -> Result<(), ClusterError> {
    let generation = kube::Resource::meta(object).generation;
    let healthy = instance.is_some() && told.iter().all(|condition| condition.kind != READY);
    let current = K::conditions(object);
    let current = if healthy { conditions::without(current, &[READY]) } else { current.to_vec() };
    let conditions = conditions::merge(&current, told, generation, pass.now);
    let running = instance.as_ref().is_some_and(|instance| instance.state == InstanceState::Running);
    let failure_domains = instance.map(|instance| instance.failure_domains);
    let mut after = object.clone();
    K::report(&mut after, ClusterReport { conditions, running, failure_domains });
    pass.management.update_status(object, &after).await.map(drop).map_err(ClusterError::Report)
}
