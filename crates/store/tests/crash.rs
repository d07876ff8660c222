//! Whatever a disk does, what was acknowledged stays and nothing is kept by halves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod disk;

use std::collections::BTreeMap;
use std::sync::Arc;

use disk::{Chance, Disk, Plan};
use windlass_store::{CommitError, Committed, Engine, Expect, Failure, OpenError, Options, Store, Txn};

fn open(disk: &Disk) -> Result<Engine, OpenError> {
    Engine::open_on(disk.clone(), "disk", Options::default())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

type Content = BTreeMap<String, Vec<u8>>;

/// What is known of a store: its content at each acknowledged revision in order, and that of the
/// transaction whose outcome is unknown.
#[derive(Default)]
struct Known {
    acknowledged: Vec<(u64, Content)>,
    unknown: Option<(u64, Content)>,
}

const STORES: [&str; 3] = ["management", "cluster/a", "cluster/b"];

/// A key and its new value, or none to delete it.
type Change = (String, Option<Vec<u8>>);

/// Transaction `i` of the work: which store, and what it does to a copy of its content.
fn work(i: usize) -> (&'static str, Vec<Change>) {
    let mut chance = Chance::new(i as u64 + 1);
    let store = STORES[chance.below(3)];
    let ops = 1 + chance.below(3);
    let first = chance.below(8);
    let op = |n: usize, chance: &mut Chance| {
        let key = format!("key-{}", (first + n) % 8);
        // Up to several pages, so that writes can be torn and the file has to grow.
        let value = vec![u8::try_from(i).unwrap(); chance.below(9_000)];
        (key, (chance.below(4) > 0).then_some(value))
    };
    (store, (0..ops).map(|n| op(n, &mut chance)).collect())
}

/// Does the work until the disk fails.
async fn toil(disk: &Disk, transactions: usize) -> BTreeMap<&'static str, Known> {
    let mut known: BTreeMap<_, Known> = STORES.map(|name| (name, Known::default())).into();
    let Ok(engine) = open(disk) else { return known };
    for i in 0..transactions {
        let (name, ops) = work(i);
        let outcome = if i % 6 == 5 {
            let known = known.get_mut(STORES[1]).unwrap();
            remove(&engine, STORES[1], known).await
        } else {
            commit(&engine.store(name), ops, known.get_mut(name).unwrap()).await
        };
        if let Err(error) = outcome {
            assert!(matches!(error, CommitError::Storage(_)), "{error:?}");
            let again = engine.store(name).commit(Txn::new().put("later", "x", Expect::Any)).await;
            assert!(matches!(again, Err(CommitError::Storage(_))), "{again:?}");
            assert!(engine.failure().is_some());
            break;
        }
        if i % 7 == 6 {
            engine.store(name).compact(engine.store(name).revision().saturating_sub(2));
        }
    }
    known
}

async fn commit(store: &Store, ops: Vec<Change>, known: &mut Known) -> Result<(), CommitError> {
    let mut content = known.acknowledged.last().map(|k| k.1.clone()).unwrap_or_default();
    let mut txn = Txn::new();
    for (key, value) in ops {
        match value {
            Some(value) => {
                txn = txn.put(&*key, value.clone(), Expect::Any);
                content.insert(key, value);
            }
            None if content.remove(&key).is_some() => txn = txn.delete(&*key, Expect::Any),
            None => {}
        }
    }
    let revision = store.revision() + txn.ops.len() as u64;
    known.unknown = Some((revision, content.clone()));
    let committed = store.commit(txn).await?;
    assert_eq!(committed.revision(), revision);
    known.unknown = None;
    known.acknowledged.push((revision, content));
    Ok(())
}

async fn remove(engine: &Engine, name: &str, known: &mut Known) -> Result<(), CommitError> {
    known.unknown = Some((1, Content::new()));
    engine.remove(name).await?;
    *known = Known::default();
    Ok(())
}

fn content(store: &Store, at: u64) -> Content {
    let range = store.range("", None, None, Some(at)).unwrap();
    range.entries.iter().map(|e| (e.key.to_string(), e.value.to_vec())).collect()
}

