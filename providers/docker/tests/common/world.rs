//! The engine as a world for the conformance suite.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stand outside of test functions")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker as Engine;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, NetworkCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures::StreamExt;
use serde_json::json;
use windlass_docker::{Docker, Options};
use windlass_model::{Key, Secret, Uid};
use windlass_provider::conformance::{ClusterBench, Harness, MachineBench, Sort, Trouble, Unsupported};
use windlass_provider::{
    ClusterInfrastructure, ClusterRequest, ErrorKind, Instance, MachineRequest, Machines, Token,
};
use windlass_runtime::{Clock, Tasks};

use super::image;
use super::proxy::{self, Proxy};

/// A cluster's name, and the network that all of a test is on.
pub struct World {
    /// Begins with `dk-`, as everything these tests make.
    pub name: String,
    pub engine: Engine,
    pub proxy: Proxy,
    pub tasks: Tasks,
    /// The network is the harness' own, not the provider's.
    own_network: bool,
}

impl World {
    /// A world of its own; `name` is unique among the tests.
    pub async fn new(name: &str, own_network: bool) -> Self {
        let engine = Engine::connect_with_unix(&proxy::engine(), 120, bollard::API_DEFAULT_VERSION);
        let engine = engine.expect("these tests need a Docker engine at its usual socket");
        let engine = engine.negotiate_version().await.expect("these tests need a Docker engine");
        image::make(&engine).await;
        let tasks = Tasks::new();
        let world =
            Self { name: format!("dk-{name}"), engine, proxy: Proxy::start(&tasks), tasks, own_network };
        world.clear().await;
        if own_network {
            let request =
                NetworkCreateRequest { name: world.name.clone(), ..NetworkCreateRequest::default() };
            world.engine.create_network(request).await.unwrap();
        }
        world
    }

    /// Removes what is there under this world's name.
    pub async fn clear(&self) {
        for (id, _) in self.containers().await {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            drop(self.engine.remove_container(&id, Some(options)).await);
        }
        drop(self.engine.remove_network(&self.name).await);
    }

    /// Id and name of all containers of this world, whoever made them.
    pub async fn containers(&self) -> Vec<(String, String)> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let found = self.engine.list_containers(Some(options)).await.unwrap();
        let found = found.into_iter().map(|container| {
            let name = container.names.unwrap_or_default().join(",");
            (container.id.unwrap_or_default(), name.trim_start_matches('/').to_owned())
        });
        found.filter(|(_, name)| name.starts_with(&format!("{}-", self.name))).collect()
    }

    /// A provider as a new process would have it.
    pub fn provider(&self) -> Docker {
        self.provider_in(BTreeMap::new())
    }

    /// The same with these variables in its environment.
    pub fn provider_in(&self, environment: BTreeMap<String, String>) -> Docker {
        Docker::new(Options {
            host: Some(self.proxy.host()),
            network: self.name.clone(),
            environment,
            clock: Clock::system(),
            tasks: self.tasks.spawner(),
        })
    }

    pub fn cluster_key(&self) -> Key {
        Key::new("default", self.name.clone())
    }

    /// A worker that runs these commands.
    pub fn worker(&self, name: &str, commands: &[&str]) -> MachineRequest {
        let data = format!("#cloud-config\nruncmd: {}\n", json!(commands));
        MachineRequest {
            cluster: self.cluster_key(),
            cluster_uid: Uid(format!("{}-uid", self.name)),
            name: name.to_owned(),
            version: "v1.35.0".to_owned(),
            control_plane: false,
            failure_domain: None,
            bootstrap_data: Secret::new(data.into_bytes()),
            bootstrap_format: "cloud-config".to_owned(),
            annotations: BTreeMap::new(),
            spec: json!({ "customImage": image::NODE }),
        }
    }

    /// A control plane machine that runs these commands.
    pub fn control_plane(&self, name: &str, commands: &[&str]) -> MachineRequest {
        MachineRequest { control_plane: true, ..self.worker(name, commands) }
    }

    /// The cluster of this world's machines.
    pub fn its_cluster(&self) -> ClusterRequest {
        ClusterRequest {
            name: self.name.clone(),
            cluster: self.cluster_key(),
            cluster_uid: Uid(format!("{}-uid", self.name)),
            endpoint: None,
            spec: json!({ "loadBalancer": { "imageRepository": image::REPOSITORY, "imageTag": image::TAG } }),
            config: BTreeMap::new(),
            annotations: BTreeMap::new(),
            prefers_ipv6: false,
        }
    }

    /// What a command in a container prints.
    pub async fn inside(&self, container: &str, command: &str) -> String {
        let exec = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(vec!["/bin/sh", "-c", command]),
            ..CreateExecOptions::default()
        };
        let exec = self.engine.create_exec(container, exec).await.unwrap();
        let StartExecResults::Attached { mut output, .. } =
            self.engine.start_exec(&exec.id, None).await.unwrap()
        else {
            panic!("not attached");
        };
        let mut said = String::new();
        while let Some(piece) = output.next().await {
            said.push_str(&piece.unwrap().to_string());
        }
        said
    }

    /// Looks at a machine until a condition's reason is this one.
    pub async fn until(&self, docker: &Docker, token: &Token, condition: &str, reason: &str) -> Instance {
        let mut last = None;
        for _ in 0..200 {
            let found = Machines::follow(docker, token, &BTreeMap::new()).await.unwrap();
            let said =
                |it: &Instance| it.conditions.iter().any(|one| one.kind == condition && one.reason == reason);
            match found {
                Some(found) if said(&found) => return found,
                found => last = found,
            }
            self.rest().await;
        }
        panic!("{condition} never was {reason}: {last:#?}");
    }

    /// The name of the container for a resource of this name.
    fn container(&self, sort: Sort, name: &str) -> String {
        match sort {
            Sort::Machine => format!("{}-{name}", self.name),
            Sort::Cluster => format!("{}-{name}-lb", self.name),
        }
    }
}

