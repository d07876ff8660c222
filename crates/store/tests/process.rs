//! A real process on a real file, killed in the middle of its work.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::task::JoinSet;
use windlass_store::{Engine, Entry, Expect, OpenError, Options, Txn};

/// Names the file to the process that is to be killed: this test again, in its other role.
const FILE: &str = "WINDLASS_STORE_TEST_FILE";
const WRITERS: u64 = 8;
/// How often to kill, where more than the usual is wanted.
const KILLS: &str = "WINDLASS_STORE_KILLS";

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    if let Some(file) = std::env::var_os(FILE) {
        return write_forever(Path::new(&file));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.redb");
    let mut known = BTreeMap::new();
    let kills = std::env::var(KILLS).map_or(20, |kills| kills.parse().unwrap());
    // The revision up to which the history was looked at: it keeps the latest changes alone.
    let mut seen = 1;
    for round in 1..=kills {
        let revision = write_and_kill(&file, &mut known);
        let engine = Engine::open(&file, Options::default()).unwrap();
        let store = engine.store("s");
        assert!(store.revision() >= revision, "round {round}");
        for (writer, acknowledged) in &mut known {
            let found = counter(store.get(&writer.to_string()).as_deref());
            assert!(
                (*acknowledged..=*acknowledged + 1).contains(&found),
                "{writer}: {acknowledged}, {found}"
            );
            *acknowledged = found;
        }
        // All changes since then are there, and each is a step of one counter.
        let mut watch = store.watch("", seen).unwrap();
        for revision in seen + 1..=store.revision() {
            let event = watch.try_next().unwrap().unwrap();
            assert_eq!(event.revision, revision);
            assert_eq!(counter(event.entry.as_deref()), counter(event.previous.as_deref()) + 1);
        }
        seen = store.revision();
    }
}

fn counter(entry: Option<&Entry>) -> u64 {
    entry.map_or(0, |entry| std::str::from_utf8(&entry.value).unwrap().parse().unwrap())
}

/// Lets a process write until it has told of enough, and kills it. Notes what it told, and
/// returns the latest revision it told of.
fn write_and_kill(file: &Path, known: &mut BTreeMap<u64, u64>) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_loses_nothing_acknowledged", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut told, mut latest) = (0, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // Anything else is from the test harness.
        let line = line.unwrap();
        let Some(numbers) = line.strip_prefix("acknowledged ") else { continue };
        let numbers: Vec<u64> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
        let [writer, count, revision] = numbers[..] else { panic!("{line}") };
        known.insert(writer, count);
        latest = latest.max(revision);
        told += 1;
        if told == 300 {
            let opened = Engine::open(file, Options::default());
            assert!(matches!(opened, Err(OpenError::Locked { .. })), "{opened:?}");
            // What it still tells before it is gone counts, too.
            child.kill().unwrap();
        }
    }
    assert!(told >= 300, "it ended by itself: {:?}", child.wait());
    child.wait().unwrap();
    latest
}

#[tokio::main(flavor = "current_thread")]
async fn write_forever(file: &Path) {
    let engine = Engine::open(file, Options::default()).unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = engine.store("s");
        writers.spawn(async move {
            let key = writer.to_string();
            let mut count = counter(store.get(&key).as_deref());
            loop {
                count += 1;
                let txn = Txn::new().put(&*key, count.to_string(), Expect::Any);
                let revision = store.commit(txn).await.unwrap().revision();
                println!("acknowledged {writer} {count} {revision}");
            }
        });
    }
    writers.join_next().await.unwrap().unwrap();
}
