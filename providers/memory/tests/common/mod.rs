//! A world in memory, and bootstrap data as the kubeadm bootstrap provider renders it.

#![allow(dead_code, reason = "every test file uses another part")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stand outside of test functions")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use windlass_apiserver::KindSet;
use windlass_memory::{InProcess, Memory, World, WorldOptions};
use windlass_model::{Key, Secret, Time, Uid};
use windlass_pki::{
    Algorithm, Authority, FixtureKeys, KeySource, Kubeconfig, Leaf, PrivateKey, public_key_hash,
};
use windlass_provider::{
    ClusterInfrastructure, ClusterInstance, ClusterRequest, Instance, MachineRequest, Machines, Token,
};
use windlass_runtime::{Clock, Tasks};
use windlass_store::Engine;
use windlass_workload::{Connector, EtcdIdentity};

/// A world, with what it lives on.
pub struct Place {
    pub engine: Engine,
    pub world: World,
    pub clock: Clock,
    pub tasks: Tasks,
    listen: bool,
}

/// Longer than these tests will be run.
const DECADE: Duration = Duration::from_hours(10 * 365 * 24);

/// The beginning of time in these tests.
pub fn dawn() -> Time {
    windlass_runtime::time::parse("2026-11-21T12:00:00Z").unwrap()
}

impl Place {
    pub async fn new() -> Self {
        Self::on(Engine::memory(), Clock::tokio(dawn()), false).await
    }

    pub async fn on(engine: Engine, clock: Clock, listen: bool) -> Self {
        let tasks = Tasks::new();
        let options = WorldOptions {
            ports: 20_000..=20_999,
            listen,
            clock: clock.clone(),
            keys: Arc::new(FixtureKeys),
            random: random(engine.names().len() as u64),
            kinds: KindSet::builtin(),
            spawner: tasks.spawner(),
        };
        let world = World::open(engine.clone(), options).await.unwrap();
        Self { engine, world, clock, tasks, listen }
    }

    /// Ends the process and starts it anew: only what is in the engine stays.
    pub async fn restart(self) -> Self {
        self.tasks.shutdown().await;
        let Self { engine, clock, listen, .. } = self;
        Self::on(engine, clock, listen).await
    }

    pub fn machines(&self) -> Arc<dyn Machines> {
        Arc::new(Memory::new(self.world.clone()))
    }

    pub fn clusters(&self) -> Arc<dyn ClusterInfrastructure> {
        Arc::new(Memory::new(self.world.clone()))
    }

    pub async fn found(&self, cluster: &Fixture) -> ClusterInstance {
        self.clusters().create(&cluster.token(), &cluster.request()).await.unwrap()
    }

    pub async fn boot(&self, cluster: &Fixture, name: &str, control_plane: bool, data: String) -> Instance {
        let request = cluster.machine(name, control_plane, data, &Value::Null);
        self.machines().create(&token(name), &request).await.unwrap()
    }

    pub async fn find(&self, name: &str) -> Instance {
        self.machines().find(&token(name)).await.unwrap().unwrap()
    }

    /// An administrator's client, through the in-process door.
    pub async fn admin(&self, cluster: &Fixture) -> Client {
        let connector = InProcess::new(self.world.clone());
        connector.connect(&cluster.key, &cluster.kubeconfig(self.port(cluster).await)).await.unwrap()
    }

    pub async fn port(&self, cluster: &Fixture) -> u16 {
        let found = self.clusters().find(&cluster.token()).await.unwrap().unwrap();
        found.endpoint.unwrap().port
    }
}

/// Bytes that follow from a seed; another seed gives others.
pub fn random(seed: u64) -> windlass_apiserver::Random {
    let counter = AtomicU64::new(seed * 1_000_000);
    Arc::new(move |bytes: &mut [u8]| {
        let next = counter.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        bytes.iter_mut().zip(next.iter().cycle()).for_each(|(byte, next)| *byte = *next);
    })
}

/// Name to token, the same everywhere.
pub fn token(name: &str) -> Token {
    Token::of(&Uid(format!("{name}-uid")))
}

/// Conditions in short: `+` where true, else the reason.
pub fn told(instance: &Instance) -> String {
    let words = instance.conditions.iter();
    let words = words.map(|condition| if condition.is_true() { "+" } else { condition.reason.as_ref() });
    words.collect::<Vec<_>>().join(" ")
}

pub async fn get(client: &Client, path: &str) -> Option<Value> {
    let request = http::Request::get(path).body(vec![]).unwrap();
    match client.request::<Value>(request).await {
        Ok(value) => Some(value),
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => panic!("{path}: {error}"),
    }
}

pub async fn post(client: &Client, path: &str, object: &Value) {
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(object).unwrap())
        .unwrap();
    client.request::<Value>(request).await.unwrap();
}

