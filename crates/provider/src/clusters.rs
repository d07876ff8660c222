//! What a cluster needs beside machines: networks, a load balancer, an endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use windlass_model::{Condition, Key, Uid};

use crate::{InstanceState, Result, Token};

/// Creates, finds and deletes what the machines of one cluster share.
#[async_trait]
pub trait ClusterInfrastructure: Send + Sync + 'static {
    /// What [`Self::create`] will make, as far as it is known beforehand. Nothing may be made here: a
    /// proposal that is never taken up leaves nothing behind.
    ///
    /// It is written together with the finalizer, which saves a write.
    async fn propose(&self, _token: &Token, _request: &ClusterRequest) -> Result<ClusterProposal> {
        Ok(ClusterProposal::default())
    }

    /// Makes the cluster's infrastructure, or returns what was made earlier for this token.
    ///
    /// A requested endpoint is a wish: [`ClusterInstance::endpoint`] says what it became.
    async fn create(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterInstance>;

    /// What was made for this token, while it exists. `None` is said only by who has looked.
    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>>;

    /// [`Self::find`], for infrastructure that shall stay: what may change about it is brought up to date
    /// with the request on the way. Which parts of the spec those are, is the provider's to say.
    ///
    /// It must not make what is missing: that is [`Self::create`].
    async fn follow(&self, token: &Token, _request: &ClusterRequest) -> Result<Option<ClusterInstance>> {
        self.find(token).await
    }

    /// Asks for deletion; `Ok` also where there is nothing to delete. [`Self::find`] says when it is gone.
    ///
    /// It is called also where nothing is found, and takes away what a create left half-made.
    async fn delete(&self, token: &Token) -> Result<()>;

    /// The condition types that [`ClusterInstance::conditions`] has, in order. While the infrastructure
    /// cannot be created, the first names the cause. Empty where there is nothing to tell apart.
    fn stages(&self) -> &'static [&'static str] {
        &[]
    }
}

/// What a cluster's infrastructure should be.
#[derive(Clone, Debug)]
pub struct ClusterRequest {
    /// Name of the object that asks, in the cluster's namespace.
    pub name: String,
    /// The cluster it is for.
    pub cluster: Key,
    /// UID of that cluster.
    pub cluster_uid: Uid,
    /// The endpoint to use, where one was chosen before.
    pub endpoint: Option<Endpoint>,
    /// The backend's own part of the object's spec. It may change later: see
    /// [`ClusterInfrastructure::follow`].
    pub spec: serde_json::Value,
    /// The texts that the spec refers to by name, by the path of the reference in [`Self::spec`]: for
    /// `loadBalancer.customHAProxyConfigTemplateRef`, what the ConfigMap of that name holds under `value`.
    pub config: BTreeMap<String, String>,
    /// Annotations of the object that asks.
    pub annotations: BTreeMap<String, String>,
    /// The first addresses of the cluster's services (or else of its pods) are of IPv6, and so shall the
    /// endpoint's be.
    pub prefers_ipv6: bool,
}

/// What is known of a cluster's infrastructure before it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterProposal {
    /// Where the API server will be reached.
    pub endpoint: Option<Endpoint>,
    /// Annotations for the object, by which the provider's own tools know the resource.
    pub annotations: BTreeMap<String, String>,
}

/// A cluster's infrastructure as its provider sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterInstance {
    /// Where it is in its life; [`InstanceState::Running`] means that machines may be created.
    pub state: InstanceState,
    /// Where the API server is reached; `None` until it is known, or where the provider gives none.
    pub endpoint: Option<Endpoint>,
    /// Where machines can be placed: name of the domain to whether it takes control plane machines.
    pub failure_domains: BTreeMap<String, bool>,
    /// How far it has come, beside what [`Self::state`] says.
    pub conditions: Vec<Condition>,
    /// Annotations for the object, kept on it as long as they are here: what people and tools beside the
    /// contract should know of it, such as a published address.
    pub annotations: BTreeMap<String, String>,
    /// When to ask again, where the provider knows.
    pub next_change: Option<Duration>,
}

/// Host and port of an API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// TCP port, 1 to 65535.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[async_trait]
impl<C: ClusterInfrastructure + ?Sized> ClusterInfrastructure for Arc<C> {
    async fn propose(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterProposal> {
        (**self).propose(token, request).await
    }

    async fn create(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterInstance> {
        (**self).create(token, request).await
    }

    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>> {
        (**self).find(token).await
    }

    async fn follow(&self, token: &Token, request: &ClusterRequest) -> Result<Option<ClusterInstance>> {
        (**self).follow(token, request).await
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        (**self).delete(token).await
    }

    fn stages(&self) -> &'static [&'static str] {
        (**self).stages()
    }
}
