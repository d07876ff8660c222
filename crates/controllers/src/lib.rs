//! Executors of the core controllers and of infrastructure providers.
//!
//! A controller is a folder of the same name as its planner in `windlass-plan`. Its pass reads as a table
//! of contents: *observe* what the cache shows, *plan* (pure), *apply* one attempt of each step, *report*
//! the status that follows from the same snapshot. What every executor keeps to:
//!
//! * Objects are created complete, with finalizer, owners and labels, and never touched up afterwards.
//! * Names are derived, so that a pass that crashed between two writes finds its first one again.
//! * A status is written at most once in a pass, and only when it differs; a difference that says only how
//!   far something on its way has come may wait a moment for the next one ([`patience`]).
//! * A paused object gets its `Paused` condition and no other write.

pub mod cluster;
pub mod infrastructure;
pub mod machine;
pub mod machine_deployment;
pub mod machine_set;
mod patience;
mod pausing;
mod references;
mod templates;

pub use patience::Patience;
