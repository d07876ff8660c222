//! Engines on real files and on disks that wait: opening, several stores, watches, closing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod disk;

use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use disk::{Disk, Plan};
use redb::ReadableTableMetadata;
use windlass_store::{
    CommitError, Committed, Engine, Expect, Failure, History, OpenError, Options, ReadError, Store, Txn,
    WatchEnd,
};

async fn put(store: &Store, key: &str, value: &str) -> Committed {
    store.commit(Txn::new().put(key, value.to_owned(), Expect::Any)).await.unwrap()
}

fn open(path: &Path) -> Result<Engine, OpenError> {
    Engine::open(path, Options::default())
}

fn open_on(disk: &Disk) -> Engine {
    Engine::open_on(disk.clone(), "disk", Options::default()).unwrap()
}

/// Whether a future is done when asked once.
async fn ready<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn a_file_survives_and_watches_resume() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    {
        let engine = open(&path).unwrap();
        let store = engine.store("management");
        assert_eq!(put(&store, "a", "1").await.revisions, 2..3);
        assert_eq!(put(&store, "a", "2").await.revisions, 3..4);
        store
            .commit(Txn::new().delete("a", Expect::Revision(3)).put("b", "3", Expect::Absent))
            .await
            .unwrap();
        put(&engine.store("cluster"), "x", "y").await;
    }
    assert!(!directory.path().join("store.redb.new").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let engine = open(&path).unwrap();
    assert_eq!(engine.names(), ["cluster", "management"]);
    let store = engine.store("management");
    assert_eq!((store.revision(), store.oldest(), store.len()), (5, 1, 1));
    let mut watch = store.watch("", 2).unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let e = watch.next().await.unwrap();
        let of = |e: &Option<std::sync::Arc<windlass_store::Entry>>| {
            e.as_ref().map(|e| String::from_utf8_lossy(&e.value).into_owned()).unwrap_or_default()
        };
        seen.push(format!("{} {} {:?} {}>{}", e.revision, e.key, e.kind(), of(&e.previous), of(&e.entry)));
    }
    assert_eq!(seen, ["3 a Put 1>2", "4 a Delete 2>", "5 b Put >3"]);
    assert_eq!(put(&store, "c", "4").await.revision(), 6);
    assert_eq!(watch.next().await.unwrap().revision, 6);
}

#[tokio::test]
async fn open_tells_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let engine = open(&at("held")).unwrap();
    put(&engine.store("s"), "k", "v").await;
    assert!(matches!(open(&at("held")), Err(OpenError::Locked { .. })));
    engine.close().await.unwrap();
    drop(open(&at("held")).unwrap());

    fs::write(at("empty"), "").unwrap();
    fs::write(at("text"), "not a store\n".repeat(1000)).unwrap();
    for name in ["empty", "text"] {
        let before = fs::read(at(name)).unwrap();
        let error = open(&at(name)).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{name}: {error:?}");
        let said = error.to_string();
        assert!(said.contains(name) && said.contains("restore the last backup"), "{said}");
        assert_eq!(fs::read(at(name)).unwrap(), before, "{name} was written to");
    }

    let foreign = redb::Database::create(at("foreign")).unwrap();
    let txn = foreign.begin_write().unwrap();
    txn.open_table(redb::TableDefinition::<u32, u32>::new("theirs")).unwrap();
    txn.commit().unwrap();
    drop(foreign);
    assert!(matches!(open(&at("foreign")), Err(OpenError::Corrupt { .. })));

    drop(open(&at("newer")).unwrap());
    let newer = redb::Database::open(at("newer")).unwrap();
    let txn = newer.begin_write().unwrap();
    let meta = redb::TableDefinition::<&[u8], u64>::new("meta");
    txn.open_table(meta).unwrap().insert(&b"format"[..], 9).unwrap();
    let about = redb::TableDefinition::<&str, &str>::new("about");
    txn.open_table(about).unwrap().insert("writer", "windlass 7.1.0").unwrap();
    txn.commit().unwrap();
    drop(newer);
    let error = open(&at("newer")).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 9, .. }), "{error:?}");
    assert!(error.to_string().contains("run windlass 7.1.0, which wrote it"), "{error}");

    assert!(matches!(open(&at("no/such/directory")), Err(OpenError::Io { .. })));
    assert!(matches!(open(directory.path()), Err(OpenError::Io { .. })));
}

