//! A management plane with our two controllers, a simulated cloud, and hands that do what the Cluster,
//! Machine and infrastructure controllers would.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stand outside of test functions")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Secret as KubeSecret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::control_plane::KubeadmControlPlane;
use windlass_api::core::{Cluster, Machine};
use windlass_api::infrastructure::{DevMachine, DevMachineTemplate};
use windlass_apiserver::{
    InProcess as Service, KindSet, Random, Server, UserInfo, WriteObserver, WriteRecord,
};
use windlass_kubeadm_bootstrap::KubeadmConfigs;
use windlass_kubeadm_control_plane::KubeadmControlPlanes;
use windlass_memory::{InProcess, Memory, World, WorldOptions};
use windlass_model::{Key, Secret, Time, Uid};
use windlass_pki::{Algorithm, Authority, FixtureKeys, KeySource, Kubeconfig, Leaf};
use windlass_provider::{ClusterInfrastructure, ClusterRequest, MachineRequest, Machines, Token};
use windlass_runtime::{Clock, Metrics, Runtime, RuntimeOptions, Tasks};
use windlass_store::Engine;
use windlass_workload::{
    CertificateError, Connector, Etcd, EtcdConnector, EtcdIdentity, PortForward, ServerCertificates,
    Workloads,
};

pub const NAME: &str = "prod";

/// Everything.
pub struct Plane {
    pub client: Client,
    pub world: World,
    pub runtime: Runtime,
    tasks: Tasks,
    server: Server,
    clock: Clock,
    writes: Arc<Writes>,
    /// What each host last said, for the message of a test that fails.
    hosts: parking_lot::Mutex<BTreeMap<String, String>>,
}

/// What goes wrong with one mutating request of our controllers.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    /// The request of this number never arrives.
    Before(usize),
    /// The request of this number is carried out, but its answer is lost.
    After(usize),
}

impl Fault {
    fn plant(self, service: Service) -> Client {
        let count = Arc::new(AtomicU64::new(0));
        let faulty = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let mutating = request.method() != http::Method::GET;
            let number = if mutating { count.fetch_add(1, Ordering::Relaxed) } else { u64::MAX };
            let mut service = service.clone();
            async move {
                let lost = || std::io::Error::other("the connection was lost");
                if matches!(self, Self::Before(at) if at as u64 == number) {
                    return Err(lost());
                }
                let answer = tower::Service::call(&mut service, request).await.map_err(std::io::Error::other);
                if matches!(self, Self::After(at) if at as u64 == number) { Err(lost()) } else { answer }
            }
        });
        Client::new(faulty, "default")
    }
}

/// What our controllers have written.
#[derive(Default)]
struct Writes(parking_lot::Mutex<Vec<String>>);

impl WriteObserver for Writes {
    fn wrote(&self, record: &WriteRecord<'_>) {
        if record.user == "windlass" {
            let WriteRecord { verb, resource, subresource, name, field_manager, no_op, .. } = record;
            self.0.lock().push(format!("{verb} {resource}/{name} {subresource} {field_manager} {no_op}"));
        }
    }
}

/// Until when every API server's certificate is valid here.
pub const NOT_AFTER: &str = "2027-11-21T12:00:00Z";

/// API servers that show certificates.
struct Shown;

#[async_trait::async_trait]
impl ServerCertificates for Shown {
    async fn not_after(&self, _: &Key, _: &str) -> Result<Time, CertificateError> {
        Ok(windlass_runtime::time::parse(NOT_AFTER).unwrap())
    }
}

/// Lays members of one object over those of another.
fn lay(whole: &mut Value, over: Value) {
    match (whole, over) {
        (Value::Object(whole), Value::Object(over)) => {
            for (key, value) in over {
                lay(whole.entry(key).or_insert_with(|| json!({})), value);
            }
        }
        (whole, over) => *whole = over,
    }
}

fn dawn() -> Time {
    windlass_runtime::time::parse("2026-11-21T12:00:00Z").unwrap()
}

fn random(start: u64) -> Random {
    let counter = AtomicU64::new(start);
    Arc::new(move |bytes: &mut [u8]| {
        let next = counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        bytes.iter_mut().rev().zip(next.iter().rev().cycle()).for_each(|(byte, next)| *byte = *next);
    })
}

