//! What a long list and many watches cost, in process and without a disk.
//!
//! `cargo run --release -p windlass-apiserver --example reads`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]
#![allow(clippy::disallowed_methods, reason = "the clock is what is measured with")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::Service;
use windlass_apiserver::{Body, InProcess, Server, UserInfo};
use windlass_store::Engine;

const OBJECTS: usize = 10_000;
const WATCHERS: usize = 1_000;
const WRITES: usize = 50;
const PATH: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::main]
async fn main() {
    let seed = AtomicU64::new(1);
    let server = Server::builder(Engine::memory().store("reads"))
        .clock(Arc::new(|| Timestamp::from_second(1_767_225_600).unwrap()))
        .random(Arc::new(move |bytes: &mut [u8]| {
            for byte in bytes {
                let last = seed.load(Ordering::Relaxed);
                let next = last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seed.store(next, Ordering::Relaxed);
                *byte = next.to_be_bytes()[1];
            }
        }))
        .start()
        .await
        .unwrap();
    let client = server.service(UserInfo::admin("root"), "reads/1");
    for index in 0..OBJECTS {
        write(client.clone(), "POST", PATH, index).await;
    }
    list(&client, "list 10,000", "").await;
    list(&client, "list 10,000, one label", "?labelSelector=index%3D5").await;
    list(&client, "list 10,000, metadata", "?as=metadata").await;
    watch(&client, "1,000 watches, all", "").await;
    watch(&client, "1,000 watches, a label", "&labelSelector=half%3D0").await;
    state(&client).await;
    server.stop().await;
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn ask(mut client: InProcess, method: &str, path: &str, body: Bytes) -> http::Response<Body> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if path.ends_with("as=metadata") {
        request =
            request.header("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    }
    let answer = client.call(request.body(Full::new(body)).unwrap()).await.unwrap();
    assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    answer
}

async fn write(client: InProcess, method: &str, path: &str, index: usize) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": format!("c{index:05}"),
            "labels": {"index": index.to_string(), "half": (index % 2).to_string()},
        },
        "data": {"text": "x".repeat(900)},
    });
    ask(client, method, path, Bytes::from(object.to_string())).await;
}

async fn list(client: &InProcess, name: &str, query: &str) {
    let before = resident();
    let (mut bytes, mut best, mut first) = (0, Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        let start = Instant::now();
        let mut body = ask(client.clone(), "GET", &format!("{PATH}{query}"), Bytes::new()).await.into_body();
        bytes = 0;
        while let Some(frame) = body.frame().await {
            if bytes == 0 {
                first = first.min(start.elapsed());
            }
            bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        best = best.min(start.elapsed());
    }
    let more = resident().saturating_sub(before);
    println!(
        "{name:<26} {bytes:>9} bytes, first after {first:>9.1?}, last after {best:>9.1?}, {more:>6} KiB more"
    );
}

/// Delivery of single writes to all watches.
async fn watch(client: &InProcess, name: &str, query: &str) {
    let before = resident();
    let (seen, mut deliveries) = mpsc::unbounded_channel();
    let mut watches = JoinSet::new();
    let path = format!("{PATH}?watch=1&resourceVersion={}{query}", revision(client).await);
    for _ in 0..WATCHERS {
        let mut body = ask(client.clone(), "GET", &path, Bytes::new()).await.into_body();
        let seen = seen.clone();
        watches.spawn(async move {
            while let Some(frame) = body.frame().await {
                #[expect(clippy::naive_bytecount, reason = "an example does without one more library")]
                let lines = frame.unwrap().data_ref().unwrap().iter().filter(|byte| **byte == b'\n').count();
                for _ in 0..lines {
                    seen.send(Instant::now()).unwrap();
                }
            }
        });
    }
    let mut delays = Vec::new();
    for index in 0..WRITES {
        let path = format!("{PATH}/c{:05}", index * 2);
        let start = Instant::now();
        let writing = tokio::spawn(change(client.clone(), path, name.len() + index));
        for _ in 0..WATCHERS {
            delays.push(deliveries.recv().await.unwrap().duration_since(start));
        }
        writing.await.unwrap();
    }
    delays.sort_unstable();
    let at = |share: usize| delays[(delays.len() - 1) * share / 100];
    let more = resident().saturating_sub(before);
    println!(
        "{name:<26} delivered after {:>7.1?} (half), {:>7.1?} (99 %), {:>7.1?} (all), {more:>6} KiB more",
        at(50),
        at(99),
        at(100)
    );
    watches.shutdown().await;
}

async fn change(mut client: InProcess, path: String, value: usize) {
    let patch = json!({"data": {"value": value.to_string()}});
    let request = Request::builder()
        .method("PATCH")
        .uri(path)
        .header("content-type", "application/merge-patch+json")
        .body(Full::new(Bytes::from(patch.to_string())))
        .unwrap();
    assert!(client.call(request).await.unwrap().status().is_success());
}

async fn revision(client: &InProcess) -> String {
    let body = ask(client.clone(), "GET", &format!("{PATH}?limit=1"), Bytes::new()).await.into_body();
    let list: serde_json::Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// Watches that begin with the present state, of which nobody reads more than
/// the first piece.
async fn state(client: &InProcess) {
    let (before, start) = (resident(), Instant::now());
    let path = format!("{PATH}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut body = ask(client.clone(), "GET", &path, Bytes::new()).await.into_body();
        body.frame().await.unwrap().unwrap();
        open.push(body);
    }
    let more = resident().saturating_sub(before);
    println!("100 watches with the state  opened in {:.1?}, {more:>6} KiB more", start.elapsed());
}
