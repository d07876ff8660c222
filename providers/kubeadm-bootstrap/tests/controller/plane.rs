//! A management plane with our controller, a workload cluster, and hands that do what the other controllers
//! would.
#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::core::{Cluster, Machine};
use windlass_apiserver::{InProcess, Random, Server, UserInfo};
use windlass_kubeadm_bootstrap::KubeadmConfigs;
use windlass_model::{Key, Time};
use windlass_pki::{FixtureKeys, Kubeconfig};
use windlass_runtime::{Clock, Metrics, Runtime, Tasks, time};
use windlass_store::Engine;
use windlass_workload::{ConnectError, Connector, Workloads};

/// All kinds that the tests create and read.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned
{
}

/// What our controller suffers. Effects are mutating requests to either cluster.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Fine,
    /// It dies before the effect of this number, which is after the one before.
    Dies(usize),
    /// The answer to the effect of this number is lost.
    Unanswered(usize),
}

/// A life of our controller, and how many effects it has had.
#[derive(Clone)]
struct Life {
    fate: Fate,
    effects: Arc<AtomicUsize>,
}

impl Life {
    fn client(&self, service: InProcess) -> Client {
        let life = self.clone();
        let mortal = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let mutating = request.method() != http::Method::GET;
            let number = if mutating {
                life.effects.fetch_add(1, Ordering::Relaxed)
            } else {
                life.effects.load(Ordering::Relaxed)
            };
            let (fate, mut service) = (life.fate, service.clone());
            async move {
                let lost = |why| std::io::Error::other(why);
                // Whoever is dead neither writes nor reads any more.
                if matches!(fate, Fate::Dies(at) if number > at || (number == at && mutating)) {
                    return Err(lost("this process is dead"));
                }
                let answer = tower::Service::call(&mut service, request).await.map_err(std::io::Error::other);
                if mutating && matches!(fate, Fate::Unanswered(at) if number == at) {
                    return Err(lost("the connection was lost"));
                }
                answer
            }
        });
        Client::new(mortal, "default")
    }
}

/// The one workload cluster.
struct Here(Client);

#[async_trait]
impl Connector for Here {
    async fn connect(&self, _: &Key, _: &Kubeconfig) -> Result<Client, ConnectError> {
        Ok(self.0.clone())
    }
}

/// Everything.
pub struct Plane {
    pub client: Client,
    /// The workload cluster.
    pub workload: Client,
    servers: [Server; 2],
    clock: Clock,
    running: Option<(Runtime, Tasks, Arc<AtomicUsize>)>,
}

fn random(start: usize) -> Random {
    let count = AtomicUsize::new(start);
    Arc::new(move |bytes: &mut [u8]| {
        let next = count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        bytes.iter_mut().rev().zip(next.iter().rev().cycle()).for_each(|(byte, next)| *byte = *next);
    })
}

async fn server(name: &str, clock: &Clock) -> Server {
    let ticking = clock.clone();
    Server::builder(Engine::memory().store(name))
        .clock(Arc::new(move || jiff::Timestamp::from_microsecond(ticking.now().0).unwrap()))
        .random(random(1))
        .start()
        .await
        .unwrap()
}

impl Plane {
    /// A Cluster `prod` on infrastructure, and nobody who owns its control plane.
    pub async fn start() -> Self {
        Self::start_with(Fate::Fine).await
    }

    pub async fn start_with(fate: Fate) -> Self {
        let clock = Clock::tokio(time::parse("2026-11-21T12:00:00Z").unwrap());
        let servers = [server("management", &clock).await, server("workload", &clock).await];
        let needed = ["Cluster", "Machine", "KubeadmConfig"];
        let mut crds = windlass_api::crd::crds();
        crds.retain(|crd| needed.contains(&crd.spec.names.kind.as_str()));
        servers[0].install_crds(&crds).await.unwrap();
        let [client, workload] =
            servers.each_ref().map(|server| server.client(UserInfo::admin("test"), "test/1.0"));
        let mut plane = Self { client, workload, servers, clock, running: None };
        plane
            .create::<Cluster>(json!({ "metadata": { "name": "prod" }, "spec": {
                "controlPlaneEndpoint": { "host": "10.0.0.1", "port": 6443 },
            } }))
            .await;
        plane.cluster_is(json!({ "infrastructureProvisioned": true })).await;
        plane.run(fate);
        plane
    }

    /// Starts our controller.
    pub fn run(&mut self, fate: Fate) {
        let life = Life { fate, effects: Arc::default() };
        let [ours, theirs] = self
            .servers
            .each_ref()
            .map(|server| life.client(server.service(UserInfo::admin("windlass"), "windlass/1.0")));
        let tasks = Tasks::new();
        let connector = Arc::new(Here(theirs));
        let workloads =
            Workloads::new(ours.clone(), connector, self.clock.clone(), tasks.child(), &Metrics::new());
        workloads.want(&Key::new("default", "prod"));
        let runtime = Runtime::builder(ours, self.clock.clone(), tasks.child())
            .add(KubeadmConfigs::new(Arc::new(FixtureKeys), workloads))
            .start();
        self.running = Some((runtime, tasks, life.effects));
    }

