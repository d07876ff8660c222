//! Watches through kube's client, and as raw streams where kube hides them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use futures::{AsyncBufReadExt, Stream, StreamExt, TryStreamExt};
use kube::api::{DeleteParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use support::{admin, create, thing, things};

const PATH: &str = "/apis/test.dev/v1/namespaces/default/things";

/// Opens a watch and returns its events.
async fn events(client: &Client, query: &str) -> impl Stream<Item = Value> + Unpin + use<> {
    let request = http::Request::get(format!("{PATH}?watch=1&{query}")).body(Vec::new()).unwrap();
    let lines = client.request_stream(request).await.unwrap().lines();
    Box::pin(lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()))
}

/// `TYPE name size` of an event, or `TYPE` alone.
fn show(event: &Value) -> String {
    let object = &event["object"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match object.pointer("/metadata/name") {
        Some(name) => format!("{} {} {}", text(&event["type"]), text(name), object["spec"]["size"]),
        None if object["kind"] == "Status" => format!("{} {}", text(&event["type"]), object["code"]),
        None => text(&event["type"]),
    }
}

async fn take(stream: &mut (impl Stream<Item = Value> + Unpin), count: usize) -> Vec<String> {
    let taken: Vec<Value> =
        tokio::time::timeout(Duration::from_secs(5), stream.take(count).collect()).await.unwrap();
    taken.iter().map(show).collect()
}

#[tokio::test]
async fn a_watch_begins_with_what_there_is_or_after_a_revision() {
    let (server, api) = things().await;
    let client = admin(&server);
    create(&api, &thing("a", 1)).await;
    let b = create(&api, &thing("b", 2)).await;
    let revision = b.resource_version().unwrap();
    let mut all = events(&client, "").await;
    assert_eq!(take(&mut all, 2).await, ["ADDED a 1", "ADDED b 2"]);
    let mut after = events(&client, &format!("resourceVersion={revision}")).await;
    api.patch("a", &PatchParams::default(), &Patch::Merge(json!({"spec": {"size": 3}}))).await.unwrap();
    api.delete("b", &DeleteParams::default()).await.unwrap();
    assert_eq!(take(&mut after, 2).await, ["MODIFIED a 3", "DELETED b 2"]);
    assert_eq!(take(&mut all, 2).await, ["MODIFIED a 3", "DELETED b 2"]);
}

#[tokio::test]
async fn a_deletion_has_a_revision_of_its_own() {
    let (server, api) = things().await;
    let a = create(&api, &thing("a", 1)).await;
    let mut stream =
        events(&admin(&server), &format!("resourceVersion={}", a.resource_version().unwrap())).await;
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let event = stream.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    let revision: u64 = event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert!(revision > a.resource_version().unwrap().parse().unwrap());
}

#[tokio::test]
async fn a_watch_list_marks_the_end_of_its_state() {
    let (server, api) = things().await;
    create(&api, &thing("a", 1)).await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut stream = events(&admin(&server), query).await;
    assert_eq!(take(&mut stream, 1).await, ["ADDED a 1"]);
    let mark = stream.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["kind"], "Thing");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(mark["object"]["metadata"]["resourceVersion"], server.store().revision().to_string());
    create(&api, &thing("b", 2)).await;
    assert_eq!(take(&mut stream, 1).await, ["ADDED b 2"]);
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let (server, api) = things().await;
    let mut stream = events(&admin(&server), "labelSelector=x%3Dy").await;
    create(&api, &thing("a", 1)).await;
    let params = PatchParams::default();
    for (label, size) in [(json!("y"), 2), (json!("y"), 3), (json!(null), 4)] {
        let patch = json!({"metadata": {"labels": {"x": label}}, "spec": {"size": size}});
        api.patch("a", &params, &Patch::Merge(patch)).await.unwrap();
    }
    // What leaves is shown as it was when it still belonged.
    assert_eq!(take(&mut stream, 3).await, ["ADDED a 2", "MODIFIED a 3", "DELETED a 3"]);
}

