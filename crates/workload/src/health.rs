//! How well a cluster is reached.

use std::fmt;

use windlass_model::Time;

/// What the probes of a cluster have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Since when the present connection stands; `None` without one.
    pub established: Option<Time>,
    /// The last time that the API server answered, over any connection.
    pub last_success: Option<Time>,
    /// Attempts that failed since then.
    pub failures: u32,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotConnected {
    /// The kind of trouble.
    pub reason: Reason,
    /// The trouble in words, without secrets; empty where the reason says it all.
    pub message: String,
    /// Since when there has been no connection.
    pub since: Time,
}

/// Kinds of trouble on the way to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody has asked for a connection: the cluster's infrastructure is not provisioned.
    Unwanted,
    /// The first attempt has not ended.
    Connecting,
    /// The kubeconfig Secret is not there yet.
    KubeconfigMissing,
    /// The kubeconfig Secret cannot be used.
    KubeconfigRefused,
    /// The management cluster does not hand the kubeconfig Secret out.
    KubeconfigUnread,
    /// The API server does not accept the credentials.
    Unauthorized,
    /// The API server does not answer.
    Unreachable,
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            Reason::Unwanted => "nobody has asked for a connection",
            Reason::Connecting => "the connection is being made",
            Reason::KubeconfigMissing => "the kubeconfig Secret does not exist yet",
            Reason::KubeconfigRefused => "the kubeconfig Secret cannot be used",
            Reason::KubeconfigUnread => "the kubeconfig Secret cannot be read",
            Reason::Unauthorized => "the API server does not accept the credentials",
            Reason::Unreachable => "the API server does not answer",
        };
        f.write_str(what)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl std::error::Error for NotConnected {}
