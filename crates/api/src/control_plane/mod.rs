//! Group `controlplane.cluster.x-k8s.io`: control planes made of Machines, with kubeadm.

mod kubeadm_control_plane;
mod kubeadm_control_plane_template;

pub use kubeadm_control_plane::*;
pub use kubeadm_control_plane_template::*;

/// The API group of the kubeadm control plane kinds.
pub const GROUP: &str = "controlplane.cluster.x-k8s.io";
