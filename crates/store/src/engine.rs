//! Engines: one journal, many stores.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::backup;
use crate::batch::Batch;
use crate::committer::Committer;
use crate::error::{CommitError, Failure, OpenError};
use crate::journal::{Journal, Loaded};
use crate::metrics::{Counters, Metrics};
use crate::queue::{Queue, Removal, Request, Write};
use crate::state::{Fate, History, State};
use crate::store::{Cell, Store};
use crate::txn::{Committed, Txn};

/// How to open an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How much history each store keeps at most.
    pub history: History,
    /// Pages of the file kept in memory. Reads never need them and a commit needs few, so more
    /// than the default only costs: at 1 GiB redb was slower in bursts and took 60 MiB more.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { history: History::default(), cache_bytes: 8 << 20 }
    }
}

/// The stores of an engine by name, and how many there ever were.
#[derive(Default)]
struct Stores {
    by_name: BTreeMap<Arc<str>, Arc<Cell>>,
    opened: u64,
    closed: bool,
}

impl Stores {
    fn add(&mut self, name: &str, state: State) -> Arc<Cell> {
        let name: Arc<str> = name.into();
        self.opened += 1;
        let cell = Cell { name: name.clone(), serial: self.opened, state: RwLock::new(state) };
        let cell = Arc::new(cell);
        self.by_name.insert(name, cell.clone());
        cell
    }
}

/// What an engine's handles share with its committer.
pub(crate) struct Core {
    stores: Mutex<Stores>,
    /// Held while a batch is published, so that a copy of all stores has all of it or nothing.
    publishing: Mutex<()>,
    pub(crate) counters: Counters,
    history: History,
}

impl Core {
    fn new(history: History) -> Self {
        Self {
            stores: Mutex::default(),
            publishing: Mutex::default(),
            counters: Counters::default(),
            history,
        }
    }

    fn cells(&self) -> Vec<Arc<Cell>> {
        self.stores.lock().by_name.values().cloned().collect()
    }

    pub(crate) fn publish(&self, batch: Batch) {
        let _publishing = self.publishing.lock();
        batch.publish();
    }

    /// Lets go of a removed store.
    pub(crate) fn forget(&self, cell: &Arc<Cell>) {
        let _publishing = self.publishing.lock();
        let by_name = &mut self.stores.lock().by_name;
        // Two removals may meet, and another store may have the name by now.
        if by_name.get(&cell.name).is_some_and(|current| Arc::ptr_eq(current, cell)) {
            by_name.remove(&cell.name);
            cell.end(Fate::Removed);
        }
    }
}

enum Mode {
    /// Commits run in the caller's task, one at a time.
    Memory { turn: Mutex<()> },
    Journal {
        queue: Arc<Queue>,
        thread: Mutex<Option<JoinHandle<()>>>,
        /// Closed when the thread is done with the file.
        done: watch::Receiver<()>,
    },
}

/// The engine itself; closes when the last handle, of an engine or a store, is dropped.
pub(crate) struct Inner {
    core: Arc<Core>,
    mode: Mode,
}

impl Inner {
    pub(crate) async fn commit(&self, cell: &Arc<Cell>, txn: Txn) -> Result<Committed, CommitError> {
        match &self.mode {
            Mode::Memory { turn } => {
                let _turn = turn.lock();
                let mut batch = Batch::default();
                let outcome = batch.add(cell, txn);
                self.core.counters.batch(batch.ops(), [outcome.is_ok()].into_iter());
                self.core.publish(batch);
                outcome
            }
            Mode::Journal { queue, .. } => {
                let (reply, outcome) = oneshot::channel();
                queue.push(Request::Write(Write { cell: cell.clone(), txn, reply }));
                answer(queue, outcome).await
            }
        }
    }

    async fn remove(&self, cell: Arc<Cell>) -> Result<(), CommitError> {
        match &self.mode {
            Mode::Memory { turn } => {
                let _turn = turn.lock();
                self.core.forget(&cell);
                Ok(())
            }
            Mode::Journal { queue, .. } => {
                let (reply, outcome) = oneshot::channel();
                queue.push(Request::Remove(Removal { cell: cell.clone(), reply }));
                answer(queue, outcome).await
            }
        }
    }

    fn end_stores(&self) {
        self.core.stores.lock().closed = true;
        for cell in self.core.cells() {
            cell.end(Fate::Closed);
        }
    }
}

async fn answer<T>(
    queue: &Queue,
    outcome: oneshot::Receiver<Result<T, CommitError>>,
) -> Result<T, CommitError> {
    outcome.await.unwrap_or_else(|_| Err(CommitError::Storage(queue.deserted())))
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Mode::Journal { queue, thread, .. } = &self.mode {
            queue.close();
            if let Some(handle) = thread.lock().take() {
                // It has reported a panic by itself. The wait is for the file to be let go.
                drop(handle.join());
            }
        }
        self.end_stores();
    }
}

