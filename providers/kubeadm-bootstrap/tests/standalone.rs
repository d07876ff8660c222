//! Machines that no control plane object owns: the init lock, and what is said about what is missing.
#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::core::{Cluster, Machine};
use windlass_apiserver::{Server, UserInfo};
use windlass_kubeadm_bootstrap::KubeadmConfigs;
use windlass_model::Key;
use windlass_pki::{Algorithm, FixtureKeys, KeyPair, KeySource, Kubeconfig, Purpose};
use windlass_runtime::{Clock, Metrics, Runtime, Tasks, time};
use windlass_store::Engine;
use windlass_workload::{ConnectError, Connector, Workloads};

/// No workload cluster answers.
struct Nowhere;

#[async_trait]
impl Connector for Nowhere {
    async fn connect(&self, _: &Key, _: &Kubeconfig) -> Result<Client, ConnectError> {
        Err(ConnectError::Unauthorized)
    }
}

struct Plane {
    client: Client,
    server: Server,
    runtime: Runtime,
    tasks: Tasks,
}

impl Plane {
    /// A Cluster `prod` on infrastructure, with certificates, and nobody who owns its control plane.
    async fn start() -> Self {
        let clock = Clock::tokio(time::parse("2026-11-21T12:00:00Z").unwrap());
        let (ticking, count) = (clock.clone(), AtomicU64::new(1));
        let server = Server::builder(Engine::memory().store("management"))
            .clock(Arc::new(move || jiff::Timestamp::from_microsecond(ticking.now().0).unwrap()))
            .random(Arc::new(move |bytes: &mut [u8]| {
                let next = count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                bytes.iter_mut().rev().zip(next.iter().rev().cycle()).for_each(|(byte, next)| *byte = *next);
            }))
            .start()
            .await
            .unwrap();
        server.install_crds(&windlass_api::crd::crds()).await.unwrap();
        let client = server.client(UserInfo::admin("test"), "test/1.0");
        let tasks = Tasks::new();
        let workloads =
            Workloads::new(client.clone(), Arc::new(Nowhere), clock.clone(), tasks.child(), &Metrics::new());
        let now = clock.now();
        let runtime = Runtime::builder(client.clone(), clock, tasks.child())
            .add(KubeadmConfigs::new(Arc::new(FixtureKeys), workloads))
            .start();
        let plane = Self { client, server, runtime, tasks };
        plane
            .create::<Cluster>(json!({ "metadata": { "name": "prod" }, "spec": {
            "controlPlaneEndpoint": { "host": "10.0.0.1", "port": 6443 },
        } }))
            .await;
        plane
            .merge_status::<Cluster>(
                "prod",
                json!({ "initialization": { "infrastructureProvisioned": true } }),
            )
            .await;
        for purpose in Purpose::ALL {
            let key = FixtureKeys.generate(Algorithm::EcdsaP256, purpose.suffix()).unwrap();
            let pair = KeyPair::make(purpose, &key, 3650, now).unwrap();
            let (certificate, key) = (pair.certificate, pair.key.unwrap());
            let data = json!({ "tls.crt": certificate, "tls.key": key.expose() });
            let name = format!("prod-{}", purpose.suffix());
            plane.create::<Secret>(json!({ "metadata": { "name": name }, "stringData": data })).await;
        }
        plane
    }

    async fn stop(self) {
        self.runtime.shutdown().await;
        self.tasks.shutdown().await;
        drop(self.server);
    }

    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create<K>(&self, mut value: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        value["apiVersion"] = json!(K::api_version(&()));
        value["kind"] = json!(K::kind(&()));
        self.api::<K>().create(&PostParams::default(), &serde_json::from_value(value).unwrap()).await.unwrap()
    }

    async fn merge_status<K>(&self, name: &str, status: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<K>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A control plane Machine with its config.
    async fn machine(&self, name: &str, spec: Value) {
        let labels = json!({ "cluster.x-k8s.io/cluster-name": "prod", "cluster.x-k8s.io/control-plane": "" });
        let machine: Machine = self.create(json!({ "metadata": { "name": name, "labels": labels }, "spec": {
            "clusterName": "prod", "version": "v1.35.0",
            "bootstrap": { "configRef": { "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": name } },
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
    async fn said(&self, name: &str) -> String {
        let status = self.api::<KubeadmConfig>().get(name).await.unwrap().status.unwrap_or_default();
        let data = status.conditions.iter().find(|condition| condition.type_ == "DataSecretAvailable");
        data.map(|c| if c.status == "True" { c.status.clone() } else { c.message.clone() })
            .unwrap_or_default()
    }

    async fn locked(&self) -> Option<ConfigMap> {
        self.api::<ConfigMap>().get_opt("prod-lock").await.unwrap()
    }
}

async fn a_while() {
    tokio::time::sleep(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn one_of_two_machines_initializes_the_cluster() {
    let plane = Plane::start().await;
    plane.machine("a", json!({})).await;
    plane.machine("b", json!({})).await;
    a_while().await;
    let mut said = [plane.said("a").await, plane.said("b").await];
    said.sort();
    assert_eq!(said, ["True", "Waiting for another Machine to initialize the Cluster control plane"]);
    let holder = if plane.said("a").await == "True" { "a" } else { "b" };
    let lock = plane.locked().await.unwrap();
    assert_eq!(lock.data.unwrap()["lock-information"], format!("{{\"machineName\":\"{holder}\"}}"));

    plane
        .merge_status::<Cluster>("prod", json!({ "initialization": { "controlPlaneInitialized": true } }))
        .await;
    a_while().await;
    assert!(plane.locked().await.is_none(), "the lock is still there");
    let other = if holder == "a" { "b" } else { "a" };
    assert_eq!(plane.said(other).await, "Waiting for the workload cluster to answer");
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_machine_is_gone_is_broken() {
    let plane = Plane::start().await;
    let information = json!({ "lock-information": "{\"machineName\":\"gone\"}" });
    plane.create::<ConfigMap>(json!({ "metadata": { "name": "prod-lock" }, "data": information })).await;
    plane.machine("a", json!({})).await;
    a_while().await;
    assert_eq!(plane.said("a").await, "True");
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn says_what_is_missing_and_goes_on_when_it_is_there() {
    let plane = Plane::start().await;
    let file = json!({ "path": "/x", "contentFrom": { "secret": { "name": "s", "key": "k" } } });
    plane.machine("a", json!({ "files": [file] })).await;
    a_while().await;
    assert_eq!(plane.said("a").await, "Waiting for key k of Secret default/s: create it");
    assert!(plane.locked().await.is_none(), "the lock is held by a machine that cannot start");

    plane.create::<Secret>(json!({ "metadata": { "name": "s" }, "stringData": { "k": "hidden" } })).await;
    a_while().await;
    assert_eq!(plane.said("a").await, "True");
    let data = plane.api::<Secret>().get("a").await.unwrap().data.unwrap();
    assert!(String::from_utf8(data["value"].0.clone()).unwrap().contains("hidden"));
    plane.stop().await;
}
