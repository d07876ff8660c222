//! An API server with the infrastructure controllers and nothing else. The test plays Cluster API's core.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use windlass_apiserver::{Server, UserInfo};
use windlass_controllers::infrastructure::{
    ClusterController, DevClusters, DevMachines, MachineController, Registry,
};
use windlass_model::Key;
use windlass_provider::{ClusterInfrastructure, Machines};
use windlass_runtime::{Clock, Runtime, Tasks, time};
use windlass_store::Engine as StoreEngine;

use crate::engine::Engine;

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
const INFRA: &str = "/apis/infrastructure.cluster.x-k8s.io/v1beta2/namespaces/default";

pub const CLUSTER: &str = "/apis/infrastructure.cluster.x-k8s.io/v1beta2/namespaces/default/devclusters/c";
pub const MACHINE: &str = "/apis/infrastructure.cluster.x-k8s.io/v1beta2/namespaces/default/devmachines/m";
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub struct Plane {
    pub engine: Engine,
    pub news: UnboundedSender<Key>,
    client: Client,
    _server: Server,
    _runtime: Runtime,
}

impl Plane {
    pub async fn new() -> Self {
        let (engine, counter) = (Engine::default(), AtomicU64::new(1));
        let clock = Clock::tokio(time::parse("2026-11-21T12:00:00Z").unwrap());
        let wall = clock.clone();
        let server = Server::builder(StoreEngine::memory().store("management"))
            .clock(Arc::new(move || jiff::Timestamp::from_microsecond(wall.now().0).unwrap()))
            .random(Arc::new(move |bytes: &mut [u8]| {
                let next = counter.fetch_add(1, Ordering::Relaxed).to_le_bytes();
                bytes.iter_mut().zip(next.iter().cycle()).for_each(|(byte, next)| *byte = *next);
            }))
            .start()
            .await
            .unwrap();
        let client = server.client(UserInfo::admin("core"), "core");
        for crd in windlass_api::crd::crds() {
            let crd = serde_json::to_value(crd).unwrap();
            post(&client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await;
        }
        let (news, heard) = unbounded_channel();
        let machines: Arc<dyn Machines> = Arc::new(engine.clone());
        let clusters: Arc<dyn ClusterInfrastructure> = Arc::new(engine.clone());
        let machines = Registry::default().with("docker", machines);
        let clusters = Registry::default().with("docker", clusters);
        let windlass = server.client(UserInfo::admin("windlass"), "windlass");
        let runtime = Runtime::builder(windlass, clock, Tasks::new())
            .add(MachineController::<DevMachines>::new(machines, [heard]))
            .add(ClusterController::<DevClusters>::new(clusters))
            .start();
        Self { engine, news, client, _server: server, _runtime: runtime }
    }

    /// A Cluster with a DevCluster of this `spec.backend.docker`, and the infrastructure of the first.
    pub async fn cluster(&self, docker: Value) {
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c"},
            "spec": {"infrastructureRef": reference("infrastructure", "DevCluster", "c")},
        });
        post(&self.client, &format!("{CORE}/clusters"), &cluster).await;
        let mut dev = self.owned("DevCluster", "c", "Cluster").await;
        dev["spec"] = json!({"backend": {"docker": docker}});
        post(&self.client, &format!("{INFRA}/devclusters"), &dev).await;
        wait(3).await;
    }

    /// A control plane machine whose bootstrap data is named, on infrastructure that is there.
    pub async fn machine(&self) {
        self.cluster(json!({})).await;
        let provisioned = json!({"status": {"initialization": {"infrastructureProvisioned": true}}});
        self.merge(&format!("{CORE}/clusters/c/status"), provisioned).await;
        let machine = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": "m", "labels": labels()},
            "spec": {
                "clusterName": "c", "version": "v1.35.0", "bootstrap": {"dataSecretName": "m"},
                "infrastructureRef": reference("infrastructure", "DevMachine", "m"),
            },
        });
        post(&self.client, &format!("{CORE}/machines"), &machine).await;
        let mut dev = self.owned("DevMachine", "m", "Machine").await;
        dev["spec"] = json!({"backend": {"docker": {}}});
        post(&self.client, &format!("{INFRA}/devmachines"), &dev).await;
        wait(3).await;
    }

    /// The bootstrap data arrives.
    pub async fn data(&self, format: Option<&str>) {
        let mut secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "m"}, "stringData": {"value": "#!"},
        });
        if let Some(format) = format {
            secret["stringData"]["format"] = json!(format);
        }
        post(&self.client, "/api/v1/namespaces/default/secrets", &secret).await;
    }

    /// A machine that runs.
    pub async fn running() -> Self {
        let plane = Self::new().await;
        plane.data(None).await;
        plane.machine().await;
        assert!(plane.says(MACHINE).await.starts_with("Ready=True"));
        plane
    }

    async fn owned(&self, kind: &str, name: &str, owner: &str) -> Value {
        let path = format!("{CORE}/{}s/{name}", owner.to_lowercase());
        let uid = self.get(&path).await.unwrap()["metadata"]["uid"].clone();
        json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "kind": kind,
            "metadata": {"name": name, "labels": labels(), "ownerReferences": [{
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": owner, "name": name, "uid": uid,
            }]},
        })
    }

    pub async fn post(&self, path: &str, object: &Value) {
        post(&self.client, path, object).await;
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        match self.client.request::<Value>(http::Request::get(path).body(vec![]).unwrap()).await {
            Ok(value) => Some(value),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub async fn merge(&self, path: &str, patch: Value) {
        let request = http::Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(&patch).unwrap())
            .unwrap();
        self.client.request::<Value>(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    pub async fn delete(&self, path: &str) {
        let request = http::Request::delete(path).body(vec![]).unwrap();
        self.client.request::<Value>(request).await.unwrap();
    }

    /// Conditions as `Type=Status(Reason)`, in their order.
    pub async fn says(&self, path: &str) -> String {
        let object = self.get(path).await.unwrap();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
        let told = conditions.iter().map(|condition| {
            let (kind, status) = (text(condition, "type"), text(condition, "status"));
            format!("{kind}={status}({})", text(condition, "reason"))
        });
        told.collect::<Vec<_>>().join(" ")
    }

    /// The message of one condition.
    pub async fn message(&self, path: &str, kind: &str) -> String {
        let object = self.get(path).await.unwrap();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == kind).cloned();
        found.unwrap_or_default()["message"].as_str().unwrap_or_default().to_owned()
    }
}

fn labels() -> Value {
    json!({"cluster.x-k8s.io/cluster-name": "c", "cluster.x-k8s.io/control-plane": ""})
}

fn reference(group: &str, kind: &str, name: &str) -> Value {
    json!({"apiGroup": format!("{group}.cluster.x-k8s.io"), "kind": kind, "name": name})
}

async fn post(client: &Client, path: &str, object: &Value) {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(object).unwrap())
        .unwrap();
    client.request::<Value>(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// Lets so many seconds pass.
pub async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
