//! The closed set of ways in which a provider can fail.

use std::time::Duration;

/// What the caller can do about a failure. The set is closed: an executor handles every kind once, and
/// no provider invents its own policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Too many calls; the next one not before this long.
    Throttled {
        /// How long to wait at least.
        retry_after: Duration,
    },
    /// No room here now. Another failure domain may have some; else it is tried again with backoff.
    OutOfCapacity,
    /// The request itself is refused: only people can help, by another spec or by repairing what is outside
    /// (permissions, a name that is taken, an image). It is tried again at once when the spec changes, and
    /// slowly else.
    Rejected,
    /// Something the request builds on (a network, an image, the cluster's own resources) is not there.
    NotFound,
    /// Anything that may pass by itself; tried again with backoff.
    Transient,
}

impl ErrorKind {
    /// As a condition reason and a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled { .. } => "Throttled",
            Self::OutOfCapacity => "OutOfCapacity",
            Self::Rejected => "Rejected",
            Self::NotFound => "NotFound",
            Self::Transient => "Transient",
        }
    }
}

/// A failed call: what can be done about it, and what to tell a person.
///
/// The message is shown in conditions and events: it names the object and the cause, holds no secret and
/// no request id (it must not change from one try to the next).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What to do about it.
    pub kind: ErrorKind,
    /// What to say about it.
    pub message: String,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// [`ErrorKind::Rejected`].
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Rejected, message)
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// [`ErrorKind::Transient`].
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }
}
