//! The words of Windlass: names, versions, conditions, time. Only std and serde.
//!
//! **Invariant:** nothing here reads a clock, rolls dice or knows Kubernetes' client types. Decisions
//! (`windlass-plan`) are written in these words, so that they can be tested with five words instead of
//! forty lines of YAML.

mod condition;
mod key;
mod name;
pub mod naming;
mod secret;
mod time;
mod version;

pub use condition::{Condition, Polarity, Status};
pub use key::{Key, Uid};
pub use name::{MAX_LABEL, child_name, label_value, short_hash};
pub use secret::Secret;
pub use time::Time;
pub use version::{ParseVersionError, Version};
