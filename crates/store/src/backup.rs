//! Backups: all stores at one moment, as one stream of bytes.
//!
//! ```text
//! "windlass store\n" format:u32 record* sha256 of all before
//! record = 1 name revision:u64             a store
//!        | 2 key create:u64 mod:u64 value  a key of it, in key order
//!        | 0                               the end
//! ```
//!
//! Names, keys and values are their length, a u32, and their bytes. Numbers are little-endian.

use std::io::{self, Read, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::FIRST_REVISION;
use crate::entry::Entry;
use crate::error::{OpenError, RestoreError};
use crate::journal::Restore;
use crate::state::State;

const MAGIC: &[u8; 15] = b"windlass store\n";
const FORMAT: u32 = 1;

const END: u8 = 0;
const STORE: u8 = 1;
const KEY: u8 = 2;

/// A stream and the checksum of what has passed through it.
struct Summed<S> {
    stream: S,
    sum: Sha256,
}

impl<S> Summed<S> {
    fn new(stream: S) -> Self {
        Self { stream, sum: Sha256::new() }
    }
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.stream.write_all(bytes)
    }

    fn put_sized(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.put(&length.to_le_bytes())?;
        self.put(bytes)
    }
}

pub(crate) fn write<'a>(
    out: &mut impl Write,
    stores: impl Iterator<Item = (&'a str, impl Deref<Target = State>)>,
) -> io::Result<()> {
    let mut out = Summed::new(io::BufWriter::new(out));
    out.put(MAGIC)?;
    out.put(&FORMAT.to_le_bytes())?;
    for (name, state) in stores {
        out.put(&[STORE])?;
        out.put_sized(name.as_bytes())?;
        out.put(&state.revision().to_le_bytes())?;
        for Entry { key, value, mod_revision, create_revision } in state.entries().map(|e| &**e) {
            out.put(&[KEY])?;
            out.put_sized(key.as_bytes())?;
            out.put(&create_revision.to_le_bytes())?;
            out.put(&mod_revision.to_le_bytes())?;
            out.put_sized(value)?;
        }
    }
    out.put(&[END])?;
    let Summed { mut stream, sum } = out;
    stream.write_all(&sum.finalize())?;
    stream.flush()
}

fn damaged(reason: impl Into<String>) -> RestoreError {
    RestoreError::Damaged { reason: reason.into() }
}

impl<R: Read> Summed<R> {
    fn get<const N: usize>(&mut self) -> Result<[u8; N], RestoreError> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).map_err(ended)?;
        self.sum.update(bytes);
        Ok(bytes)
    }

    fn get_u64(&mut self) -> Result<u64, RestoreError> {
        self.get().map(u64::from_le_bytes)
    }

    fn get_sized(&mut self) -> Result<Vec<u8>, RestoreError> {
        let length = u64::from(u32::from_le_bytes(self.get()?));
        let mut bytes = Vec::new();
        // Not allocated at once: the length may be damaged.
        let found = (&mut self.stream).take(length).read_to_end(&mut bytes).map_err(ended)?;
        if found as u64 != length {
            return Err(damaged("it ends too soon"));
        }
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn get_text(&mut self) -> Result<Arc<str>, RestoreError> {
        let bytes = self.get_sized()?;
        String::from_utf8(bytes).map(Arc::from).map_err(|_| damaged("a name is not text"))
    }
}

fn ended(error: io::Error) -> RestoreError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it ends too soon"),
        _ => RestoreError::Read(error),
    }
}

/// Makes the store file `path` from a backup written by [`Engine::export`](crate::Engine::export).
///
/// Every store goes on `ahead` revisions after the one it had, with no history before: clients
/// that saw revisions later than the backup must list again instead of mistaking new changes for
/// those they know. A million is more than enough between two backups.
///
/// The file appears only when all of the backup was read and its checksum was right. Fails if
/// there is a file already.
pub fn restore(path: &Path, from: &mut impl Read, ahead: u64) -> Result<Contents, RestoreError> {
    let mut from = Summed::new(io::BufReader::new(from));
    Restore::new_file(path, |mut journal| {
        read_header(&mut from)?;
        let contents = read_records(&mut from, &mut journal, ahead)?;
        journal.finish()?;
        Ok(contents)
    })
}

fn read_header(from: &mut Summed<impl Read>) -> Result<(), RestoreError> {
    let magic = from.get().map_err(|error| match error {
        RestoreError::Damaged { .. } => RestoreError::NotABackup,
        other => other,
    })?;
    if magic != *MAGIC {
        return Err(RestoreError::NotABackup);
    }
    match u32::from_le_bytes(from.get()?) {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(RestoreError::Newer { found, supported: FORMAT }),
        found => Err(damaged(format!("there is no format {found}"))),
    }
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Stores.
    pub stores: u64,
    /// Keys of all stores.
    pub keys: u64,
    /// Bytes of all values.
    pub bytes: u64,
}

/// Reads a backup to its end and tells what is in it, if all of it is there and right.
pub fn verify(from: &mut impl Read) -> Result<Contents, RestoreError> {
    let mut from = Summed::new(io::BufReader::new(from));
    read_header(&mut from)?;
    read_records(&mut from, &mut (), 0)
}

/// What becomes of the records of a backup.
trait Sink {
    fn store(&mut self, name: &str, revision: u64) -> Result<(), OpenError>;
    fn entry(&mut self, entry: &Entry) -> Result<(), OpenError>;
}

impl Sink for Restore<'_> {
    fn store(&mut self, name: &str, revision: u64) -> Result<(), OpenError> {
        Restore::store(self, name, revision)
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), OpenError> {
        Restore::entry(self, entry)
    }
}

/// Looks at them only.
impl Sink for () {
    fn store(&mut self, _name: &str, _revision: u64) -> Result<(), OpenError> {
        Ok(())
    }

    fn entry(&mut self, _entry: &Entry) -> Result<(), OpenError> {
        Ok(())
    }
}

fn read_records(
    from: &mut Summed<impl Read>,
    sink: &mut impl Sink,
    ahead: u64,
) -> Result<Contents, RestoreError> {
    let mut contents = Contents::default();
    let mut last = None;
    loop {
        match (from.get()?, last) {
            ([STORE], _) => {
                let (name, revision) = (from.get_text()?, from.get_u64()?);
                let continued = revision.checked_add(ahead).filter(|_| revision >= FIRST_REVISION);
                let continued = continued.ok_or_else(|| damaged("a revision is out of range"))?;
                sink.store(&name, continued)?;
                contents.stores += 1;
                last = Some(revision);
            }
            ([KEY], Some(revision)) => {
                let (key, create_revision, mod_revision) =
                    (from.get_text()?, from.get_u64()?, from.get_u64()?);
                if !(create_revision <= mod_revision && mod_revision <= revision) {
                    return Err(damaged("a revision is out of range"));
                }
                let value = Bytes::from(from.get_sized()?);
                contents.keys += 1;
                contents.bytes += value.len() as u64;
                sink.entry(&Entry { key, value, mod_revision, create_revision })?;
            }
            ([END], _) => break,
            ([_], _) => return Err(damaged("a record is of no known kind")),
        }
    }
    let expected = from.sum.clone().finalize();
    if from.get::<32>()? != expected[..] {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(contents)
}
