//! What goes wrong at an engine, and what people can do about it.

use std::sync::LazyLock;
use std::time::Duration;

use bollard::errors::Error as Cause;
use regex::Regex;
use windlass_provider::{Error, ErrorKind};

/// How long an engine is left alone that says it gets too many requests.
const RETRY: Duration = Duration::from_secs(1);

/// A failed call, by what can be done about it. The texts are the engine's, without what changes from one
/// try to the next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EngineError {
    /// Nobody answers.
    #[error("cannot reach the Docker engine at {host}: {why}; start it, or say with DOCKER_HOST where it is")]
    Unreachable {
        /// Where it should be.
        host: String,
        /// Why it is not.
        why: String,
    },
    /// The socket is not for this user.
    #[error(
        "may not use the Docker engine at {0}; run windlass as a user of the group that owns the socket (mostly `docker`)"
    )]
    Denied(String),
    /// 404.
    #[error("{0}")]
    Missing(String),
    /// 409.
    #[error("{0}")]
    Conflict(String),
    /// The disk is full.
    #[error("{0}; make room on the engine's disk (`docker system df` shows what fills it)")]
    NoSpace(String),
    /// A port of the host is in use.
    #[error(
        "{0}; free the port, or take the range of ephemeral ports from whoever holds it, and it is tried again"
    )]
    PortTaken(String),
    /// The engine may not give the container what it asks for.
    #[error("{0}")]
    Privileges(String),
    /// 401 or 403.
    #[error("{0}; let the engine (or what guards it) allow this, or use one that does")]
    Forbidden(String),
    /// 429.
    #[error("{0}")]
    Throttled(String),
    /// The request makes no sense to the engine.
    #[error("{0}")]
    Invalid(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl EngineError {
    /// From an error of the client of the engine at `host`.
    pub(super) fn of(error: &Cause, host: &str) -> Self {
        match error {
            Cause::DockerResponseServerError { status_code, message } => answer(*status_code, message),
            Cause::DockerStreamError { error } => answer(500, error),
            Cause::SocketNotFoundError(_) => unreachable(host, "there is no such socket"),
            Cause::RequestTimeoutError => unreachable(host, "it does not answer"),
            Cause::UnsupportedURISchemeError { .. } => {
                unreachable(host, "only unix:// and tcp:// without TLS can be dialled")
            }
            Cause::IOError { .. } | Cause::HyperLegacyError { .. } | Cause::HyperResponseError { .. } => {
                let why = innermost(error);
                if why.to_lowercase().contains("permission denied") {
                    Self::Denied(host.to_owned())
                } else {
                    unreachable(host, &why)
                }
            }
            other => Self::Other(steady(&other.to_string())),
        }
    }

    /// For the caller of a provider: what could not be done, why, and what helps.
    pub(crate) fn during(self, what: &str) -> Error {
        let message = format!("cannot {what}: {self}");
        let kind = match self {
            Self::Throttled(_) => ErrorKind::Throttled { retry_after: RETRY },
            Self::NoSpace(_) => ErrorKind::OutOfCapacity,
            Self::Missing(_) => ErrorKind::NotFound,
            Self::Denied(_) | Self::Forbidden(_) | Self::Privileges(_) | Self::Invalid(_) => {
                ErrorKind::Rejected
            }
            Self::Unreachable { .. } | Self::Conflict(_) | Self::PortTaken(_) | Self::Other(_) => {
                ErrorKind::Transient
            }
        };
        Error::new(kind, message)
    }

    /// The engine's own words.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Unreachable { why, .. } => why,
            Self::Denied(host) => host,
            Self::Missing(text)
            | Self::Conflict(text)
            | Self::NoSpace(text)
            | Self::PortTaken(text)
            | Self::Privileges(text)
            | Self::Forbidden(text)
            | Self::Throttled(text)
            | Self::Invalid(text)
            | Self::Other(text) => text,
        }
    }

    /// Whether a network that was there before is not any more.
    pub(crate) fn is_missing_network(&self) -> bool {
        self.text().contains("network") && self.text().contains("not found")
    }
}

