//! The kubeadm control plane: certificates, machines, etcd members.
//!
//! Decisions are in `windlass_plan::control_plane`; here they are carried out, one attempt each.

mod act;
mod certificates;
mod controller;
mod intents;
mod keys;
mod observe;
mod report;
mod template;
mod workload;

pub use controller::{KubeadmControlPlaneError, KubeadmControlPlanes};
