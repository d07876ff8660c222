//! A server that scripts are played against, whichever it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::hook::Hook;
use crate::trust::Trust;

/// The users of both servers: token, name, groups.
pub const USERS: [(&str, &str, &str); 3] = [
    ("differential-admin", "admin", "system:masters"),
    ("differential-alice", "alice", "team-a"),
    ("differential-bob", "bob", "team-b"),
];

/// A server that scripts are played against.
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who signed its certificate, and signs those of clients.
    pub trust: Arc<Trust>,
    /// The webhooks it can call.
    pub hook: Arc<Hook>,
    /// How long a script waits for what is to come.
    pub patience: Duration,
    /// Whether it is the yardstick: then a script that cannot be played as written is an error.
    pub real: bool,
}
