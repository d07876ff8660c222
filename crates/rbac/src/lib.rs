//! Role based access control, as kube-apiserver decides it: rules and bindings
//! in, decisions with their reasons out.
//!
//! ```text
//! roles, bindings → Policy ─┬ decide(user, request)   → Decision: allowed by what, or why not
//!                           ├ rules_for(user, place)  → what a user may do there
//!                           └ missing(held, wanted)   → what somebody may not hand out
//! ```
//!
//! Nothing here reads or writes: whoever keeps roles and bindings tells the
//! [`Policy`] of each change. A policy may stand on a shared base, so that
//! thousands of clusters can have the same built-in roles once.

mod aggregate;
mod cover;
mod policy;
mod rule;

pub use aggregate::{AggregationRule, aggregated};
pub use cover::{describe, missing};
pub use policy::{Decision, MissingRole, Policy, Request, Resolved, User};
pub use rule::{Binding, PolicyRule, RoleRef, Subject};