/// Checks what is found after a crash against what was known before it.
fn check(engine: &Engine, known: &BTreeMap<&'static str, Known>) {
    for (name, known) in known {
        let store = engine.store(name);
        let found = (store.revision(), content(&store, store.revision()));
        let last = known.acknowledged.last().cloned().unwrap_or((1, Content::new()));
        assert!(
            found == last || Some(&found) == known.unknown.as_ref(),
            "{name}: found revision {}, acknowledged {}, unknown {:?}",
            found.0,
            last.0,
            known.unknown.as_ref().map(|u| u.0),
        );
        // Nothing of it is left if a removal was kept.
        let history = store.oldest()..=found.0;
        for (revision, before) in known.acknowledged.iter().filter(|k| history.contains(&k.0)) {
            assert_eq!(&content(&store, *revision), before, "{name} at {revision}");
        }
    }
}

/// Stops a machine before each thing it does to its disk, and looks at what is left.
#[test]
fn a_stop_at_any_point_loses_nothing_acknowledged() {
    const TRANSACTIONS: usize = 14;
    let calls = {
        let disk = Disk::new(Plan::Nothing);
        let known = block_on(toil(&disk, TRANSACTIONS));
        check(&open(&disk).unwrap(), &known);
        disk.calls()
    };
    assert!(calls > TRANSACTIONS * 3, "{calls} calls");
    let mut kept = 0;
    for stop in 0..calls {
        let disk = Disk::new(Plan::Stop(stop));
        let known = block_on(toil(&disk, TRANSACTIONS));
        let images = [disk.synced(), disk.image(), disk.torn(1), disk.torn(2), disk.torn(3)];
        for image in images {
            let after = Disk::with(image, Plan::Nothing);
            let engine = match open(&after) {
                Ok(engine) => engine,
                // A new file that never became whole; `Engine::open` gives those another name.
                Err(OpenError::Corrupt { .. }) if nothing_known(&known) => continue,
                Err(error) => panic!("stopped before call {stop}: {error}"),
            };
            check(&engine, &known);
            let store = engine.store(STORES[0]);
            block_on(store.commit(Txn::new().put("after", "x", Expect::Any))).unwrap();
            kept += 1;
        }
    }
    assert!(kept > calls, "{kept} of {calls} crashes had something to keep");
}

fn nothing_known(known: &BTreeMap<&'static str, Known>) -> bool {
    known.values().all(|known| known.acknowledged.is_empty() && known.unknown.is_none())
}

/// One sync for transactions of several stores: each of them is kept whole or not at all, and
/// all of them if they were acknowledged.
#[test]
fn a_stop_in_a_group_keeps_each_transaction_whole() {
    async fn keys(disk: &Disk, stop: Option<usize>) -> Vec<Result<Committed, CommitError>> {
        let engine = open(disk).unwrap();
        let stores = STORES.map(|name| engine.store(name));
        let held = disk.hold();
        let mut commits = tokio::task::JoinSet::new();
        for i in 0..12 {
            let store = stores[i % 3].clone();
            let txn = ["x", "y"]
                .iter()
                .fold(Txn::new(), |txn, part| txn.put(format!("{i}/{part}"), vec![7; 3_000], Expect::Absent));
            commits.spawn(async move { store.commit(txn).await });
        }
        // Everybody has queued up once all tasks have run.
        for _ in 0..12 {
            tokio::task::yield_now().await;
        }
        if let Some(stop) = stop {
            disk.plan(Plan::Stop(disk.calls() + stop));
        }
        drop(held);
        commits.join_all().await
    }
    let mut outcomes = BTreeMap::<usize, usize>::new();
    for stop in 0.. {
        let disk = Disk::new(Plan::Nothing);
        drop(open(&disk).unwrap());
        let told = block_on(keys(&disk, Some(stop)));
        let acknowledged = told.iter().filter(|outcome| outcome.is_ok()).count();
        *outcomes.entry(acknowledged).or_default() += 1;
        for image in [disk.synced(), disk.torn(1), disk.torn(2), disk.image()] {
            let engine = open(&Disk::with(image, Plan::Nothing)).unwrap();
            let found: usize = STORES.iter().map(|name| engine.store(name).len()).sum();
            assert!(found >= acknowledged * 2, "stop {stop}: {acknowledged} acknowledged, {found} keys");
            for i in 0..12 {
                let store = engine.store(STORES[i % 3]);
                let has = |part| store.get(&format!("{i}/{part}")).is_some();
                assert_eq!(has("x"), has("y"), "stop {stop}: transaction {i} is there by half");
            }
        }
        if acknowledged == 12 {
            break;
        }
    }
    assert!(outcomes[&0] > 3, "{outcomes:?}");
}

