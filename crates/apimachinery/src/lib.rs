//! API mechanics: schemas, defaulting, validation, patches, field ownership, selectors, tables.
//!
//! Everything here is a function of its arguments: no clock, no I/O, no state.

mod error;
pub mod fields;
pub mod json;
pub mod managed;
pub mod meta;
pub mod openapi;
pub mod patch;
pub mod schema;
pub mod selector;
pub mod table;
mod value;

pub use error::{FieldError, FieldErrorKind, quote};
