//! The connection to one cluster: made, probed, lost, made again.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::{Request, StatusCode};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Node, Pod, Secret as SecretObject};
use kube::client::Body;
use kube::{Client, ResourceExt};
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, watch};
use windlass_model::{Key, Time};
use windlass_pki::Kubeconfig;
use windlass_runtime::management::resource_of;
use windlass_runtime::queue::spread;
use windlass_runtime::watch::{Scope, Sink, run};
use windlass_runtime::{Clock, Management, Metrics, Spawner, Tasks};

use crate::connector::{ConnectError, Connector};
use crate::health::{Health, NotConnected, Reason};
use crate::nodes::NodeStore;
use crate::subscription::{Subscribers, What};
use crate::workloads::Connected;

/// Time between probes (upstream's cluster cache: 10 s).
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// Time for one answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Failures in a row after which the connection is given up.
const PROBE_FAILURES: u32 = 5;
/// Time for everything between the kubeconfig and the first list of nodes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause between attempts to connect.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// A hint is worth an attempt when the last one is this old.
const HINTED: Duration = Duration::from_secs(1);

/// What all links share.
pub(crate) struct Surroundings {
    pub(crate) management: Management,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) clock: Clock,
    pub(crate) subscribers: Subscribers,
    pub(crate) metrics: LinkMetrics,
}

/// The handle of a link; its task ends when it is dropped.
pub(crate) struct Link {
    state: Arc<RwLock<State>>,
    nudge: Arc<Notify>,
    rotated: Arc<Notify>,
    _tasks: Tasks,
}

struct State {
    connection: Result<Connected, NotConnected>,
    health: Health,
    /// The version of the kubeconfig Secret that was read last.
    kubeconfig: Option<String>,
    /// When the last attempt ended.
    tried: Option<Time>,
}

impl Link {
    pub(crate) fn start(cluster: &Key, around: Arc<Surroundings>, tasks: Tasks) -> Self {
        let since = around.clock.now();
        let connection = Err(NotConnected { reason: Reason::Connecting, message: String::new(), since });
        let state = State { connection, health: Health::default(), kubeconfig: None, tried: None };
        let state = Arc::new(RwLock::new(state));
        let (nudge, rotated) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let keeper = Keeper {
            cluster: cluster.clone(),
            around,
            state: state.clone(),
            nudge: nudge.clone(),
            rotated: rotated.clone(),
            spawner: tasks.spawner(),
        };
        tasks.spawn(format!("link {cluster}"), keeper.run());
        Self { state, nudge, rotated, _tasks: tasks }
    }

    pub(crate) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// The kubeconfig Secret has this version now.
    pub(crate) fn kubeconfig_is(&self, version: Option<&str>) {
        let state = self.state.read();
        if state.kubeconfig.as_deref() == version {
            return;
        }
        match state.connection {
            Ok(_) => self.rotated.notify_one(),
            Err(_) => self.nudge.notify_one(),
        }
    }

    /// Somebody wants the connection again. Until the first one that is a hint: they were woken by progress.
    pub(crate) fn wanted(&self, now: Time) {
        let state = self.state.read();
        let due = state.tried.is_some_and(|tried| now.since(tried) >= HINTED);
        if state.health.last_success.is_none() && due {
            self.nudge.notify_one();
        }
    }

    pub(crate) fn get(&self) -> Result<Connected, NotConnected> {
        self.state.read().connection.clone()
    }

    pub(crate) fn health(&self) -> Health {
        self.state.read().health
    }
}

/// The task behind a link.
struct Keeper {
    cluster: Key,
    around: Arc<Surroundings>,
    state: Arc<RwLock<State>>,
    nudge: Arc<Notify>,
    /// The kubeconfig Secret has changed while a connection stands.
    rotated: Arc<Notify>,
    spawner: Spawner,
}

/// A connection that is up, and the scope of its watches.
struct Up {
    client: Client,
    /// What it was made from.
    kubeconfig: Kubeconfig,
    /// Something is wrong with a watch: probe now.
    doubt: Arc<Notify>,
    _watches: Tasks,
}

/// The answer to a probe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Alive,
    Unauthorized,
    Nothing,
}

