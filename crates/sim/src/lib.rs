//! The whole system in one thread under paused time, with crashes at every effect.
//!
//! API server, controllers and simulated cloud run in one tokio runtime of one thread whose time is paused: it
//! jumps to the next timer whenever nothing is left to do. All randomness comes from one seed and keys are
//! fixtures, so that the same seed gives the same [transcript](gate::Record::transcript), byte for byte.
//!
//! Whatever the manager does to the outside passes one of four seams ([`http`] twice, [`etcd`],
//! [`provider`]), and all of them lead to one [`gate::Gate`]. There the process can die before or after any
//! effect: what it leaves behind is a fork of its stores, in which the next [life](system::Life) begins.
//! Everything that is not in a store is gone, that of the simulated cloud included.
//!
//! * [`exhaustive::run`] dies once before and once after every effect of a scenario.
//! * [`run::random`] adds several crashes, lost answers, faults and late news, as the seed says.
//! * The [`oracle`] reads the provider's ledger and the stores' history, never the controllers' state; the
//!   planted [defects](defect::Defect) prove that it sees.

pub mod chaos;
pub mod defect;
pub mod effect;
pub mod etcd;
pub mod exhaustive;
pub mod gate;
pub mod http;
pub mod ledger;
pub mod manager;
pub mod oracle;
pub mod provider;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod system;
