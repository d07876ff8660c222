//! Many writers and readers at once: what each was told fits one order of all changes, and that
//! order fits the times at which they asked.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod disk;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use disk::{Chance, Disk, Plan};
use tokio::task::JoinSet;
use windlass_store::{CommitError, Committed, Engine, Expect, Op, Options, Store, Txn};

const KEYS: usize = 4;

/// What one writer did and was told, and the store's revisions before it asked and after.
struct Call {
    txn: Txn,
    outcome: Result<Committed, CommitError>,
    during: RangeInclusive<u64>,
}

/// A list as it was read: its revision, and the revision of each key.
type Listed = (u64, BTreeMap<String, u64>);

async fn write(store: Store, seed: u64) -> Vec<Call> {
    let mut chance = Chance::new(seed);
    let mut calls = Vec::new();
    for _ in 0..60 {
        let mut txn = Txn::new();
        let first = chance.below(KEYS);
        for i in 0..=chance.below(2) {
            let key = format!("k{}", (first + i) % KEYS);
            let seen = store.get(&key).map(|entry| entry.mod_revision);
            txn = match (seen, chance.below(4)) {
                (Some(revision), 0) => txn.delete(key, Expect::Revision(revision)),
                (Some(revision), _) => txn.put(key, "x", Expect::Revision(revision)),
                (None, _) => txn.put(key, "x", Expect::Absent),
            };
        }
        if chance.below(2) == 0 {
            tokio::task::yield_now().await;
        }
        let before = store.revision();
        let outcome = store.commit(txn.clone()).await;
        calls.push(Call { txn, outcome, during: before..=store.revision() });
    }
    calls
}

async fn read(store: Store) -> Vec<Listed> {
    let mut lists = Vec::new();
    for _ in 0..200 {
        let first = store.range("", None, Some(1), None).unwrap();
        let (mut entries, mut more) = (first.entries, first.more);
        while more {
            tokio::task::yield_now().await;
            let after = entries.last().unwrap().key.clone();
            let page = store.range("", Some(&after), Some(1), Some(first.revision)).unwrap();
            entries.extend(page.entries);
            more = page.more;
        }
        lists.push((first.revision, entries.iter().map(|e| (e.key.to_string(), e.mod_revision)).collect()));
    }
    lists
}

fn check(store: &Store, calls: &[Call], lists: &[Listed]) {
    // The content at each revision, from the changes alone.
    let mut at = BTreeMap::from([(1, BTreeMap::new())]);
    let mut watch = store.watch("", 1).unwrap();
    while let Some(event) = watch.try_next().unwrap() {
        let mut map: BTreeMap<String, u64> = at[&(event.revision - 1)].clone();
        match event.entry {
            Some(_) => map.insert(event.key.to_string(), event.revision),
            None => map.remove(&*event.key),
        };
        at.insert(event.revision, map);
    }
    let mut changes = 0;
    for Call { txn, outcome, during } in calls {
        match outcome {
            Ok(committed) => {
                let revisions = committed.revisions.clone();
                assert!(*during.start() < revisions.start && revisions.end - 1 <= *during.end());
                changes += txn.ops.len();
                for (op, revision) in txn.ops.iter().zip(revisions.clone()) {
                    let before = at[&(revisions.start - 1)].get(&**op.key()).copied();
                    let expected = match op.expect() {
                        Expect::Revision(revision) => Some(revision),
                        Expect::Absent | Expect::Any => None,
                    };
                    assert_eq!(before, expected, "{op:?} at {revision}");
                    let after = matches!(op, Op::Put { .. }).then_some(revision);
                    assert_eq!(at[&revision].get(&**op.key()).copied(), after, "{op:?} at {revision}");
                }
            }
            Err(CommitError::Conflict { key, current, .. }) => {
                let seen = during.clone().any(|r| at[&r].get(&**key).copied() == *current);
                assert!(seen, "{key} was never at {current:?} during {during:?}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(store.revision(), 1 + changes as u64, "a change that nobody made");
    for (revision, listed) in lists {
        assert_eq!(listed, &at[revision], "at {revision}");
    }
}

fn run(engine: &Engine) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let store = engine.store("s");
    let (calls, lists) = runtime.block_on(async {
        let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
        for seed in 0..12 {
            writers.spawn(write(store.clone(), seed + 1));
        }
        for _ in 0..3 {
            readers.spawn(read(store.clone()));
        }
        (writers.join_all().await, readers.join_all().await)
    });
    let calls: Vec<Call> = calls.into_iter().flatten().collect();
    let lists: Vec<Listed> = lists.into_iter().flatten().collect();
    let conflicts = calls.iter().filter(|call| call.outcome.is_err()).count();
    assert!(conflicts > 0 && conflicts < calls.len(), "{conflicts} of {} calls", calls.len());
    check(&store, &calls, &lists);
}

#[test]
fn memory_is_linearisable() {
    run(&Engine::memory());
}

#[test]
fn the_journal_is_linearisable() {
    run(&Engine::open_on(Disk::new(Plan::Nothing), "disk", Options::default()).unwrap());
}
