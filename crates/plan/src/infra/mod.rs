//! What becomes of the objects of an infrastructure provider, whichever provider it is.
//!
//! The contract is Cluster API's (`InfraCluster`, `InfraMachine` of contract v1beta2); the steps are those
//! of the provider traits: create by token, find by token, delete.

mod cluster;
mod machine;

pub use cluster::{ClusterSituation, ClusterStep, plan_cluster};
pub use machine::{MachineSituation, MachineStep, Waiting, plan_machine, waiting};

use std::time::Duration;

/// A wait is worth a write once it has lasted this long. Timestamps of objects are whole seconds, so this
/// is between one and two seconds.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A resource as its provider sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Asked for, not there yet.
    Pending,
    /// There.
    Running,
    /// It will never be there.
    Failed,
    /// On its way out.
    Deleting,
}
