//! Durable writes per second of one store: `cargo run --release -p windlass-store --example
//! writes -- [directory]`. The numbers say more about the disk's fsync than about this code.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use windlass_store::{Engine, Expect, Options, Store, Txn};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// About the size of a Machine.
const VALUE: usize = 3_500;
const KEYS: usize = 1_000;

/// Writes until the time is over; returns how long each write took.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
async fn write(store: Store, writer: usize, until: Instant) -> Result<Vec<Duration>, Failed> {
    let mut took = Vec::new();
    let mut began = Instant::now();
    while began < until {
        let key = format!("/registry/machines/default/{writer}-{}", took.len() % KEYS);
        store.commit(Txn::new().put(key, vec![b'x'; VALUE], Expect::Any)).await?;
        let now = Instant::now();
        took.push(now - began);
        began = now;
    }
    Ok(took)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
#[expect(clippy::print_stdout, reason = "its result")]
async fn run(engine: &Engine, writers: usize, stores: usize) -> Result<(), Failed> {
    const SECONDS: u64 = 5;
    let before = engine.metrics();
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let store = engine.store(&format!("bench-{writers}-{}", writer % stores));
        tasks.spawn(write(store, writer, until));
    }
    let mut took = Vec::new();
    while let Some(times) = tasks.join_next().await {
        took.extend(times??);
    }
    took.sort();
    let after = engine.metrics();
    let batches = after.batches - before.batches;
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "{writers:3} writers, {stores:3} stores: {:6} writes/s, p50 {:.1?}, p99 {:.1?}, {} writes per sync of {:.1?}",
        took.len() as u64 / SECONDS,
        at(50),
        at(99),
        took.len() as u64 / batches,
        after.sync_time.saturating_sub(before.sync_time) / u32::try_from(batches)?,
    );
    Ok(())
}

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
#[expect(clippy::print_stdout, reason = "its result")]
async fn main() -> Result<(), Failed> {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = directory.join("windlass-store-bench.redb");
    let engine = Engine::open(&path, Options::default())?;
    for (writers, stores) in [(1, 1), (16, 1), (64, 1), (64, 64)] {
        run(&engine, writers, stores).await?;
    }
    engine.close().await?;
    drop(engine);
    let began = Instant::now();
    let engine = Engine::open(&path, Options::default())?;
    let keys: usize = engine.names().iter().map(|name| engine.store(name).len()).sum();
    let file = std::fs::metadata(&path)?.len() >> 20;
    println!("opened again, {keys} keys in {file} MiB, in {:.1?}", began.elapsed());
    drop(engine);
    std::fs::remove_file(&path)?;
    Ok(())
}
