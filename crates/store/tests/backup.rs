//! Backups: what is in them, and what becomes of damaged ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use windlass_store::{Engine, Expect, Options, ReadError, RestoreError, Txn, restore, verify};

const AHEAD: u64 = 1_000_000;

async fn sample() -> Engine {
    let engine = Engine::memory();
    let txn = Txn::new().put("a", "1", Expect::Absent).put("b", "", Expect::Absent);
    engine.store("management").commit(txn).await.unwrap();
    let txn = Txn::new().put("a", "2", Expect::Any).delete("b", Expect::Any);
    engine.store("management").commit(txn).await.unwrap();
    let txn = Txn::new().put("big", vec![7; 20 << 20], Expect::Absent);
    engine.store("cluster").commit(txn).await.unwrap();
    engine
}

fn export(engine: &Engine) -> Vec<u8> {
    let mut bytes = Vec::new();
    engine.export(&mut bytes).unwrap();
    bytes
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[tokio::test]
async fn a_backup_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let backup = export(&sample().await);
    restore(&path, &mut &*backup, AHEAD).unwrap();
    assert_eq!(files(directory.path()), 1);

    let engine = Engine::open(&path, Options::default()).unwrap();
    assert_eq!(engine.names(), ["cluster", "management"]);
    let (management, cluster) = (engine.store("management"), engine.store("cluster"));
    assert_eq!((management.revision(), cluster.revision()), (AHEAD + 5, AHEAD + 2));
    assert_eq!(
        format!("{:?}", management.range("", None, None, None).unwrap().entries),
        "[a@4 (since 2, 1 bytes)]"
    );
    assert_eq!(&*management.get("a").unwrap().value, b"2");
    assert_eq!(cluster.get("big").unwrap().value.len(), 20 << 20);
    // Whoever watched before must list again.
    let expired = ReadError::Expired { requested: 5, oldest: AHEAD + 5 };
    assert_eq!(management.watch("", 5).unwrap_err(), expired);
    let committed = management.commit(Txn::new().put("a", "3", Expect::Revision(4))).await.unwrap();
    assert_eq!(committed.revision(), AHEAD + 6);
    drop((engine, management, cluster));
    assert_eq!(Engine::open(&path, Options::default()).unwrap().store("management").revision(), AHEAD + 6);

    let contents = verify(&mut &*backup).unwrap();
    assert_eq!((contents.stores, contents.keys, contents.bytes), (2, 2, 1 + (20 << 20)));

    let again = restore(&path, &mut &*backup, AHEAD);
    assert!(matches!(again, Err(RestoreError::Exists { .. })), "{again:?}");
}

#[tokio::test]
async fn damaged_backups_leave_nothing() {
    let engine = sample().await;
    engine.remove("cluster").await.unwrap();
    let whole = export(&engine);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let refuse = |what: String, bytes: &[u8]| {
        let error = restore(&path, &mut &*bytes, AHEAD).expect_err(&what);
        assert_eq!(files(directory.path()), 0, "{what}");
        error
    };
    for at in 0..whole.len() {
        refuse(format!("cut at {at}"), &whole[..at]);
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        refuse(format!("byte {at}"), &flipped);
    }
    assert!(matches!(refuse("text".into(), b"apiVersion: v1\nkind: List\n"), RestoreError::NotABackup));
    let mut newer = whole.clone();
    newer[15] = 2;
    assert!(matches!(refuse("newer".into(), &newer), RestoreError::Newer { found: 2, supported: 1 }));
}

/// No backup has one half of a transaction, however many commits are under way.
#[test]
fn a_backup_is_of_one_moment() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(&directory.path().join("live"), Options::default()).unwrap();
    let writer = runtime.spawn({
        let store = engine.store("s");
        async move {
            for i in 0u32.. {
                let value = i.to_string();
                let txn = Txn::new().put("a", value.clone(), Expect::Any).put("b", value, Expect::Any);
                if store.commit(txn).await.is_err() {
                    break;
                }
            }
        }
    });
    let mut revisions = Vec::new();
    for i in 0..20 {
        let path = directory.path().join(i.to_string());
        restore(&path, &mut &*export(&engine), 0).unwrap();
        let store = Engine::open(&path, Options::default()).unwrap().store("s");
        let value = |key| store.get(key).map(|entry| entry.value.clone());
        assert_eq!(value("a"), value("b"));
        revisions.push(store.revision());
    }
    runtime.block_on(engine.close()).unwrap();
    runtime.block_on(writer).unwrap();
    assert!(revisions.is_sorted() && revisions[0] < revisions[19], "{revisions:?}");
}

#[tokio::test]
async fn an_empty_engine_has_a_backup_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    restore(&path, &mut &*export(&Engine::memory()), AHEAD).unwrap();
    assert!(Engine::open(&path, Options::default()).unwrap().names().is_empty());
}
