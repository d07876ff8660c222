//! A revisioned key-value log with watch, over memory or redb.
//!
//! An [`Engine`] owns one journal and hands out named [`Store`]s. Each store is an ordered map
//! from key to value with its own revision sequence: every change of a key takes the next
//! revision, and the changes of the recent past stay readable, as lists at an exact revision and
//! as [`Watch`]es that resume where they stopped.
//!
//! What a caller may rely on:
//!
//! - A [`Store::commit`] that returned is on disk. Readers and watchers see a change only then,
//!   so nothing that anybody saw is lost by a crash.
//! - A transaction is kept whole or not at all, and transactions of one store are linearisable.
//! - A watch delivers every matching change once, in revision order, or ends with an error.
//! - Reads never touch the disk: everything is in memory, the journal is for the next start.
//!
//! ```
//! # use windlass_store::{Engine, Expect, Txn};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Engine::memory().store("management");
//! let mut watch = store.watch("/nodes/", store.revision())?;
//! let txn = Txn::new().put("/nodes/a", "{}", Expect::Absent);
//! let created = store.commit(txn).await?.revision();
//! let txn = Txn::new().delete("/nodes/a", Expect::Revision(created));
//! store.commit(txn).await?;
//! assert!(store.get("/nodes/a").is_none());
//! assert_eq!(store.range("/nodes/", None, Some(500), Some(created))?.entries.len(), 1);
//! assert_eq!(watch.next().await?.revision, created);
//! # Ok(())
//! # }
//! ```
//!
//! How a commit travels: `Store::commit` → `queue` → `committer` (one thread, one fsync for
//! everything that queued up meanwhile) → `batch` decides conflicts and revisions →
//! `journal` makes it durable → `state` publishes it to readers and watchers. An engine in
//! memory runs the same steps without queue, thread and journal, in the caller's task.

mod backup;
mod batch;
mod committer;
mod engine;
mod entry;
mod error;
mod journal;
mod metrics;
mod queue;
mod state;
mod store;
mod txn;
mod watch;

pub use backup::{Contents, restore, verify};
pub use engine::{Engine, Options};
pub use entry::{Entry, Event, Kind};
pub use error::{CommitError, Failure, OpenError, ReadError, RestoreError};
pub use metrics::Metrics;
pub use redb::StorageBackend;
pub use state::{History, Range};
pub use store::Store;
pub use txn::{Committed, Expect, Op, Txn};
pub use watch::{Watch, WatchEnd};

/// The revision of a store that was never written to; its first change has the next one.
///
/// Not zero, because Kubernetes clients give "0" a meaning of its own ("any revision").
pub const FIRST_REVISION: u64 = 1;