#[tokio::test]
async fn a_forgotten_revision_is_an_error_event() {
    let (server, api) = things().await;
    for size in 1..4 {
        create(&api, &thing(&format!("t{size}"), size)).await;
    }
    server.store().compact(server.store().revision());
    let mut stream = events(&admin(&server), "resourceVersion=2").await;
    assert_eq!(take(&mut stream, 1).await, ["ERROR 410"]);
    assert_eq!(stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_its_time_is_up_with_a_last_bookmark() {
    let (server, _api) = things().await;
    let query =
        format!("timeoutSeconds=10&allowWatchBookmarks=true&resourceVersion={}", server.store().revision());
    let mut stream = events(&admin(&server), &query).await;
    let start = tokio::time::Instant::now();
    let mark = stream.next().await.unwrap();
    assert_eq!((show(&mark).as_str(), start.elapsed().as_secs()), ("BOOKMARK", 8));
    assert_eq!(mark["object"]["metadata"].as_object().unwrap().len(), 1);
    assert_eq!(stream.next().await, None);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_future_revision_is_waited_for() {
    let (server, api) = things().await;
    let client = admin(&server);
    let next = server.store().revision() + 1;
    let path = format!("{PATH}?resourceVersion={next}");
    let request = || http::Request::get(path.as_str()).body(Vec::new()).unwrap();
    let refused = client.request::<Value>(request()).await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!(status.code, 504);
    assert!(status.message.contains("Too large resource version"), "{}", status.message);
    let (listed, _) = tokio::join!(client.request::<Value>(request()), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        create(&api, &thing("a", 1)).await
    });
    assert_eq!(listed.unwrap()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn options_that_do_not_go_together_are_refused() {
    let (server, _api) = things().await;
    for (query, code) in [
        ("watch=1&sendInitialEvents=true", 422),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422),
        ("watch=1&resourceVersion=x", 500),
        ("resourceVersion=x", 400),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 422),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersionMatch=Exact&resourceVersion=0", 422),
        ("continue=nonsense", 400),
    ] {
        let request = http::Request::get(format!("{PATH}?{query}")).body(Vec::new()).unwrap();
        let kube::Error::Api(status) = admin(&server).request::<Value>(request).await.unwrap_err() else {
            panic!("{query}")
        };
        assert_eq!(status.code, code, "{query}");
    }
}

#[tokio::test]
async fn kubes_watcher_and_reflector_follow() {
    for strategy in [watcher::InitialListStrategy::ListWatch, watcher::InitialListStrategy::StreamingList] {
        let (_server, api) = things().await;
        create(&api, &thing("a", 1)).await;
        let config =
            watcher::Config { initial_list_strategy: strategy.clone(), ..watcher::Config::default() };
        let resource = support::thing_resource();
        let writer = reflector::store::Writer::new(resource);
        let store = writer.as_reader();
        let mut stream = Box::pin(reflector(writer, watcher(api.clone(), config)).applied_objects());
        assert_eq!(stream.try_next().await.unwrap().unwrap().name_any(), "a");
        create(&api, &thing("b", 2)).await;
        assert_eq!(stream.try_next().await.unwrap().unwrap().name_any(), "b");
        assert_eq!(store.len(), 2, "{strategy:?}");
    }
}

#[tokio::test]
async fn typed_watches_parse() {
    let (_server, api) = things().await;
    create(&api, &thing("a", 1)).await;
    let mut stream = Box::pin(api.watch(&WatchParams::default().timeout(5), "0").await.unwrap());
    let Some(Ok(WatchEvent::Added(a))) = stream.next().await else { panic!("no event") };
    assert_eq!(a.name_any(), "a");
}

#[tokio::test]
async fn many_watches_see_the_same_order() {
    let (server, api) = things().await;
    let client = admin(&server);
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(events(&client, "").await);
    }
    let creates = (0..50).map(|index| {
        let api = api.clone();
        async move { create(&api, &thing(&format!("t{index}"), 1)).await }
    });
    futures::future::join_all(creates).await;
    let first = take(&mut streams[0], 50).await;
    for stream in &mut streams[1..] {
        assert_eq!(take(stream, 50).await, first);
    }
}

#[tokio::test]
async fn a_stopped_server_ends_its_watches() {
    let (server, _api) = things().await;
    let mut stream = events(&admin(&server), "").await;
    server.stop().await;
    assert_eq!(stream.next().await, None);
}
