//! A handle on one store: reads from memory, commits through the engine.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::engine::Inner;
use crate::entry::Entry;
use crate::error::{CommitError, ReadError};
use crate::state::{Fate, History, Range, State};
use crate::txn::{Committed, Txn};
use crate::watch::{Watch, WatchEnd};

/// What the engine, the handles and the watches of one store share.
pub(crate) struct Cell {
    pub(crate) name: Arc<str>,
    /// Unique in the process: a name may come back after a removal, as another store.
    pub(crate) serial: u64,
    pub(crate) state: RwLock<State>,
}

impl Cell {
    /// Ends the store: watches deliver what they have and end, writes are refused.
    pub(crate) fn end(&self, fate: Fate) {
        let watchers = self.state.write().end(fate);
        for slot in watchers {
            slot.wake();
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.read();
        write!(f, "{:?} at revision {} ({} keys)", self.name, state.revision(), state.len())
    }
}

/// An ordered map with a revision sequence and a history of its own. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    cell: Arc<Cell>,
    engine: Arc<Inner>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.fmt(f)
    }
}

impl Store {
    pub(crate) fn new(cell: Arc<Cell>, engine: Arc<Inner>) -> Self {
        Self { cell, engine }
    }

    pub fn name(&self) -> &str {
        &self.cell.name
    }

    /// The revision of the last change anybody can see.
    pub fn revision(&self) -> u64 {
        self.cell.state.read().revision()
    }

    /// The oldest revision that can be read at or watched from.
    pub fn oldest(&self) -> u64 {
        self.cell.state.read().floor()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.cell.state.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The latest version of a key.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.cell.state.read().get(key).cloned()
    }

    /// The version a key had at a revision.
    pub fn get_at(&self, key: &str, at: u64) -> Result<Option<Arc<Entry>>, ReadError> {
        self.cell.state.read().get_at(key, at).map(Option::<&_>::cloned)
    }

    /// The entries whose keys begin with `prefix` and follow `start_after`, in key order, at most
    /// `limit` of them, as of revision `at` or the latest one.
    ///
    /// Pages that ask `at` the revision of the first are pages of one consistent list.
    pub fn range(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: Option<usize>,
        at: Option<u64>,
    ) -> Result<Range, ReadError> {
        self.cell.state.read().range(prefix, start_after, limit, at)
    }

    /// Changes keys, all or none, and returns once that is on disk and visible.
    ///
    /// A caller that stops waiting does not know the outcome; the transaction may still happen.
    /// [`CommitError::Conflict`], [`Twice`](CommitError::Twice) and
    /// [`DeleteAbsent`](CommitError::DeleteAbsent) mean that nothing happened, and so do
    /// [`Removed`](CommitError::Removed) and [`Closed`](CommitError::Closed). After
    /// [`CommitError::Storage`] the engine takes no more writes.
    pub async fn commit(&self, txn: Txn) -> Result<Committed, CommitError> {
        self.engine.commit(&self.cell, txn).await
    }

    /// The changes with revisions above `from` of keys that begin with `prefix`.
    ///
    /// A `from` in the future is accepted: nothing happens until then.
    /// Fails with [`ReadError::Expired`] if history does not reach back that far.
    pub fn watch(&self, prefix: &str, from: u64) -> Result<Watch, ReadError> {
        Watch::begin(&self.cell, &mut self.cell.state.write(), prefix, from)
    }

    /// Waits until the store has reached a revision, such as one that a client has seen elsewhere.
    /// It may never come: mind the time.
    pub async fn wait_for(&self, revision: u64) -> Result<(), WatchEnd> {
        // If history has moved past it, it has been reached.
        match self.watch("", revision.saturating_sub(1)) {
            Ok(mut watch) if self.revision() < revision => watch.next().await.map(drop),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Forgets the history before `revision`: it becomes the oldest that can be read.
    ///
    /// The journal follows, a bounded slice with each later commit.
    pub fn compact(&self, revision: u64) {
        self.cell.state.write().compact(revision);
    }

    /// Sets how much history this store keeps at most, until the process ends.
    pub fn limit_history(&self, limits: History) {
        self.cell.state.write().limit(limits);
    }
}
