//! Machines: made, found and deleted in one place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use windlass_model::{Condition, Key, Secret, Uid};

use crate::{Result, Token};

/// Creates, finds and deletes machines.
///
/// Every call may be repeated after a crash and must return without waiting for a machine to boot or
/// vanish: [`Instance::next_change`] says when it is worth asking again.
#[async_trait]
pub trait Machines: Send + Sync + 'static {
    /// Starts a machine, or returns the one made earlier for this token, whatever the request says now.
    ///
    /// It is made so that it appears with its token or not at all, and beside what others have made under the
    /// same name: that is refused.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Rejected`] also where the machine of this token was deleted before, if the
    /// provider's world remembers that: a token makes one machine.
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance>;

    /// The machine made for this token, while it exists.
    ///
    /// `None` is said only by who has looked: where that was not possible it is an error, for a machine that
    /// is taken for gone is never deleted.
    async fn find(&self, token: &Token) -> Result<Option<Instance>>;

    /// [`Self::find`], for a machine that shall stay: what may change about a machine that exists is brought
    /// up to date on the way. That is the annotations of its object (such as the weight in a load balancer);
    /// everything else of a [`MachineRequest`] is settled by its creation.
    ///
    /// A provider in which no annotation means anything leaves this alone.
    async fn follow(
        &self,
        token: &Token,
        _annotations: &BTreeMap<String, String>,
    ) -> Result<Option<Instance>> {
        self.find(token).await
    }

    /// Asks for deletion; `Ok` also where there is nothing to delete. [`Self::find`] says when it is gone.
    ///
    /// It is called also where nothing is found, and takes away what a create left half-made.
    async fn delete(&self, token: &Token) -> Result<()>;

    /// The provider id which a machine of this request will have, where that is known beforehand.
    ///
    /// It is then written together with the finalizer, before the machine exists.
    fn provider_id(&self, _token: &Token, _request: &MachineRequest) -> Option<String> {
        None
    }

    /// The condition types a machine passes through until it is ready, in order. The first says that the
    /// machine itself runs; while it cannot be created, that one names the cause.
    fn stages(&self, _control_plane: bool) -> &'static [&'static str] {
        &["InstanceProvisioned"]
    }

    /// What a machine of this spec offers to pods, as Kubernetes writes quantities; empty where the provider
    /// cannot say.
    fn capacity(&self, _spec: &serde_json::Value) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

/// What a machine should be.
#[derive(Clone, Debug)]
pub struct MachineRequest {
    /// The cluster it belongs to.
    pub cluster: Key,
    /// UID of that cluster: a cluster made again under its name is another one.
    pub cluster_uid: Uid,
    /// Name of the machine, unique in the cluster's namespace.
    pub name: String,
    /// Kubernetes version its kubelet will have, such as `v1.35.0`; empty where the caller does not know.
    pub version: String,
    /// Whether it carries the control plane.
    pub control_plane: bool,
    /// Where to place it; `None` leaves it to the provider.
    pub failure_domain: Option<String>,
    /// What it runs at its first boot.
    pub bootstrap_data: Secret<Vec<u8>>,
    /// The language of [`Self::bootstrap_data`]: `cloud-config` or `ignition`, or what another bootstrap
    /// provider calls its own. Never empty.
    pub bootstrap_format: String,
    /// Annotations of the object that asks. They may change later: see [`Machines::follow`].
    pub annotations: BTreeMap<String, String>,
    /// The backend's own part of the object's spec.
    pub spec: serde_json::Value,
}

/// A machine as its provider sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// `spec.providerID` of the machine and of its node.
    pub provider_id: String,
    /// Where it is in its life.
    pub state: InstanceState,
    /// How it is reached.
    pub addresses: Vec<Address>,
    /// Where it was placed.
    pub failure_domain: Option<String>,
    /// How far its boot has come: one condition for each of [`Machines::stages`].
    pub conditions: Vec<Condition>,
    /// When to ask again, where the provider knows: without it, it will not change by itself or will
    /// say so.
    pub next_change: Option<Duration>,
}

/// Where a machine is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// Asked for; not running yet.
    Pending,
    /// The machine runs. What runs on it is told by the conditions.
    Running,
    /// It will never run.
    Failed {
        /// Why, for people, ending in what to do.
        message: String,
    },
    /// Deletion was asked for and is under way.
    Deleting,
}

/// One way to reach a machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// What sort of address it is.
    pub kind: AddressKind,
    /// The address or name itself.
    pub address: String,
}

/// Sorts of addresses, as a Node names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AddressKind {
    /// The host's own name.
    Hostname,
    /// Reachable from outside.
    ExternalIP,
    /// Reachable from the cluster's network.
    InternalIP,
    /// A name that resolves from outside.
    ExternalDNS,
    /// A name that resolves inside.
    InternalDNS,
}

impl AddressKind {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hostname => "Hostname",
            Self::ExternalIP => "ExternalIP",
            Self::InternalIP => "InternalIP",
            Self::ExternalDNS => "ExternalDNS",
            Self::InternalDNS => "InternalDNS",
        }
    }
}

#[async_trait]
impl<M: Machines + ?Sized> Machines for Arc<M> {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        (**self).create(token, request).await
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        (**self).find(token).await
    }

    async fn follow(
        &self,
        token: &Token,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Option<Instance>> {
        (**self).follow(token, annotations).await
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        (**self).delete(token).await
    }

    fn provider_id(&self, token: &Token, request: &MachineRequest) -> Option<String> {
        (**self).provider_id(token, request)
    }

    fn stages(&self, control_plane: bool) -> &'static [&'static str] {
        (**self).stages(control_plane)
    }

    fn capacity(&self, spec: &serde_json::Value) -> BTreeMap<String, String> {
        (**self).capacity(spec)
    }
}
