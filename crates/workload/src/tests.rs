//! Links over a fake cluster and virtual time.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use windlass_model::{Key, Time};
use windlass_runtime::{Clock, Metrics, Tasks};

use crate::testing::{Mood, Remote, Secrets, kubeconfig};
use crate::{Health, NotConnected, Reason, Subscription, Workloads};

/// Where virtual time begins.
const START: i64 = 1_000_000;

struct Bench {
    remote: Remote,
    secrets: Secrets,
    metrics: Metrics,
    workloads: Workloads,
    events: Subscription,
    _tasks: Tasks,
}

fn cluster() -> Key {
    Key::new("default", "c")
}

impl Bench {
    fn new(mood: Mood) -> Self {
        let (remote, secrets, metrics, tasks) =
            (Remote::new(mood), Secrets::default(), Metrics::new(), Tasks::new());
        let clock = Clock::tokio(Time::from_secs(START));
        let connector = Arc::new(remote.clone());
        let workloads = Workloads::new(secrets.client(), connector, clock, tasks.child(), &metrics);
        let events = workloads.subscribe();
        Self { remote, secrets, metrics, workloads, events, _tasks: tasks }
    }

    /// One that is connected.
    async fn connected() -> Self {
        let bench = Self::new(Mood::Well);
        bench.secrets.put(&cluster(), &kubeconfig("one"));
        bench.workloads.want(&cluster());
        wait(1).await;
        assert!(bench.workloads.get(&cluster()).is_ok(), "{:?}", bench.reason());
        bench
    }

    fn reason(&self) -> Option<Reason> {
        self.workloads.get(&cluster()).err().map(|trouble| trouble.reason)
    }

    fn health(&self) -> Health {
        self.workloads.health(&cluster())
    }

    /// What has happened since the last call.
    fn news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        while let Some(Some(event)) = self.events.next().now_or_never() {
            assert_eq!(event.cluster, cluster());
            news.push(format!("{:?}", event.what));
        }
        news
    }
}

async fn wait(secs: u64) {
    tokio::time::sleep(Duration::from_secs(secs)).await;
}

