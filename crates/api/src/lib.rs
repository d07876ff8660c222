//! Cluster API types (v1beta2), their CRDs and their admission rules.
//!
//! Twelve kinds in four groups, a folder per group and a file per kind. `v1beta2` is the only version that
//! is served and stored.
//!
//! Three conventions hold for every type:
//!
//! * A member that may be absent *and* whose absence differs from its zero value is an `Option`.
//! * A struct whose members may all be absent is a plain value; it is left out of the JSON when it is empty,
//!   because the API refuses `{}` there (`minProperties: 1`).
//! * A member that may hold a secret is [`Sensitive`], which never prints itself.

pub mod admission;
pub mod bootstrap;
pub mod control_plane;
pub mod core;
pub mod crd;
pub mod infrastructure;
pub mod names;
mod schema;
mod sensitive;

pub use sensitive::Sensitive;

/// The API version of every kind in this crate.
pub const VERSION: &str = "v1beta2";
