//! One version of one key, and the change that made it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One version of one key. Immutable; shared by readers, watchers and history.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: Bytes,
    /// The revision that wrote this version.
    pub mod_revision: u64,
    /// The revision at which the key last came into being.
    pub create_revision: u64,
}

/// Values may hold Secrets: only their length is shown.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, mod_revision, create_revision } = self;
        write!(f, "{key}@{mod_revision} (since {create_revision}, {} bytes)", value.len())
    }
}

/// What an [`Event`] did to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Put,
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub revision: u64,
    pub key: Arc<str>,
    /// The new version; none when the key was deleted.
    pub entry: Option<Arc<Entry>>,
    /// The version that was replaced or deleted; none when the key was created.
    pub previous: Option<Arc<Entry>>,
}

impl Event {
    pub fn kind(&self) -> Kind {
        if self.entry.is_some() { Kind::Put } else { Kind::Delete }
    }
}
