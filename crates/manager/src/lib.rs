//! What people embed: controllers, providers and an optional API server behind one builder.
//!
//! [`plane::Plane`] is the whole of it: an embedded API server over a data directory (or over memory), the simulated
//! cloud and every controller. [`standalone::Standalone`] runs the same controllers against any Kubernetes API
//! server. [`assembly`] is the part that both share, for programs that bring their own pieces.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use windlass_manager::plane::{Plane, PlaneOptions};
//!
//! let plane = Plane::start(PlaneOptions::in_memory()).await?;
//! let client = plane.client(); // a kube::Client, in process
//! // … create Clusters with it …
//! plane.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! `examples/embed.rs` creates a cluster and waits until it is available.

pub mod admission;
pub mod assembly;
pub mod backends;
pub mod backup;
mod credentials;
pub mod data_dir;
mod entropy;
pub mod envsubst;
mod health;
pub mod plane;
pub mod standalone;
pub mod templates;
pub mod webhooks;
mod writes;

/// Version of Windlass.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// The Kubernetes version that the embedded API server speaks.
pub const KUBERNETES_VERSION: &str = "v1.35.0+windlass";
