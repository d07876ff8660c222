//! Turns any provider into the controllers of its infrastructure kinds.
//!
//! A provider knows how to create, find and delete (`windlass-provider`); a kind knows where its objects
//! keep what the contract asks for ([`MachineKind`], [`ClusterKind`]). Everything between the two is here,
//! once: owners, pausing, finalizers, the token, intent before effect, contract fields, conditions, and
//! what each kind of error leads to.

mod cluster;
mod cooldown;
mod dev;
mod kinds;
mod machine;
mod registry;
mod scene;
mod template;
mod told;

pub use cluster::{ClusterController, ClusterError};
pub use dev::{DevClusters, DevMachineTemplates, DevMachines};
pub use kinds::{ClusterKind, ClusterReport, InstanceReport, MachineKind, MachineReport, TextRef};
pub use machine::{MachineController, MachineError};
pub use registry::Registry;
pub use template::{TemplateController, TemplateError, TemplateKind};
