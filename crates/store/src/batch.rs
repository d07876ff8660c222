//! What a group of transactions does: conflicts, revisions, and the events to publish.
//!
//! One batch is decided, made durable and published before the next one is begun, so the state
//! of a store and what the batch itself adds to it is all there is to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::entry::{Entry, Event};
use crate::error::CommitError;
use crate::state::{Fate, State};
use crate::store::Cell;
use crate::txn::{Committed, Expect, Op, Txn};

/// The changes of one store in a batch.
pub(crate) struct Writes {
    pub(crate) cell: Arc<Cell>,
    /// The store's revision after these.
    pub(crate) revision: u64,
    pub(crate) events: Vec<Arc<Event>>,
    /// The keys changed so far, as they are now.
    changed: BTreeMap<Arc<str>, Option<Arc<Entry>>>,
}

impl Writes {
    fn new(cell: &Arc<Cell>, state: &State) -> Self {
        Self { cell: cell.clone(), revision: state.revision(), events: Vec::new(), changed: BTreeMap::new() }
    }

    fn current<'a>(&'a self, state: &'a State, key: &str) -> Option<&'a Arc<Entry>> {
        match self.changed.get(key) {
            Some(changed) => changed.as_ref(),
            None => state.get(key),
        }
    }

    fn check(&self, state: &State, op: &Op) -> Result<(), CommitError> {
        let current = self.current(state, op.key()).map(|entry| entry.mod_revision);
        let holds = match (op, op.expect()) {
            (Op::Delete { key, .. }, Expect::Absent) => {
                return Err(CommitError::DeleteAbsent { key: key.clone() });
            }
            (Op::Put { .. }, Expect::Absent) => current.is_none(),
            (Op::Put { .. } | Op::Delete { .. }, Expect::Revision(revision)) => current == Some(revision),
            (Op::Put { .. }, Expect::Any) => true,
            (Op::Delete { .. }, Expect::Any) => current.is_some(),
        };
        if holds {
            return Ok(());
        }
        Err(CommitError::Conflict { key: op.key().clone(), expected: op.expect(), current })
    }

    fn take(&mut self, state: &State, op: Op) {
        self.revision += 1;
        let revision = self.revision;
        let previous = self.current(state, op.key()).cloned();
        // All versions of a key share one copy of its name.
        let named = |key| previous.as_ref().map_or(key, |entry| entry.key.clone());
        let (key, entry) = match op {
            Op::Put { key, value, .. } => {
                let key = named(key);
                let entry = Entry {
                    key: key.clone(),
                    value,
                    mod_revision: revision,
                    create_revision: previous.as_ref().map_or(revision, |e| e.create_revision),
                };
                (key, Some(Arc::new(entry)))
            }
            Op::Delete { key, .. } => (named(key), None),
        };
        self.changed.insert(key.clone(), entry.clone());
        self.events.push(Arc::new(Event { revision, key, entry, previous }));
    }
}

/// Transactions that become durable together.
#[derive(Default)]
pub(crate) struct Batch {
    stores: BTreeMap<u64, Writes>,
}

impl Batch {
    /// Decides a transaction, as if all those before it in the batch had happened.
    pub(crate) fn add(&mut self, cell: &Arc<Cell>, txn: Txn) -> Result<Committed, CommitError> {
        let state = cell.state.read();
        let store = || cell.name.clone();
        match state.fate() {
            Fate::Open => {}
            Fate::Removed => return Err(CommitError::Removed { store: store() }),
            Fate::Closed => return Err(CommitError::Closed { store: store() }),
        }
        let writes = self.stores.entry(cell.serial).or_insert_with(|| Writes::new(cell, &state));
        let mut keys = BTreeSet::new();
        for op in &txn.ops {
            if !keys.insert(op.key().clone()) {
                return Err(CommitError::Twice { key: op.key().clone() });
            }
            writes.check(&state, op)?;
        }
        let start = writes.revision + 1;
        for op in txn.ops {
            writes.take(&state, op);
        }
        Ok(Committed { revisions: start..writes.revision + 1 })
    }

    /// The stores that change, in the order in which they were opened.
    pub(crate) fn writes(&self) -> impl Iterator<Item = &Writes> {
        self.stores.values().filter(|writes| !writes.events.is_empty())
    }

    /// Number of changes.
    pub(crate) fn ops(&self) -> usize {
        self.stores.values().map(|writes| writes.events.len()).sum()
    }

    /// Shows the changes to readers and watchers.
    pub(crate) fn publish(self) {
        for Writes { cell, events, .. } in self.stores.into_values() {
            let woken = cell.state.write().apply(events);
            for slot in woken {
                slot.wake();
            }
        }
    }
}
