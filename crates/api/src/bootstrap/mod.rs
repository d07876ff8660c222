//! Group `bootstrap.cluster.x-k8s.io`: how hosts become nodes, with kubeadm.

mod cluster_configuration;
mod disks;
mod files;
mod kubeadm_config;
mod kubeadm_config_template;
mod node_configuration;

pub use cluster_configuration::*;
pub use disks::*;
pub use files::*;
pub use kubeadm_config::*;
pub use kubeadm_config_template::*;
pub use node_configuration::*;

/// The API group of the kubeadm bootstrap kinds.
pub const GROUP: &str = "bootstrap.cluster.x-k8s.io";
