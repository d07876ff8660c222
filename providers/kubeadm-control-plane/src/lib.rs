//! The kubeadm control plane: certificates, machines, etcd members.
//!
//! Decisions are in `windlass_plan::control_plane`; here they are carried out, one attempt each.

mod act;
mod addons;
mod adopt;
mod ahead;
mod certificates;
mod compare;
mod controller;
mod expiry;
mod intents;
mod keys;
mod kubeadm_config;
mod observe;
mod pods;
mod report;
mod template;
mod workload;

pub use controller::{KubeadmControlPlaneError, KubeadmControlPlanes};
