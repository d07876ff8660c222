//! Machines and clusters in one shape, for the rules that hold for both.

use std::sync::Arc;

use async_trait::async_trait;

use super::{ClusterBench, Harness, MachineBench, Sort, Unsupported};
use crate::{
    ClusterInfrastructure, ClusterInstance, Error, Fault, Faulty, Instance, InstanceState, Machines,
    Operation, Result, Script, Token,
};

/// What the rules look at.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What tells it from others; `None` where the provider gives nothing.
    pub id: Option<String>,
    /// Where it is in its life.
    pub state: InstanceState,
}

impl From<Instance> for Seen {
    fn from(instance: Instance) -> Self {
        Self { id: Some(instance.provider_id), state: instance.state }
    }
}

impl From<ClusterInstance> for Seen {
    fn from(instance: ClusterInstance) -> Self {
        Self { id: instance.endpoint.map(|endpoint| endpoint.to_string()), state: instance.state }
    }
}

/// A bench for one of the two sorts.
#[async_trait]
pub trait Bench: Sync {
    fn sort(&self) -> Sort;
    fn harness(&self) -> &dyn Harness;
    async fn connect(&self) -> Box<dyn Hand + '_>;
    async fn living(&self) -> Vec<String>;
}

/// A connected provider.
#[async_trait]
pub trait Hand: Send + Sync {
    async fn create(&self, token: &Token, name: &str) -> Result<Seen>;
    /// A create that takes effect and whose answer is lost.
    async fn create_in_vain(&self, token: &Token, name: &str) -> Result<Seen>;
    /// A create for the same name in another namespace, where there is one.
    async fn create_elsewhere(
        &self,
        token: &Token,
        name: &str,
    ) -> std::result::Result<Result<Seen>, Unsupported>;
    async fn find(&self, token: &Token) -> Result<Option<Seen>>;
    async fn follow(&self, token: &Token, name: &str) -> Result<Option<Seen>>;
    async fn delete(&self, token: &Token) -> Result<()>;
}

fn losing(operation: Operation) -> Script {
    Script::new([(operation, Fault::After(Error::transient("the answer is lost")))])
}

pub struct OfMachines<'a>(pub &'a dyn MachineBench);

struct MachineHand<'a> {
    bench: &'a dyn MachineBench,
    provider: Arc<dyn Machines>,
}

#[async_trait]
impl Bench for OfMachines<'_> {
    fn sort(&self) -> Sort {
        Sort::Machine
    }

    fn harness(&self) -> &dyn Harness {
        self.0
    }

    async fn connect(&self) -> Box<dyn Hand + '_> {
        Box::new(MachineHand { bench: self.0, provider: self.0.machines().await })
    }

    async fn living(&self) -> Vec<String> {
        self.0.living_machines().await
    }
}

#[async_trait]
impl Hand for MachineHand<'_> {
    async fn create(&self, token: &Token, name: &str) -> Result<Seen> {
        self.provider.create(token, &self.bench.machine(name)).await.map(Seen::from)
    }

    async fn create_in_vain(&self, token: &Token, name: &str) -> Result<Seen> {
        let provider = Faulty::new(self.provider.clone(), losing(Operation::CreateMachine));
        provider.create(token, &self.bench.machine(name)).await.map(Seen::from)
    }

    async fn create_elsewhere(
        &self,
        token: &Token,
        name: &str,
    ) -> std::result::Result<Result<Seen>, Unsupported> {
        let request = self.bench.machine_elsewhere(name).await?;
        Ok(self.provider.create(token, &request).await.map(Seen::from))
    }

    async fn find(&self, token: &Token) -> Result<Option<Seen>> {
        Ok(self.provider.find(token).await?.map(Seen::from))
    }

    async fn follow(&self, token: &Token, name: &str) -> Result<Option<Seen>> {
        let annotations = self.bench.machine(name).annotations;
        Ok(self.provider.follow(token, &annotations).await?.map(Seen::from))
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.provider.delete(token).await
    }
}

pub struct OfClusters<'a>(pub &'a dyn ClusterBench);

struct ClusterHand<'a> {
    bench: &'a dyn ClusterBench,
    provider: Arc<dyn ClusterInfrastructure>,
}

#[async_trait]
impl Bench for OfClusters<'_> {
    fn sort(&self) -> Sort {
        Sort::Cluster
    }

    fn harness(&self) -> &dyn Harness {
        self.0
    }

    async fn connect(&self) -> Box<dyn Hand + '_> {
        Box::new(ClusterHand { bench: self.0, provider: self.0.clusters().await })
    }

    async fn living(&self) -> Vec<String> {
        self.0.living_clusters().await
    }
}

#[async_trait]
impl Hand for ClusterHand<'_> {
    async fn create(&self, token: &Token, name: &str) -> Result<Seen> {
        self.provider.create(token, &self.bench.cluster(name)).await.map(Seen::from)
    }

    async fn create_in_vain(&self, token: &Token, name: &str) -> Result<Seen> {
        let provider = Faulty::new(self.provider.clone(), losing(Operation::CreateCluster));
        provider.create(token, &self.bench.cluster(name)).await.map(Seen::from)
    }

    async fn create_elsewhere(
        &self,
        token: &Token,
        name: &str,
    ) -> std::result::Result<Result<Seen>, Unsupported> {
        let request = self.bench.cluster_elsewhere(name).await?;
        Ok(self.provider.create(token, &request).await.map(Seen::from))
    }

    async fn find(&self, token: &Token) -> Result<Option<Seen>> {
        Ok(self.provider.find(token).await?.map(Seen::from))
    }

    async fn follow(&self, token: &Token, name: &str) -> Result<Option<Seen>> {
        Ok(self.provider.follow(token, &self.bench.cluster(name)).await?.map(Seen::from))
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.provider.delete(token).await
    }
}
