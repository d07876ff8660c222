//! Turns any provider into the controllers of its infrastructure kinds.
//!
//! A provider knows how to create, find and delete (`windlass-provider`); a kind knows where its objects
//! keep what the contract asks for ([`MachineKind`], [`ClusterKind`]). Everything between the two is here,
//! once: owners, pausing, finalizers, the token, intent before effect, contract fields, conditions, and
//! what each kind of error leads to.

mod cluster;
mod dev;
mod kinds;
mod machine;
mod registry;
mod scene;

pub use cluster::{ClusterController, ClusterError};
pub use dev::{DevClusters, DevMachines};
pub use kinds::{ClusterKind, ClusterReport, MachineKind, MachineReport};
pub use machine::{MachineController, MachineError};
pub use registry::Registry;

use std::time::Duration;

use windlass_provider::ErrorKind;
use windlass_runtime::Outcome;

/// How long a request that was refused rests: only people can help, and a change of the spec wakes it
/// anyway. This is for permissions, whose change nobody tells us.
const REFUSED: Duration = Duration::from_mins(10);
/// How long a provider that is full is left alone.
const FULL: Duration = Duration::from_secs(30);
/// How long something a request builds on has to appear.
const MISSING: Duration = Duration::from_secs(5);

/// What an error leads to. `None` leaves it to the runtime's backoff.
fn after_failure(kind: ErrorKind) -> Option<Outcome> {
    match kind {
        ErrorKind::Throttled { retry_after } => Some(Outcome::Again(retry_after)),
        ErrorKind::OutOfCapacity => Some(Outcome::Again(FULL)),
        ErrorKind::Rejected => Some(Outcome::Again(REFUSED)),
        ErrorKind::NotFound => Some(Outcome::Again(MISSING)),
        ErrorKind::Transient => None,
    }
}