/// Rows that contradict each other are refused, by file, store and key.
#[tokio::test]
async fn contradictions_are_refused() {
    type Log = redb::TableDefinition<'static, (u32, u64), &'static [u8]>;
    type State = redb::TableDefinition<'static, (u32, &'static [u8]), &'static [u8]>;
    const LOG: Log = redb::TableDefinition::new("log");
    const STATE: State = redb::TableDefinition::new("state");
    type Damage = fn(&redb::WriteTransaction);
    let cases: [(&str, Damage); 5] = [
        ("change 3: it is missing", |txn| drop(txn.open_table(LOG).unwrap().remove((0, 3)).unwrap())),
        ("change 3: it cannot be read", |txn| {
            txn.open_table(LOG).unwrap().insert((0, 3), &[9, 0, 0, 0, b'k'][..]).unwrap();
        }),
        ("change 3: it does not lead to what key \"k\" is", |txn| {
            let row = [&1u32.to_le_bytes()[..], b"k"].concat();
            txn.open_table(LOG).unwrap().insert((0, 3), &*row).unwrap();
        }),
        ("key \"k\": its value cannot be read", |txn| {
            txn.open_table(STATE).unwrap().insert((0, &b"k"[..]), &[1, 2, 3][..]).unwrap();
        }),
        ("key \"z\": no change leads to its value", |txn| {
            let row = [2u64.to_le_bytes(), 3u64.to_le_bytes()].concat();
            txn.open_table(STATE).unwrap().insert((0, &b"z"[..]), &*row).unwrap();
        }),
    ];
    for (what, damage) in cases {
        let disk = Disk::new(Plan::Nothing);
        let store = open_on(&disk).store("s");
        for key in ["k", "other", "k"] {
            put(&store, key, "v").await;
        }
        drop(store);
        let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
        let txn = database.begin_write().unwrap();
        damage(&txn);
        txn.commit().unwrap();
        drop(database);
        let said = Engine::open_on(disk, "the-file", Options::default()).unwrap_err().to_string();
        assert!(said.contains("the-file") && said.contains(&format!("store \"s\", {what}")), "{said}");
    }
}

#[tokio::test]
async fn nothing_is_visible_before_it_is_durable() {
    let disk = Disk::new(Plan::Nothing);
    let engine = open_on(&disk);
    let (store, other) = (engine.store("s"), engine.store("t"));
    let mut watch = store.watch("", 1).unwrap();
    let syncs = disk.syncs();
    let held = disk.hold();
    let mut first = pin!(put(&store, "first", "x"));
    assert_eq!(ready(first.as_mut()).await, None);
    // Give the committer time to be caught publishing too soon.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(ready(first.as_mut()).await, None);
    assert_eq!((store.revision(), store.get("first"), watch.try_next()), (1, None, Ok(None)));
    // What comes meanwhile, to any store, shares the next sync.
    let keys: Vec<_> = (0..40).map(|i| format!("k{i}")).collect();
    let mut later: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(i, key)| Box::pin(put(if i % 2 == 0 { &store } else { &other }, key, "x")))
        .collect();
    for commit in &mut later {
        assert_eq!(ready(commit.as_mut()).await, None);
    }
    drop(held);
    assert_eq!(first.await.revision(), 2);
    assert_eq!(watch.next().await.unwrap().revision, 2);
    for commit in later {
        commit.await;
    }
    assert_eq!((store.revision(), other.revision()), (22, 21));
    assert_eq!(disk.syncs() - syncs, 2);
}

#[tokio::test]
async fn a_removed_store_is_gone() {
    let disk = Disk::new(Plan::Nothing);
    for engine in [Engine::memory(), open_on(&disk)] {
        let (old, kept) = (engine.store("cluster"), engine.store("kept"));
        put(&old, "k", "old").await;
        put(&kept, "k", "kept").await;
        let mut watch = old.watch("", 1).unwrap();
        let mut idle = kept.watch("", 2).unwrap();
        assert!(!engine.remove("no such").await.unwrap());
        assert!(engine.remove("cluster").await.unwrap());
        assert!(!engine.remove("cluster").await.unwrap());
        assert_eq!(engine.names(), ["kept"]);
        // What it had is delivered, then it ends.
        assert_eq!(watch.next().await.unwrap().revision, 2);
        assert_eq!(watch.next().await.unwrap_err(), WatchEnd::Removed);
        let refused = old.commit(Txn::new().put("k", "x", Expect::Any)).await;
        assert!(matches!(refused, Err(CommitError::Removed { .. })), "{refused:?}");
        assert_eq!(idle.try_next(), Ok(None));

        let new = engine.store("cluster");
        assert_eq!((new.revision(), new.get("k")), (1, None));
        put(&new, "other", "new").await;
        assert_eq!(old.revision(), 2, "two stores of one name are two stores");
    }
    let engine = open_on(&disk);
    assert_eq!(engine.names(), ["cluster", "kept"]);
    assert_eq!((engine.store("cluster").len(), engine.store("kept").len()), (1, 1));
    assert!(engine.store("cluster").get("other").is_some());
}

