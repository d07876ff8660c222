//! Bootstrap data for kubeadm: renders KubeadmConfig into cloud-init or Ignition.
//!
//! [`render`] is a function of what it is given; the controller around it collects certificates, tokens
//! and secrets, and publishes the result in a Secret.

mod cloud_init;
mod controller;
mod host;
mod ignition;
mod kubeadm;
pub mod render;
mod template;
mod yaml;

pub use controller::{KubeadmConfigError, KubeadmConfigs};
pub use host::HostFile;
pub use ignition::Mistake;
pub use kubeadm::{ClusterFacts, cluster_document};
pub use render::{Certificates, RenderError, Rendered, Task};
pub use template::{TemplateError, render as render_template};
pub use yaml::document as yaml;
