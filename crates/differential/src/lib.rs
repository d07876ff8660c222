//! Request scripts, played against a real kube-apiserver and against ours.
//!
//! ```text
//! script ─▶ player ─▶ server (real: `record`, `drift`; ours: `check`)
//!              │
//!              ▼
//!           normalise ─▶ answers ─▶ compared with the recorded ones
//! ```
//!
//! A test is a file: `docs/differential.md` says how to write one.

pub mod answer;
pub mod client;
pub mod commands;
pub mod compare;
mod convert;
pub mod fixtures;
pub mod hook;
pub mod normalise;
pub mod ours;
pub mod pick;
pub mod player;
pub mod real;
pub mod script;
pub mod streams;
pub mod suite;
pub mod target;
pub mod transcripts;
pub mod trust;
pub mod variables;
pub mod yaml;
