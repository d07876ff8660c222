//! Puts controllers, cache and the rest together and runs them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::Client;

use crate::cache::{Cache, CacheBuilder};
use crate::clock::Clock;
use crate::controller::{Controller, Trigger, Watches};
use crate::dispatch::{Dispatcher, Inbox};
use crate::events::Events;
use crate::lease::{Leadership, LeaseOptions};
use crate::management::Management;
use crate::metrics::Metrics;
use crate::queue::Priority;
use crate::tasks::{Failure, Tasks};
use crate::writes::Writes;

/// How the loop behaves.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Whether a pass waits until the cache has seen the object's last writes. Off only where the simulator
    /// plants the defect that this prevents.
    pub read_your_writes: bool,
    /// Passes of one controller at the same time.
    pub concurrency: usize,
    /// How long a key waits after its first event, so that a burst is one pass.
    pub settle: Duration,
    /// Leadership among replicas; without it this process always leads.
    pub lease: Option<LeaseOptions>,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { read_your_writes: true, concurrency: 32, settle: Duration::from_millis(20), lease: None }
    }
}

/// What all controllers share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) options: RuntimeOptions,
    pub(crate) management: Management,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
}

/// Controllers at work; they stop when it is dropped.
pub struct Runtime {
    tasks: Tasks,
    cache: Cache,
    progress: Progress,
    metrics: Metrics,
    leadership: Option<tokio::sync::oneshot::Sender<tokio::sync::oneshot::Sender<()>>>,
}

/// Starts the passes of a controller in a scope; called again after leadership was lost and regained.
type Start = Box<dyn Fn(&Arc<Shared>, &Cache, &Tasks) + Send + Sync>;

/// Collects what a [`Runtime`] runs.
pub struct Builder {
    client: Client,
    clock: Clock,
    tasks: Tasks,
    options: RuntimeOptions,
    metrics: Metrics,
    cache: CacheBuilder,
    starts: Vec<Start>,
    triggers: Vec<(Inbox, BoxStream<'static, Trigger>)>,
    inboxes: Vec<Inbox>,
}

/// Tells from outside whether the controllers have something to do; cheap to clone.
#[derive(Clone)]
pub struct Progress {
    cache: Cache,
    inboxes: Arc<[Inbox]>,
}

impl Progress {
    /// Everything has been listed, and nothing is due, running or waiting for the cache. Passes that asked
    /// for a later time do not count.
    pub fn settled(&self) -> bool {
        self.cache.is_synced() && self.inboxes.iter().all(|inbox| inbox.busy() == 0)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("settled", &self.settled()).finish_non_exhaustive()
    }
}

impl Runtime {
    /// A runtime over `client`; everything it starts lives in `tasks`.
    pub fn builder(client: Client, clock: Clock, tasks: Tasks) -> Builder {
        Builder {
            client,
            clock,
            tasks,
            options: RuntimeOptions::default(),
            metrics: Metrics::new(),
            cache: CacheBuilder::default(),
            starts: Vec::new(),
            triggers: Vec::new(),
            inboxes: Vec::new(),
        }
    }

    /// The cache that the controllers read.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether the controllers have something to do.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The metrics of the process.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Resolves when a task has panicked: the process should end.
    pub async fn failed(&self) -> Failure {
        self.tasks.failed().await
    }

