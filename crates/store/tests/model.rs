//! Any sequence of calls behaves like a list of all versions of a map, on every kind of engine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod disk;

use std::collections::BTreeMap;

use disk::{Disk, Plan};
use proptest::prelude::*;
use windlass_store::{
    CommitError, Engine, Expect, FIRST_REVISION, History, Kind, Options, ReadError, Store, Txn, Watch,
};

/// value, mod_revision, create_revision
type Version = (Vec<u8>, u64, u64);
type Map = BTreeMap<String, Version>;

/// Everything that ever was: `maps[i]` is the content at revision `FIRST_REVISION + i`.
struct Model {
    maps: Vec<(String, Map)>,
    oldest: u64,
    /// How many changes are remembered.
    limit: u64,
}

impl Model {
    fn new(limit: u64) -> Self {
        Self { maps: vec![(String::new(), Map::new())], oldest: FIRST_REVISION, limit }
    }

    fn revision(&self) -> u64 {
        FIRST_REVISION + self.maps.len() as u64 - 1
    }

    fn index(revision: u64) -> usize {
        usize::try_from(revision - FIRST_REVISION).unwrap()
    }

    fn at(&self, revision: u64) -> &Map {
        &self.maps[Self::index(revision)].1
    }

    fn now(&self) -> &Map {
        self.at(self.revision())
    }

    fn readable(&self, at: u64) -> Result<&Map, ReadError> {
        let (oldest, current) = (self.oldest, self.revision());
        match at {
            at if at < oldest => Err(ReadError::Expired { requested: at, oldest }),
            at if at > current => Err(ReadError::TooLarge { requested: at, current }),
            at => Ok(self.at(at)),
        }
    }

    /// The whole transaction, or the key that stands in its way.
    fn commit(&mut self, ops: &[OpSpec]) -> Result<(), String> {
        for op in ops {
            let current = self.now().get(op.key).map(|v| v.1);
            let holds = match self.expect(op) {
                Expect::Absent => current.is_none(),
                Expect::Revision(r) => current == Some(r),
                Expect::Any => op.put || current.is_some(),
            };
            if !holds {
                return Err(op.key.to_owned());
            }
        }
        for op in ops {
            let mut map = self.now().clone();
            let revision = self.revision() + 1;
            if op.put {
                let created = map.get(op.key).map_or(revision, |v| v.2);
                map.insert(op.key.to_owned(), (op.value(), revision, created));
            } else {
                map.remove(op.key);
            }
            self.maps.push((op.key.to_owned(), map));
        }
        self.oldest = self.oldest.max(self.revision().saturating_sub(self.limit));
        Ok(())
    }

    fn expect(&self, op: &OpSpec) -> Expect {
        let current = self.now().get(op.key).map_or(0, |v| v.1);
        match (op.expect, op.put) {
            (0, true) => Expect::Absent,
            (0 | 1, _) => Expect::Any,
            (2..5, _) => Expect::Revision(current),
            _ => Expect::Revision(current + 1),
        }
    }

    /// revision, key, new version, old version
    fn events(&self, prefix: &str, after: u64) -> Vec<(u64, String, Option<Version>, Option<Version>)> {
        (after.max(FIRST_REVISION) + 1..=self.revision())
            .map(|r| (r, &self.maps[Self::index(r)].0))
            .filter(|(_, key)| key.starts_with(prefix))
            .map(|(r, key)| {
                let of = |r| self.at(r).get(key).cloned();
                (r, key.clone(), of(r), of(r - 1))
            })
            .collect()
    }
}

const KEYS: &[&str] = &["a", "a/1", "a/2", "a/2/x", "ab", "b/1", "b/2", "c"];
const PREFIXES: &[&str] = &["", "a", "a/", "b/", "zz"];

#[derive(Clone, Debug)]
struct OpSpec {
    put: bool,
    key: &'static str,
    expect: u8,
    value: u8,
}

impl OpSpec {
    fn value(&self) -> Vec<u8> {
        vec![self.value; usize::from(self.value) * 3]
    }
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<OpSpec>),
    /// A list at so many revisions before (or, negative, after) the latest, page by page.
    List {
        prefix: &'static str,
        back: i8,
        limit: Option<usize>,
    },
    Get {
        key: &'static str,
        back: i8,
    },
    Watch {
        prefix: &'static str,
        back: i8,
    },
    /// Reads what one of the watches has.
    Drain(usize),
    Drop(usize),
    Compact {
        back: u8,
    },
    Reopen,
    /// The process dies; on memory it is a fork.
    Crash,
}

