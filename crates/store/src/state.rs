//! A store in memory: the latest version of each key, and the recent changes.
//!
//! History is kept as changes that can be undone: a list at an older revision is the latest one
//! with the changes since taken back, so it costs nothing until somebody asks, and superseded
//! values are the only memory it takes.

use std::collections::{BTreeMap, VecDeque};
use std::iter::{self, Peekable};
use std::ops::Bound;
use std::sync::Arc;

use crate::FIRST_REVISION;
use crate::entry::{Entry, Event};
use crate::error::ReadError;
use crate::watch::Slot;

/// How much history a store keeps at most. How long it is kept is the caller's decision, by
/// [`Store::compact`](crate::Store::compact): a store has no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Changes kept.
    pub events: usize,
    /// Bytes of superseded values kept, with a fixed amount for each change.
    pub bytes: usize,
}

/// Room for some ten minutes of a management plane at work: 1,000 clusters of 45 writes each are
/// 45,000 changes, and kube-apiserver remembers at most 102,400 per resource. An idle store pays
/// nothing for it. Stores of which a process has hundreds deserve a smaller one.
impl Default for History {
    fn default() -> Self {
        Self { events: 50_000, bytes: 32 << 20 }
    }
}

/// What a change costs in memory besides the value it superseded, roughly.
const EVENT_BYTES: usize = 128;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// In key order.
    pub entries: Vec<Arc<Entry>>,
    /// The revision at which all of this was true.
    pub revision: u64,
    /// Whether the limit left something out: ask again, starting after the last key, at
    /// `revision`.
    pub more: bool,
    /// How many entries the limit left out.
    pub remaining: usize,
}

/// Whether a store still takes part in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Open,
    Removed,
    Closed,
}

pub(crate) type Index = BTreeMap<Arc<str>, Arc<Entry>>;

pub(crate) struct State {
    revision: u64,
    index: Index,
    /// The changes with revisions `floor + 1 ..= revision`, without gaps.
    events: VecDeque<Arc<Event>>,
    /// The oldest revision that can be read at or watched from.
    floor: u64,
    history_bytes: usize,
    limits: History,
    fate: Fate,
    watchers: Vec<Arc<Slot>>,
}

impl State {
    pub(crate) fn new(limits: History) -> Self {
        Self::loaded(FIRST_REVISION, Index::new(), VecDeque::new(), limits)
    }

    /// `events` are the last changes before `revision`, which led to `index`.
    pub(crate) fn loaded(revision: u64, index: Index, events: VecDeque<Arc<Event>>, limits: History) -> Self {
        let mut state = Self {
            revision,
            index,
            floor: revision - events.len() as u64,
            history_bytes: events.iter().map(|event| cost(event)).sum(),
            events,
            limits,
            fate: Fate::Open,
            watchers: Vec::new(),
        };
        state.trim();
        state
    }