/// Starts our controllers.
fn run(server: &Server, world: &World, clock: &Clock, tasks: &Tasks, fault: Fault) -> Runtime {
    let ours = fault.plant(server.service(UserInfo::admin("windlass"), "windlass/1.0"));
    let connector = Arc::new(InProcess::new(world.clone()));
    let workloads = Workloads::new(ours.clone(), connector, clock.clone(), tasks.child(), &Metrics::new());
    workloads.want(&Key::new("default", NAME));
    let etcd = Arc::new(PortForward::new(Arc::new(workloads.clone()), clock.clone(), tasks.spawner()));
    Runtime::builder(ours, clock.clone(), tasks.child())
        .options(RuntimeOptions { settle: Duration::from_millis(5), ..RuntimeOptions::default() })
        .add(KubeadmConfigs::new(Arc::new(FixtureKeys), workloads.clone()))
        .add(
            KubeadmControlPlanes::new(Arc::new(FixtureKeys), workloads, etcd)
                .with_server_certificates(Arc::new(Shown)),
        )
        .start()
}

impl Plane {
    pub async fn start() -> Self {
        Self::start_with(Fault::None).await
    }

    /// A plane whose controllers meet a fault.
    pub async fn start_with(fault: Fault) -> Self {
        let clock = Clock::tokio(dawn());
        let writes = Arc::new(Writes::default());
        let ticking = clock.clone();
        let server = Server::builder(Engine::memory().store("management"))
            .clock(Arc::new(move || jiff::Timestamp::from_microsecond(ticking.now().0).unwrap()))
            .random(random(1))
            .audit(writes.clone())
            .start()
            .await
            .unwrap();
        server.install_crds(&windlass_api::crd::crds()).await.unwrap();
        let tasks = Tasks::new();
        let options = WorldOptions {
            ports: 20_000..=20_999,
            listen: false,
            clock: clock.clone(),
            keys: Arc::new(FixtureKeys),
            random: random(1_000_000),
            kinds: KindSet::builtin(),
            spawner: tasks.spawner(),
        };
        let world = World::open(Engine::memory(), options).await.unwrap();
        let runtime = run(&server, &world, &clock, &tasks, fault);
        let client = server.client(UserInfo::admin("hands"), "hands/1.0");
        let hosts = parking_lot::Mutex::default();
        Self { client, world, runtime, tasks, server, clock, writes, hosts }
    }

    /// Ends our controllers and starts new ones, which know nothing.
    pub async fn restart(self) -> Self {
        let Self { client, world, runtime, tasks, server, clock, writes, hosts } = self;
        runtime.shutdown().await;
        let runtime = run(&server, &world, &clock, &tasks, Fault::None);
        Self { client, world, runtime, tasks, server, clock, writes, hosts }
    }

    pub async fn stop(self) {
        self.runtime.shutdown().await;
        self.tasks.shutdown().await;
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Mutating requests of our controllers so far.
    pub fn writes(&self) -> Vec<String> {
        self.writes.0.lock().clone()
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// A Cluster on provisioned infrastructure, its control plane and the templates.
    pub async fn raise(&self, replicas: i32) {
        self.raise_with(replicas, json!({})).await;
    }

    /// The same with `over` laid over the spec of the control plane.
    pub async fn raise_with(&self, replicas: i32, over: Value) {
        let cluster: Cluster = self
            .create(json!({ "metadata": { "name": NAME }, "spec": {
                "controlPlaneRef": { "apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KubeadmControlPlane", "name": NAME },
                "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevCluster", "name": NAME },
                "clusterNetwork": { "pods": { "cidrBlocks": ["10.244.0.0/16"] } },
            } }))
            .await;
        let request = ClusterRequest {
            name: NAME.to_owned(),
            cluster: Key::new("default", NAME),
            cluster_uid: Uid(cluster.uid().unwrap()),
            endpoint: None,
            spec: json!({}),
            config: BTreeMap::new(),
            annotations: BTreeMap::new(),
            prefers_ipv6: false,
        };
        let memory = Memory::new(self.world.clone());
        let made = ClusterInfrastructure::create(&memory, &token("cluster"), &request).await.unwrap();
        let made = made.endpoint.unwrap();
        self.merge::<Cluster>(
            NAME,
            json!({ "spec": { "controlPlaneEndpoint": { "host": made.host, "port": made.port } } }),
        )
        .await;
        self.merge_status::<Cluster>(
            NAME,
            json!({ "initialization": { "infrastructureProvisioned": true } }),
        )
        .await;
        let _: DevMachineTemplate = self
            .create(json!({ "metadata": { "name": NAME }, "spec": { "template": { "spec": { "backend": { "inMemory": {} } } } } }))
            .await;
        let owner = json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": NAME, "uid": cluster.uid().unwrap() });
        let mut spec = json!({
            "replicas": replicas,
            "version": "v1.35.0",
            "machineTemplate": { "spec": { "infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevMachineTemplate", "name": NAME,
            } } },
            "kubeadmConfigSpec": {
                "clusterConfiguration": { "apiServer": { "certSANs": ["localhost", "127.0.0.1"] } },
                "joinConfiguration": { "nodeRegistration": { "criSocket": "unix:///var/run/containerd/containerd.sock" } },
            },
        });
        lay(&mut spec, over);
        let _: KubeadmControlPlane = self
            .create(json!({
                "metadata": { "name": NAME, "labels": { "cluster.x-k8s.io/cluster-name": NAME }, "ownerReferences": [owner] },
                "spec": spec,
            }))
            .await;
    }

