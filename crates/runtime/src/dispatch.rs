//! Runs the passes of one controller.

use std::sync::Arc;
use std::time::Duration;

use kube::Resource;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::Instrument;
use windlass_model::Key;

use crate::cache::{Cache, Waiter};
use crate::controller::{Controller, Pass, StepError};
use crate::management::Scope;
use crate::outcome::Outcome;
use crate::queue::{Done, Next, Priority, Queue, spread};
use crate::runtime::Shared;
use crate::tasks::Spawner;
use crate::writes::Writes;

/// The safety resync: nothing depends on it, and a thousand objects must not have it at once.
const RESYNC: Duration = Duration::from_hours(10);

/// The queue of one controller as others see it.
#[derive(Clone)]
pub(crate) struct Inbox {
    name: &'static str,
    queue: Arc<Mutex<Queue>>,
    wake: Arc<Notify>,
}

impl Inbox {
    pub(crate) fn new(name: &'static str, settle: Duration) -> Self {
        Self { name, queue: Arc::new(Mutex::new(Queue::new(settle))), wake: Arc::new(Notify::new()) }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn busy(&self) -> usize {
        self.queue.lock().busy()
    }

    pub(crate) fn add(&self, key: &Key, priority: Priority) {
        self.queue.lock().add(key, priority, Instant::now());
        self.wake.notify_one();
    }

    pub(crate) fn unpark(&self, key: &Key) {
        self.queue.lock().unpark(key, Instant::now());
        self.wake.notify_one();
    }

    /// Forgets everything: a new term begins, and it looks at every object anyway.
    pub(crate) fn clear(&self, settle: Duration) {
        *self.queue.lock() = Queue::new(settle);
    }

    fn done(&self, key: &Key, done: Done) {
        self.queue.lock().done(key, done, Instant::now());
        self.wake.notify_one();
    }
}

/// Everything a running controller has at hand.
pub(crate) struct Dispatcher<C: Controller> {
    pub(crate) controller: Arc<C>,
    pub(crate) inbox: Inbox,
    pub(crate) shared: Arc<Shared>,
    pub(crate) cache: Cache,
    pub(crate) writes: Writes,
}

impl<C: Controller> Dispatcher<C> {
    /// Runs passes until the task is dropped.
    pub(crate) async fn run(self: Arc<Self>, spawner: Spawner) {
        self.cache.synced().await;
        for object in self.cache.all::<C::Object>() {
            self.inbox.add(&crate::kind::key_of(&*object), Priority::Background);
        }
        let slots = Arc::new(tokio::sync::Semaphore::new(self.shared.options.concurrency.max(1)));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let key = self.next().await;
            let this = self.clone();
            let span = tracing::info_span!("pass", controller = C::NAME, namespace = %key.namespace, name = %key.name);
            let pass = async move {
                this.pass(&key).await;
                drop(slot);
            };
            spawner.spawn("pass", pass.instrument(span));
        }
    }

    /// The next key whose view is fresh enough.
    async fn next(&self) -> Key {
        loop {
            let next = self.pick();
            match next {
                Next::Run(key) => return key,
                Next::Idle => self.inbox.wake.notified().await,
                Next::Wait(until) => {
                    let _ = tokio::time::timeout_at(until, self.inbox.wake.notified()).await;
                }
            }
        }
    }

    /// Takes the best key from the queue, parking those whose writes the cache has not seen yet. The check
    /// and the parking happen under the queue's lock, so that no wake-up falls in between.
    fn pick(&self) -> Next {
        let mut queue = self.inbox.queue.lock();
        loop {
            let next = queue.next(Instant::now());
            let Next::Run(key) = &next else { return next };
            let waiter = Waiter { inbox: self.inbox.clone(), key: key.clone() };
            let behind = self.writes.unmet(key, |kind, need| self.cache.check(kind, need, &waiter));
            let Some(kind) = behind else { return next };
            self.shared.metrics.stale(C::NAME, &kind);
            tracing::trace!(controller = C::NAME, %key, %kind, "parked until the cache has seen the last write");
            queue.park(key);
        }
    }

