//! Wake-ups from workload clusters: each kind of news waits at most once.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use parking_lot::Mutex;
use windlass_model::Key;

/// Something happened in a workload cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadEvent {
    /// Where.
    pub cluster: Key,
    /// What.
    pub what: What,
}

/// What happened. It is a reason to look, not the news itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The connection stands, and the nodes have been listed.
    Connected,
    /// The connection is gone.
    Disconnected,
    /// The node of this name was made, changed or removed.
    Node(String),
    /// A control plane pod was made, changed or removed.
    Pods,
}

/// The events since it was made, in order; an event that is still waiting is not repeated, so that a reader
/// that falls behind costs no more than one entry per node.
#[derive(Debug)]
pub struct Subscription(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<WorkloadEvent>,
    known: BTreeSet<WorkloadEvent>,
    reader: Option<Waker>,
    closed: bool,
}

/// Everybody who wants to hear.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Mutex<Vec<Weak<Mutex<Waiting>>>>);

impl Subscribers {
    pub(crate) fn add(&self) -> Subscription {
        let waiting = Arc::default();
        self.0.lock().push(Arc::downgrade(&waiting));
        Subscription(waiting)
    }

    pub(crate) fn tell(&self, cluster: &Key, what: &What) {
        let event = WorkloadEvent { cluster: cluster.clone(), what: what.clone() };
        self.0.lock().retain(|waiting| {
            let Some(waiting) = waiting.upgrade() else { return false };
            let mut waiting = waiting.lock();
            if waiting.known.insert(event.clone()) {
                waiting.order.push_back(event.clone());
            }
            waiting.wake();
            true
        });
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        for waiting in self.0.lock().iter().filter_map(Weak::upgrade) {
            let mut waiting = waiting.lock();
            waiting.closed = true;
            waiting.wake();
        }
    }
}

impl Waiting {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Stream for Subscription {
    type Item = WorkloadEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<WorkloadEvent>> {
        let mut waiting = self.0.lock();
        if let Some(event) = waiting.order.pop_front() {
            waiting.known.remove(&event);
            return Poll::Ready(Some(event));
        }
        if waiting.closed {
            return Poll::Ready(None);
        }
        waiting.reader = Some(context.waker().clone());
        Poll::Pending
    }
}