#[test]
fn a_failed_sync_is_final() {
    for call in [40, 60, 61, 62, 63, 80] {
        let disk = Disk::new(Plan::FailSync(call));
        let known = block_on(toil(&disk, 20));
        assert!(known.values().any(|known| known.unknown.is_some()), "call {call}");
        assert_eq!(disk.calls_since_failure(), Some(0), "a failed sync was tried again");
        for image in [disk.synced(), disk.torn(7)] {
            check(&open(&Disk::with(image, Plan::Nothing)).unwrap(), &known);
        }
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    block_on(async {
        let disk = Disk::new(Plan::Nothing);
        let engine = open(&disk).unwrap();
        let store = engine.store("s");
        store.commit(Txn::new().put("small", "x", Expect::Absent)).await.unwrap();
        disk.plan(Plan::Full(disk.image().len()));
        let big = || {
            let txn = Txn::new().put("small", "y", Expect::Any);
            txn.put("big", vec![7; 16 << 20], Expect::Absent)
        };
        let refused = store.commit(big()).await.unwrap_err();
        assert!(matches!(refused, CommitError::Storage(Failure::Full { .. })), "{refused:?}");
        assert_eq!(store.revision(), 2);
        assert_eq!(&*store.get("small").unwrap().value, b"x");
        assert!(matches!(engine.close().await, Err(Failure::Full { .. })));
        drop((engine, store));

        disk.plan(Plan::Nothing);
        let engine = open(&disk).unwrap();
        let store = engine.store("s");
        assert_eq!((store.revision(), store.len()), (2, 1));
        store.commit(big()).await.unwrap();
        assert_eq!(store.len(), 2);
    });
}

/// Damage anywhere in the file is either found or without effect.
#[test]
fn damage_is_never_served() {
    let disk = Disk::new(Plan::Nothing);
    let known = block_on(toil(&disk, 20));
    let whole = disk.image();
    let (mut refused, mut chance) = (0, Chance::new(5));
    for _ in 0..400 {
        let mut image = whole.clone();
        let at = chance.below(image.len());
        image[at] ^= 1 << chance.below(8);
        match open(&Disk::with(image, Plan::Nothing)) {
            Ok(engine) => check(&engine, &known),
            Err(OpenError::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(refused > 5, "{refused} refused");
}

#[test]
fn a_cut_file_is_refused() {
    let disk = Disk::new(Plan::Nothing);
    block_on(toil(&disk, 20));
    let whole = disk.image();
    for length in [1, 100, 4096, whole.len() / 2, whole.len() - 4096] {
        let opened = open(&Disk::with(whole[..length].to_vec(), Plan::Nothing));
        assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{length}: {opened:?}");
    }
}

/// Everybody writes at once; what one of them was told survives, and reads show nothing sooner.
#[test]
fn concurrent_writers_share_syncs() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let disk = Disk::new(Plan::Nothing);
    let engine = open(&disk).unwrap();
    let before = disk.syncs();
    let acknowledged = Arc::new(parking_lot::Mutex::new(0));
    runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..16 {
            let (store, acknowledged) = (engine.store("s"), acknowledged.clone());
            writers.spawn(async move {
                for _ in 0..25 {
                    // A counter that everybody increments: no update may be lost.
                    loop {
                        let (value, expect) = match store.get("counter") {
                            Some(e) => (
                                std::str::from_utf8(&e.value).unwrap().parse().unwrap(),
                                Expect::Revision(e.mod_revision),
                            ),
                            None => (0u32, Expect::Absent),
                        };
                        let txn = Txn::new().put("counter", (value + 1).to_string(), expect);
                        let own = format!("writer-{writer}");
                        match store.commit(txn.put(own, "x", Expect::Any)).await {
                            Ok(_) => break,
                            Err(CommitError::Conflict { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    *acknowledged.lock() += 1;
                }
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
    });
    assert_eq!(&*engine.store("s").get("counter").unwrap().value, b"400");
    let metrics = engine.metrics();
    assert_eq!((metrics.commits, metrics.ops), (400, 800));
    assert!(metrics.refused > 0, "nobody met anybody: {metrics:?}");
    assert!(disk.syncs() - before <= usize::try_from(metrics.batches).unwrap() + 2, "{metrics:?}");
    let after = open(&Disk::with(disk.synced(), Plan::Nothing)).unwrap();
    assert_eq!(&*after.store("s").get("counter").unwrap().value, b"400");
}
