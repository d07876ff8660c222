//! Why the world does not do what it should.

use windlass_provider::{Error, ErrorKind};

use super::delays::DelayError;

/// Why the world cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A row that this version did not write.
    #[error(
        "cannot read {key} in the store of the simulated world; restore the last backup of the data directory"
    )]
    Row {
        /// The row's key.
        key: String,
    },
    /// The ledger takes no writes.
    #[error("cannot write the ledger of the simulated world")]
    Commit(#[from] windlass_store::CommitError),
    /// The ledger cannot be listed.
    #[error("cannot read the ledger of the simulated world")]
    Read(#[from] windlass_store::ReadError),
    /// A workload cluster's API server does not start.
    #[error("cannot start the API server of cluster {cluster}")]
    Server {
        /// The cluster.
        cluster: windlass_model::Key,
        /// Why.
        source: Box<windlass_apiserver::StartError>,
    },
    /// A workload cluster's API server refuses a write.
    #[error("cannot write into the workload cluster")]
    Workload(#[from] kube::Error),
    /// A kind that nodes do not write.
    #[error("cannot write an object of kind {kind} into the workload cluster")]
    UnknownKind {
        /// The kind.
        kind: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make the certificate of the API server")]
    Pki(#[from] windlass_pki::PkiError),
    /// All ports are taken.
    #[error(
        "no port from {first} to {last} is free for another cluster; delete a cluster or widen the range"
    )]
    NoPort {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// A blocking task ended early.
    #[error("cannot finish making the certificate of the API server")]
    Interrupted,
}

impl From<WorldError> for Error {
    fn from(error: WorldError) -> Self {
        let kind = match &error {
            WorldError::NoPort { .. } => ErrorKind::OutOfCapacity,
            WorldError::Row { .. }
            | WorldError::Commit(_)
            | WorldError::Read(_)
            | WorldError::Server { .. }
            | WorldError::Workload(_)
            | WorldError::UnknownKind { .. }
            | WorldError::Pki(_)
            | WorldError::Interrupted => ErrorKind::Transient,
        };
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(kind, message)
    }
}

impl From<DelayError> for Error {
    fn from(error: DelayError) -> Self {
        Self::rejected(error.to_string())
    }
}
