//! Pure decisions: observed and desired state in, actions and what they wait for out.
//!
//! **Invariants.** This crate depends on `windlass-model` only: no Kubernetes types, no clock, no
//! randomness, no I/O. Time and names are arguments. A planner takes one snapshot and returns a plan that
//! says what to do *and* why nothing more happens; the executors in `windlass-controllers` make one
//! attempt each, and the next pass is the retry. Statuses and conditions follow from the same snapshot.
//!
//! One folder per controller, under the same name as its executor. `lint` functions say what a plan must
//! never do; tests run them on every plan.

pub mod cluster;
pub mod conditions;
pub mod control_plane;
pub mod infra;
pub mod kubeadm_config;
pub mod machine;
pub mod machine_deployment;
pub mod machine_set;
pub mod machines;
pub mod referent;