fn unreachable(host: &str, why: &str) -> EngineError {
    EngineError::Unreachable { host: host.to_owned(), why: why.to_owned() }
}

/// An answer of the engine that is no success.
fn answer(status: u16, message: &str) -> EngineError {
    let text = steady(message);
    let lower = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["no space left on device", "disk quota exceeded"]) {
        return EngineError::NoSpace(text);
    }
    if says(&["port is already allocated", "address already in use"]) {
        return EngineError::PortTaken(text);
    }
    match status {
        401 | 403 => EngineError::Forbidden(text),
        429 => EngineError::Throttled(text),
        404 => EngineError::Missing(text),
        409 => EngineError::Conflict(text),
        _ if says(&["unable to apply caps", "operation not permitted", "permission denied"]) => {
            EngineError::Privileges(text)
        }
        400 => EngineError::Invalid(text),
        _ => EngineError::Other(text),
    }
}

/// The cause at the end of the chain: what is before it only says that there was a request.
fn innermost(error: &Cause) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

/// A text without ids and ephemeral ports, so that two tries say the same.
fn steady(text: &str) -> String {
    static EPHEMERAL: LazyLock<Regex> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "the expression is a constant")]
        Regex::new(r"(?P<id>\b[0-9a-f]{64}\b)|read udp \S+->\S+: ").expect("the expression is valid")
    });
    let cleaned = EPHEMERAL.replace_all(text.trim(), |found: &regex::Captures<'_>| {
        found.name("id").map_or(String::new(), |id| id.as_str()[..12].to_owned())
    });
    cleaned.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status_code: u16, message: &str) -> Cause {
        Cause::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    #[test]
    fn each_answer_has_its_kind_and_says_what_to_do() {
        let refused = std::io::Error::from_raw_os_error(111);
        let denied = std::io::Error::from_raw_os_error(13);
        for (cause, kind, says) in [
            (
                Cause::IOError { err: refused },
                "Transient",
                "connection refused; start it, or say with DOCKER_HOST",
            ),
            (
                Cause::IOError { err: denied },
                "Rejected",
                "may not use the Docker engine at unix:///x; run windlass as",
            ),
            (Cause::SocketNotFoundError("/x".into()), "Transient", "no such socket; start it"),
            (Cause::RequestTimeoutError, "Transient", "does not answer"),
            (response(404, "network kind not found"), "NotFound", "network kind not found"),
            (response(500, "write /x: no space left on device"), "OutOfCapacity", "make room"),
            (
                response(500, "Bind for 127.0.0.1:80 failed: port is already allocated"),
                "Transient",
                "free the port",
            ),
            (
                response(500, "OCI runtime create failed: unable to apply caps: operation not permitted"),
                "Rejected",
                "caps",
            ),
            (response(400, "invalid volume specification: 'x'"), "Rejected", "invalid volume"),
            (response(403, "not for you"), "Rejected", "let the engine"),
            (response(429, "too many requests"), "Throttled", "too many"),
            (response(409, "removal of container x is already in progress"), "Transient", "in progress"),
            (response(500, "boom."), "Transient", "cannot start it: boom"),
        ] {
            let error = EngineError::of(&cause, "unix:///x").during("start it");
            assert_eq!(error.kind.as_str(), kind, "{error}");
            assert!(error.message.contains(says), "{error}");
        }
    }

    #[test]
    fn two_tries_say_the_same() {
        let try_with = |id: &str, port: u32| {
            let text =
                format!("container {id}: lookup x: read udp 10.0.0.1:{port}->10.0.0.2:53: i/o timeout");
            EngineError::of(&response(500, &text), "unix:///x").to_string()
        };
        let one = try_with(&"a1".repeat(32), 4711);
        assert_eq!(one, try_with(&"a1".repeat(32), 815));
        assert_eq!(one, "container a1a1a1a1a1a1: lookup x: i/o timeout");
    }
}
