//! Bootstrap data for kubeadm: renders KubeadmConfig into cloud-init.
//!
//! [`render`] is a function of what it is given; the controller around it collects certificates, tokens
//! and secrets, and publishes the result in a Secret.

mod cloud_init;
mod controller;
mod kubeadm;
pub mod render;
mod template;
mod yaml;

pub use cloud_init::HostFile;
pub use controller::{KubeadmConfigError, KubeadmConfigs};
pub use kubeadm::ClusterFacts;
pub use render::{Certificates, RenderError, Task};
pub use template::{TemplateError, render as render_template};