fn op() -> impl Strategy<Value = OpSpec> {
    (prop::bool::weighted(0.7), prop::sample::select(KEYS), 0u8..6, 0u8..20)
        .prop_map(|(put, key, expect, value)| OpSpec { put, key, expect, value })
}

fn step() -> impl Strategy<Value = Step> {
    let prefix = || prop::sample::select(PREFIXES);
    prop_oneof![
        8 => prop::collection::vec(op(), 0..4).prop_map(Step::Commit),
        3 => (prefix(), -2i8..12, prop::option::of(1usize..4))
            .prop_map(|(prefix, back, limit)| Step::List { prefix, back, limit }),
        1 => (prop::sample::select(KEYS), -1i8..12).prop_map(|(key, back)| Step::Get { key, back }),
        2 => (prefix(), -2i8..12).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        3 => (0usize..8).prop_map(Step::Drain),
        1 => (0usize..8).prop_map(Step::Drop),
        1 => (0u8..10).prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

struct Open {
    watch: Watch,
    prefix: &'static str,
    /// Delivered up to here.
    at: u64,
    /// May it find that its history is gone?
    from: u64,
}

/// An engine and how to end and begin it anew.
enum Kindof {
    Memory,
    Journal(Disk),
}

struct Run {
    kind: Kindof,
    engine: Engine,
    store: Store,
    model: Model,
    watches: Vec<Open>,
}

fn version(entry: &windlass_store::Entry) -> Version {
    (entry.value.to_vec(), entry.mod_revision, entry.create_revision)
}

impl Run {
    fn new(kind: Kindof, limit: u64) -> Self {
        let engine = match &kind {
            Kindof::Memory => Engine::memory_with(history(limit)),
            Kindof::Journal(disk) => journal(disk, limit),
        };
        let store = engine.store("s");
        Self { kind, engine, store, model: Model::new(limit), watches: Vec::new() }
    }

    fn back(&self, back: i8) -> u64 {
        self.model.revision().saturating_add_signed(-i64::from(back))
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Commit(ops) => self.commit(ops).await,
            Step::List { prefix, back, limit } => self.list(prefix, self.back(*back), *limit),
            Step::Get { key, back } => {
                let at = self.back(*back);
                let found = self.store.get_at(key, at).map(|e| e.map(|e| version(&e)));
                assert_eq!(found, self.model.readable(at).map(|map| map.get(*key).cloned()));
                let latest = self.store.get(key).map(|e| version(&e));
                assert_eq!(latest, self.model.now().get(*key).cloned());
            }
            Step::Watch { prefix, back } => {
                let from = self.back(*back);
                match self.store.watch(prefix, from) {
                    Ok(watch) => {
                        assert!(from >= self.model.oldest);
                        self.watches.push(Open { watch, prefix, at: from, from });
                    }
                    Err(error) => {
                        let oldest = self.model.oldest;
                        assert_eq!(error, ReadError::Expired { requested: from, oldest });
                        assert!(from < oldest);
                    }
                }
            }
            Step::Drain(n) => self.drain(*n),
            Step::Drop(n) if *n < self.watches.len() => drop(self.watches.remove(*n)),
            Step::Drop(_) => {}
            Step::Compact { back } => {
                let revision = self.model.revision().saturating_sub(u64::from(*back));
                self.store.compact(revision);
                self.model.oldest = self.model.oldest.max(revision);
                assert_eq!(self.store.oldest(), self.model.oldest);
            }
            Step::Reopen => self.reopen(false),
            Step::Crash => self.reopen(true),
        }
        assert_eq!(self.store.revision(), self.model.revision());
    }

    async fn commit(&mut self, ops: &[OpSpec]) {
        let twice = ops.iter().enumerate().any(|(i, op)| ops[..i].iter().any(|o| o.key == op.key));
        let txn = ops.iter().fold(Txn::new(), |txn, op| {
            let expect = self.model.expect(op);
            if op.put { txn.put(op.key, op.value(), expect) } else { txn.delete(op.key, expect) }
        });
        let before = self.model.revision();
        match self.store.commit(txn).await {
            Ok(committed) => {
                assert!(!twice);
                assert_eq!(self.model.commit(ops), Ok(()));
                assert_eq!(committed.revisions, before + 1..self.model.revision() + 1);
            }
            Err(CommitError::Conflict { key, current, .. }) => {
                assert_eq!(current, self.model.now().get(&*key).map(|v| v.1));
                if !twice {
                    assert_eq!(self.model.commit(ops), Err(key.to_string()));
                }
            }
            Err(CommitError::Twice { .. }) => assert!(twice),
            Err(other) => panic!("{other}"),
        }
    }

    fn list(&self, prefix: &str, at: u64, limit: Option<usize>) {
        let expected = self.model.readable(at).map(|map| {
            let under = map.iter().filter(|(key, _)| key.starts_with(prefix));
            under.map(|(key, v)| (key.clone(), v.clone())).collect::<Vec<_>>()
        });
        let (mut found, mut last) = (Vec::new(), None::<String>);
        loop {
            let page = match self.store.range(prefix, last.as_deref(), limit, Some(at)) {
                Ok(page) => page,
                Err(error) => return assert_eq!(expected, Err(error)),
            };
            assert_eq!(page.revision, at);
            assert!(limit.is_none_or(|limit| page.entries.len() <= limit));
            found.extend(page.entries.iter().map(|e| (e.key.to_string(), version(e))));
            assert_eq!(page.remaining, expected.as_ref().unwrap().len() - found.len());
            assert_eq!(page.more, page.remaining > 0);
            if !page.more {
                break;
            }
            last = Some(page.entries.last().unwrap().key.to_string());
        }
        assert_eq!(Ok(found), expected);
    }

    fn drain(&mut self, n: usize) {
        let Some(open) = self.watches.get_mut(n) else { return };
        let mut expected = self.model.events(open.prefix, open.at).into_iter();
        loop {
            match open.watch.try_next() {
                Ok(Some(event)) => {
                    let versions =
                        (event.entry.as_deref().map(version), event.previous.as_deref().map(version));
                    let kind = if versions.0.is_some() { Kind::Put } else { Kind::Delete };
                    assert_eq!(event.kind(), kind);
                    let found = (event.revision, event.key.to_string(), versions.0, versions.1);
                    assert_eq!(Some(&found), expected.next().as_ref());
                    open.at = event.revision;
                    assert!(open.watch.progress() >= open.at);
                }
                Ok(None) => {
                    assert_eq!(expected.next(), None);
                    open.at = open.at.max(self.model.revision());
                    assert_eq!(open.watch.progress(), open.from.max(self.model.revision()));
                    return;
                }
                Err(_) => {
                    // Only what it had not delivered yet may be gone.
                    let (next, ..) = expected.next().unwrap();
                    assert!(next <= self.model.oldest);
                    self.watches.remove(n);
                    return;
                }
            }
        }
    }

    fn reopen(&mut self, crash: bool) {
        self.watches.clear();
        let synced = match &self.kind {
            Kindof::Memory => None,
            Kindof::Journal(disk) => Some(disk.synced()),
        };
        let fork = self.engine.fork();
        self.store = fork.store("s");
        self.engine = fork;
        if let (Kindof::Journal(disk), Some(synced)) = (&mut self.kind, synced) {
            // Letting go of the last handle has closed it.
            assert_eq!(disk.image(), disk.synced(), "a closed engine leaves nothing unsynced");
            if crash {
                *disk = Disk::with(synced, Plan::Nothing);
            }
            self.engine = journal(disk, self.model.limit);
            self.store = self.engine.store("s");
            // A compaction is on disk with the next commit.
            assert!(self.store.oldest() <= self.model.oldest);
            self.model.oldest = self.store.oldest();
        }
    }
}

fn history(limit: u64) -> History {
    History { events: usize::try_from(limit).unwrap(), ..History::default() }
}

fn journal(disk: &Disk, limit: u64) -> Engine {
    let options = Options { history: history(limit), ..Options::default() };
    Engine::open_on(disk.clone(), "test", options).unwrap()
}

fn run(kind: Kindof, limit: u64, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut run = Run::new(kind, limit);
        for step in steps {
            run.step(step).await;
        }
        run.list("", run.model.revision(), None);
        for n in (0..run.watches.len()).rev() {
            run.drain(n);
        }
    });
}

fn limit() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1_000u64), 3u64..20]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_is_the_model(limit in limit(), steps in prop::collection::vec(step(), 0..80)) {
        run(Kindof::Memory, limit, &steps);
    }

    #[test]
    fn the_journal_is_the_model(limit in limit(), steps in prop::collection::vec(step(), 0..80)) {
        run(Kindof::Journal(Disk::new(Plan::Nothing)), limit, &steps);
    }
}
