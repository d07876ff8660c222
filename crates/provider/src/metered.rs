//! A decorator that counts and times every call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use windlass_model::Time;

use crate::{
    ClusterInfrastructure, ClusterInstance, ClusterProposal, ClusterRequest, ErrorKind, Instance,
    MachineRequest, Machines, Operation, Result, Token,
};

/// Where measurements go, and where their time comes from.
pub trait Meter: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Time;

    /// Takes note of one finished call.
    fn record(&self, call: Call);
}

impl<M: Meter + ?Sized> Meter for Arc<M> {
    fn now(&self) -> Time {
        (**self).now()
    }

    fn record(&self, call: Call) {
        (**self).record(call);
    }
}

/// One finished call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was called.
    pub operation: Operation,
    /// How it failed; `None` where it did not.
    pub failed: Option<ErrorKind>,
    /// How long it took.
    pub took: Duration,
}

/// A provider whose calls are measured.
#[derive(Debug)]
pub struct Metered<P, M> {
    inner: P,
    meter: M,
}

impl<P, M: Meter> Metered<P, M> {
    /// Measures the calls to `inner`.
    pub fn new(inner: P, meter: M) -> Self {
        Self { inner, meter }
    }

    async fn measure<T: Send>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let start = self.meter.now();
        let answer = call.await;
        let failed = answer.as_ref().err().map(|error| error.kind);
        self.meter.record(Call { operation, failed, took: self.meter.now().since(start) });
        answer
    }
}

#[async_trait]
impl<P: Machines, M: Meter> Machines for Metered<P, M> {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        self.measure(Operation::CreateMachine, self.inner.create(token, request)).await
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        self.measure(Operation::FindMachine, self.inner.find(token)).await
    }

    async fn follow(
        &self,
        token: &Token,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Option<Instance>> {
        self.measure(Operation::FindMachine, self.inner.follow(token, annotations)).await
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.measure(Operation::DeleteMachine, self.inner.delete(token)).await
    }

    fn provider_id(&self, token: &Token, request: &MachineRequest) -> Option<String> {
        self.inner.provider_id(token, request)
    }

    fn stages(&self, control_plane: bool) -> &'static [&'static str] {
        self.inner.stages(control_plane)
    }

    fn capacity(&self, spec: &serde_json::Value) -> BTreeMap<String, String> {
        self.inner.capacity(spec)
    }
}

#[async_trait]
impl<P: ClusterInfrastructure, M: Meter> ClusterInfrastructure for Metered<P, M> {
    async fn propose(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterProposal> {
        self.measure(Operation::ProposeCluster, self.inner.propose(token, request)).await
    }

    async fn create(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterInstance> {
        self.measure(Operation::CreateCluster, self.inner.create(token, request)).await
    }

    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>> {
        self.measure(Operation::FindCluster, self.inner.find(token)).await
    }

    async fn follow(&self, token: &Token, request: &ClusterRequest) -> Result<Option<ClusterInstance>> {
        self.measure(Operation::FindCluster, self.inner.follow(token, request)).await
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.measure(Operation::DeleteCluster, self.inner.delete(token)).await
    }
}
