//! The seam before a provider.

use std::sync::Arc;

use async_trait::async_trait;
use windlass_memory::MachineRow;
use windlass_provider::{
    ClusterInfrastructure, ClusterInstance, ClusterProposal, ClusterRequest, Error, Instance, MachineRequest,
    Machines, Operation, Result, Token,
};

use crate::effect::{Fault, Site};
use crate::gate::Gate;
use crate::ledger;

/// A provider behind the gate.
pub struct Gated<P: ?Sized> {
    inner: Arc<P>,
    gate: Gate,
}

impl<P: ?Sized> Gated<P> {
    /// Puts the gate before `inner`.
    pub fn new(inner: Arc<P>, gate: Gate) -> Self {
        Self { inner, gate }
    }

    async fn through<T>(
        &self,
        operation: Operation,
        object: String,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if !operation.is_effect() {
            return match self.gate.read_fault() {
                Some(fault) => Err(error(fault)),
                None => call.await,
            };
        }
        let site = Site(format!("provider: {}", operation.as_str()));
        let ticket = self.gate.before(site, object, String::new()).await.map_err(error)?;
        let answer = call.await;
        let text = answer.as_ref().map_or_else(|error| error.kind.as_str(), |_| "ok");
        self.gate.after(ticket, text).await.map_err(error)?;
        answer
    }

    /// The owner of a token, for people.
    fn owner(&self, token: &Token) -> String {
        let row: Option<MachineRow> = ledger::row(self.gate.engine(), &format!("machine/{token}"));
        row.map_or_else(|| token.to_string(), |row| row.owner.to_string())
    }
}

fn error(fault: Fault) -> Error {
    match fault {
        Fault::Throttled => Error::new(
            windlass_provider::ErrorKind::Throttled { retry_after: std::time::Duration::from_secs(2) },
            "too many requests",
        ),
        Fault::Conflict | Fault::Internal | Fault::Timeout => Error::transient(fault.to_string()),
    }
}

#[async_trait]
impl<P: Machines + ?Sized> Machines for Gated<P> {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        let object = request.cluster.sibling(&request.name).to_string();
        self.through(Operation::CreateMachine, object, self.inner.create(token, request)).await
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        self.through(Operation::FindMachine, String::new(), self.inner.find(token)).await
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.through(Operation::DeleteMachine, self.owner(token), self.inner.delete(token)).await
    }

    fn provider_id(&self, token: &Token, request: &MachineRequest) -> Option<String> {
        self.inner.provider_id(token, request)
    }

    fn stages(&self, control_plane: bool) -> &'static [&'static str] {
        self.inner.stages(control_plane)
    }

    fn capacity(&self, spec: &serde_json::Value) -> std::collections::BTreeMap<String, String> {
        self.inner.capacity(spec)
    }
}

#[async_trait]
impl<P: ClusterInfrastructure + ?Sized> ClusterInfrastructure for Gated<P> {
    async fn propose(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterProposal> {
        self.through(Operation::ProposeCluster, String::new(), self.inner.propose(token, request)).await
    }

    async fn create(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterInstance> {
        let object = request.cluster.to_string();
        self.through(Operation::CreateCluster, object, self.inner.create(token, request)).await
    }

    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>> {
        self.through(Operation::FindCluster, String::new(), self.inner.find(token)).await
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.through(Operation::DeleteCluster, token.to_string(), self.inner.delete(token)).await
    }
}
