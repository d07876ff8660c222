//! Why a machine does not become a node.

use serde::{Deserialize, Serialize};

/// Why kubeadm gave up on a machine: reason and message of its `NodeProvisioned` condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The bootstrap data cannot be read as cloud-init, or has no kubeadm in it.
    #[error(
        "the bootstrap data is not usable: {what}; correct the object behind spec.bootstrap.configRef and replace the machine"
    )]
    DataInvalid {
        /// What is wrong with it.
        what: String,
    },
    /// Certificates that kubeadm needs are not among the files.
    #[error(
        "the bootstrap data lacks {missing}; see that the cluster's certificate Secrets exist and replace the machine"
    )]
    CertificatesMissing {
        /// The files that are not there.
        missing: String,
    },
    /// The certificates are those of another cluster.
    #[error(
        "the cluster CA in the bootstrap data is not the cluster's; see that the Secret `<cluster>-ca` was not replaced and replace the machine"
    )]
    CertificatesMismatch,
    /// `kubeadm init` where the cluster has been initialized by another machine.
    #[error(
        "the control plane was initialized by machine {by} before; delete this machine, a new one will join"
    )]
    AlreadyInitialized {
        /// That machine's name.
        by: String,
    },
    /// `kubeadm join` while no API server answers. The only refusal that may pass.
    #[error("no API server of the cluster answers; the machine joins once the control plane is up")]
    NotInitialized,
    /// The bootstrap token is not one of the cluster.
    #[error(
        "the bootstrap token {id} is not known to the cluster; replace the machine so that it gets a new one"
    )]
    BootstrapTokenUnknown {
        /// The public half of the token.
        id: String,
    },
    /// The bootstrap token's time is over.
    #[error("the bootstrap token {id} expired at {at}; replace the machine so that it gets a new one")]
    BootstrapTokenExpired {
        /// The public half of the token.
        id: String,
        /// When.
        at: String,
    },
    /// The bootstrap token may not be used to log in.
    #[error(
        "the bootstrap token {id} may not be used for authentication; set usage-bootstrap-authentication in its Secret or replace the machine"
    )]
    BootstrapTokenUnusable {
        /// The public half of the token.
        id: String,
    },
    /// Another machine's node has the name.
    #[error(
        "the cluster has a node {node} of another machine; give machines node names of their own, or delete that node and replace the machine"
    )]
    NodeNameTaken {
        /// The name.
        node: String,
    },
    /// The pinned CA is not the cluster's.
    #[error(
        "none of the CA certificate hashes in the bootstrap data is that of the cluster's CA; see that the Secret `<cluster>-ca` was not replaced and replace the machine"
    )]
    CACertHashMismatch,
}

impl Refusal {
    /// The reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DataInvalid { .. } => "BootstrapDataInvalid",
            Self::CertificatesMissing { .. } => "CertificatesMissing",
            Self::CertificatesMismatch => "CertificatesMismatch",
            Self::AlreadyInitialized { .. } => "AlreadyInitialized",
            Self::NotInitialized => "NotInitialized",
            Self::BootstrapTokenUnknown { .. } => "BootstrapTokenUnknown",
            Self::BootstrapTokenExpired { .. } => "BootstrapTokenExpired",
            Self::BootstrapTokenUnusable { .. } => "BootstrapTokenUnusable",
            Self::NodeNameTaken { .. } => "NodeNameTaken",
            Self::CACertHashMismatch => "CACertHashMismatch",
        }
    }

    /// Whether the machine tries again when the control plane changes.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::NotInitialized)
    }
}
