//! The controller loop: queue, cache, writes, conditions, events, lease, clock, metrics.
//!
//! A [`Controller`] says what wakes it and what one pass over one object does; everything around that is
//! here. The loop keeps four promises:
//!
//! * there is one watch per kind in the whole process, and it feeds every controller;
//! * two passes over one object never overlap;
//! * a pass starts only when the cache has seen what earlier passes over the same object wrote;
//! * a finalizer goes only by [`Outcome::Released`].

pub mod cache;
mod clock;
pub mod conditions;
mod controller;
mod diff;
mod dispatch;
mod events;
mod kind;
mod lease;
pub mod management;
mod metrics;
mod outcome;
pub mod queue;
mod runtime;
mod tasks;
pub mod time;
pub mod watch;
mod writes;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use cache::{Cache, Lookup};
pub use clock::Clock;
pub use controller::{Controller, Pass, StepError, Watches};
pub use events::Events;
pub use kind::{Cached, GroupKind, key_of, uid_of};
pub use lease::{LeaseError, LeaseOptions};
pub use management::{Created, Deleted, Management, ManagementError, Propagation};
pub use metrics::Metrics;
pub use outcome::Outcome;
pub use runtime::{Builder, Progress, Runtime, RuntimeOptions};
pub use tasks::{Failure, Spawner, Tasks};
pub use windlass_contract::External;
