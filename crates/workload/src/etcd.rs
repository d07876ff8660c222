//! etcd as its managers see it: who is a member, and who should no longer be one.
//!
//! The gRPC implementation (mutual TLS through a port-forward to a member's pod) is another crate's part; the
//! memory provider supplies one over its world.

use async_trait::async_trait;
use windlass_model::{Key, Secret};

/// A member of an etcd cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The member's id.
    pub id: u64,
    /// Its name: that of its node. Empty until it has started.
    pub name: String,
    /// Whether it does not vote yet.
    pub learner: bool,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
}

/// What a member complains about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// Its quota is used up: it takes no more writes.
    NoSpace,
    /// Its data are damaged.
    Corrupt,
}

/// Why etcd did not do it.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// None of the nodes' members answers.
    #[error("cannot reach etcd on any of the nodes {}", nodes.join(", "))]
    Unreachable {
        /// The nodes that were tried.
        nodes: Vec<String>,
        /// What the last of them said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no quorum, so nothing can be changed.
    #[error("etcd has no leader")]
    NoLeader,
    /// The member is not there (any more).
    #[error("etcd has no member {0:x}")]
    UnknownMember(u64),
    /// etcd refused.
    #[error("cannot {call} etcd")]
    Call {
        /// What was asked for, as a verb: `list the members of`.
        call: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A connection to the etcd of one cluster.
#[async_trait]
pub trait Etcd: Send + Sync {
    /// Every member, by id.
    async fn members(&self) -> Result<Vec<Member>, EtcdError>;
    /// Active alarms, with the id of the member.
    async fn alarms(&self) -> Result<Vec<(u64, Alarm)>, EtcdError>;
    /// The id of the leader.
    async fn leader(&self) -> Result<u64, EtcdError>;
    /// Removes a member for good.
    async fn remove_member(&self, id: u64) -> Result<(), EtcdError>;
    /// Makes another member the leader.
    async fn move_leader(&self, to: u64) -> Result<(), EtcdError>;
}

/// Who we are for etcd: a client certificate of the cluster's etcd authority.
#[derive(Clone, Debug)]
pub struct EtcdIdentity {
    /// Who signs the members' certificates.
    pub ca_pem: String,
    /// Our certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: Secret<String>,
}

/// Connects to the etcd members on the control plane nodes of a cluster.
#[async_trait]
pub trait EtcdConnector: Send + Sync + 'static {
    /// A connection through the first of `nodes` whose member answers.
    async fn connect(
        &self,
        cluster: &Key,
        nodes: &[String],
        identity: &EtcdIdentity,
    ) -> Result<Box<dyn Etcd>, EtcdError>;
}
