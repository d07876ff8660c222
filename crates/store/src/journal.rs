//! The durable side: one redb file for all stores.
//!
//! | table  | key             | value                                     |
//! |--------|-----------------|-------------------------------------------|
//! | meta   | `"format"`      | version of this layout                    |
//! | about  | `"writer"`      | the program that opened the file last     |
//! | stores | name            | number, revision, oldest revision of log  |
//! | state  | (number, key)   | latest version of the key                 |
//! | log    | (number, rev.)  | key, and the version the change replaced  |
//!
//! The log says how to undo: together with the state it yields every version in the history
//! while each value is written once when it is new and once when it is superseded. redb checks
//! its pages when it opens the file; that log, state and revisions agree is checked here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{Database, Table, TableDefinition, WriteTransaction};

use crate::batch::Writes;
use crate::engine::Options;
use crate::error::{Failure, OpenError};
use crate::state::State;

mod format;
mod load;
mod restore;
mod row;

pub(crate) use restore::Restore;

const STORES: TableDefinition<'_, &[u8], (u32, u64, u64)> = TableDefinition::new("stores");
const STATE: TableDefinition<'_, (u32, &[u8]), &[u8]> = TableDefinition::new("state");
const LOG: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("log");

/// Log rows below the oldest revision that one commit removes, besides as many as it adds. Keeps
/// commits short after a large compaction; history on disk still shrinks faster than it grows.
const TRIM: u64 = 256;

/// A store as it was found in the file.
pub(crate) struct Loaded {
    pub(crate) name: Arc<str>,
    pub(crate) state: State,
}

/// What the journal knows of a store with rows in it.
#[derive(Clone, Copy, Debug)]
struct OnDisk {
    number: u32,
    /// No log row is older than this revision.
    log_start: u64,
}

pub(crate) struct Journal {
    database: Database,
    file: PathBuf,
    stores: BTreeMap<Arc<str>, OnDisk>,
    scratch: Vec<u8>,
}

impl Journal {
    pub(crate) fn open(path: &Path, options: Options) -> Result<(Self, Vec<Loaded>), OpenError> {
        let io = |source| from_io(path, source);
        match fs::metadata(path) {
            // What was cut to nothing must not pass for new: new files appear whole.
            Ok(found) if found.len() == 0 => {
                return Err(corrupt(path, "it is empty"));
            }
            Ok(_) => {}
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                create::<(), OpenError>(path, options, |_| Ok(()))?;
            }
            Err(other) => return Err(io(other)),
        }
        let disk = File::options().read(true).write(true).open(path).map_err(io)?;
        let disk = redb::backends::FileBackend::new(disk).map_err(|e| from_redb(path, e.into()))?;
        Self::open_on(disk, path.to_owned(), options)
    }

    pub(crate) fn open_on(
        disk: impl redb::StorageBackend,
        file: PathBuf,
        options: Options,
    ) -> Result<(Self, Vec<Loaded>), OpenError> {
        let database = redb::Builder::new()
            .set_cache_size(options.cache_bytes)
            // All of the file is about to be read anyway, and redb may panic on damage that it
            // was not asked to look for.
            .set_check_integrity_on_open(true)
            .create_with_backend(disk)
            .map_err(|e| from_redb(&file, e.into()))?;
        format::prepare(&database, &file)?;
        let mut journal = Self { database, file, stores: BTreeMap::new(), scratch: Vec::new() };
        let loaded = journal.load(options.history)?;
        Ok((journal, loaded))
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.file.clone()
    }

    /// Makes changes durable, and tells how long the disk took.
    pub(crate) fn append<'a>(
        &mut self,
        stores: impl Iterator<Item = &'a Writes>,
    ) -> Result<Duration, Failure> {
        self.try_append(stores).map_err(|source| self.failure(source))
    }

    /// Makes the end of a store durable.
    pub(crate) fn remove(&mut self, name: &Arc<str>) -> Result<(), Failure> {
        let Some(OnDisk { number, .. }) = self.stores.remove(name) else { return Ok(()) };
        self.try_remove(name, number).map_err(|source| self.failure(source))
    }

    fn try_append<'a>(&mut self, stores: impl Iterator<Item = &'a Writes>) -> Result<Duration, redb::Error> {
        let txn = self.database.begin_write()?;
        let mut tables = Tables::open(&txn)?;
        for writes in stores {
            let floor = writes.cell.state.read().floor();
            let mut on_disk = self.place(&writes.cell.name, floor);
            tables.write(writes, on_disk.number, floor, &mut self.scratch)?;
            on_disk.log_start = tables.trim(on_disk, floor, writes.events.len() as u64)?;
            self.stores.insert(writes.cell.name.clone(), on_disk);
        }
        drop(tables);
        commit(txn)
    }

    /// Where the rows of a store are, or will be.
    fn place(&self, name: &str, floor: u64) -> OnDisk {
        self.stores.get(name).copied().unwrap_or_else(|| {
            let number = self.stores.values().map(|store| store.number + 1).max().unwrap_or(0);
            OnDisk { number, log_start: floor + 1 }
        })
    }

    fn try_remove(&self, name: &str, number: u32) -> Result<(), redb::Error> {
        let txn = self.database.begin_write()?;
        Tables::open(&txn)?.remove(name, number)?;
        commit(txn).map(drop)
    }

    fn failure(&self, source: redb::Error) -> Failure {
        let (file, full) = (self.file(), io_kind(&source).is_some_and(is_full));
        let source = Arc::new(source);
        if full { Failure::Full { file, source } } else { Failure::Disk { file, source } }
    }
}

