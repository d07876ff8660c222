//! Watches: the changes of a prefix from a revision on, each once and in order.
//!
//! A watch has no buffer. It is a position in the history of its store, so any number of them
//! costs next to nothing, and one that is read too slowly falls off the end of the history
//! instead of filling memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::entry::Event;
use crate::error::ReadError;
use crate::state::{Fate, State};
use crate::store::Cell;

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The watch was read so slowly that history it had not delivered yet was forgotten.
    #[error("the watch fell behind: it was at {delivered} and history begins at {oldest}; list again")]
    Lagged { delivered: u64, oldest: u64 },
    #[error("the watched store was removed")]
    Removed,
    #[error("the watched store was closed")]
    Closed,
}

/// The value of [`Slot::behind`] when there is nothing to deliver.
const CAUGHT_UP: u64 = u64::MAX;

/// What a store knows of one of its watches.
#[derive(Debug)]
pub(crate) struct Slot {
    prefix: Box<str>,
    /// Only changes after this one are of interest; may lie in the future.
    from: u64,
    /// The revision before the next change to deliver: everything up to here was delivered.
    /// Written with the store locked, by publishing (exclusively) or by the one reader (shared),
    /// so never by both.
    behind: AtomicU64,
    wake: Notify,
}

impl Slot {
    /// Takes note of the first of some changes, in order, that is to be delivered.
    fn find<'a>(&self, events: impl IntoIterator<Item = &'a Arc<Event>>) {
        let next = events
            .into_iter()
            .find(|event| event.revision > self.from && event.key.starts_with(&*self.prefix));
        let behind = next.map_or(CAUGHT_UP, |event| event.revision - 1);
        self.behind.store(behind, Ordering::Relaxed);
    }

    fn behind(&self) -> Option<u64> {
        let behind = self.behind.load(Ordering::Relaxed);
        (behind != CAUGHT_UP).then_some(behind)
    }

    /// Tells of changes about to be published; true if the watch was idle and is not any more.
    pub(crate) fn offer(&self, events: &[Arc<Event>]) -> bool {
        if self.behind().is_some() {
            return false;
        }
        self.find(events);
        self.behind().is_some()
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// The changes under a prefix, in revision order and without gaps. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    cell: Arc<Cell>,
    slot: Arc<Slot>,
}

impl Watch {
    /// Begins a watch of a store whose state is `state`.
    pub(crate) fn begin(
        cell: &Arc<Cell>,
        state: &mut State,
        prefix: &str,
        from: u64,
    ) -> Result<Self, ReadError> {
        let slot = Arc::new(Slot {
            prefix: prefix.into(),
            from,
            behind: AtomicU64::new(CAUGHT_UP),
            wake: Notify::new(),
        });
        slot.find(state.since(from.min(state.revision()))?);
        if state.fate() == Fate::Open {
            state.add_watcher(slot.clone());
        }
        Ok(Self { cell: cell.clone(), slot })
    }

    /// The next change. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Arc<Event>, WatchEnd> {
        loop {
            // A long history is always ready: let others run now and then.
            tokio::task::coop::consume_budget().await;
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            self.slot.wake.notified().await;
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, WatchEnd> {
        let state = self.cell.state.read();
        let Some(behind) = self.slot.behind() else {
            return match state.fate() {
                Fate::Open => Ok(None),
                Fate::Removed => Err(WatchEnd::Removed),
                Fate::Closed => Err(WatchEnd::Closed),
            };
        };
        let Ok(mut since) = state.since(behind) else {
            return Err(WatchEnd::Lagged { delivered: behind, oldest: state.floor() });
        };
        let event = since.next().cloned();
        self.slot.find(since);
        Ok(event)
    }

    /// The revision up to which everything was delivered: what a bookmark may say, and where
    /// another watch can go on.
    pub fn progress(&self) -> u64 {
        let state = self.cell.state.read();
        self.slot.behind().unwrap_or(state.revision()).max(self.slot.from)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.cell.state.write().drop_watcher(&self.slot);
    }
}