    /// The same content and history, without the watchers.
    pub(crate) fn fork(&self) -> Self {
        Self {
            revision: self.revision,
            index: self.index.clone(),
            events: self.events.clone(),
            floor: self.floor,
            history_bytes: self.history_bytes,
            limits: self.limits,
            fate: Fate::Open,
            watchers: Vec::new(),
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn fate(&self) -> Fate {
        self.fate
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = &Arc<Entry>> {
        self.index.values()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.index.get(key)
    }

    pub(crate) fn get_at(&self, key: &str, at: u64) -> Result<Option<&Arc<Entry>>, ReadError> {
        let since = self.since(at)?;
        Ok(match since.into_iter().find(|event| &*event.key == key) {
            Some(undo) => undo.previous.as_ref(),
            None => self.get(key),
        })
    }

    pub(crate) fn range(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: Option<usize>,
        at: Option<u64>,
    ) -> Result<Range, ReadError> {
        let revision = at.unwrap_or(self.revision);
        let within = |key: &str| key.starts_with(prefix) && start_after.is_none_or(|start| key > start);
        // What keys that have changed since were then. Newest first, so that the oldest of
        // several changes of one key has the last word.
        let mut then: BTreeMap<&str, Option<&Arc<Entry>>> = BTreeMap::new();
        for event in self.since(revision)?.rev().filter(|event| within(&event.key)) {
            then.insert(&event.key, event.previous.as_ref());
        }
        let start = match start_after {
            Some(start) if start >= prefix => Bound::Excluded(start),
            Some(_) | None => Bound::Included(prefix),
        };
        let unchanged = self
            .index
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(|entry| entry.key.starts_with(prefix))
            .filter(|entry| then.is_empty() || !then.contains_key(&*entry.key));
        let mut all = merged(unchanged, then.values().copied().flatten());
        let entries: Vec<_> = match limit {
            Some(limit) => all.by_ref().take(limit).cloned().collect(),
            None => all.by_ref().cloned().collect(),
        };
        let remaining = all.count();
        Ok(Range { entries, revision, more: remaining > 0, remaining })
    }

    /// The changes after a revision, oldest first.
    pub(crate) fn since(
        &self,
        revision: u64,
    ) -> Result<impl DoubleEndedIterator<Item = &Arc<Event>>, ReadError> {
        if revision < self.floor {
            return Err(ReadError::Expired { requested: revision, oldest: self.floor });
        }
        if revision > self.revision {
            return Err(ReadError::TooLarge { requested: revision, current: self.revision });
        }
        let known =
            usize::try_from(revision - self.floor).expect("the history is in memory, so its length fits");
        Ok(self.events.range(known..))
    }

    /// Publishes changes, and names the watchers that have something to do now.
    pub(crate) fn apply(&mut self, events: Vec<Arc<Event>>) -> Vec<Arc<Slot>> {
        let woken = self.watchers.iter().filter(|slot| slot.offer(&events)).cloned().collect();
        for event in events {
            debug_assert_eq!(event.revision, self.revision + 1, "revisions have no gaps");
            self.revision = event.revision;
            match &event.entry {
                Some(entry) => self.index.insert(entry.key.clone(), entry.clone()),
                None => self.index.remove(&event.key),
            };
            self.history_bytes += cost(&event);
            self.events.push_back(event);
        }
        self.trim();
        woken
    }

    /// Forgets the history before a revision.
    pub(crate) fn compact(&mut self, revision: u64) {
        while self.floor < revision.min(self.revision) {
            self.forget_oldest();
        }
        self.give_back();
    }

    pub(crate) fn limit(&mut self, limits: History) {
        self.limits = limits;
        self.trim();
        self.give_back();
    }

    pub(crate) fn end(&mut self, fate: Fate) -> Vec<Arc<Slot>> {
        self.fate = fate;
        std::mem::take(&mut self.watchers)
    }

    pub(crate) fn add_watcher(&mut self, slot: Arc<Slot>) {
        self.watchers.push(slot);
    }

    pub(crate) fn drop_watcher(&mut self, slot: &Arc<Slot>) {
        self.watchers.retain(|other| !Arc::ptr_eq(other, slot));
    }

    fn trim(&mut self) {
        while self.events.len() > self.limits.events || self.history_bytes > self.limits.bytes {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.floor = event.revision;
            self.history_bytes -= cost(&event);
        }
    }

    /// Returns the memory of a history that was much longer once.
    fn give_back(&mut self) {
        if self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }
}

/// A process has hundreds of stores, most of them idle.
const _: () = assert!(size_of::<State>() <= 192);

fn cost(event: &Event) -> usize {
    EVENT_BYTES + event.previous.as_ref().map_or(0, |entry| entry.value.len())
}

/// Two lists of different keys, each in key order, as one.
fn merged<'a>(
    left: impl Iterator<Item = &'a Arc<Entry>>,
    right: impl Iterator<Item = &'a Arc<Entry>>,
) -> impl Iterator<Item = &'a Arc<Entry>> {
    fn key<'a>(entries: &mut Peekable<impl Iterator<Item = &'a Arc<Entry>>>) -> Option<&'a str> {
        entries.peek().map(|entry| &*entry.key)
    }
    let (mut left, mut right) = (left.peekable(), right.peekable());
    iter::from_fn(move || match (key(&mut left), key(&mut right)) {
        (Some(l), Some(r)) if r < l => right.next(),
        (None, _) => right.next(),
        (Some(_), _) => left.next(),
    })
}
