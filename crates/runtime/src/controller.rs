//! What a controller is.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use windlass_contract::External;
use windlass_model::{Key, Time};

use crate::cache::{Cache, CacheBuilder};
use crate::dispatch::Inbox;
use crate::events::Events;
use crate::kind::{Cached, key_of};
use crate::management::Management;
use crate::outcome::Outcome;
use crate::queue::Priority;

/// Brings the objects of one kind closer to what they should be, one pass at a time.
pub trait Controller: Send + Sync + Sized + 'static {
    /// The kind it looks after.
    type Object: Cached;
    /// Why a pass fails: one variant per step.
    type Error: StepError;
    /// Lower-case name: metric label, log field and the component of its events.
    const NAME: &'static str;

    /// The finalizer it holds. The runtime puts it on before the first pass over an object and takes it off
    /// after [`Outcome::Released`]; nothing else does.
    fn finalizer() -> Option<&'static str> {
        None
    }

    /// Whether the runtime puts the finalizer on before the first pass. Where not, `reconcile` puts it on
    /// itself, in one write with what else it records before its first effect.
    fn finalizer_up_front() -> bool {
        true
    }

    /// What wakes it, apart from its own kind, which always does. Every kind that `reconcile` reads from the
    /// cache is declared here.
    fn watches(&self, watches: &mut Watches<'_, Self>);

    /// One pass: observe, plan, apply, report.
    fn reconcile(
        &self,
        object: Arc<Self::Object>,
        pass: &Pass,
    ) -> impl Future<Output = Result<Outcome, Self::Error>> + Send;
}

/// An error that knows which step it comes from (derive `strum::IntoStaticStr` and return `self.into()`).
pub trait StepError: std::error::Error + Send + Sync + 'static {
    /// The step: reason of the event and label of the metric.
    fn step(&self) -> &'static str;
}

/// What one pass has at hand.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The one reading of the clock.
    pub now: Time,
    /// The object.
    pub key: Key,
    /// Everything observed.
    pub cache: Cache,
    /// The management cluster, for writes and live reads.
    pub management: Management,
    /// News for people.
    pub events: Events,
}

/// Collects what wakes a controller.
pub struct Watches<'a, C: Controller> {
    pub(crate) cache: &'a mut CacheBuilder,
    pub(crate) inbox: Inbox,
    pub(crate) triggers: Vec<BoxStream<'static, Trigger>>,
    pub(crate) controller: PhantomData<fn() -> C>,
}

/// A wake-up from outside: given the cache, the keys it concerns.
pub(crate) type Trigger = Box<dyn FnOnce(&Cache) -> Vec<Key> + Send>;

impl<C: Controller> Watches<'_, C> {
    /// An event of a `K` wakes the keys that `map` names. It is called with the object as it was and as it is.
    pub fn kind<K: Cached>(
        &mut self,
        map: impl Fn(&K, &Cache) -> Vec<Key> + Send + Sync + 'static,
    ) -> &mut Self {
        let inbox = self.inbox.clone();
        let listener = move |object: &K, priority: Priority, cache: &Cache| {
            for key in map(object, cache) {
                inbox.add(&key, priority);
            }
        };
        self.cache.kind::<K>().listen(Arc::new(listener));
        self
    }

    /// `K` is read from the cache but wakes nothing.
    pub fn reads<K: Cached>(&mut self) -> &mut Self {
        self.cache.kind::<K>();
        self
    }

    /// An event of an object of a kind found at run time wakes the keys that `map` names. Objects that a pass
    /// asked the cache for wake it anyway.
    pub fn external(
        &mut self,
        map: impl Fn(&External, &Cache) -> Vec<Key> + Send + Sync + 'static,
    ) -> &mut Self {
        let inbox = self.inbox.clone();
        let listener = move |object: &External, priority: Priority, cache: &Cache| {
            for key in map(object, cache) {
                inbox.add(&key, priority);
            }
        };
        self.cache.external(Arc::new(listener));
        self
    }

    /// Wake-ups from outside, as keys.
    pub fn trigger(&mut self, keys: tokio::sync::mpsc::UnboundedReceiver<Key>) -> &mut Self {
        let keys = futures::stream::unfold(keys, |mut keys| async move {
            let key = keys.recv().await?;
            Some((key, keys))
        });
        self.stream(keys, |key, _| vec![key])
    }

    /// Wake-ups from outside, as anything that `map` turns into keys.
    pub fn stream<T: Send + 'static>(
        &mut self,
        stream: impl Stream<Item = T> + Send + 'static,
        map: impl Fn(T, &Cache) -> Vec<Key> + Send + Sync + 'static,
    ) -> &mut Self {
        let map = Arc::new(map);
        let triggers = stream.map(move |item| {
            let map = map.clone();
            Box::new(move |cache: &Cache| map(item, cache)) as Trigger
        });
        self.triggers.push(triggers.boxed());
        self
    }

    /// The controller's own kind.
    pub(crate) fn own(&mut self) {
        self.kind::<C::Object>(|object, _| vec![key_of(object)]);
    }
}
