//! The rows of the ledger: every machine and cluster that ever was.

use serde::{Deserialize, Serialize};
use windlass_model::{Key, Secret, Time, Uid};
use windlass_provider::Token;

use super::delays::Delays;
use super::etcd::Membership;
use crate::boot::Refusal;

/// A machine. The row stays after the machine is gone: it proves that no second one was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineRow {
    /// What it was made for.
    pub token: Token,
    /// The object that wants it.
    pub owner: Key,
    /// UID of its cluster.
    pub cluster: Uid,
    /// Its host name.
    pub name: String,
    /// Kubernetes version of its kubelet.
    pub version: String,
    /// Whether it was asked for as a control plane machine.
    pub control_plane: bool,
    /// Where it was placed.
    pub failure_domain: Option<String>,
    /// Its address in the cluster's network.
    pub address: String,
    /// When it was made.
    pub created: Time,
    /// How long the stages of its boot take.
    pub delays: Delays,
    /// Since when its node is registered.
    pub joined: Option<Time>,
    /// The node it has become.
    pub node: Option<NodeRef>,
    /// Since when its etcd member runs.
    pub etcd: Option<Time>,
    /// Since when its API server answers.
    pub api_server: Option<Time>,
    /// Why it is no node.
    pub refusal: Option<Refusal>,
    /// When it was deleted.
    pub deleted: Option<Time>,
}

/// A Node of a workload cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRef {
    /// Its name.
    pub name: String,
    /// Its UID; empty where it was deleted before it was seen.
    pub uid: String,
}

/// A cluster. The row stays after the cluster is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterRow {
    /// What it was made for.
    pub token: Token,
    /// The object that wants it.
    pub owner: Key,
    /// The Cluster.
    pub cluster: Key,
    /// UID of the Cluster.
    pub uid: Uid,
    /// Where its API server listens.
    pub port: u16,
    /// When it was made.
    pub created: Time,
    /// How many machines it ever had; the next one's address follows from it.
    pub machines: u32,
    /// How it was initialized.
    pub initialized: Option<Initialized>,
    /// Its etcd members.
    pub etcd: Membership,
    /// When it was deleted.
    pub deleted: Option<Time>,
}

/// The one `kubeadm init` of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initialized {
    /// The machine that ran it.
    pub by: Token,
    /// Its name.
    pub name: String,
    /// When.
    pub at: Time,
    /// Kubernetes version of the control plane at that time.
    pub version: String,
    /// Where its images come from; `None` is Kubernetes' own registry.
    pub image_repository: Option<String>,
    /// Whether etcd runs elsewhere.
    pub external_etcd: bool,
}

/// The certificates that the servers of a control plane machine work with.
#[derive(Clone, Debug)]
pub struct ServingPki {
    /// The API server's.
    pub api_server: Serving,
    /// The etcd member's, where there is one.
    pub etcd: Option<Serving>,
}

/// What a server shows its clients, and whose clients it believes.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Certificate of the CA.
    pub ca: String,
    /// The server's certificate, signed by that CA.
    pub certificate: String,
    /// Its key.
    pub key: Secret<String>,
}

impl MachineRow {
    /// When the machine itself runs.
    pub fn vm_due(&self) -> Time {
        self.created.after(self.delays.vm)
    }

    /// When kubeadm has done its work.
    pub fn node_due(&self) -> Time {
        self.vm_due().after(self.delays.node)
    }

    /// When its etcd member starts, once it has joined.
    pub fn etcd_due(&self) -> Option<Time> {
        self.joined.map(|joined| joined.after(self.delays.etcd))
    }

    /// When its API server answers, once it has joined.
    pub fn api_server_due(&self) -> Option<Time> {
        self.joined.map(|joined| joined.after(self.delays.api_server))
    }

    /// Whether it exists.
    pub fn is_alive(&self) -> bool {
        self.deleted.is_none()
    }

    /// The next moment at which something happens to it by itself, due ones included.
    pub fn next_due(&self, now: Time) -> Option<Time> {
        if !self.is_alive() {
            return None;
        }
        let vm = Some(self.vm_due()).filter(|due| *due > now);
        let node = Some(self.node_due()).filter(|_| self.joined.is_none() && self.refusal.is_none());
        let carries = self.control_plane && self.joined.is_some();
        let etcd = self.etcd_due().filter(|_| carries && self.etcd.is_none());
        let api_server = self.api_server_due().filter(|_| carries && self.api_server.is_none());
        [vm, node, etcd, api_server].into_iter().flatten().min()
    }
}
