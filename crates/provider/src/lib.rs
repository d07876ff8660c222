//! What an infrastructure provider implements, and the suite that proves it.
//!
//! A provider implements two narrow traits, [`Machines`] and [`ClusterInfrastructure`]. It sees no
//! Kubernetes: the executor in `windlass-controllers` turns it into the controllers of the infrastructure
//! kinds (finalizers, ownership, pausing, conditions, contract fields).
//!
//! **The one rule:** every call may be repeated, because whoever makes it may die between the call and
//! its answer. A [`Token`] names a wish for one resource; whatever happens, at most one resource is ever
//! made for it, and [`Machines::find`] finds it. [`conformance`] holds a provider to that.

pub mod bootstrap;
mod clusters;
pub mod conformance;
mod error;
mod layers;
mod machines;
mod token;

pub use clusters::{ClusterInfrastructure, ClusterInstance, ClusterProposal, ClusterRequest, Endpoint};
pub use error::{Error, ErrorKind};
pub use layers::{
    Call, Fault, Faults, Faulty, Layer, Layered, Layers, Limits, Meter, Metered, Metering, Now, Rate, Script,
    Seam, Throttle, Throttled, Traced, Tracing,
};
pub use machines::{Address, AddressKind, Instance, InstanceState, MachineRequest, Machines};
pub use token::{Operation, Origin, Token};

/// What every call to a provider answers.
pub type Result<T> = std::result::Result<T, Error>;
