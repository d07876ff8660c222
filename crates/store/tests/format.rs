//! Files of earlier formats: each that was ever released is kept here, and opens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod disk;

use std::io::Read;

use disk::{Disk, Plan};
use windlass_store::{Engine, Entry, Expect, OpenError, Options, Store, Txn};

/// Two stores, twenty writes to ten keys and two deletions in each, written by format 1.
const FORMAT_1: &[u8] = include_bytes!("data/format-1.redb.gz");

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut image = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut image).unwrap();
    image
}

fn open(disk: &Disk) -> Result<Engine, OpenError> {
    Engine::open_on(disk.clone(), "old", Options::default())
}

fn values(store: &Store, at: Option<u64>) -> Vec<String> {
    let text = |entry: &Entry| {
        format!("{}={}", &entry.key["/registry/things/".len()..], String::from_utf8_lossy(&entry.value))
    };
    store.range("", None, None, at).unwrap().entries.iter().map(|entry| text(entry)).collect()
}

/// The stores as they were left, their history, and that they go on.
async fn check(disk: &Disk) {
    let engine = open(disk).unwrap();
    assert_eq!(engine.names(), ["management", "world"]);
    for name in engine.names() {
        let store = engine.store(&name);
        assert_eq!(store.revision(), 23);
        let left = [0, 1, 2, 4, 5, 6, 8, 9].map(|i| format!("{i:02}={name} {}", i + 10));
        assert_eq!(values(&store, None), left);
        let first: Vec<String> = (0..10).map(|i| format!("{i:02}={name} {i}")).collect();
        assert_eq!(values(&store, Some(11)), first);
        let mut watch = store.watch("", 21).unwrap();
        assert_eq!(watch.next().await.unwrap().revision, 22);
        let next = store.commit(Txn::new().put("/registry/things/10", "new", Expect::Absent)).await.unwrap();
        assert_eq!(next.revision(), 24);
    }
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_file_of_format_1_is_migrated() {
    let disk = Disk::with(unpack(FORMAT_1), Plan::Nothing);
    check(&disk).await;
    // The second time there is nothing left to migrate: opening it writes no more than redb does by itself.
    let engine = open(&disk).unwrap();
    assert_eq!(engine.store("world").revision(), 24);
}

#[tokio::test]
async fn a_crash_while_migrating_leaves_the_old_file_or_the_new_one() {
    let calls = {
        let disk = Disk::with(unpack(FORMAT_1), Plan::Nothing);
        drop(open(&disk).unwrap());
        disk.calls()
    };
    assert!(calls > 3, "{calls} calls: the migration must write");
    for stop in 0..calls {
        let disk = Disk::with(unpack(FORMAT_1), Plan::Stop(stop));
        // It may be done by then; closing writes, too.
        drop(open(&disk));
        for image in [disk.synced(), disk.image(), disk.torn(1), disk.torn(2)] {
            check(&Disk::with(image, Plan::Nothing)).await;
        }
    }
}

#[test]
fn a_disk_that_cannot_be_written_leaves_the_old_file() {
    let image = unpack(FORMAT_1);
    let full = Disk::with(image.clone(), Plan::ReadOnly);
    let error = open(&full).unwrap_err();
    assert!(matches!(error, OpenError::ReadOnly { .. } | OpenError::Io { .. }), "{error:?}");
    assert_eq!(full.image(), image);
}
