//! Group `cluster.x-k8s.io`: clusters, machines and what keeps machines in number.

mod cluster;
mod machine;
mod machine_deployment;
mod machine_set;
mod shared;
mod topology;

pub use cluster::*;
pub use machine::*;
pub use machine_deployment::*;
pub use machine_set::*;
pub use shared::*;
pub use topology::*;

/// The API group of the core kinds.
pub const GROUP: &str = "cluster.x-k8s.io";