/// The tables that a commit changes.
struct Tables<'txn> {
    stores: Table<'txn, &'static [u8], (u32, u64, u64)>,
    state: Table<'txn, (u32, &'static [u8]), &'static [u8]>,
    log: Table<'txn, (u32, u64), &'static [u8]>,
}

impl<'txn> Tables<'txn> {
    fn open(txn: &'txn WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self { stores: txn.open_table(STORES)?, state: txn.open_table(STATE)?, log: txn.open_table(LOG)? })
    }

    fn write(
        &mut self,
        writes: &Writes,
        number: u32,
        floor: u64,
        row: &mut Vec<u8>,
    ) -> Result<(), redb::Error> {
        for event in &writes.events {
            let key = (number, event.key.as_bytes());
            match &event.entry {
                Some(entry) => {
                    row::encode_entry(row, entry);
                    self.state.insert(key, &**row)?;
                }
                None => drop(self.state.remove(key)?),
            }
            row::encode_event(row, event);
            self.log.insert((number, event.revision), &**row)?;
        }
        self.stores.insert(writes.cell.name.as_bytes(), (number, writes.revision, floor))?;
        Ok(())
    }

    /// Removes a slice of the log rows that no history needs, and tells where the log begins now.
    fn trim(&mut self, on_disk: OnDisk, floor: u64, added: u64) -> Result<u64, redb::Error> {
        let OnDisk { number, log_start } = on_disk;
        let end = (floor + 1).min(log_start + added + TRIM);
        if log_start < end {
            self.log.retain_in((number, log_start)..(number, end), |_, _| false)?;
        }
        Ok(end.max(log_start))
    }

    fn remove(&mut self, name: &str, number: u32) -> Result<(), redb::Error> {
        self.stores.remove(name.as_bytes())?;
        let (first, end) = ((number, &[][..]), (number + 1, &[][..]));
        self.state.retain_in::<(u32, &[u8]), _>(first..end, |_, _| false)?;
        self.log.retain_in((number, 0)..(number + 1, 0), |_, _| false)?;
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "measured for a counter, decides nothing")]
fn commit(txn: WriteTransaction) -> Result<Duration, redb::Error> {
    let began = Instant::now();
    txn.commit()?;
    Ok(began.elapsed())
}

/// Makes a new file that is whole before it has its name, and keeps the name.
fn create<T, E: From<OpenError>>(
    path: &Path,
    options: Options,
    fill: impl FnOnce(&Database) -> Result<T, E>,
) -> Result<T, E> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    // What is left of an earlier attempt is of no use to anybody.
    remove_file(&unfinished).map_err(|e| from_io(path, e))?;
    let filled = (|| {
        let database = new_database(&unfinished, options).map_err(|e| from_redb(path, e))?;
        format::prepare(&database, path)?;
        fill(&database)
    })();
    if filled.is_err()
        && let Err(left) = remove_file(&unfinished)
    {
        tracing::warn!(file = %unfinished.display(), error = %left, "cannot remove an unfinished file");
    }
    let filled = filled?;
    name(&unfinished, path).map_err(|e| from_io(path, e))?;
    Ok(filled)
}

/// A database that nobody else may read: the values have Secrets among them.
fn new_database(path: &Path, options: Options) -> Result<Database, redb::Error> {
    let mut private = File::options();
    private.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut private, 0o600);
    let disk = redb::backends::FileBackend::new(private.open(path).map_err(redb::Error::Io)?)?;
    Ok(redb::Builder::new().set_cache_size(options.cache_bytes).create_with_backend(disk)?)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives a synced file its name, durably.
fn name(unfinished: &Path, path: &Path) -> io::Result<()> {
    fs::rename(unfinished, path)?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn corrupt(file: &Path, reason: impl Into<String>) -> OpenError {
    OpenError::Corrupt { file: file.to_owned(), reason: reason.into() }
}

fn from_io(file: &Path, source: io::Error) -> OpenError {
    from_redb(file, redb::Error::Io(source))
}

fn from_redb(path: &Path, source: redb::Error) -> OpenError {
    use io::ErrorKind::{InvalidData, PermissionDenied, ReadOnlyFilesystem, UnexpectedEof};
    let file = path.to_owned();
    match source {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => OpenError::Locked { file },
        redb::Error::Io(source) => match source.kind() {
            InvalidData | UnexpectedEof => corrupt(path, source.to_string()),
            PermissionDenied | ReadOnlyFilesystem => OpenError::ReadOnly { file, source },
            kind if is_full(kind) => OpenError::Full { file, source },
            _ => OpenError::Io { file, source },
        },
        redb::Error::Corrupted(reason) => corrupt(path, reason),
        // Tables of other types, versions of redb that never wrote our files, and the like.
        other => corrupt(path, other.to_string()),
    }
}

fn io_kind(error: &redb::Error) -> Option<io::ErrorKind> {
    match error {
        redb::Error::Io(error) => Some(error.kind()),
        _ => None,
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | FileTooLarge)
}