impl Keeper {
    async fn run(self) {
        let mut attempts: u32 = 0;
        loop {
            match self.connect().await {
                Ok(up) => {
                    let (reason, lived) = self.hold(&up).await;
                    drop(up);
                    self.lost(reason);
                    // New credentials may be waiting: read them at once, but only once.
                    attempts = if lived { 0 } else { attempts + 1 };
                    if reason == Reason::Connecting || (reason == Reason::Unauthorized && lived) {
                        continue;
                    }
                }
                Err((reason, message)) => {
                    self.failed(reason, message);
                    attempts = attempts.saturating_add(1);
                }
            }
            // A nudge is as good as the end of the pause, however many there are; nothing else is waiting for
            // this cluster meanwhile.
            let (shortest, _) = PAUSE;
            tokio::time::sleep(shortest).await;
            let rest = pause(&self.cluster, attempts).saturating_sub(shortest);
            let _ = tokio::time::timeout(rest, self.nudge.notified()).await;
        }
    }

    /// One attempt, from the Secret to the list of nodes.
    async fn connect(&self) -> Result<Up, (Reason, String)> {
        let attempt = self.attempt();
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(end) => end,
            Err(_) => Err((Reason::Unreachable, format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    async fn attempt(&self) -> Result<Up, (Reason, String)> {
        let kubeconfig = self.kubeconfig().await?;
        let connected = self.around.connector.connect(&self.cluster, &kubeconfig).await;
        let client = connected.map_err(|error| (reason(&error), chain(&error)))?;
        match probe(&client).await {
            Answer::Alive => {}
            Answer::Unauthorized => return Err((Reason::Unauthorized, String::new())),
            Answer::Nothing => return Err((Reason::Unreachable, String::new())),
        }
        let watches = self.spawner.child();
        let doubt = Arc::new(Notify::new());
        let nodes = NodeStore::default();
        let (listed, mut is_listed) = watch::channel(false);
        let sink = NodeSink {
            cluster: self.cluster.clone(),
            around: self.around.clone(),
            nodes: nodes.clone(),
            listed,
            doubt: doubt.clone(),
        };
        let of_nodes = client.clone();
        watches.spawn(format!("nodes of {}", self.cluster), async move {
            run(&of_nodes, &Scope::all(resource_of::<Node>()), &sink).await;
        });
        if is_listed.wait_for(|listed| *listed).await.is_err() {
            return Err((Reason::Unreachable, "the watch of its nodes has ended".to_owned()));
        }
        self.watch_pods(&client, &watches);
        self.connected(&client, nodes);
        Ok(Up { client, kubeconfig, doubt, _watches: watches })
    }

    /// The kubeconfig as it is now.
    async fn kubeconfig(&self) -> Result<Kubeconfig, (Reason, String)> {
        let key = self.cluster.sibling(format!("{}-kubeconfig", self.cluster.name));
        let secret = self.around.management.get::<SecretObject>(&key).await;
        let secret = secret.map_err(|error| (Reason::KubeconfigUnread, chain(&error)))?;
        let secret = secret.ok_or((Reason::KubeconfigMissing, String::new()))?;
        self.state.write().kubeconfig.clone_from(&secret.metadata.resource_version);
        let value = secret.data.as_ref().and_then(|data| data.get("value"));
        let ByteString(value) = value.ok_or_else(|| refused(&key, "it has no key `value`"))?;
        let text = std::str::from_utf8(value).map_err(|_| refused(&key, "its value is no text"))?;
        Kubeconfig::parse(text).map_err(|error| refused(&key, &chain(&error)))
    }

    /// Watches the control plane's pods: only that something happened, never what they look like.
    fn watch_pods(&self, client: &Client, watches: &Tasks) {
        let sink = PodSink { cluster: self.cluster.clone(), around: self.around.clone() };
        let scope = Scope::all(resource_of::<Pod>()).within("kube-system").labelled("tier=control-plane");
        let client = client.clone();
        watches.spawn(format!("pods of {}", self.cluster), async move { run(&client, &scope, &sink).await });
    }

    /// Whether the kubeconfig is another one than that of the connection. One that cannot be used is no reason
    /// to give up a connection that works.
    async fn is_rotated(&self, up: &Up) -> bool {
        let now = tokio::time::timeout(PROBE_TIMEOUT, self.kubeconfig()).await;
        now.is_ok_and(|now| now.is_ok_and(|now| now != up.kubeconfig))
    }

    /// Probes until the connection must be given up; for another kubeconfig the reason is that it is being made
    /// anew. The second value says whether it was of any use: a probe after the first has succeeded.
    async fn hold(&self, up: &Up) -> (Reason, bool) {
        let mut lived = false;
        loop {
            let (mut doubted, mut rotated) = (false, false);
            tokio::select! {
                biased;
                () = self.rotated.notified() => rotated = true,
                () = up.doubt.notified() => doubted = true,
                () = tokio::time::sleep(PROBE_EVERY) => {}
            }
            if rotated && self.is_rotated(up).await {
                return (Reason::Connecting, lived);
            }
            let answer = probe(&up.client).await;
            let failures = self.probed(answer);
            match answer {
                Answer::Alive => lived = true,
                Answer::Unauthorized => return (Reason::Unauthorized, lived),
                Answer::Nothing if failures >= PROBE_FAILURES => return (Reason::Unreachable, lived),
                // A watch that breaks says so many times; it must not use up the patience of a minute.
                Answer::Nothing if doubted => tokio::time::sleep(PROBE_EVERY).await,
                Answer::Nothing => {}
            }
        }
    }

    fn connected(&self, client: &Client, nodes: NodeStore) {
        let now = self.around.clock.now();
        {
            let mut state = self.state.write();
            state.connection = Ok(Connected::new(client.clone(), nodes));
            state.health = Health { established: Some(now), last_success: Some(now), failures: 0 };
        }
        tracing::info!(cluster = %self.cluster, "connected");
        self.around.metrics.up(&self.cluster, true);
        self.around.subscribers.tell(&self.cluster, &What::Connected);
    }

    /// Notes the answer to a probe; returns how many in a row have failed.
    fn probed(&self, answer: Answer) -> u32 {
        let now = self.around.clock.now();
        let alive = answer == Answer::Alive;
        self.around.metrics.probed(&self.cluster, alive);
        let mut state = self.state.write();
        if alive {
            state.health.last_success = Some(now);
            state.health.failures = 0;
        } else {
            state.health.failures = state.health.failures.saturating_add(1);
        }
        state.health.failures
    }

    fn lost(&self, reason: Reason) {
        let since = self.around.clock.now();
        {
            let mut state = self.state.write();
            state.connection = Err(NotConnected { reason, message: String::new(), since });
            state.health.established = None;
        }
        tracing::info!(cluster = %self.cluster, ?reason, "disconnected");
        self.around.metrics.up(&self.cluster, false);
        self.around.subscribers.tell(&self.cluster, &What::Disconnected);
    }

    /// An attempt to connect has failed: another reason, the same beginning.
    fn failed(&self, reason: Reason, message: String) {
        tracing::debug!(cluster = %self.cluster, ?reason, message, "not connected");
        self.around.metrics.up(&self.cluster, false);
        let mut state = self.state.write();
        state.tried = Some(self.around.clock.now());
        state.health.failures = state.health.failures.saturating_add(1);
        if let Err(trouble) = &mut state.connection {
            trouble.reason = reason;
            trouble.message = message;
        }
    }
}

/// The pause after `attempts` attempts in vain: half as long again each time, so that a cluster is found at most
/// half as late again as it comes up, and spread by the cluster's name.
fn pause(cluster: &Key, attempts: u32) -> Duration {
    let (first, longest) = PAUSE;
    let grown =
        (1..attempts).try_fold(first, |pause, _| Some(pause * 3 / 2).filter(|pause| *pause < longest));
    spread(cluster, grown.unwrap_or(longest), 4)
}

/// Asks the API server for its root, which every user may see and which costs nothing.
async fn probe(client: &Client) -> Answer {
    let Ok(request) = Request::get("/").body(Body::empty()) else { return Answer::Nothing };
    let answer = tokio::time::timeout(PROBE_TIMEOUT, client.send(request).map(Result::ok)).await;
    match answer.ok().flatten().map(|answer| answer.status()) {
        Some(StatusCode::UNAUTHORIZED) => Answer::Unauthorized,
        // Also "forbidden": it is there, and it knows who we are.
        Some(status) if !status.is_server_error() => Answer::Alive,
        Some(_) | None => Answer::Nothing,
    }
}

fn refused(key: &Key, why: &str) -> (Reason, String) {
    (Reason::KubeconfigRefused, format!("Secret {key}: {why}"))
}

fn reason(error: &ConnectError) -> Reason {
    match error {
        ConnectError::Kubeconfig(_) => Reason::KubeconfigRefused,
        ConnectError::Unauthorized => Reason::Unauthorized,
        ConnectError::Unreachable(_) => Reason::Unreachable,
    }
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Feeds the nodes of one cluster.
struct NodeSink {
    cluster: Key,
    around: Arc<Surroundings>,
    nodes: NodeStore,
    listed: watch::Sender<bool>,
    doubt: Arc<Notify>,
}

impl NodeSink {
    /// News are told only of a cluster that the readers can see.
    fn tell(&self, node: String) {
        if *self.listed.borrow() {
            self.around.subscribers.tell(&self.cluster, &What::Node(node));
        }
    }
}

impl Sink<Node> for NodeSink {
    fn replace(&self, nodes: Vec<Node>, _: u64) {
        let gone = self.nodes.all().into_iter().map(|node| node.name_any());
        let gone: Vec<String> =
            gone.filter(|name| !nodes.iter().any(|node| node.name_any() == *name)).collect();
        for name in gone {
            self.nodes.remove(&name);
            self.tell(name);
        }
        for node in nodes {
            self.apply(node);
        }
        self.listed.send_replace(true);
    }

    fn apply(&self, node: Node) {
        let name = node.name_any();
        self.nodes.put(node);
        self.tell(name);
    }

    fn delete(&self, node: Node) {
        let name = node.name_any();
        self.nodes.remove(&name);
        self.tell(name);
    }

    fn reached(&self, _: u64) {}

    fn broken(&self) {
        self.doubt.notify_one();
    }
}

/// Says that something happened to the control plane's pods.
struct PodSink {
    cluster: Key,
    around: Arc<Surroundings>,
}

impl PodSink {
    fn tell(&self) {
        self.around.subscribers.tell(&self.cluster, &What::Pods);
    }
}

impl Sink<Pod> for PodSink {
    fn replace(&self, _: Vec<Pod>, _: u64) {
        self.tell();
    }

    fn apply(&self, _: Pod) {
        self.tell();
    }

    fn delete(&self, _: Pod) {
        self.tell();
    }

    fn reached(&self, _: u64) {}
}

/// Connections and probes, under upstream's names.
pub(crate) struct LinkMetrics {
    up: Family<Cluster, Gauge>,
    last: Family<Cluster, Gauge>,
    probes: Family<Probe, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cluster {
    cluster_name: String,
    cluster_namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Probe {
    cluster_name: String,
    cluster_namespace: String,
    status: &'static str,
}

impl LinkMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let (up, last, probes) = (Family::default(), Family::default(), Family::default());
        metrics.register(|registry| {
            let help = "Whether the connection to the workload cluster stands";
            registry.register("capi_cluster_cache_connection_up", help, Family::clone(&up));
            let help = "Whether the last probe of the workload cluster succeeded";
            registry.register("capi_cluster_cache_healthcheck", help, Family::clone(&last));
            let help = "Probes of workload clusters";
            registry.register("capi_cluster_cache_healthchecks", help, Family::clone(&probes));
        });
        Self { up, last, probes }
    }

    fn up(&self, cluster: &Key, up: bool) {
        self.up.get_or_create(&labels(cluster)).set(i64::from(up));
    }

    fn probed(&self, cluster: &Key, alive: bool) {
        self.last.get_or_create(&labels(cluster)).set(i64::from(alive));
        self.probes.get_or_create(&probe_labels(cluster, alive)).inc();
    }

    /// A cluster that is gone must not stay in the metrics for ever.
    pub(crate) fn forget(&self, cluster: &Key) {
        self.up.remove(&labels(cluster));
        self.last.remove(&labels(cluster));
        self.probes.remove(&probe_labels(cluster, true));
        self.probes.remove(&probe_labels(cluster, false));
    }
}

fn labels(cluster: &Key) -> Cluster {
    Cluster { cluster_name: cluster.name.clone(), cluster_namespace: cluster.namespace.clone() }
}

fn probe_labels(cluster: &Key, alive: bool) -> Probe {
    let Cluster { cluster_name, cluster_namespace } = labels(cluster);
    Probe { cluster_name, cluster_namespace, status: if alive { "success" } else { "error" } }
}