fn node(name: &str, id: &str) -> Value {
    json!({
        "metadata": {"name": name, "managedFields": [{"manager": "kubelet"}]},
        "spec": {"providerID": id},
        "status": {"images": [{"names": ["big"]}], "nodeInfo": null},
    })
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_connected_once_it_is_wanted_and_has_a_kubeconfig() {
    let mut bench = Bench::new(Mood::Well);
    assert_eq!(bench.reason(), Some(Reason::Unwanted));
    bench.workloads.want(&cluster());
    assert_eq!(bench.reason(), Some(Reason::Connecting), "the answer does not wait for the attempt");
    wait(5).await;
    assert_eq!(bench.reason(), Some(Reason::KubeconfigMissing));
    bench.secrets.put(&cluster(), &kubeconfig("one"));
    bench.workloads.nudge(&cluster());
    tokio::time::sleep(Duration::from_millis(51)).await;
    assert_eq!(bench.reason(), None);
    assert_eq!(bench.news()[..1], ["Connected"]);
    let text = bench.metrics.text().unwrap();
    let up = r#"capi_cluster_cache_connection_up{cluster_name="c",cluster_namespace="default"} 1"#;
    assert!(text.contains(up), "{text}");

    bench.workloads.forget(&cluster());
    assert_eq!(bench.reason(), Some(Reason::Unwanted));
    bench.remote.requests();
    wait(3600).await;
    assert_eq!(bench.remote.requests(), 0, "a forgotten cluster is left alone");
    assert!(!bench.metrics.text().unwrap().contains("cluster_name"));
}

#[tokio::test(start_paused = true)]
async fn nodes_are_found_by_name_and_provider_id_and_their_changes_are_told() {
    let mut bench = Bench::new(Mood::Well);
    bench.remote.event("ADDED", "nodes", node("n1", "memory://1"));
    bench.secrets.put(&cluster(), &kubeconfig("one"));
    bench.workloads.want(&cluster());
    wait(1).await;
    assert_eq!(bench.news(), ["Connected", "Pods"], "the first list is part of being connected");
    let connected = bench.workloads.get(&cluster()).unwrap();
    let n1 = connected.node("n1").unwrap();
    assert!(n1.metadata.managed_fields.is_none());
    assert!(n1.status.as_ref().unwrap().images.is_none());

    bench.remote.event("ADDED", "nodes", node("n2", "memory://2"));
    bench.remote.event("MODIFIED", "nodes", node("n2", "memory://2b"));
    bench.remote.event("MODIFIED", "nodes", node("n2", "memory://2b"));
    bench.remote.event("DELETED", "nodes", node("n1", "memory://1"));
    bench.remote.event("ADDED", "pods", json!({"metadata": {"name": "etcd-n2"}}));
    wait(1).await;
    // Nodes and pods are two watches, and nothing is promised about the order between them.
    let (pods, nodes): (Vec<_>, Vec<_>) = bench.news().into_iter().partition(|news| news == "Pods");
    assert_eq!(nodes, [r#"Node("n2")"#, r#"Node("n1")"#], "waiting news are told once");
    assert_eq!(pods.len(), 1);
    let ids =
        |id| connected.node_by_provider_id(id).iter().map(|it| it.metadata.name.clone().unwrap()).collect();
    let found: Vec<Vec<String>> = ["memory://1", "memory://2", "memory://2b"].map(ids).into();
    assert_eq!(found, [vec![], vec![], vec!["n2".to_owned()]]);
    assert_eq!(connected.nodes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_cluster_costs_one_attempt_at_a_time() {
    let mut bench = Bench::new(Mood::Silent);
    bench.secrets.put(&cluster(), &kubeconfig("one"));
    bench.workloads.want(&cluster());
    bench.workloads.want(&cluster());
    wait(3600).await;
    let connects = bench.remote.connects();
    // One attempt takes 10 s, the pause at most 30 s.
    assert!((90..150).contains(&connects), "{connects} attempts in an hour");
    assert_eq!((bench.reason(), bench.news()), (Some(Reason::Unreachable), vec![]));
    bench.remote.become_(Mood::Well);
    wait(41).await;
    assert_eq!(bench.reason(), None, "back within a pause and an attempt");
}

#[tokio::test(start_paused = true)]
async fn five_lost_probes_end_a_connection_and_it_comes_back() {
    let mut bench = Bench::connected().await;
    bench.news();
    let established = Time::from_secs(START);
    assert_eq!(bench.health().established, Some(established));
    wait(60).await;
    assert!(bench.health().last_success.unwrap() >= established.after(Duration::from_secs(50)));

    bench.remote.become_(Mood::Silent);
    wait(30).await;
    assert_eq!(bench.reason(), None, "one lost probe is nothing");
    assert!(bench.health().failures >= 1);
    wait(60).await;
    assert_eq!(bench.reason(), Some(Reason::Unreachable));
    assert_eq!(bench.news(), ["Disconnected"]);
    let health = bench.health();
    assert!(health.established.is_none() && health.last_success.is_some() && health.failures >= 5);

    bench.remote.become_(Mood::Well);
    wait(41).await;
    assert_eq!(bench.reason(), None);
    assert_eq!(bench.news(), ["Connected", "Pods"]);
    assert_eq!(bench.health().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_or_two_are_forgiven() {
    let mut bench = Bench::connected().await;
    bench.news();
    bench.remote.become_(Mood::Refusing(503));
    wait(25).await;
    bench.remote.become_(Mood::Well);
    wait(60).await;
    assert_eq!((bench.reason(), bench.health().failures, bench.remote.connects()), (None, 0, 1));
    bench.remote.event("ADDED", "nodes", node("n1", "memory://1"));
    wait(60).await;
    assert!(bench.news().contains(&r#"Node("n1")"#.to_owned()), "the watch goes on");
}

#[tokio::test(start_paused = true)]
async fn rotated_credentials_are_read_at_once() {
    let mut bench = Bench::connected().await;
    wait(30).await;
    bench.news();
    bench.remote.accept("two");
    bench.secrets.put_unlabelled(&cluster(), "99", &kubeconfig("two"));
    wait(11).await;
    assert_eq!(bench.reason(), None);
    assert_eq!(bench.news(), ["Disconnected", "Connected", "Pods"]);
    assert_eq!(bench.remote.connects(), 2);

    // Without new ones it is not tried over and over.
    bench.remote.accept("three");
    bench.remote.requests();
    wait(120).await;
    assert_eq!(bench.reason(), Some(Reason::Unauthorized));
    assert!(bench.remote.requests() < 20);
}

#[tokio::test(start_paused = true)]
async fn a_changed_kubeconfig_is_used_at_once() {
    let mut bench = Bench::connected().await;
    wait(3).await;
    bench.news();
    bench.remote.accept("two");
    bench.secrets.put(&cluster(), &kubeconfig("two"));
    wait(1).await;
    assert_eq!((bench.reason(), bench.remote.connects()), (None, 2));
    assert_eq!(bench.news(), ["Disconnected", "Connected", "Pods"]);

    // Written again as it was, or in a way that cannot be used: what works goes on.
    for useless in [kubeconfig("two"), "a: [".to_owned(), kubeconfig("x").replace("token: x", "exec: {}")] {
        bench.secrets.put(&cluster(), &useless);
        wait(1).await;
    }
    assert_eq!((bench.reason(), bench.remote.connects(), bench.news()), (None, 2, vec![]));
    bench.secrets.reads();
    wait(3600).await;
    assert_eq!(bench.secrets.reads(), 0, "nothing is read that has not changed");
}

#[tokio::test(start_paused = true)]
async fn a_kubeconfig_that_is_written_at_last_is_used_at_once() {
    let bench = Bench::new(Mood::Well);
    bench.workloads.want(&cluster());
    wait(3600).await;
    assert_eq!(bench.reason(), Some(Reason::KubeconfigMissing));
    bench.secrets.put(&Key::new("default", "other"), &kubeconfig("one"));
    bench.secrets.put(&cluster(), &kubeconfig("one"));
    wait(1).await;
    assert_eq!(bench.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_dangerous_kubeconfig_is_refused_without_showing_it() {
    let bench = Bench::new(Mood::Well);
    let config = kubeconfig("hunter2").replace("token: hunter2", "exec: {command: hunter2}");
    bench.secrets.put(&cluster(), &config);
    bench.workloads.want(&cluster());
    wait(1).await;
    let NotConnected { reason, message, since } = bench.workloads.get(&cluster()).unwrap_err();
    assert_eq!((reason, since), (Reason::KubeconfigRefused, Time::from_secs(START)));
    assert!(message.contains("exec") && !message.contains("hunter2"), "{message}");
    assert_eq!(bench.remote.connects(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_dead_cluster_does_not_hold_up_another() {
    let bench = Bench::connected().await;
    let other = Key::new("default", "other");
    bench.workloads.want(&other);
    wait(1).await;
    assert_eq!(bench.workloads.get(&other).err().map(|it| it.reason), Some(Reason::KubeconfigMissing));
    assert_eq!(bench.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn progress_is_a_hint_until_the_first_connection() {
    let bench = Bench::new(Mood::Refusing(503));
    bench.secrets.put(&cluster(), &kubeconfig("one"));
    bench.workloads.want(&cluster());
    wait(600).await;
    let before = bench.remote.connects();
    for _ in 0..100 {
        bench.workloads.want(&cluster());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(bench.remote.connects() - before <= 2, "a burst of hints is one attempt");
    bench.remote.become_(Mood::Well);
    wait(1).await;
    bench.workloads.want(&cluster());
    tokio::time::sleep(Duration::from_millis(51)).await;
    assert_eq!(bench.reason(), None, "found at once, not after a pause of 30 s");
}

#[tokio::test(start_paused = true)]
async fn nudges_cost_at_most_twenty_attempts_a_second() {
    let bench = Bench::new(Mood::Refusing(503));
    bench.secrets.put(&cluster(), &kubeconfig("one"));
    bench.workloads.want(&cluster());
    for _ in 0..1_000 {
        bench.workloads.nudge(&cluster());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(bench.remote.connects() <= 21, "{} attempts", bench.remote.connects());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_comes_up_is_found_soon_after() {
    for secs in [1, 10, 60] {
        let bench = Bench::new(Mood::Refusing(503));
        bench.secrets.put(&cluster(), &kubeconfig("one"));
        bench.workloads.want(&cluster());
        wait(secs).await;
        bench.remote.become_(Mood::Well);
        tokio::time::sleep(Duration::from_millis(100 + secs * 600)).await;
        assert_eq!(bench.reason(), None, "up after {secs} s");
    }
}
