//! A container engine that does as it is told, and the provider in front of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use windlass_model::{Condition, Status};
use windlass_provider::{
    ClusterInfrastructure, ClusterInstance, ClusterRequest, Endpoint, Error, Instance, InstanceState,
    MachineRequest, Machines, Result, Token,
};

/// How a deleted machine goes.
#[derive(Clone, Copy, Default)]
pub enum Leaving {
    #[default]
    AtOnce,
    /// It says when to ask again.
    In(Duration),
    /// It does not.
    Sometime,
}

#[derive(Default)]
pub struct State {
    /// Every call fails like this.
    pub trouble: Option<Error>,
    /// The next create takes effect in part, and fails like this.
    pub half_made: Option<Error>,
    pub machines: BTreeMap<Token, Instance>,
    pub clusters: BTreeMap<Token, ClusterInstance>,
    /// Containers that were made and are not found.
    pub halves: Vec<Token>,
    /// What becomes of deleted machines.
    pub leaving: Leaving,
    /// What the last calls said.
    pub machine: Option<MachineRequest>,
    pub cluster: Option<ClusterRequest>,
    pub weight: Option<String>,
    /// The calls that change something, in order.
    pub calls: Vec<String>,
}

#[derive(Clone, Default)]
pub struct Engine(Arc<Mutex<State>>);

/// `Type=Status Reason message`.
fn condition(kind: &'static str, status: Status, reason: &'static str) -> Condition {
    Condition::new(kind, status, reason)
}

fn ready(token: &Token) -> Instance {
    Instance {
        provider_id: format!("docker:////{token}"),
        state: InstanceState::Running,
        addresses: vec![],
        failure_domain: Some("fd-1".to_owned()),
        conditions: vec![
            condition("ContainerProvisioned", Status::True, "Provisioned"),
            condition("BootstrapCompleted", Status::True, "Completed"),
        ],
        next_change: None,
    }
}

impl Engine {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The bootstrap of the only machine fails, or does not.
    pub fn bootstrap(&self, failure: Option<&str>) {
        for instance in self.state().machines.values_mut() {
            instance.conditions[1] = match failure {
                None => condition("BootstrapCompleted", Status::True, "Completed"),
                Some(why) => condition("BootstrapCompleted", Status::False, "BootstrapFailed").because(why),
            };
        }
    }

    fn call(&self, what: &str) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if let Some(error) = state.trouble.clone() {
            return Err(error);
        }
        if !what.is_empty() {
            state.calls.push(what.to_owned());
        }
        Ok(state)
    }
}

#[async_trait]
impl Machines for Engine {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        let mut state = self.call("create")?;
        if let Some(error) = state.half_made.take() {
            state.halves.push(token.clone());
            return Err(error);
        }
        state.machine = Some(request.clone());
        Ok(state.machines.entry(token.clone()).or_insert_with(|| ready(token)).clone())
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        Ok(self.call("")?.machines.get(token).cloned())
    }

    async fn follow(
        &self,
        token: &Token,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Option<Instance>> {
        let mut state = self.call("")?;
        state.weight = annotations.get("weight").cloned();
        Ok(state.machines.get(token).cloned())
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        let mut state = self.call("delete")?;
        state.halves.retain(|half| half != token);
        let next_change = match state.leaving {
            Leaving::AtOnce => {
                state.machines.remove(token);
                return Ok(());
            }
            Leaving::In(after) => Some(after),
            Leaving::Sometime => None,
        };
        if let Some(instance) = state.machines.get_mut(token) {
            instance.state = InstanceState::Deleting;
            instance.next_change = next_change;
        }
        Ok(())
    }

    fn stages(&self, _: bool) -> &'static [&'static str] {
        &["ContainerProvisioned", "BootstrapCompleted"]
    }
}

#[async_trait]
impl ClusterInfrastructure for Engine {
    async fn create(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterInstance> {
        let mut state = self.call("create cluster")?;
        state.cluster = Some(request.clone());
        let instance = ClusterInstance {
            state: InstanceState::Running,
            endpoint: Some(Endpoint { host: "172.18.0.2".to_owned(), port: 6443 }),
            failure_domains: [("fd-1".to_owned(), true), ("fd-2".to_owned(), false)].into(),
            conditions: vec![condition("LoadBalancerAvailable", Status::True, "Available")],
            annotations: [("published".to_owned(), "127.0.0.1:32768".to_owned())].into(),
            next_change: None,
        };
        Ok(state.clusters.entry(token.clone()).or_insert(instance).clone())
    }

    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>> {
        Ok(self.call("")?.clusters.get(token).cloned())
    }

    async fn follow(&self, token: &Token, request: &ClusterRequest) -> Result<Option<ClusterInstance>> {
        let mut state = self.call("")?;
        state.cluster = Some(request.clone());
        Ok(state.clusters.get(token).cloned())
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.call("delete cluster")?.clusters.remove(token);
        Ok(())
    }

    fn stages(&self) -> &'static [&'static str] {
        &["LoadBalancerAvailable"]
    }
}
