//! Supervised tasks: they end with their scope, and a panic is reported instead of lost.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A scope of tasks. When it is dropped none of them makes another step.
#[derive(Debug)]
pub struct Tasks {
    spawner: Spawner,
}

/// Starts tasks in a scope without owning it.
#[derive(Clone, Debug)]
pub struct Spawner {
    stop: CancellationToken,
    tracker: TaskTracker,
    failed: Arc<watch::Sender<Option<Failure>>>,
}

/// A task that panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task {task} panicked: {message}")]
pub struct Failure {
    /// Name of the task.
    pub task: String,
    /// What it said.
    pub message: String,
}

impl Tasks {
    /// An empty scope.
    pub fn new() -> Self {
        let spawner = Spawner {
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
            failed: Arc::new(watch::Sender::new(None)),
        };
        Self { spawner }
    }

    /// Starts a task of this scope.
    pub fn spawn(&self, name: impl Into<String>, future: impl Future<Output = ()> + Send + 'static) {
        self.spawner.spawn(name, future);
    }

    /// A handle that starts tasks in this scope.
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// A scope inside this one: it ends with this one or before, and its panics are reported here too.
    pub fn child(&self) -> Self {
        self.spawner.child()
    }

    /// Resolves when a task of this scope, or of a scope inside it, has panicked.
    pub async fn failed(&self) -> Failure {
        self.spawner.failed().await
    }

    /// Stops every task and waits until the last has been dropped.
    pub async fn shutdown(&self) {
        self.spawner.stop.cancel();
        self.spawner.tracker.close();
        self.spawner.tracker.wait().await;
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.spawner.stop.cancel();
    }
}

impl Spawner {
    /// Starts a task. It is dropped at its next step once the scope ends.
    pub fn spawn(&self, name: impl Into<String>, future: impl Future<Output = ()> + Send + 'static) {
        let name = name.into();
        let stop = self.stop.clone();
        let failed = self.failed.clone();
        let supervised = async move {
            let guarded = AssertUnwindSafe(future).catch_unwind();
            let end = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                end = guarded => end,
            };
            if let Err(panic) = end {
                let failure = Failure { task: name, message: words(panic.as_ref()) };
                tracing::error!(%failure, "a task ended early");
                failed.send_if_modified(|first| {
                    let news = first.is_none();
                    first.get_or_insert(failure);
                    news
                });
            }
        };
        // Not in the span of whoever starts it: a connection outlives the pass that first wanted it.
        let task = self.tracker.track_future(supervised);
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the supervisor that everything else goes through"
        )]
        drop(tokio::spawn(task));
    }

    /// A scope inside this one.
    pub fn child(&self) -> Tasks {
        let spawner =
            Self { stop: self.stop.child_token(), tracker: TaskTracker::new(), failed: self.failed.clone() };
        Tasks { spawner }
    }

    /// Resolves when a task of this scope has panicked.
    pub async fn failed(&self) -> Failure {
        let mut receiver = self.failed.subscribe();
        let seen = receiver.wait_for(Option::is_some).await.map(|failure| failure.clone());
        match seen {
            Ok(Some(failure)) => failure,
            // The sender lives as long as `self`, so there is nothing to report, ever.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Resolves when the scope is ending.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the scope is ending.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

/// The text of a panic.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dropped_scope_stops_its_tasks() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let tasks = Tasks::new();
        tasks.spawn("holder", async move {
            tokio::time::sleep(Duration::from_hours(1)).await;
            let _ = sender.send(());
        });
        drop(tasks);
        assert!(receiver.await.is_err(), "the task went on");
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_and_reaches_children() {
        let (sender, mut receiver) = tokio::sync::oneshot::channel::<()>();
        let tasks = Tasks::new();
        let child = tasks.child();
        child.spawn("holder", async move {
            let _held = sender;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        tasks.shutdown().await;
        child.shutdown().await;
        assert!(receiver.try_recv().is_err());
        assert!(child.spawner().is_stopped());
    }

    #[tokio::test]
    async fn a_panic_in_a_child_is_reported() {
        let tasks = Tasks::new();
        let child = tasks.child();
        child.spawn("bad", async { panic!("boom") });
        let failure = tasks.failed().await;
        assert_eq!((failure.task.as_str(), failure.message.as_str()), ("bad", "boom"));
    }
}