/// One journal and the stores in it. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.inner.core.cells()).finish()
    }
}

impl Engine {
    /// An engine that keeps nothing: no file and no thread. A commit is done before its future
    /// first yields, so that a single-threaded simulation is deterministic.
    pub fn memory() -> Self {
        Self::memory_with(History::default())
    }

    /// [`Engine::memory`], with another bound on the history of its stores.
    pub fn memory_with(history: History) -> Self {
        let mode = Mode::Memory { turn: Mutex::default() };
        Self { inner: Arc::new(Inner { core: Arc::new(Core::new(history)), mode }) }
    }

    /// Opens the file at `path`, or creates it if there is none, and loads what is in it.
    ///
    /// Blocks on the disk. A file that is there but is not a whole one is never written over.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let (journal, loaded) = Journal::open(path, options)?;
        Self::start(journal, loaded, options)
    }

    /// Opens a journal on any disk, such as one that fails on purpose. `label` is its name in
    /// errors.
    pub fn open_on(
        disk: impl redb::StorageBackend,
        label: impl Into<PathBuf>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let (journal, loaded) = Journal::open_on(disk, label.into(), options)?;
        Self::start(journal, loaded, options)
    }

    fn start(journal: Journal, loaded: Vec<Loaded>, options: Options) -> Result<Self, OpenError> {
        let core = Arc::new(Core::new(options.history));
        for Loaded { name, state } in loaded {
            core.stores.lock().add(&name, state);
        }
        let file = journal.file();
        let queue = Arc::new(Queue::new(file.clone()));
        let (done_tx, done) = watch::channel(());
        let committer = Committer { core: core.clone(), queue: queue.clone(), journal, done: done_tx };
        let handle = thread::Builder::new()
            .name("windlass-store".to_owned())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::Io { file, source })?;
        let mode = Mode::Journal { queue, thread: Mutex::new(Some(handle)), done };
        Ok(Self { inner: Arc::new(Inner { core, mode }) })
    }

    /// The store of a name; a new one if there is none. It is on disk from its first commit on.
    pub fn store(&self, name: &str) -> Store {
        let core = &self.inner.core;
        let mut stores = core.stores.lock();
        let cell = match stores.by_name.get(name) {
            Some(cell) => cell.clone(),
            None => stores.add(name, State::new(core.history)),
        };
        if stores.closed {
            cell.end(Fate::Closed);
        }
        drop(stores);
        Store::new(cell, self.inner.clone())
    }

    /// Drops a store with all that is in it, and tells whether there was one.
    ///
    /// Its watches end, its handles keep showing its last state and refuse writes. A store opened
    /// by that name later is a new one and counts revisions from the start.
    pub async fn remove(&self, name: &str) -> Result<bool, CommitError> {
        let cell = self.inner.core.stores.lock().by_name.get(name).cloned();
        let Some(cell) = cell else { return Ok(false) };
        self.inner.remove(cell).await?;
        Ok(true)
    }

    /// The names of all stores, in order.
    pub fn names(&self) -> Vec<String> {
        self.inner.core.stores.lock().by_name.keys().map(ToString::to_string).collect()
    }

    /// A copy in memory of all stores and their history as they are at one moment. Neither sees
    /// what happens to the other from then on.
    pub fn fork(&self) -> Self {
        let core = &self.inner.core;
        let fork = Self::memory_with(core.history);
        let _publishing = core.publishing.lock();
        for cell in core.cells() {
            let state = cell.state.read().fork();
            fork.inner.core.stores.lock().add(&cell.name, state);
        }
        fork
    }

    /// Writes a backup: the latest version of every key of every store, all of one moment, and a
    /// checksum. Commits go on meanwhile. [`restore`](crate::restore) makes a file of it.
    pub fn export(&self, out: &mut impl io::Write) -> io::Result<()> {
        let copy = self.fork();
        let cells = copy.inner.core.cells();
        backup::write(out, cells.iter().map(|cell| (&*cell.name, cell.state.read())))
    }

    pub fn metrics(&self) -> Metrics {
        self.inner.core.counters.read()
    }

    /// Why no more writes are taken, if that is so. A process does best to exit then.
    pub fn failure(&self) -> Option<Failure> {
        match &self.inner.mode {
            Mode::Memory { .. } => None,
            Mode::Journal { queue, .. } => queue.failure(),
        }
    }

    /// Takes no more writes, finishes those that are under way, ends all watches and lets go of
    /// the file. Fails if the journal did.
    pub async fn close(&self) -> Result<(), Failure> {
        if let Mode::Journal { queue, done, .. } = &self.inner.mode {
            queue.close();
            // Nothing is ever sent.
            let _ended = done.clone().changed().await;
        }
        self.inner.end_stores();
        self.failure().map_or(Ok(()), Err)
    }
}
