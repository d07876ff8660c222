//! The one thread that writes to a journal.
//!
//! Group commit without a delay: while one batch waits for the disk, the next one queues up.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use tokio::sync::watch;

use crate::batch::Batch;
use crate::engine::Core;
use crate::error::{CommitError, Failure};
use crate::journal::Journal;
use crate::queue::{Queue, Removal, Work, Write};
use crate::state::Fate;

pub(crate) struct Committer {
    pub(crate) core: Arc<Core>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) journal: Journal,
    /// Dropped when the thread is done with the file.
    pub(crate) done: watch::Sender<()>,
}

impl Committer {
    pub(crate) fn run(self) {
        let Self { core, queue, mut journal, done } = self;
        while let Some(work) = queue.next() {
            // A panic must not leave anybody waiting, nor unwind through redb, which would panic
            // again and take the process with it. The journal is only dropped after one.
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| match work {
                Work::Write(writes) => write(&core, &mut journal, writes),
                Work::Remove(removal) => remove(&core, &mut journal, removal),
            }));
            if let Err(failure) = outcome.unwrap_or_else(|_| Err(queue.deserted())) {
                tracing::error!(error = %failure, "the store takes no more writes");
                queue.fail(&failure);
            }
        }
        drop(journal);
        drop(done);
    }
}

fn write(core: &Core, journal: &mut Journal, writes: Vec<Write>) -> Result<(), Failure> {
    let mut batch = Batch::default();
    let decided: Vec<_> =
        writes.into_iter().map(|Write { cell, txn, reply }| (reply, batch.add(&cell, txn))).collect();
    let ops = batch.ops();
    if ops > 0 {
        match journal.append(batch.writes()) {
            Ok(took) => core.counters.synced(took),
            Err(failure) => {
                // Even a conflict may have been with a change that is now lost.
                for (reply, _) in decided {
                    drop(reply.send(Err(CommitError::Storage(failure.clone()))));
                }
                return Err(failure);
            }
        }
        core.publish(batch);
    }
    core.counters.batch(ops, decided.iter().map(|(_, outcome)| outcome.is_ok()));
    for (reply, outcome) in decided {
        drop(reply.send(outcome));
    }
    Ok(())
}

fn remove(core: &Core, journal: &mut Journal, removal: Removal) -> Result<(), Failure> {
    let Removal { cell, reply } = removal;
    // The second of two removals of one store must not touch what has its name now.
    if cell.state.read().fate() == Fate::Open {
        if let Err(failure) = journal.remove(&cell.name) {
            drop(reply.send(Err(failure.clone().into())));
            return Err(failure);
        }
        core.forget(&cell);
    }
    drop(reply.send(Ok(())));
    Ok(())
}
