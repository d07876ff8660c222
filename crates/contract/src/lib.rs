//! Typed views of provider objects whose kind is known only at run time.
//!
//! A provider's kinds are found by reference (group, kind, name); the labels of the kind's CRD say which
//! version speaks which contract ([`resolve`]). [`External`] is what the contract lets us read of such an
//! object, and [`clone_template`] makes such an object from its template.

mod clone;
mod external;
mod handover;
mod version;

pub use clone::{CloneError, CloneTarget, clone_template};
pub use external::{External, ExternalSpec, ExternalStatus, Initialization};
pub use handover::hand_over;
pub use version::{Contract, ContractError, Resolved, contract_of, crd_name, plural, resolve, resource};
