//! What can stand before a provider: measuring, throttling, tracing, faults.
//!
//! A [`Layer`] sees every call once, whichever trait it is of; [`Layered`] puts it before any provider.
//! [`Layers`] is the usual stack.

mod faulty;
mod metered;
mod throttled;
mod traced;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
pub use faulty::{Fault, Faults, Faulty, Script, Seam};
pub use metered::{Call, Meter, Metered, Metering};
pub use throttled::{Limits, Now, Rate, Throttle, Throttled};
pub use traced::{Traced, Tracing};

use crate::{
    ClusterInfrastructure, ClusterInstance, ClusterProposal, ClusterRequest, Instance, MachineRequest,
    Machines, Operation, Result, Token,
};

/// Stands before every call to a provider.
pub trait Layer: Send + Sync + 'static {
    /// Makes the call, or does not.
    fn around<T: Send>(
        &self,
        operation: Operation,
        token: &Token,
        call: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;
}

impl<L: Layer> Layer for Arc<L> {
    fn around<T: Send>(
        &self,
        operation: Operation,
        token: &Token,
        call: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send {
        (**self).around(operation, token, call)
    }
}

/// A provider behind a [`Layer`].
#[derive(Debug)]
pub struct Layered<P, L> {
    inner: P,
    layer: L,
}

impl<P, L: Layer> Layered<P, L> {
    /// Puts `layer` before `inner`.
    pub fn with(inner: P, layer: L) -> Self {
        Self { inner, layer }
    }
}

#[async_trait]
impl<P: Machines, L: Layer> Machines for Layered<P, L> {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        self.layer.around(Operation::CreateMachine, token, self.inner.create(token, request)).await
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        self.layer.around(Operation::FindMachine, token, self.inner.find(token)).await
    }

    async fn follow(
        &self,
        token: &Token,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Option<Instance>> {
        self.layer.around(Operation::FindMachine, token, self.inner.follow(token, annotations)).await
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.layer.around(Operation::DeleteMachine, token, self.inner.delete(token)).await
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
impl<P: ClusterInfrastructure, L: Layer> ClusterInfrastructure for Layered<P, L> {
    async fn propose(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterProposal> {
        self.layer.around(Operation::ProposeCluster, token, self.inner.propose(token, request)).await
    }

    async fn create(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterInstance> {
        self.layer.around(Operation::CreateCluster, token, self.inner.create(token, request)).await
    }

    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>> {
        self.layer.around(Operation::FindCluster, token, self.inner.find(token)).await
    }

    async fn follow(&self, token: &Token, request: &ClusterRequest) -> Result<Option<ClusterInstance>> {
        self.layer.around(Operation::FindCluster, token, self.inner.follow(token, request)).await
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.layer.around(Operation::DeleteCluster, token, self.inner.delete(token)).await
    }

    fn stages(&self) -> &'static [&'static str] {
        self.inner.stages()
    }
}

/// The stack in front of one backend, the same for its machines and its clusters: what throttles one
/// throttles both, because behind both stands one account at one API.
///
/// From the outside in: tracing sees all, a throttled call included; metrics count what reaches the
/// backend.
#[derive(Clone)]
pub struct Layers {
    backend: &'static str,
    throttle: Option<Arc<Throttle>>,
    meter: Option<Arc<dyn Meter>>,
}

impl Layers {
    /// Traces the calls to the backend of this name, and does nothing else yet.
    pub fn new(backend: &'static str) -> Self {
        Self { backend, throttle: None, meter: None }
    }

    /// Also keeps to limits.
    #[must_use]
    pub fn throttled(self, limits: Limits, now: Now) -> Self {
        Self { throttle: Some(Arc::new(Throttle::new(limits, now))), ..self }
    }

    /// Also measures.
    #[must_use]
    pub fn metered(self, meter: Arc<dyn Meter>) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// The stack before machines.
    pub fn machines(&self, mut inner: Arc<dyn Machines>) -> Arc<dyn Machines> {
        if let Some(meter) = self.meter.clone() {
            inner = Arc::new(Metered::new(inner, meter));
        }
        if let Some(throttle) = self.throttle.clone() {
            inner = Arc::new(Throttled::new(inner, throttle));
        }
        Arc::new(Traced::new(inner, self.backend))
    }

    /// The stack before the infrastructure of clusters.
    pub fn clusters(&self, mut inner: Arc<dyn ClusterInfrastructure>) -> Arc<dyn ClusterInfrastructure> {
        if let Some(meter) = self.meter.clone() {
            inner = Arc::new(Metered::new(inner, meter));
        }
        if let Some(throttle) = self.throttle.clone() {
            inner = Arc::new(Throttled::new(inner, throttle));
        }
        Arc::new(Traced::new(inner, self.backend))
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, throttle, meter } = self;
        f.debug_struct("Layers")
            .field("backend", backend)
            .field("throttled", &throttle.is_some())
            .field("metered", &meter.is_some())
            .finish()
    }
}
