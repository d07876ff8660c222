//! The world behind the provider traits.

use std::collections::BTreeMap;

use async_trait::async_trait;
use windlass_provider::{
    ClusterInfrastructure, ClusterInstance, ClusterProposal, ClusterRequest, Endpoint, Instance,
    InstanceState, MachineRequest, Machines, Result, Token,
};

use crate::World;
use crate::world::{CAPACITY, provider_id, stages_of};

/// Where all clusters of the world are reached.
const HOST: &str = "127.0.0.1";
/// Upstream's annotation with the name of a cluster's listener.
const LISTENER: &str = "inmemorycluster.infrastructure.cluster.x-k8s.io/listener";

/// The provider of simulated machines and clusters.
#[derive(Clone, Debug)]
pub struct Memory {
    world: World,
}

impl Memory {
    /// A provider in front of this world.
    pub fn new(world: World) -> Self {
        Self { world }
    }
}

#[async_trait]
impl Machines for Memory {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        self.world.create_machine(token, request).await
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        Ok(self.world.find_machine(token))
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.world.delete_machine(token).await
    }

    fn provider_id(&self, _token: &Token, request: &MachineRequest) -> Option<String> {
        Some(provider_id(&request.name))
    }

    fn stages(&self, control_plane: bool) -> &'static [&'static str] {
        stages_of(control_plane)
    }

    fn capacity(&self, _spec: &serde_json::Value) -> BTreeMap<String, String> {
        // As upstream: only what an autoscaler reckons with.
        let offered = CAPACITY.iter().filter(|(resource, _)| matches!(*resource, "cpu" | "memory"));
        offered.map(|(resource, amount)| ((*resource).to_owned(), (*amount).to_owned())).collect()
    }
}

#[async_trait]
impl ClusterInfrastructure for Memory {
    async fn propose(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterProposal> {
        let port = match &request.endpoint {
            Some(endpoint) => endpoint.port,
            None => self.world.propose_port(token)?,
        };
        let annotations = BTreeMap::from([(LISTENER.to_owned(), request.cluster.to_string())]);
        Ok(ClusterProposal { endpoint: Some(Endpoint { host: HOST.to_owned(), port }), annotations })
    }

    async fn create(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterInstance> {
        Ok(running(self.world.create_cluster(token, request).await?.port()))
    }

    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>> {
        Ok(self.world.site_of_token(token).map(|site| running(site.port())))
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.world.delete_cluster(token).await
    }
}

fn running(port: u16) -> ClusterInstance {
    ClusterInstance {
        state: InstanceState::Running,
        endpoint: Some(Endpoint { host: HOST.to_owned(), port }),
        failure_domains: BTreeMap::new(),
        conditions: vec![],
        annotations: BTreeMap::new(),
        next_change: None,
    }
}
