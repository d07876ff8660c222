//! Reading a journal back, and refusing one that contradicts itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase};

use super::{Journal, LOG, Loaded, OnDisk, STATE, STORES, corrupt, from_redb, row};
use crate::FIRST_REVISION;
use crate::entry::{Entry, Event};
use crate::error::OpenError;
use crate::state::{History, Index, State};

/// What was found wrong, and where.
enum Fault {
    Redb(redb::Error),
    Contradiction(String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

/// The row of a store in the table of stores.
struct Header {
    name: Arc<str>,
    number: u32,
    revision: u64,
    floor: u64,
}

impl Header {
    fn fault(&self, what: &str, why: &str) -> Fault {
        Fault::Contradiction(format!("store {:?}, {what}: {why}", self.name))
    }
}

impl Journal {
    /// The stores with as much of their history as the limits allow.
    pub(super) fn load(&mut self, limits: History) -> Result<Vec<Loaded>, OpenError> {
        self.try_load(limits).map_err(|fault| match fault {
            Fault::Redb(error) => from_redb(&self.file, error),
            Fault::Contradiction(reason) => corrupt(&self.file, reason),
        })
    }

    fn try_load(&mut self, limits: History) -> Result<Vec<Loaded>, Fault> {
        let txn = self.database.begin_read()?;
        let mut loaded = Vec::new();
        for header in headers(&txn)? {
            let index = read_index(&txn.open_table(STATE)?, &header)?;
            let log = txn.open_table(LOG)?;
            let events = read_events(&log, &header, &index, limits)?;
            let mut rows = log.range((header.number, 0)..(header.number + 1, 0))?;
            let log_start = match rows.next().transpose()? {
                Some((first, _)) => first.value().1,
                None => header.revision + 1,
            };
            let on_disk = OnDisk { number: header.number, log_start };
            self.stores.insert(header.name.clone(), on_disk);
            let state = State::loaded(header.revision, index, events, limits);
            loaded.push(Loaded { name: header.name, state });
        }
        Ok(loaded)
    }
}

fn headers(txn: &ReadTransaction) -> Result<Vec<Header>, Fault> {
    let stores = txn.open_table(STORES)?;
    let mut names = BTreeMap::new();
    let mut headers = Vec::new();
    for row in redb::ReadableTable::iter(&stores)? {
        let (name, value) = row?;
        let (number, revision, floor) = value.value();
        let Ok(name) = std::str::from_utf8(name.value()) else {
            return Err(Fault::Contradiction(format!("store number {number}: its name is not text")));
        };
        let header = Header { name: name.into(), number, revision, floor };
        if !(FIRST_REVISION <= floor && floor <= revision) {
            return Err(header.fault("revisions", "they are out of order"));
        }
        if let Some(other) = names.insert(number, header.name.clone()) {
            return Err(header.fault("number", &format!("it is that of store {other:?}")));
        }
        headers.push(header);
    }
    Ok(headers)
}

fn read_index(state: &ReadOnlyTable<(u32, &[u8]), &[u8]>, header: &Header) -> Result<Index, Fault> {
    let mut index = Index::new();
    let (first, end) = ((header.number, &[][..]), (header.number + 1, &[][..]));
    for row in state.range::<(u32, &[u8])>(first..end)? {
        let (key, value) = row?;
        let bytes = key.value().1;
        let key: Arc<str> = match std::str::from_utf8(bytes) {
            Ok(key) => key.into(),
            Err(_) => return Err(header.fault(&format!("key {bytes:?}"), "it is not text")),
        };
        let entry = row::decode_entry(&key, value.value())
            .filter(|entry| entry.mod_revision <= header.revision)
            .ok_or_else(|| header.fault(&format!("key {key:?}"), "its value cannot be read"))?;
        index.insert(key, entry);
    }
    Ok(index)
}

/// Walks from the newest change back, from each key's latest version to those before it.
fn read_events(
    log: &ReadOnlyTable<(u32, u64), &[u8]>,
    header: &Header,
    index: &Index,
    limits: History,
) -> Result<VecDeque<Arc<Event>>, Fault> {
    // The versions of keys that differ from the index, as of the change looked at.
    let mut then: BTreeMap<Arc<str>, Option<Arc<Entry>>> = BTreeMap::new();
    let mut events = VecDeque::new();
    let mut bytes = 0;
    let mut rows = log.range((header.number, header.floor + 1)..(header.number + 1, 0))?;
    for revision in (header.floor + 1..=header.revision).rev() {
        if events.len() >= limits.events || bytes > limits.bytes {
            break;
        }
        let fault = |why| header.fault(&format!("change {revision}"), why);
        let Some((found, value)) = rows.next_back().transpose()? else {
            return Err(fault("it is missing"));
        };
        if found.value().1 != revision {
            return Err(fault("it is missing"));
        }
        let (key, previous) = row::split_event(value.value()).ok_or_else(|| fault("it cannot be read"))?;
        let (key, entry) = match (then.get_key_value(key), index.get_key_value(key)) {
            (Some((key, entry)), _) => (key.clone(), entry.clone()),
            (None, Some((key, entry))) => (key.clone(), Some(entry.clone())),
            (None, None) => (key.into(), None),
        };
        if entry.as_ref().is_some_and(|entry| entry.mod_revision != revision) {
            return Err(fault(&format!("it does not lead to what key {key:?} is")));
        }
        let previous = match previous {
            [] => None,
            version => Some(
                row::decode_entry(&key, version)
                    .filter(|previous| previous.mod_revision < revision)
                    .ok_or_else(|| fault("the version it replaced cannot be read"))?,
            ),
        };
        if entry.is_none() && previous.is_none() {
            return Err(fault("it deletes what was not there"));
        }
        bytes += value.value().len();
        then.insert(key.clone(), previous.clone());
        events.push_front(Arc::new(Event { revision, key, entry, previous }));
    }
    let oldest = header.revision - events.len() as u64;
    match index.values().find(|entry| entry.mod_revision > oldest && !then.contains_key(&entry.key)) {
        Some(entry) => Err(header.fault(&format!("key {:?}", entry.key), "no change leads to its value")),
        None => Ok(events),
    }
}
