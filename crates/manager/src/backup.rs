//! Backups of a plane: its database, and the files of its folder that a database does not replace.
//!
//! The files travel as one more store of the backup. A restore writes the database first, with that store in it; the
//! files are put in their place when the database is next opened. A crash in between loses nothing.

use std::io::{self, Read, Write};

use futures::FutureExt as _;
use windlass_store::{Engine, Expect, OpenError, Options, Txn};

use crate::data_dir::{DataDir, DataDirError};

pub use windlass_store::{Contents, RestoreError, verify};

/// The store of the files; a plane that runs has none of this name.
const FILES: &str = "data-directory";

/// The plane's authority: without it every kubeconfig that people hold would be worthless.
const AUTHORITY: [&str; 2] = ["ca.crt", "ca.key"];

/// How far ahead a restored plane counts. No client can have seen that many changes since the backup, so none takes
/// a new change for one that it knows: all list again.
const AHEAD: u64 = 1_000_000;

/// A folder of which there can be no backup.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Its database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read, or the backup not be written.
    #[error("cannot write the backup")]
    Write(#[from] io::Error),
}

/// A restored database could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A file cannot be put in its place.
    #[error(transparent)]
    File(#[from] DataDirError),
    /// The database takes no writes.
    #[error("cannot finish the restore")]
    Database(#[from] windlass_store::CommitError),
}

/// Writes a backup of everything as it is at this moment; commits go on meanwhile. Blocking.
///
/// # Errors
/// When the folder's files cannot be read, or `out` takes no more.
pub fn export(engine: &Engine, dir: &DataDir, mut out: &mut dyn Write) -> io::Result<()> {
    let copy = engine.fork();
    for name in AUTHORITY {
        let content = match std::fs::read(dir.pki(name)) {
            Ok(content) => content,
            // A plane that never listened has none.
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let files = copy.store(FILES);
        let kept = files.commit(Txn::new().put(name, content, Expect::Any)).now_or_never();
        kept.expect("an engine in memory never waits").map_err(io::Error::other)?;
    }
    copy.export(&mut out)
}

/// Writes a backup of a plane that does not run. Blocking. Hold the folder's lock meanwhile.
///
/// # Errors
/// When the database cannot be opened, and as [`export`].
pub fn of_folder(dir: &DataDir, out: &mut dyn Write) -> Result<(), ExportError> {
    let engine = Engine::open(&dir.database(), Options::default())?;
    Ok(export(&engine, dir, out)?)
}

/// Makes a plane's database from a backup, in a folder that has none. Blocking. Hold the folder's lock meanwhile.
///
/// # Errors
/// When the backup is damaged or of a later format, or there is a database already; nothing is left behind then.
pub fn restore(dir: &DataDir, from: &mut impl Read) -> Result<Contents, RestoreError> {
    windlass_store::restore(&dir.database(), from, AHEAD)
}

/// Puts the files of a restored database in their place, once.
pub(crate) async fn unpack(engine: &Engine, dir: &DataDir) -> Result<(), UnpackError> {
    if !engine.names().iter().any(|name| name == FILES) {
        return Ok(());
    }
    let files = engine.store(FILES);
    for name in AUTHORITY {
        if let Some(entry) = files.get(name) {
            dir.write_private(&dir.pki(name), &entry.value)?;
        }
    }
    engine.remove(FILES).await?;
    tracing::info!("the authority is that of the backup");
    Ok(())
}
