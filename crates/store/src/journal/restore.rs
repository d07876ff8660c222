//! Filling a new journal from a backup.

use std::path::Path;

use redb::{Database, WriteTransaction};

use super::{STATE, STORES, create, from_redb, row};
use crate::engine::Options;
use crate::entry::Entry;
use crate::error::{OpenError, RestoreError};

/// How much is written to the file before it is synced: bounds the memory a restore takes.
const SLICE: usize = 16 << 20;

/// A journal that is being filled. It gets its name when all of it was right.
pub(crate) struct Restore<'a> {
    database: &'a Database,
    file: &'a Path,
    txn: Option<WriteTransaction>,
    unsynced: usize,
    number: u32,
}

impl Restore<'_> {
    pub(crate) fn new_file<T>(
        file: &Path,
        fill: impl FnOnce(Restore<'_>) -> Result<T, RestoreError>,
    ) -> Result<T, RestoreError> {
        if file.try_exists().map_err(|e| super::from_io(file, e))? {
            return Err(RestoreError::Exists { file: file.to_owned() });
        }
        create(file, Options::default(), |database| {
            fill(Restore { database, file, txn: None, unsynced: 0, number: 0 })
        })
    }

    /// Begins a store, whose history begins at `revision`.
    pub(crate) fn store(&mut self, name: &str, revision: u64) -> Result<(), OpenError> {
        self.number += 1;
        let row = (self.number, revision, revision);
        self.write(name.len(), |txn| {
            txn.open_table(STORES)?.insert(name.as_bytes(), row)?;
            Ok(())
        })
    }

    /// Adds a key to the store begun last.
    pub(crate) fn entry(&mut self, entry: &Entry) -> Result<(), OpenError> {
        let key = (self.number, entry.key.as_bytes());
        let mut value = Vec::new();
        row::encode_entry(&mut value, entry);
        self.write(value.len(), |txn| {
            txn.open_table(STATE)?.insert(key, &*value)?;
            Ok(())
        })
    }

    pub(crate) fn finish(mut self) -> Result<(), OpenError> {
        self.sync().map_err(|e| from_redb(self.file, e))
    }

    fn write(
        &mut self,
        size: usize,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), OpenError> {
        self.try_write(size, change).map_err(|e| from_redb(self.file, e))
    }

    fn try_write(
        &mut self,
        size: usize,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let txn = match self.txn.take() {
            Some(txn) => txn,
            None => self.database.begin_write()?,
        };
        change(&txn)?;
        self.txn = Some(txn);
        self.unsynced += size;
        if self.unsynced < SLICE { Ok(()) } else { self.sync() }
    }

    fn sync(&mut self) -> Result<(), redb::Error> {
        self.unsynced = 0;
        match self.txn.take() {
            Some(txn) => Ok(txn.commit()?),
            None => Ok(()),
        }
    }
}