/// Names of what a list holds.
pub async fn names(client: &Client, path: &str) -> Vec<String> {
    let list = get(client, path).await.unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// A cluster with its certificates.
pub struct Fixture {
    pub key: Key,
    ca_key: PrivateKey,
    ca: Authority,
    etcd_key: PrivateKey,
    etcd: Authority,
}

impl Fixture {
    pub fn new(name: &str) -> Self {
        let authority = |purpose: &str, common_name: &str| {
            let key = FixtureKeys.generate(Algorithm::EcdsaP256, &format!("{name}/{purpose}")).unwrap();
            let authority = Authority::self_signed(&key, common_name, 3650, dawn()).unwrap();
            (key, authority)
        };
        let ((ca_key, ca), (etcd_key, etcd)) = (authority("ca", "kubernetes"), authority("etcd", "etcd-ca"));
        Self { key: Key::new("default", name), ca_key, ca, etcd_key, etcd }
    }

    pub fn token(&self) -> Token {
        token(&format!("infra-{}", self.key.name))
    }

    pub fn uid(&self) -> Uid {
        Uid(format!("{}-uid", self.key.name))
    }

    pub fn hash(&self) -> String {
        public_key_hash(self.ca.certificate_pem()).unwrap()
    }

    pub fn request(&self) -> ClusterRequest {
        ClusterRequest {
            name: self.key.name.clone(),
            cluster: self.key.clone(),
            cluster_uid: self.uid(),
            endpoint: None,
            spec: json!({}),
            config: BTreeMap::new(),
            annotations: BTreeMap::new(),
            prefers_ipv6: false,
        }
    }

    pub fn machine(&self, name: &str, control_plane: bool, data: String, spec: &Value) -> MachineRequest {
        MachineRequest {
            cluster: self.key.clone(),
            cluster_uid: self.uid(),
            name: name.to_owned(),
            version: "v1.35.0".to_owned(),
            control_plane,
            failure_domain: None,
            bootstrap_data: Secret::new(data.into_bytes()),
            bootstrap_format: "cloud-config".to_owned(),
            annotations: BTreeMap::new(),
            spec: spec.clone(),
        }
    }

    /// A kubeconfig of an administrator.
    pub fn kubeconfig(&self, port: u16) -> Kubeconfig {
        self.kubeconfig_for(port, DECADE)
    }

    /// One that expires.
    pub fn kubeconfig_for(&self, port: u16, life: Duration) -> Kubeconfig {
        let key = FixtureKeys.generate(Algorithm::EcdsaP256, "admin").unwrap();
        let leaf = Leaf::client("kubernetes-admin", &["system:masters"], life);
        let certificate = self.ca.issue(&key, &leaf, dawn()).unwrap();
        let server = format!("https://127.0.0.1:{port}");
        Kubeconfig::with_certificate(server, self.ca.certificate_pem(), certificate, &key).unwrap()
    }

    /// A client of etcd.
    pub fn etcd_identity(&self) -> EtcdIdentity {
        let key = FixtureKeys.generate(Algorithm::EcdsaP256, "etcd client").unwrap();
        let leaf = Leaf::client("cluster-api.x-k8s.io", &[], DECADE);
        EtcdIdentity {
            ca_pem: self.etcd.certificate_pem().to_owned(),
            certificate_pem: self.etcd.issue(&key, &leaf, dawn()).unwrap(),
            key_pem: key.to_pem().unwrap(),
        }
    }

    /// The certificates as files, but for one.
    fn files(&self, without: &str) -> String {
        let (ca, key) = (self.ca.certificate_pem().to_owned(), self.ca_key.to_pem().unwrap());
        let etcd_key = self.etcd_key.to_pem().unwrap();
        let mut files = String::new();
        for (name, content) in [
            ("ca.crt", ca.as_str()),
            ("ca.key", key.expose()),
            ("etcd/ca.crt", self.etcd.certificate_pem()),
            ("etcd/ca.key", etcd_key.expose()),
            ("front-proxy-ca.crt", "proxy"),
            ("front-proxy-ca.key", "proxy"),
            ("sa.pub", "sa"),
            ("sa.key", "sa"),
        ] {
            if name != without {
                let _ = write!(
                    files,
                    "-   path: /etc/kubernetes/pki/{name}\n    content: |\n{}",
                    indented(content, 6)
                );
            }
        }
        files
    }

    fn cloud_init(files: &str, path: &str, config: &str, verb: &str) -> String {
        let config = indented(config, 6);
        format!(
            "## template: jinja\n#cloud-config\n\nwrite_files:\n{files}-   path: {path}\n    owner: root:root\n    \
             permissions: '0640'\n    content: |\n{config}runcmd:\n  - 'kubeadm {verb} --config {path}  && echo success'\n"
        )
    }

    pub fn init(&self) -> String {
        self.init_without("")
    }

    pub fn init_without(&self, file: &str) -> String {
        let config = "---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: c\n\
                      kubernetesVersion: v1.35.0\n---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n\
                      nodeRegistration:\n  name: '{{ ds.meta_data.local_hostname }}'\n";
        Self::cloud_init(&self.files(file), "/run/kubeadm/kubeadm.yaml", config, "init")
    }

    pub fn join(token: &str, hash: &str) -> String {
        let path = "/run/kubeadm/kubeadm-join-config.yaml";
        Self::cloud_init("", path, &Self::join_config(token, hash, ""), "join")
    }

    pub fn join_control_plane(&self, token: &str) -> String {
        let path = "/run/kubeadm/kubeadm-join-config.yaml";
        let config = Self::join_config(token, &self.hash(), "controlPlane:\n  localAPIEndpoint: {}\n");
        Self::cloud_init(&self.files(""), path, &config, "join")
    }

    fn join_config(token: &str, hash: &str, more: &str) -> String {
        format!(
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery:\n  bootstrapToken:\n    \
             apiServerEndpoint: 127.0.0.1:20000\n    caCertHashes:\n    - {hash}\n    token: {token}\n\
             nodeRegistration:\n  kubeletExtraArgs:\n  - name: node-labels\n    value: a=b\n{more}"
        )
    }

    /// The Secret of a bootstrap token that is valid for so many seconds.
    pub fn token_secret(id: &str, secret: &str, now: Time, seconds: u64) -> Value {
        let expiration = windlass_runtime::time::format(now.after(Duration::from_secs(seconds)));
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
            "stringData": {
                "token-id": id, "token-secret": secret, "expiration": expiration,
                "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
            },
        })
    }
}

fn indented(text: &str, by: usize) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("{}{line}", " ".repeat(by))).collect();
    lines.join("\n") + "\n"
}