#[async_trait]
impl Harness for World {
    async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    async fn afflict(&self, trouble: Trouble) -> Result<(), Unsupported> {
        self.proxy.afflict(trouble);
        Ok(())
    }

    async fn relieve(&self) -> bool {
        self.proxy.relieve()
    }

    async fn occupy(&self, sort: Sort, name: &str) -> Result<(), Unsupported> {
        let options = CreateContainerOptionsBuilder::new().name(&self.container(sort, name)).build();
        let body = ContainerCreateBody {
            image: Some(image::NODE.to_owned()),
            labels: Some(HashMap::from([("somebody".to_owned(), "else".to_owned())])),
            ..ContainerCreateBody::default()
        };
        let made = self.engine.create_container(Some(options), body).await.unwrap();
        self.engine.start_container(&made.id, None).await.unwrap();
        Ok(())
    }

    async fn occupied(&self, sort: Sort, name: &str) -> bool {
        let found = self.engine.inspect_container(&self.container(sort, name), None).await;
        found.is_ok_and(|found| found.state.is_some_and(|state| state.running == Some(true)))
    }

    async fn vacate(&self, sort: Sort, name: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        self.engine.remove_container(&self.container(sort, name), Some(options)).await.unwrap();
    }

    fn remembers(&self) -> bool {
        false
    }

    async fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<_> = self.containers().await.into_iter().map(|(_, name)| name).collect();
        if !self.own_network && self.engine.inspect_network(&self.name, None).await.is_ok() {
            left.push(format!("network {}", self.name));
        }
        left
    }
}

#[async_trait]
impl MachineBench for World {
    async fn machines(&self) -> Arc<dyn Machines> {
        Arc::new(self.provider())
    }

    fn machine(&self, name: &str) -> MachineRequest {
        self.worker(name, &["echo hello"])
    }

    async fn machine_elsewhere(&self, name: &str) -> Result<MachineRequest, Unsupported> {
        let cluster = Key::new("elsewhere", self.name.clone());
        Ok(MachineRequest { cluster, cluster_uid: Uid::from("another"), ..self.machine(name) })
    }

    async fn living_machines(&self) -> Vec<String> {
        self.containers().await.into_iter().map(|(_, name)| name).collect()
    }

    fn refusals(&self) -> Vec<(MachineRequest, ErrorKind)> {
        let with = |name: &str, spec| MachineRequest { spec, ..self.machine(name) };
        let data = Secret::new(b"#cloud-config\nruncmd: [".to_vec());
        let mount = json!({ "customImage": image::NODE, "extraMounts": [{ "hostPath": "/x", "containerPath": "x" }] });
        vec![
            (with("no-image", json!({ "customImage": "localhost:1/dk-none:1" })), ErrorKind::NotFound),
            (with("odd-mount", mount), ErrorKind::Rejected),
            (with("odd-timeout", json!({ "bootstrapTimeout": "soon" })), ErrorKind::Rejected),
            (MachineRequest { bootstrap_data: data, ..self.machine("odd-data") }, ErrorKind::Rejected),
        ]
    }
}

#[async_trait]
impl ClusterBench for World {
    async fn clusters(&self) -> Arc<dyn ClusterInfrastructure> {
        Arc::new(self.provider())
    }

    fn cluster(&self, name: &str) -> ClusterRequest {
        let name = format!("{}-{name}", self.name);
        ClusterRequest {
            cluster: Key::new("default", name.clone()),
            cluster_uid: Uid(format!("{name}-uid")),
            name,
            ..self.its_cluster()
        }
    }

    async fn cluster_elsewhere(&self, name: &str) -> Result<ClusterRequest, Unsupported> {
        let request = self.cluster(name);
        let cluster = Key::new("elsewhere", request.cluster.name.clone());
        Ok(ClusterRequest { cluster, cluster_uid: Uid::from("another"), ..request })
    }

    async fn living_clusters(&self) -> Vec<String> {
        self.containers().await.into_iter().map(|(_, name)| name).collect()
    }
}
