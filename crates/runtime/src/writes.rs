//! Read-your-writes: what the cache must have seen before an object may have its next pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use windlass_model::{Key, Uid};

use crate::kind::GroupKind;

/// One thing that the cache of a kind must have seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// The watch has reached this resource version.
    Version(u64),
    /// This incarnation is gone, or marked as going.
    Gone(Key, Uid),
    /// The object has another resource version than this one, or is gone: what a conflict tells us.
    Moved(Key, u64),
}

/// All that one object waits for, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs(BTreeMap<GroupKind, BTreeSet<Need>>);

impl Needs {
    /// Adds a need; of versions of one kind the highest is enough.
    pub(crate) fn add(&mut self, kind: GroupKind, need: Need) {
        let needs = self.0.entry(kind).or_default();
        if let Need::Version(version) = need {
            let higher = needs.iter().any(|known| matches!(known, Need::Version(seen) if *seen >= version));
            if higher {
                return;
            }
            needs.retain(|known| !matches!(known, Need::Version(_)));
        }
        needs.insert(need);
    }

    /// The first need that `unmet` cannot tick off; needs that are met are dropped on the way.
    pub(crate) fn first_unmet(
        &mut self,
        mut check: impl FnMut(&GroupKind, &Need) -> Check,
    ) -> Option<GroupKind> {
        let mut behind = None;
        for (kind, needs) in &mut self.0 {
            needs.retain(|need| {
                if behind.is_some() {
                    return true;
                }
                match check(kind, need) {
                    Check::Met => false,
                    // The watch may start later, and then it counts how far it has come.
                    Check::Unwatched => matches!(need, Need::Version(_)),
                    Check::Waiting => {
                        behind = Some(kind.clone());
                        true
                    }
                }
            });
        }
        self.0.retain(|_, needs| !needs.is_empty());
        behind
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the cache says about a need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Seen.
    Met,
    /// Not yet: the cache wakes the asker when it might be.
    Waiting,
    /// Nobody watches this kind, so nobody can read a stale copy of it either.
    Unwatched,
}

/// The needs of every object of one controller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes(Arc<Mutex<BTreeMap<Key, Needs>>>);

impl Writes {
    /// Notes a need of `key`.
    pub(crate) fn add(&self, key: &Key, kind: GroupKind, need: Need) {
        self.0.lock().entry(key.clone()).or_default().add(kind, need);
    }

    /// The kind that `key` still waits for; forgets what has been seen.
    pub(crate) fn unmet(
        &self,
        key: &Key,
        check: impl FnMut(&GroupKind, &Need) -> Check,
    ) -> Option<GroupKind> {
        // Taken out for the check: it runs under the locks of the cache, which must never wait for this one.
        let mut needs = self.0.lock().remove(key)?;
        let behind = needs.first_unmet(check);
        if !needs.is_empty() {
            self.0.lock().insert(key.clone(), needs);
        }
        behind
    }

    /// The object is gone and so are its needs.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}