    /// Stops every controller, gives the lease up and waits for the last task.
    pub async fn shutdown(mut self) {
        if let Some(leadership) = self.leadership.take() {
            let (released, done) = tokio::sync::oneshot::channel();
            if leadership.send(released).is_ok() {
                // An error means that the task is gone, and with it the lease's keeper.
                let _ = tokio::time::timeout(Duration::from_secs(5), done).await;
            }
        }
        self.tasks.shutdown().await;
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Builder {
    /// Other options than the default.
    pub fn options(mut self, options: RuntimeOptions) -> Self {
        self.options = options;
        self
    }

    /// The process' metrics instead of fresh ones.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Adds a controller. Options must have been set before.
    #[expect(
        clippy::should_implement_trait,
        reason = "`add(controller)` is what it does, and nothing is summed"
    )]
    pub fn add<C: Controller>(mut self, controller: C) -> Self {
        let inbox = Inbox::new(C::NAME, self.options.settle);
        let mut watches = Watches::<C> {
            cache: &mut self.cache,
            inbox: inbox.clone(),
            triggers: Vec::new(),
            controller: PhantomData,
        };
        watches.own();
        controller.watches(&mut watches);
        let triggers = std::mem::take(&mut watches.triggers);
        self.triggers.extend(triggers.into_iter().map(|stream| (inbox.clone(), stream)));
        self.inboxes.push(inbox.clone());
        let controller = Arc::new(controller);
        let writes = Writes::default();
        self.starts.push(Box::new(move |shared, cache, tasks| {
            inbox.clear(shared.options.settle);
            let dispatcher = Arc::new(Dispatcher {
                controller: controller.clone(),
                inbox: inbox.clone(),
                shared: shared.clone(),
                cache: cache.clone(),
                writes: writes.clone(),
            });
            let spawner = tasks.spawner();
            tasks.spawn(format!("controller {}", C::NAME), dispatcher.run(spawner));
        }));
        self
    }

    /// Runs something besides controllers while this process leads; always, without leader election. `start`
    /// is called at the beginning of each term, and what it spawns ends with the term.
    pub fn while_leading(mut self, start: impl Fn(&Tasks) + Send + Sync + 'static) -> Self {
        self.starts.push(Box::new(move |_, _, tasks| start(tasks)));
        self
    }

    /// Starts the watches, and the controllers as soon as every kind has been listed (and this process leads).
    pub fn start(self) -> Runtime {
        let Self { client, clock, tasks, options, metrics, cache, starts, triggers, inboxes } = self;
        let spawner = tasks.spawner();
        let cache = cache.start(&client, &tasks);
        for (inbox, stream) in triggers {
            spawner.spawn(format!("trigger {}", inbox.name()), wake(inbox, stream, cache.clone()));
        }
        let shared = Arc::new(Shared {
            clock: clock.clone(),
            management: Management::new(client.clone()).remembering(options.read_your_writes),
            events: Events::start(client.clone(), clock.clone(), &spawner),
            metrics: metrics.clone(),
            options,
        });
        let leadership = match shared.options.lease.clone() {
            None => {
                for start in &starts {
                    start(&shared, &cache, &tasks);
                }
                None
            }
            Some(lease) => {
                let (quit, asked) = tokio::sync::oneshot::channel();
                let leadership = Leadership::new(client, clock, lease);
                let parent = tasks.spawner();
                let (starts, shared, cache) = (starts, shared, cache.clone());
                let lead = async move {
                    let work = move || {
                        let term = parent.child();
                        for start in &starts {
                            start(&shared, &cache, &term);
                        }
                        term
                    };
                    lead(leadership, asked, work).await;
                };
                spawner.spawn("leadership", lead);
                Some(quit)
            }
        };
        let progress = Progress { cache: cache.clone(), inboxes: inboxes.into() };
        Runtime { tasks, cache, progress, metrics, leadership }
    }
}

/// Works while leading, and only then, until asked to quit.
async fn lead(
    mut leadership: Leadership,
    mut quit: tokio::sync::oneshot::Receiver<tokio::sync::oneshot::Sender<()>>,
    work: impl Fn() -> Tasks,
) {
    loop {
        let asked = tokio::select! {
            biased;
            asked = &mut quit => asked.ok(),
            () = leadership.acquire() => None,
        };
        if let Some(done) = asked {
            let _ = done.send(());
            return;
        }
        tracing::info!("leading");
        let term = work();
        let asked = tokio::select! {
            biased;
            asked = &mut quit => asked.ok(),
            () = leadership.hold() => None,
        };
        term.shutdown().await;
        let Some(done) = asked else {
            tracing::warn!("leadership lost, every controller has stopped");
            continue;
        };
        if let Err(error) = leadership.release().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the lease runs out by itself");
        }
        let _ = done.send(());
        return;
    }
}

/// Turns wake-ups from outside into keys.
async fn wake(inbox: Inbox, mut stream: BoxStream<'static, Trigger>, cache: Cache) {
    cache.synced().await;
    while let Some(trigger) = stream.next().await {
        for key in trigger(&cache) {
            inbox.add(&key, Priority::Create);
        }
    }
}
