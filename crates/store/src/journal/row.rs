//! The bytes of one row. Numbers are little-endian.
//!
//! A version is its creation and modification revision, 8 bytes each, and its value. A log row is
//! the length of the key, 4 bytes, the key, and the replaced version, if there was one.

use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Entry, Event};

pub(super) fn encode_entry(row: &mut Vec<u8>, entry: &Entry) {
    row.clear();
    put_entry(row, entry);
}

pub(super) fn encode_event(row: &mut Vec<u8>, event: &Event) {
    row.clear();
    let length = u32::try_from(event.key.len()).expect("redb takes no keys of 4 GiB");
    row.extend_from_slice(&length.to_le_bytes());
    row.extend_from_slice(event.key.as_bytes());
    if let Some(previous) = &event.previous {
        put_entry(row, previous);
    }
}

fn put_entry(row: &mut Vec<u8>, entry: &Entry) {
    row.extend_from_slice(&entry.create_revision.to_le_bytes());
    row.extend_from_slice(&entry.mod_revision.to_le_bytes());
    row.extend_from_slice(&entry.value);
}

/// None if the row cannot be one of ours.
pub(super) fn decode_entry(key: &Arc<str>, row: &[u8]) -> Option<Arc<Entry>> {
    let (create, row) = row.split_first_chunk()?;
    let (modified, value) = row.split_first_chunk()?;
    let (create_revision, mod_revision) = (u64::from_le_bytes(*create), u64::from_le_bytes(*modified));
    (create_revision <= mod_revision).then(|| {
        let value = Bytes::copy_from_slice(value);
        Arc::new(Entry { key: key.clone(), value, mod_revision, create_revision })
    })
}

/// The key of a log row, and what is left of the row: the replaced version, or nothing.
pub(super) fn split_event(row: &[u8]) -> Option<(&str, &[u8])> {
    let (length, row) = row.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (key, previous) = row.split_at_checked(length)?;
    Some((std::str::from_utf8(key).ok()?, previous))
}