#[tokio::test]
async fn closing_finishes_what_is_under_way() {
    let disk = Disk::new(Plan::Nothing);
    let engine = open_on(&disk);
    let store = engine.store("s");
    let mut watch = store.watch("", 1).unwrap();
    let held = disk.hold();
    let mut commit = pin!(put(&store, "k", "v"));
    assert_eq!(ready(commit.as_mut()).await, None);
    let mut close = pin!(engine.close());
    assert!(ready(close.as_mut()).await.is_none());
    let refused = store.commit(Txn::new()).await;
    assert!(matches!(refused, Err(CommitError::Closed { .. })), "{refused:?}");
    drop(held);
    close.await.unwrap();
    assert_eq!(commit.await.revision(), 2);
    assert_eq!(watch.next().await.unwrap().revision, 2);
    assert_eq!(watch.next().await.unwrap_err(), WatchEnd::Closed);
    assert_eq!(disk.image(), disk.synced());
    let late = engine.store("late").commit(Txn::new()).await;
    assert!(matches!(late, Err(CommitError::Closed { .. })), "{late:?}");
    assert_eq!(open_on(&disk).store("s").revision(), 2);
}

#[tokio::test]
async fn dropping_the_last_handle_ends_watches() {
    for engine in [Engine::memory(), open_on(&Disk::new(Plan::Nothing))] {
        let store = engine.store("s");
        let mut watch = store.watch("", 1).unwrap();
        drop(engine);
        put(&store, "k", "v").await;
        drop(store);
        assert!(watch.next().await.is_ok());
        assert_eq!(watch.next().await.unwrap_err(), WatchEnd::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_memory_engine_never_waits() {
    let engine = Engine::memory();
    let store = engine.store("s");
    let mut watch = store.watch("a/", 1).unwrap();
    let mut next = pin!(watch.next());
    assert!(ready(next.as_mut()).await.is_none());
    assert!(ready(pin!(put(&store, "b/1", "x"))).await.is_some());
    assert!(ready(next.as_mut()).await.is_none(), "not under its prefix");
    assert!(ready(pin!(put(&store, "a/1", "x"))).await.is_some());
    assert_eq!(next.await.unwrap().revision, 3);
}

#[tokio::test]
async fn a_fork_goes_its_own_way() {
    let engine = Engine::memory();
    let store = engine.store("s");
    put(&store, "k", "1").await;
    let fork = engine.fork();
    let twin = fork.store("s");
    assert!(put(&twin, "k", "2").await.revision() == 3 && store.revision() == 2);
    put(&store, "other", "x").await;
    assert_eq!(twin.get("other"), None);
    assert_eq!(&*twin.get_at("k", 2).unwrap().unwrap().value, b"1");
}

#[tokio::test]
async fn slow_watches_end_and_quiet_ones_do_not() {
    let engine = Engine::memory_with(History { events: 10, bytes: 1 << 20 });
    let store = engine.store("s");
    let mut slow = store.watch("busy", 1).unwrap();
    let mut quiet = store.watch("quiet", 1).unwrap();
    for _ in 0..11 {
        put(&store, "busy", "x").await;
    }
    assert_eq!((store.revision(), store.oldest()), (12, 2));
    assert_eq!(slow.next().await.unwrap_err(), WatchEnd::Lagged { delivered: 1, oldest: 2 });
    assert_eq!((quiet.try_next(), quiet.progress()), (Ok(None), 12));
    put(&store, "quiet", "x").await;
    assert_eq!(quiet.progress(), 12);
    assert_eq!(quiet.next().await.unwrap().revision, 13);
    assert_eq!(store.watch("", 2).unwrap_err(), ReadError::Expired { requested: 2, oldest: 3 });
}

#[tokio::test]
async fn a_long_history_lets_others_run() {
    let engine = Engine::memory();
    let store = engine.store("s");
    for _ in 0..1_000 {
        put(&store, "k", "v").await;
    }
    let mut watch = store.watch("", 1).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let reader = tasks.spawn(async move {
        for _ in 0..1_000 {
            watch.next().await.unwrap();
        }
    });
    tokio::task::yield_now().await;
    assert!(!reader.is_finished());
    tasks.join_all().await;
}

#[tokio::test]
async fn history_is_bounded_by_bytes() {
    let engine = Engine::memory();
    let store = engine.store("s");
    store.limit_history(History { events: 1000, bytes: 10_000 });
    for _ in 0..20 {
        put(&store, "k", &"x".repeat(4_000)).await;
    }
    assert_eq!((store.revision(), store.oldest()), (21, 19));
    store.limit_history(History { events: 1, bytes: 10_000 });
    assert_eq!(store.oldest(), 20);
}

/// How many rows the log has.
fn log_rows(disk: &Disk) -> u64 {
    let log = redb::TableDefinition::<(u32, u64), &[u8]>::new("log");
    let image = Disk::with(disk.synced(), Plan::Nothing);
    let database = redb::Builder::new().create_with_backend(image).unwrap();
    let txn = redb::ReadableDatabase::begin_read(&database).unwrap();
    txn.open_table(log).unwrap().len().unwrap()
}

#[tokio::test]
async fn the_journal_forgets_in_slices() {
    let disk = Disk::new(Plan::Nothing);
    let engine = open_on(&disk);
    let (store, other) = (engine.store("s"), engine.store("other"));
    put(&other, "k", "v").await;
    for i in 0..10 {
        let txn = (0..100).fold(Txn::new(), |txn, k| txn.put(format!("k{k}"), vec![i; 10], Expect::Any));
        store.commit(txn).await.unwrap();
    }
    assert_eq!(log_rows(&disk), 1001);
    store.compact(951);
    let mut rows = Vec::new();
    for _ in 0..5 {
        put(&store, "k", "v").await;
        rows.push(log_rows(&disk));
    }
    // Each adds a row and takes 257, until those after revision 951 are left.
    assert_eq!(rows, [745, 489, 233, 55, 56]);
    drop((store, other, engine));
    let engine = open_on(&disk);
    let store = engine.store("s");
    assert_eq!((store.oldest(), store.revision(), store.len()), (951, 1006, 101));
    assert_eq!(engine.store("other").oldest(), 1);
    let then = store.range("", None, None, Some(951)).unwrap();
    assert_eq!(then.entries.iter().filter(|e| e.value[0] == 9).count(), 50);
}

#[tokio::test]
async fn disks_that_refuse_are_told_apart() {
    let disk = Disk::new(Plan::Nothing);
    put(&open_on(&disk).store("s"), "k", "v").await;
    let image = disk.image();
    let opened = |plan| Engine::open_on(Disk::with(image.clone(), plan), "disk", Options::default());
    assert!(matches!(opened(Plan::ReadOnly), Err(OpenError::ReadOnly { .. })));
    assert!(matches!(opened(Plan::Full(0)), Err(OpenError::Full { .. })));
    assert!(matches!(opened(Plan::Stop(0)), Err(OpenError::Io { .. })));
    assert_eq!(opened(Plan::Nothing).unwrap().store("s").len(), 1);
}

#[tokio::test]
async fn nobody_waits_for_a_dead_committer() {
    let disk = Disk::new(Plan::Nothing);
    let engine = open_on(&disk);
    let store = engine.store("s");
    put(&store, "k", "v").await;
    disk.plan(Plan::Panic);
    for _ in 0..3 {
        let refused = store.commit(Txn::new().put("k", "w", Expect::Any)).await;
        assert!(matches!(refused, Err(CommitError::Storage(Failure::Thread { .. }))), "{refused:?}");
    }
    assert!(matches!(engine.close().await, Err(Failure::Thread { .. })));
    assert_eq!(store.revision(), 2);
}

#[tokio::test]
async fn revisions_can_be_waited_for() {
    let engine = Engine::memory();
    let store = engine.store("s");
    assert!(ready(pin!(store.wait_for(1))).await.is_some());
    let mut wait = pin!(store.wait_for(3));
    put(&store, "k", "v").await;
    assert!(ready(wait.as_mut()).await.is_none());
    put(&store, "k", "v").await;
    assert_eq!(ready(wait).await, Some(Ok(())));
    store.compact(3);
    assert_eq!(ready(pin!(store.wait_for(2))).await, Some(Ok(())));
}

#[tokio::test]
async fn errors_name_what_and_what_next() {
    let engine = Engine::memory();
    let store = engine.store("s");
    put(&store, "k", "v").await;
    let mut said = Vec::new();
    for txn in [
        Txn::new().put("k", "w", Expect::Revision(7)),
        Txn::new().put("k", "w", Expect::Absent),
        Txn::new().delete("none", Expect::Any),
        Txn::new().put("k", "w", Expect::Any).delete("k", Expect::Any),
        Txn::new().delete("k", Expect::Absent),
    ] {
        said.push(store.commit(txn).await.unwrap_err().to_string());
    }
    assert_eq!(
        said,
        [
            "cannot write k: expected revision 7, but it is at revision 2; read it and try again",
            "cannot write k: expected no such key, but it is at revision 2; read it and try again",
            "cannot write none: expected any revision, but it does not exist; read it and try again",
            "cannot write k: it appears twice in one transaction",
            "cannot delete k and expect that it does not exist",
        ]
    );
    assert_eq!(store.commit(Txn::new()).await.unwrap().revision(), 2);
}

#[test]
fn values_are_not_shown() {
    let txn = Txn::new().put("k", "hunter2", Expect::Any);
    assert_eq!(format!("{txn:?}"), "Txn { ops: [put k (7 bytes) over any revision] }");
}
