//! Counters of one engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What an engine has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Transactions acknowledged.
    pub commits: u64,
    /// Transactions refused, for a conflict mostly.
    pub refused: u64,
    /// Changes of keys acknowledged.
    pub ops: u64,
    /// Groups of transactions that were made durable together.
    pub batches: u64,
    /// Time spent in the journal's commits, nearly all of it waiting for fsync.
    pub sync_time: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    refused: AtomicU64,
    ops: AtomicU64,
    batches: AtomicU64,
    sync_nanos: AtomicU64,
}

impl Counters {
    pub(crate) fn batch(&self, ops: usize, outcomes: impl Iterator<Item = bool>) {
        for acknowledged in outcomes {
            let counter = if acknowledged { &self.commits } else { &self.refused };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if ops > 0 {
            self.ops.fetch_add(ops as u64, Ordering::Relaxed);
            self.batches.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn synced(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Metrics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            commits: of(&self.commits),
            refused: of(&self.refused),
            ops: of(&self.ops),
            batches: of(&self.batches),
            sync_time: Duration::from_nanos(of(&self.sync_nanos)),
        }
    }
}
