//! Transactions on their way to the committer.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::error::{CommitError, Failure};
use crate::store::Cell;
use crate::txn::{Committed, Txn};

/// Bounds on what becomes durable together, so that neither the wait for it nor the journal's
/// dirty pages grow without end. The gain of a group is long exhausted at this size.
const MAX_BATCH: usize = 1024;
const MAX_BATCH_BYTES: usize = 16 << 20;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, CommitError>>;

pub(crate) struct Write {
    pub(crate) cell: Arc<Cell>,
    pub(crate) txn: Txn,
    pub(crate) reply: Reply<Committed>,
}

pub(crate) struct Removal {
    pub(crate) cell: Arc<Cell>,
    pub(crate) reply: Reply<()>,
}

pub(crate) enum Request {
    Write(Write),
    Remove(Removal),
}

impl Request {
    fn cell(&self) -> &Cell {
        match self {
            Self::Write(write) => &write.cell,
            Self::Remove(removal) => &removal.cell,
        }
    }

    fn refuse(self, why: CommitError) {
        // A caller that no longer waits does not want to know.
        match self {
            Self::Write(write) => drop(write.reply.send(Err(why))),
            Self::Remove(removal) => drop(removal.reply.send(Err(why))),
        }
    }
}

/// What the committer does next, as one journal transaction.
pub(crate) enum Work {
    Write(Vec<Write>),
    Remove(Removal),
}

/// Why nothing more is accepted.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Closed,
    Failed(Failure),
}

impl End {
    pub(crate) fn refusal(&self, cell: &Cell) -> CommitError {
        match self {
            Self::Closed => CommitError::Closed { store: cell.name.clone() },
            Self::Failed(failure) => CommitError::Storage(failure.clone()),
        }
    }
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    end: Option<End>,
}

pub(crate) struct Queue {
    file: PathBuf,
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

impl Queue {
    /// `file` is where it leads, for errors.
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, waiting: Mutex::default(), filled: Condvar::new() }
    }

    pub(crate) fn push(&self, request: Request) {
        let mut waiting = self.waiting.lock();
        if let Some(end) = &waiting.end {
            let why = end.refusal(request.cell());
            drop(waiting);
            return request.refuse(why);
        }
        waiting.requests.push_back(request);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Waits for something to do; none when the queue was ended and is empty.
    ///
    /// Takes everything that has queued up. A removal goes alone: whatever comes after it must
    /// see that the store is gone.
    pub(crate) fn next(&self) -> Option<Work> {
        let mut waiting = self.waiting.lock();
        while waiting.requests.is_empty() {
            if waiting.end.is_some() {
                return None;
            }
            self.filled.wait(&mut waiting);
        }
        let (mut writes, mut bytes) = (Vec::new(), 0);
        while let Some(request) = waiting.requests.pop_front() {
            match request {
                Request::Write(write) if writes.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES => {
                    bytes += write.txn.bytes();
                    writes.push(write);
                }
                Request::Remove(removal) if writes.is_empty() => {
                    return Some(Work::Remove(removal));
                }
                later @ (Request::Write(_) | Request::Remove(_)) => {
                    waiting.requests.push_front(later);
                    break;
                }
            }
        }
        Some(Work::Write(writes))
    }

    /// Accepts nothing more; what is queued is still served.
    pub(crate) fn close(&self) {
        self.waiting.lock().end.get_or_insert(End::Closed);
        self.filled.notify_one();
    }

    /// Accepts nothing more and refuses what is queued. The first failure stays the reason.
    pub(crate) fn fail(&self, failure: &Failure) {
        let refused: Vec<_> = {
            let mut waiting = self.waiting.lock();
            match &waiting.end {
                None | Some(End::Closed) => waiting.end = Some(End::Failed(failure.clone())),
                Some(End::Failed(_)) => {}
            }
            waiting.requests.drain(..).collect()
        };
        self.filled.notify_one();
        for request in refused {
            request.refuse(CommitError::Storage(failure.clone()));
        }
    }

    /// What is wrong when the committer is gone without an answer.
    pub(crate) fn deserted(&self) -> Failure {
        Failure::Thread { file: self.file.clone() }
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        match &self.waiting.lock().end {
            None | Some(End::Closed) => None,
            Some(End::Failed(failure)) => Some(failure.clone()),
        }
    }
}