    /// One pass from beginning to end.
    async fn pass(&self, key: &Key) {
        let started = Instant::now();
        let Some(object) = self.cache.get::<C::Object>(key) else {
            self.writes.forget(key);
            self.inbox.done(key, Done::Gone);
            return;
        };
        let scope = Arc::new(Scope::new(C::NAME, key.clone(), self.writes.clone()));
        let result = self.guarded(object, &scope).await;
        let done = self.judge(key, &scope, result);
        self.shared.metrics.pass(C::NAME, done, started.elapsed());
        self.inbox.done(key, done);
    }

    /// The pass proper, with the finalizer put on before and taken off after.
    async fn guarded(
        &self,
        object: Arc<C::Object>,
        scope: &Arc<Scope>,
    ) -> Result<Outcome, PassError<C::Error>> {
        let management = self.shared.management.scoped(scope.clone());
        let waiter = Waiter { inbox: self.inbox.clone(), key: scope.key().clone() };
        let pass = Pass {
            now: self.shared.clock.now(),
            key: scope.key().clone(),
            cache: self.cache.asked_by(waiter),
            management: management.clone(),
            events: self.shared.events.clone(),
        };
        let Some(finalizer) = C::finalizer() else {
            return self.controller.reconcile(object, &pass).await.map_err(PassError::Reconcile);
        };
        let leaving = object.meta().deletion_timestamp.is_some();
        let held = object.meta().finalizers.iter().flatten().any(|name| name == finalizer);
        let object = match (leaving, held) {
            // Ours to look after no longer: others are still taking their leave.
            (true, false) => return Ok(Outcome::Rest),
            (true | false, true) => object,
            (false, false) if !C::finalizer_up_front() => object,
            (false, false) => {
                let held =
                    management.add_finalizer(&*object, finalizer).await.map_err(PassError::Finalizer)?;
                Arc::new(held)
            }
        };
        let outcome = self.controller.reconcile(object.clone(), &pass).await.map_err(PassError::Reconcile)?;
        match (outcome, leaving) {
            (Outcome::Released, true) => {
                management.remove_finalizer(&*object, finalizer).await.map_err(PassError::Finalizer)?;
            }
            (Outcome::Released, false) => tracing::warn!("an object that nobody deleted cannot be released"),
            (Outcome::Rest | Outcome::Again(_), _) => {}
        }
        Ok(outcome)
    }

    /// What the end of a pass means for the queue.
    fn judge(&self, key: &Key, scope: &Scope, result: Result<Outcome, PassError<C::Error>>) -> Done {
        match result {
            Ok(Outcome::Again(after)) => Done::Again(after),
            Ok(Outcome::Rest | Outcome::Released) => Done::Rest { resync: spread(key, RESYNC, 4) },
            Err(error) if scope.conflicted() => {
                tracing::debug!(error = &error as &dyn std::error::Error, "overtaken by another writer");
                Done::Retry
            }
            Err(error) => {
                tracing::warn!(
                    step = error.step(),
                    error = &error as &dyn std::error::Error,
                    "the pass failed"
                );
                if let Some(object) = self.cache.get::<C::Object>(key) {
                    self.shared.events.failed(C::NAME, &*object, error.step(), &error);
                }
                Done::Failed
            }
        }
    }
}

/// The failure of a pass: the controller's, or that of the runtime around it.
#[derive(Debug, thiserror::Error)]
enum PassError<E: std::error::Error + 'static> {
    #[error(transparent)]
    Reconcile(E),
    #[error("cannot change the finalizer")]
    Finalizer(#[source] crate::management::ManagementError),
}

impl<E: StepError> PassError<E> {
    fn step(&self) -> &'static str {
        match self {
            Self::Reconcile(error) => error.step(),
            Self::Finalizer(_) => "Finalizer",
        }
    }
}
