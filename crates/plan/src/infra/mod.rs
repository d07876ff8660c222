//! What becomes of the objects of an infrastructure provider, whichever provider it is.
//!
//! The contract is Cluster API's (`InfraCluster`, `InfraMachine` of contract v1beta2); the steps are those
//! of the provider traits: create by token, find by token, delete.

mod cluster;
mod machine;

pub use cluster::{ClusterSituation, ClusterStep, plan_cluster};
pub use machine::{MachineSituation, MachineStep, Waiting, plan_machine, waiting};

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
