//! etcd as its managers see it: who is a member, and who should no longer be one.
//!
//! [`PortForward`] speaks etcd's gRPC API with mutual TLS through a port-forward to a member's pod, for real and
//! for simulated clusters alike.

mod endpoint;
mod port_forward;
pub mod wire;

use async_trait::async_trait;
use windlass_model::{Key, Secret};

pub use port_forward::PortForward;

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

/// What one member says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub id: u64,
    /// Version of etcd, as `3.6.5`.
    pub version: String,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// Whether it does not vote yet.
    pub learner: bool,
    /// Size of its database on disk, in bytes.
    pub db_size: u64,
    /// The part of it that is in use, in bytes.
    pub db_size_in_use: u64,
    /// What it complains about, in its own words: a missing leader, alarms.
    pub errors: Vec<String>,
}

impl MemberStatus {
    /// Whether it complains about nothing and knows who leads.
    pub fn is_healthy(&self) -> bool {
        self.errors.is_empty() && self.leader.is_some()
    }
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
    /// Not at the moment: a leader is being elected, the members are not all connected to each other yet, or
    /// the connection broke. The same call may succeed in a few seconds.
    #[error("cannot {call} etcd at the moment")]
    NotNow {
        /// What was asked for, as a verb: `list the members of`.
        call: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
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

impl EtcdError {
    /// Whether the same call may succeed later, with nothing changed by anybody.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoLeader | Self::NotNow { .. } => true,
            Self::UnknownMember(_) | Self::Call { .. } => false,
        }
    }
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
    /// What the member on a node says of itself. No other member is asked.
    async fn status(&self, node: &str) -> Result<MemberStatus, EtcdError>;
    /// Removes a member for good.
    async fn remove_member(&self, id: u64) -> Result<(), EtcdError>;
    /// Makes another member the leader; nothing happens if it leads already.
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