    /// How many effects our controller has had (or has tried to have) in this life.
    pub fn effects(&self) -> usize {
        self.running.as_ref().map_or(0, |(_, _, effects)| effects.load(Ordering::Relaxed))
    }

    /// Ends this life of our controller and begins another one, which lives.
    pub async fn restart(&mut self) {
        self.halt().await;
        self.run(Fate::Fine);
    }

    /// Ends this life of our controller.
    pub async fn halt(&mut self) {
        if let Some((runtime, tasks, _)) = self.running.take() {
            runtime.shutdown().await;
            tasks.shutdown().await;
        }
    }

    pub async fn stop(mut self) {
        self.halt().await;
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    pub async fn install(&self, crd: &CustomResourceDefinition) {
        self.servers[0].install_crds(std::slice::from_ref(crd)).await.unwrap();
    }

    /// Deletes all tokens of the workload cluster.
    pub async fn forget_tokens(&self) {
        let api: Api<Secret> = Api::namespaced(self.workload.clone(), "kube-system");
        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    }

    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create<K: Kind>(&self, mut value: Value) -> K {
        value["apiVersion"] = json!(K::api_version(&()));
        value["kind"] = json!(K::kind(&()));
        self.api::<K>().create(&PostParams::default(), &serde_json::from_value(value).unwrap()).await.unwrap()
    }

    pub async fn merge<K: Kind>(&self, name: &str, change: Value) -> K {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap()
    }

    pub async fn merge_status<K: Kind>(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<K>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn cluster_is(&self, initialization: Value) {
        self.merge_status::<Cluster>("prod", json!({ "initialization": initialization })).await;
    }

    /// A Machine with its config: of the control plane if the name begins with `cp`.
    pub async fn machine(&self, name: &str, spec: Value) {
        self.machine_and_config(name, json!({}), spec).await;
    }

    /// A Machine that has its data already, with its config.
    pub async fn machine_with_data(&self, name: &str, secret: &str) {
        self.machine_and_config(name, json!({ "dataSecretName": secret }), json!({})).await;
    }

    async fn machine_and_config(&self, name: &str, mut bootstrap: Value, spec: Value) {
        bootstrap["configRef"] =
            json!({ "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": name });
        let mut labels = json!({ "cluster.x-k8s.io/cluster-name": "prod" });
        if name.starts_with("cp") {
            labels["cluster.x-k8s.io/control-plane"] = json!("");
        }
        let machine: Machine = self.create(json!({ "metadata": { "name": name, "labels": labels }, "spec": {
            "clusterName": "prod", "version": "v1.35.0",
            "bootstrap": bootstrap,
            "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevMachine", "name": name },
        } })).await;
        let owner = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": name,
            "uid": machine.uid().unwrap(), "controller": true,
        });
        let meta = json!({ "name": name, "labels": labels, "ownerReferences": [owner] });
        self.create::<KubeadmConfig>(json!({ "metadata": meta, "spec": spec })).await;
    }

    /// What a config says of its data: `True` or the message.
    pub async fn said(&self, name: &str) -> String {
        let status = self.api::<KubeadmConfig>().get(name).await.unwrap().status.unwrap_or_default();
        let data = status.conditions.iter().find(|condition| condition.type_ == "DataSecretAvailable");
        data.map(|c| if c.status == "True" { c.status.clone() } else { c.message.clone() })
            .unwrap_or_default()
    }

    /// A member of a Secret, as text.
    pub async fn secret(&self, name: &str, member: &str) -> Option<String> {
        let mut data = self.api::<Secret>().get_opt(name).await.unwrap()?.data?;
        Some(String::from_utf8(data.remove(member)?.0).unwrap())
    }

    /// The tokens in the workload cluster by id, each with its expiry.
    pub async fn tokens(&self) -> BTreeMap<String, String> {
        let api: Api<Secret> = Api::namespaced(self.workload.clone(), "kube-system");
        let found = api.list(&ListParams::default()).await.unwrap();
        let text = |secret: &Secret, member: &str| {
            String::from_utf8(secret.data.as_ref().unwrap()[member].0.clone()).unwrap()
        };
        found.iter().map(|secret| (text(secret, "token-id"), text(secret, "expiration"))).collect()
    }

    /// The id of the token that the spec of a config names.
    pub async fn token_of(&self, name: &str) -> Option<String> {
        let config = self.api::<KubeadmConfig>().get(name).await.unwrap();
        let token = config.spec.join_configuration.discovery.bootstrap_token.token?;
        Some(token.expose().split_once('.').unwrap().0.to_owned())
    }

    pub async fn locked(&self) -> Option<ConfigMap> {
        self.api::<ConfigMap>().get_opt("prod-lock").await.unwrap()
    }
}

pub async fn a_while() {
    tokio::time::sleep(Duration::from_secs(30)).await;
}
