//! Transactions: what to change, and what must hold for it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// What a key must look like for an operation to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist. (Only for a put.)
    Absent,
    /// The key's latest version was written by this revision.
    Revision(u64),
    /// A put takes whatever is there. A delete takes any version, but there must be one: without
    /// a change there is no revision to give back.
    Any,
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no such key"),
            Self::Revision(revision) => write!(f, "revision {revision}"),
            Self::Any => f.write_str("any revision"),
        }
    }
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    Put { key: Arc<str>, value: Bytes, expect: Expect },
    Delete { key: Arc<str>, expect: Expect },
}

impl Op {
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    pub fn expect(&self) -> Expect {
        match self {
            Self::Put { expect, .. } | Self::Delete { expect, .. } => *expect,
        }
    }
}

/// Values may hold Secrets: only their length is shown.
impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, expect } => {
                write!(f, "put {key} ({} bytes) over {expect}", value.len())
            }
            Self::Delete { key, expect } => write!(f, "delete {key} at {expect}"),
        }
    }
}

/// Operations that happen together or not at all, in this order, each with a revision of its own.
///
/// A key appears at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    pub ops: Vec<Op>,
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    /// The store keeps `value` as it is: a slice of a larger buffer keeps all of that buffer
    /// alive, so copy it out first.
    pub fn put(mut self, key: impl Into<Arc<str>>, value: impl Into<Bytes>, expect: Expect) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), expect });
        self
    }

    pub fn delete(mut self, key: impl Into<Arc<str>>, expect: Expect) -> Self {
        self.ops.push(Op::Delete { key: key.into(), expect });
        self
    }

    /// How much there is to write, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let size = |op: &Op| match op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete { key, .. } => key.len(),
        };
        self.ops.iter().map(size).sum()
    }
}

/// A transaction that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Operation `i` has revision `revisions.start + i`.
    pub revisions: Range<u64>,
}

impl Committed {
    /// The revision of the last operation; for an empty transaction, that of the store.
    pub fn revision(&self) -> u64 {
        self.revisions.end - 1
    }
}
