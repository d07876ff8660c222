//! API mechanics: schemas, defaulting, validation, patches, field ownership, selectors, tables.
//!
//! Everything here is a function of its arguments: no clock, no I/O, no state.
//!
//! | module | what it does |
//! |---|---|
//! | [`schema`] | `Schema::compile` an `openAPIV3Schema` once; then `prune`, `default`, `validate` objects with it |
//! | [`meta`] | names, labels, annotations, finalizers; generated names; the form of `metadata` |
//! | [`condition`] | match conditions of webhooks: CEL over an object, a request and what its user may do |
//! | [`json`] | strict decoding: duplicate keys, limited nesting |
//! | [`patch`] | merge, JSON and strategic merge patches |
//! | [`quantity`] | amounts with a suffix, in their canonical form |
//! | [`fields`] | paths, sets of fields, `FieldsV1` |
//! | [`go`] | how Go prints values, for messages |
//! | [`managed`] | `managedFields`: `update` tracks writes, `apply` is server-side apply |
//! | [`selector`] | label and field selectors |
//! | [`table`] | JSON paths and cells of printer columns, ages |
//! | [`yaml`] | YAML as Kubernetes reads it |
//!
//! The order of a write, as kube-apiserver has it: decode ([`json::decode`]),
//! [`meta::coerce`], [`schema::Schema::prune`] (what it removes is what strict
//! field validation complains about), patch or [`managed::apply`],
//! [`schema::Schema::default`], admission, [`meta::validate`] and
//! [`schema::Schema::validate`], and [`managed::update`] on what will be stored.

pub mod condition;
mod error;
pub mod fields;
pub mod go;
pub mod json;
pub mod managed;
pub mod meta;
pub mod patch;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod table;
mod value;
pub mod yaml;

pub use error::{FieldError, FieldErrorKind, quote};