    pub async fn create<K>(&self, value: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let mut value = value;
        value["apiVersion"] = json!(K::api_version(&()));
        value["kind"] = json!(K::kind(&()));
        let object = serde_json::from_value(value).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    pub async fn merge<K>(&self, name: &str, patch: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn merge_status<K>(&self, name: &str, status: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<K>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn control_plane(&self) -> KubeadmControlPlane {
        self.api::<KubeadmControlPlane>().get(NAME).await.unwrap()
    }

    pub async fn machines(&self) -> Vec<Machine> {
        self.api::<Machine>().list(&ListParams::default()).await.unwrap().items
    }

    /// The names of all objects of a kind.
    pub async fn names<K>(&self) -> Vec<String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let list = self.api::<K>().list(&ListParams::default()).await.unwrap();
        list.iter().map(ResourceExt::name_any).collect()
    }

    /// Conditions of the control plane: `Type=Status(Reason)`.
    pub async fn conditions(&self) -> BTreeMap<String, String> {
        let status = self.control_plane().await.status.unwrap_or_default();
        let say = |status: &str, reason: &str| format!("{status} {reason}");
        status.conditions.iter().map(|c| (c.type_.clone(), say(&c.status, &c.reason))).collect()
    }

    /// An administrator's client of the workload cluster, once there is one.
    pub async fn workload(&self) -> Option<Client> {
        let secret = self.api::<KubeSecret>().get_opt(&format!("{NAME}-kubeconfig")).await.unwrap()?;
        let yaml = String::from_utf8(secret.data.unwrap()["value"].0.clone()).unwrap();
        let config = Kubeconfig::parse(&yaml).unwrap();
        InProcess::new(self.world.clone()).connect(&Key::new("default", NAME), &config).await.ok()
    }

    /// The names of etcd's members.
    pub async fn members(&self) -> Vec<String> {
        let etcd = self.etcd().await;
        let mut names: Vec<_> = etcd.members().await.unwrap().into_iter().map(|member| member.name).collect();
        names.sort();
        names
    }

    pub async fn etcd(&self) -> Box<dyn Etcd> {
        let nodes: Vec<_> = self.nodes().await.into_iter().map(|node| node.name_any()).collect();
        let secret = self.api::<KubeSecret>().get(&format!("{NAME}-etcd")).await.unwrap();
        let data = secret.data.unwrap();
        let [ca_pem, ca_key] =
            ["tls.crt", "tls.key"].map(|name| String::from_utf8(data[name].0.clone()).unwrap());
        let key = FixtureKeys.generate(Algorithm::EcdsaP256, "etcd client").unwrap();
        let leaf = Leaf::client("test", &[], Duration::from_hours(1));
        let authority = Authority::from_pem(&ca_pem, &ca_key).unwrap();
        let identity = EtcdIdentity {
            ca_pem,
            certificate_pem: authority.issue(&key, &leaf, self.clock.now()).unwrap(),
            key_pem: key.to_pem().unwrap(),
        };
        let tunnel = Arc::new(self.workload().await.unwrap());
        PortForward::new(tunnel, self.clock.clone(), self.tasks.spawner())
            .connect(&Key::new("default", NAME), &nodes, &identity)
            .await
            .unwrap()
    }

    pub async fn nodes(&self) -> Vec<Node> {
        let Some(client) = self.workload().await else { return Vec::new() };
        Api::<Node>::all(client).list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default()
    }

    /// Everybody works until `done`; the message says what did not come about.
    pub async fn until(&self, what: &str, done: impl AsyncFn(&Self) -> bool) {
        for _ in 0..2_000 {
            self.work().await;
            if done(self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let status = self.control_plane().await.status;
        let machines: Vec<_> = self
            .machines()
            .await
            .into_iter()
            .map(|m| (m.name_any(), m.metadata.deletion_timestamp.is_some(), m.status))
            .collect();
        panic!("never happened: {what}\n{status:#?}\n{machines:#?}\n{:#?}", self.hosts.lock());
    }

    /// Everybody works for a while.
    pub async fn settle(&self) {
        for _ in 0..100 {
            self.work().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One sweep of the hands.
    async fn work(&self) {
        if let Ok(Some(control_plane)) = self.api::<KubeadmControlPlane>().get_opt(NAME).await
            && control_plane.status.is_some_and(|s| s.initialization.control_plane_initialized == Some(true))
        {
            let cluster = self.api::<Cluster>().get(NAME).await.unwrap().status.unwrap();
            if cluster.initialization.control_plane_initialized.is_none() {
                self.merge_status::<Cluster>(
                    NAME,
                    json!({ "initialization": { "controlPlaneInitialized": true } }),
                )
                .await;
            }
        }
        for machine in self.machines().await {
            if machine.metadata.deletion_timestamp.is_some() {
                self.take_down(&machine).await;
            } else {
                self.bring_up(&machine).await;
            }
        }
    }

    async fn bring_up(&self, machine: &Machine) {
        let name = machine.name_any();
        let config = self.api::<KubeadmConfig>().get_opt(&name).await.unwrap();
        let Some(secret) = config.and_then(|config| config.status?.data_secret_name) else { return };
        if machine.spec.bootstrap.data_secret_name.is_none() {
            self.merge::<Machine>(&name, json!({ "spec": { "bootstrap": { "dataSecretName": secret } } }))
                .await;
        }
        let Some(host) = self.api::<DevMachine>().get_opt(&name).await.unwrap() else { return };
        let data = self.api::<KubeSecret>().get(&secret).await.unwrap().data.unwrap()["value"].0.clone();
        let request = MachineRequest {
            cluster: Key::new("default", NAME),
            cluster_uid: Uid(self.api::<Cluster>().get(NAME).await.unwrap().uid().unwrap()),
            name: name.clone(),
            version: machine.spec.version.clone().unwrap(),
            control_plane: true,
            failure_domain: machine.spec.failure_domain.clone(),
            bootstrap_data: Secret::new(data),
            bootstrap_format: "cloud-config".to_owned(),
            annotations: BTreeMap::new(),
            spec: json!({}),
        };
        let memory = Memory::new(self.world.clone());
        let instance = Machines::create(&memory, &token(&host.uid().unwrap()), &request).await.unwrap();
        self.hosts.lock().insert(name.clone(), format!("{:?}", instance.conditions));
        if machine.spec.provider_id.is_none() {
            self.merge::<Machine>(&name, json!({ "spec": { "providerID": instance.provider_id } })).await;
            self.merge_status::<Machine>(
                &name,
                json!({ "initialization": { "infrastructureProvisioned": true } }),
            )
            .await;
        }
        if machine.status.as_ref().is_none_or(|status| status.node_ref.is_none()) {
            let found = self.nodes().await.into_iter().find(|node| {
                node.spec.as_ref().and_then(|spec| spec.provider_id.as_ref()) == Some(&instance.provider_id)
            });
            if let Some(node) = found {
                self.merge_status::<Machine>(&name, json!({ "nodeRef": { "name": node.name_any() } })).await;
            }
        }
    }

    async fn take_down(&self, machine: &Machine) {
        let name = machine.name_any();
        let hook = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/kcp-cleanup";
        if machine.annotations().contains_key(hook) {
            let conditions = machine.status.clone().unwrap_or_default().conditions;
            if conditions.iter().all(|condition| condition.type_ != "Deleting") {
                let mut conditions = json!(conditions);
                conditions.as_array_mut().unwrap().push(json!({
                    "type": "Deleting", "status": "True", "reason": "WaitingForPreTerminateHook", "message": "",
                    "lastTransitionTime": "2026-11-21T12:00:00Z",
                }));
                self.merge_status::<Machine>(&name, json!({ "conditions": conditions })).await;
            }
            return;
        }
        if let Some(host) = self.api::<DevMachine>().get_opt(&name).await.unwrap() {
            Machines::delete(&Memory::new(self.world.clone()), &token(&host.uid().unwrap())).await.unwrap();
            self.api::<DevMachine>().delete(&name, &DeleteParams::default()).await.unwrap();
            return;
        }
        let _ = self.api::<KubeadmConfig>().delete(&name, &DeleteParams::default()).await;
        if let (Some(client), Some(node)) =
            (self.workload().await, machine.status.as_ref().and_then(|status| status.node_ref.as_ref()))
        {
            let _ = Api::<Node>::all(client).delete(&node.name, &DeleteParams::default()).await;
        }
        self.merge::<Machine>(&name, json!({ "metadata": { "finalizers": [] } })).await;
    }
}

fn token(uid: &str) -> Token {
    Token::of(&Uid(uid.to_owned()))
}
