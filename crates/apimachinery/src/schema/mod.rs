//! Schemas of kinds: compiled once, then used to prune, default and validate objects.

pub(crate) mod cel;
pub mod check;
mod compile;
mod default;
mod embedded;
pub(crate) mod format;
mod gotypes;
pub(crate) mod node;
mod pattern;
mod prune;
mod rule_scope;
mod rules;
mod shape;
mod typed;
mod unique;
mod validate;

use serde_json::Value;

use crate::FieldError;
pub use gotypes::{Found, Mismatch, Step};
use node::Node;

pub use check::{CheckOptions, check, unknown_formats};
pub use shape::{Complaints, Shaped, metadata_mismatch};
pub use validate::Findings;

/// The compiled schema of one version of a kind. Put it into an `Arc`; it never changes.
#[derive(Debug)]
pub struct Schema {
    pub(crate) root: Node,
}

impl Schema {
    /// Compiles an `openAPIV3Schema`. Whether it may be part of a definition
    /// is for [`check`] to say.
    ///
    /// # Errors
    /// What cannot be compiled: unknown types, patterns that are no regular
    /// expressions and CEL rules that cannot be evaluated. Paths are relative
    /// to the schema (`properties[spec].properties[size].type`).
    pub fn compile(openapi_v3_schema: &Value) -> Result<Self, Vec<FieldError>> {
        compile::compile(openapi_v3_schema).map(|root| Self { root })
    }

    /// A schema that accepts and keeps everything.
    pub fn schemaless() -> Self {
        Self { root: Node { preserve: true, lenient: true, ..Node::default() } }
    }

    /// Removes fields the schema does not know, except `apiVersion`, `kind`
    /// and `metadata` of the object and of embedded objects. Returns the
    /// removed paths (`spec.foo`, `spec.list[0].bar`).
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(&self.root, object)
    }

    /// Gives an object the form its Go types give it; for schemas with
    /// `x-go`, see `Node::go`.
    ///
    /// # Errors
    /// The first value its field cannot hold.
    pub fn typed(&self, object: &mut Value) -> Result<(), Mismatch> {
        gotypes::typed(&self.root, object)
    }

    /// Brings an object of a compiled-in kind into the shape its Go type has
    /// after decoding: without nulls and unknown fields.
    pub fn shape(&self, object: &mut Value) -> Shaped {
        shape::shape(&self.root, object)
    }

    /// What there is to say about the bytes of an object of a compiled-in kind.
    pub fn complaints(&self, kind: &str, bytes: &[u8]) -> Complaints {
        shape::complaints(&self.root, kind, bytes)
    }

    /// Brings the metadata of embedded objects into form, as that of the
    /// object itself is by [`crate::meta::coerce`]; returns unknown fields.
    ///
    /// # Errors
    /// The first field of a wrong JSON type.
    pub fn coerce_embedded(&self, object: &mut Value) -> Result<Vec<String>, FieldError> {
        embedded::coerce(&self.root, object)
    }

    /// Fills in defaults; removes `null`s where neither `nullable` nor a default.
    pub fn default(&self, object: &mut Value) {
        default::default(&self.root, object);
    }

    /// Brings an object of a compiled-in kind to the form it has after it was
    /// decoded into its Go type: without nulls and without empty maps and lists.
    pub fn settle(&self, object: &mut Value) {
        typed::settle(&self.root, object);
    }

    /// Fills in defaults as [`Schema::default`], but keeps `null`s without
    /// one: what an apply leaves of an emptied map is invalid, not absent.
    pub fn fill(&self, object: &mut Value) {
        default::fill(&self.root, object);
    }

    /// What a new object compares with: fields of typed objects that are
    /// always there ([`node::Node::always`]), else nothing.
    pub(crate) fn zero(&self) -> Value {
        default::zero(&self.root)
    }

    /// Checks values, embedded objects, uniqueness in sets and list maps, and
    /// CEL rules. With `old`, transition rules run too, and what did not
    /// change against it is not held against the object (ratcheting).
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        self.findings(object, old).errors
    }

    /// Like [`Schema::validate`], with what is only worth a warning.
    pub fn findings(&self, object: &Value, old: Option<&Value>) -> Findings {
        validate::object(&self.root, object, old)
    }

    /// Like [`Schema::findings`], for a write of the status alone.
    pub fn status_findings(&self, object: &Value, old: &Value) -> Findings {
        validate::status(&self.root, object, old)
    }

    /// Whether any CEL rule exists.
    pub fn has_rules(&self) -> bool {
        self.root.below.rules
    }
}

/// Extends a field path by a property, as `spec.name`.
pub(crate) fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Extends a field path by an index, as `spec.list[0]`.
pub(crate) fn push_index(path: &mut String, index: usize) {
    use std::fmt::Write as _;
    let _ = write!(path, "[{index}]");
}
