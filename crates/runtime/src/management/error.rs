//! Why a request failed.

use windlass_contract::ContractError;
use windlass_model::Key;

/// A request to the management cluster failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {kind} {key}")]
pub struct ManagementError {
    pub(super) verb: &'static str,
    pub(super) kind: String,
    pub(super) key: Key,
    #[source]
    pub(super) source: Box<Cause>,
}

/// What stood in the way.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("{}", status_text(.0))]
    Refused(Box<kube::core::Status>),
    #[error(transparent)]
    Request(kube::Error),
    #[error("the object does not fit its kind")]
    Object(#[source] serde_json::Error),
    #[error(transparent)]
    Contract(ContractError),
    #[error("no definition of this kind is installed; install the provider that brings it")]
    Unknown,
}

fn status_text(status: &kube::core::Status) -> String {
    if status.message.is_empty() {
        format!("{} ({})", status.reason, status.code)
    } else {
        status.message.clone()
    }
}

impl ManagementError {
    fn code(&self) -> u16 {
        match &*self.source {
            Cause::Refused(status) => status.code,
            Cause::Unknown => 404,
            Cause::Request(_) | Cause::Object(_) | Cause::Contract(_) => 0,
        }
    }

    /// Somebody else wrote the object first.
    pub fn is_conflict(&self) -> bool {
        self.code() == 409
    }

    /// The object, its namespace or its kind does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == 404
    }

    /// The server will refuse the same request again (a validation or an authorization): retrying is pointless.
    pub fn is_rejected(&self) -> bool {
        matches!(self.code(), 400 | 403 | 422)
    }
}
