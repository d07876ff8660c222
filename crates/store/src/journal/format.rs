//! The version of the layout: written into every file, looked at before anything else is, raised by migrations.

use std::path::Path;

use redb::{Database, TableDefinition, WriteTransaction};

use super::{LOG, STATE, STORES, corrupt, from_redb};
use crate::error::OpenError;

/// The version of the layout in [`super`]. A change that older code would misread raises it and adds a migration.
const FORMAT: u64 = 2;

/// Changes a file in the transaction that raises its format.
type Migration = fn(&WriteTransaction) -> Result<(), redb::Error>;

/// Each leads a file of format `i + 1` to format `i + 2`.
const MIGRATIONS: [Migration; 1] = [add_about];
const _: () =
    assert!(MIGRATIONS.len() as u64 + 1 == FORMAT, "every format but the first has a migration to it");

const META: TableDefinition<'_, &[u8], u64> = TableDefinition::new("meta");
const FORMAT_KEY: &[u8] = b"format";

const ABOUT: TableDefinition<'_, &str, &str> = TableDefinition::new("about");
const WRITER_KEY: &str = "writer";
/// Errors about files of later formats say which program to use.
const WRITER: &str = concat!("windlass ", env!("CARGO_PKG_VERSION"));

/// Brings a file to the current format: one that has none gets it, an older one is migrated step by step. A file of
/// a later format is refused and not changed.
pub(super) fn prepare(database: &Database, file: &Path) -> Result<(), OpenError> {
    let error = |source| from_redb(file, source);
    loop {
        match format(database).map_err(error)? {
            None => return initialise(database).map_err(error),
            Some(FORMAT) => return sign(database).map_err(error),
            Some(found) if found > FORMAT => {
                let writer = writer(database).unwrap_or_else(|| "a later version".to_owned());
                return Err(OpenError::Newer { file: file.to_owned(), found, supported: FORMAT, writer });
            }
            Some(found) => {
                let step =
                    found.checked_sub(1).and_then(|index| MIGRATIONS.get(usize::try_from(index).ok()?));
                let step = step.ok_or_else(|| corrupt(file, format!("there is no format {found}")))?;
                migrate(database, found + 1, *step).map_err(error)?;
                tracing::info!(file = %file.display(), from = found, to = found + 1, "the file has a new format");
            }
        }
    }
}

/// The format of a file; none if nothing was ever written to it.
fn format(database: &Database) -> Result<Option<u64>, redb::Error> {
    let txn = redb::ReadableDatabase::begin_read(database)?;
    if txn.list_tables()?.next().is_none() {
        return Ok(None);
    }
    let meta = match txn.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Some(0)),
        other => other?,
    };
    Ok(Some(meta.get(FORMAT_KEY)?.map_or(0, |format| format.value())))
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let txn = database.begin_write()?;
    txn.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    txn.open_table(STORES)?;
    txn.open_table(STATE)?;
    txn.open_table(LOG)?;
    txn.open_table(ABOUT)?.insert(WRITER_KEY, WRITER)?;
    txn.commit()?;
    Ok(())
}

fn migrate(database: &Database, to: u64, step: Migration) -> Result<(), redb::Error> {
    let txn = database.begin_write()?;
    step(&txn)?;
    txn.open_table(META)?.insert(FORMAT_KEY, to)?;
    txn.commit()?;
    Ok(())
}

/// 1 → 2: who wrote the file.
fn add_about(txn: &WriteTransaction) -> Result<(), redb::Error> {
    txn.open_table(ABOUT)?.insert(WRITER_KEY, WRITER)?;
    Ok(())
}

/// Notes this program as the one that writes from now on.
fn sign(database: &Database) -> Result<(), redb::Error> {
    if writer(database).as_deref() == Some(WRITER) {
        return Ok(());
    }
    let txn = database.begin_write()?;
    txn.open_table(ABOUT)?.insert(WRITER_KEY, WRITER)?;
    txn.commit()?;
    Ok(())
}

/// The program that opened the file last. Later formats may have changed even this.
fn writer(database: &Database) -> Option<String> {
    let txn = redb::ReadableDatabase::begin_read(database).ok()?;
    let about = txn.open_table(ABOUT).ok()?;
    Some(about.get(WRITER_KEY).ok()??.value().to_owned())
}
