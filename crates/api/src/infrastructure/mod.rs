//! Group `infrastructure.cluster.x-k8s.io`: the Dev kinds, whose hosts are simulated or containers.

mod dev_cluster;
mod dev_cluster_template;
mod dev_machine;
mod dev_machine_template;
mod duration;

pub use dev_cluster::*;
pub use dev_cluster_template::*;
pub use dev_machine::*;
pub use dev_machine_template::*;
pub use duration::parse_duration;

/// The API group of the infrastructure kinds.
pub const GROUP: &str = "infrastructure.cluster.x-k8s.io";
