//! Everything that can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::txn::Expect;

/// A file that could not be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open {}: another process has it open; stop that one first", file.display())]
    Locked { file: PathBuf },
    #[error(
        "cannot open {}: it is damaged ({reason}); keep a copy of it and restore the last backup",
        file.display()
    )]
    Corrupt { file: PathBuf, reason: String },
    #[error(
        "cannot open {}: it has format {found} and this version reads up to {supported}; \
         run {writer}, which wrote it, or a later version",
        file.display()
    )]
    Newer { file: PathBuf, found: u64, supported: u64, writer: String },
    #[error("cannot open {}: no permission to write to it; check its owner and mode, and whether \
         the file system is mounted read-only", file.display())]
    ReadOnly { file: PathBuf, source: io::Error },
    #[error("cannot open {}: the disk is full; free some space", file.display())]
    Full { file: PathBuf, source: io::Error },
    #[error("cannot open {}; check the path and the disk", file.display())]
    Io { file: PathBuf, source: io::Error },
}

/// Why a journal takes no more writes. The data up to the last acknowledged write is safe.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    #[error(
        "cannot write to {}: the disk is full, and no more writes are taken; free some space and \
         restart",
        file.display()
    )]
    Full { file: PathBuf, source: Arc<redb::Error> },
    /// A failed fsync says nothing about what reached the disk, and a second one may succeed
    /// although data was dropped: it is never tried again.
    #[error(
        "cannot write to {}, and no more writes are taken; whether this one was kept shows after \
         a restart: check the disk and restart",
        file.display()
    )]
    Disk { file: PathBuf, source: Arc<redb::Error> },
    #[error("the thread that writes to {} has ended; this is a bug, restart", file.display())]
    Thread { file: PathBuf },
}

/// A transaction that was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    #[error(
        "cannot write {key}: expected {expected}, but it {}; read it and try again",
        current.map_or("does not exist".to_owned(), |r| format!("is at revision {r}"))
    )]
    Conflict { key: Arc<str>, expected: Expect, current: Option<u64> },
    #[error("cannot write {key}: it appears twice in one transaction")]
    Twice { key: Arc<str> },
    #[error("cannot delete {key} and expect that it does not exist")]
    DeleteAbsent { key: Arc<str> },
    #[error("cannot write to store {store:?}: it was removed")]
    Removed { store: Arc<str> },
    #[error("cannot write to store {store:?}: its engine was closed")]
    Closed { store: Arc<str> },
    #[error(transparent)]
    Storage(#[from] Failure),
}

/// A revision that cannot be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Kubernetes says 410 `Expired` to this.
    #[error("revision {requested} is too old: history begins at {oldest}; read the latest")]
    Expired { requested: u64, oldest: u64 },
    /// Kubernetes says 504 `Timeout` to this, after having waited.
    #[error("revision {requested} is too large: the store is at {current}")]
    TooLarge { requested: u64, current: u64 },
}

/// A backup that could not be restored. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("cannot restore to {}: there is a file already; move it away first", file.display())]
    Exists { file: PathBuf },
    #[error("cannot restore: this is no backup of a store")]
    NotABackup,
    #[error(
        "cannot restore: the backup has format {found} and this version reads up to {supported}; \
             use the version that wrote it, or a later one"
    )]
    Newer { found: u32, supported: u32 },
    #[error("cannot restore: the backup is damaged ({reason}); use another one")]
    Damaged { reason: String },
    #[error("cannot read the backup; check the file and the disk it is on")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
}
