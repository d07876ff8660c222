//! Whether a schema may be part of a definition: the checks of
//! `apiextensions.k8s.io/v1` and their words.
//!
//! The order of the checks is that of kube-apiserver, because it shows in the
//! list of errors: structure, then defaults, then keywords, then CEL rules.

mod defaults;
pub(super) mod field_path;
mod keywords;
mod printed;
mod rules;
mod structure;

use serde_json::{Map, Value};

use super::node::Node;
use crate::{FieldError, FieldErrorKind};

pub use printed::{Printed, column, go_json, go_list};

/// Deepest schema taken.
pub(super) const MAX_DEPTH: usize = 96;

/// What the checks of one schema depend on besides the schema.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// Whether the version has the `status` subresource, which restricts the root.
    pub status: bool,
    /// Whether the schema was accepted before: rules are not held against
    /// their cost again.
    pub known: bool,
}

/// Everything wrong with an `openAPIV3Schema` that stands at `path`.
pub fn check(document: &Value, path: &str, options: CheckOptions) -> Vec<FieldError> {
    let Some(schema) = document.as_object() else {
        return vec![FieldError::invalid(path, document.clone(), "must be an object")];
    };
    if too_deep(document, 0) {
        return vec![FieldError::forbidden(path, "schema is nested too deeply")];
    }
    let mut errors = Vec::new();
    if options.status {
        root_with_status(schema, path, &mut errors);
    }
    if flag(schema, "nullable") {
        errors.push(FieldError::forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    let unsupported = structure::unsupported(schema);
    let mut node = None;
    if unsupported.is_none() {
        let broken = structure::check(schema, path);
        if broken.is_empty() {
            let compiled = super::compile::nodes(document);
            let broken = defaults::check(&compiled, path);
            if broken.is_empty() {
                node = Some(compiled);
            }
            errors.extend(broken);
        } else {
            errors.extend(broken);
        }
    }
    let found = keywords::check(schema, path, node.as_ref(), options);
    let cost = found.cost;
    errors.extend(found.schema);
    errors.extend(found.rules);
    if errors.is_empty()
        && let Some(text) = unsupported
    {
        errors.push(FieldError::invalid(path, "", text));
    }
    if node.is_some() {
        cost.report(path, &mut errors);
    }
    errors
}

/// The formats of strings in a schema that mean nothing here, in the order
/// they are found, without repetition.
pub fn unknown_formats(document: &Value) -> Vec<String> {
    fn walk(document: &Value, out: &mut Vec<String>) {
        let Some(schema) = document.as_object() else { return };
        let format = text(schema, "format");
        if text(schema, "type") == "string"
            && !format.is_empty()
            && !super::format::is_known(format)
            && !out.iter().any(|known| known == format)
        {
            out.push(format.to_owned());
        }
        for key in ["items", "not", "additionalProperties"] {
            schema.get(key).into_iter().for_each(|schema| walk(schema, out));
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            for schema in list(schema, key) {
                walk(schema, out);
            }
        }
        members(schema, "properties").for_each(|(_, schema)| walk(schema, out));
    }
    let mut out = Vec::new();
    walk(document, &mut out);
    out
}

fn too_deep(document: &Value, depth: usize) -> bool {
    if depth > MAX_DEPTH {
        return true;
    }
    let Some(schema) = document.as_object() else { return false };
    let deeper = |schema: &Value| too_deep(schema, depth + 1);
    ["items", "not", "additionalProperties"].iter().any(|key| schema.get(*key).is_some_and(deeper))
        || ["allOf", "anyOf", "oneOf"].iter().any(|key| list(schema, key).iter().any(deeper))
        || members(schema, "properties").any(|(_, schema)| deeper(schema))
}

/// With a status subresource the root may only say things that keep their
/// meaning when `status` is taken out of it.
fn root_with_status(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for key in printed::ORDER.iter().filter(|(json, _)| printed::is_set(schema, json)) {
        let (json, go) = *key;
        if json == "type" {
            if text(schema, "type") != "object" {
                let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                errors.push(FieldError::invalid(format!("{path}.type"), text(schema, "type"), detail));
                return;
            }
        } else if !AT_ROOT.contains(&go) {
            let detail = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                AT_ROOT.join(" ")
            );
            errors.push(FieldError::printed(FieldErrorKind::Invalid, path, Printed::schema(schema), detail));
            return;
        }
    }
}

/// By the names of the fields in kube-apiserver, which its message lists.
const AT_ROOT: [&str; 22] = [
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

/// The scalar type a field path of a definition leads to; see [`field_path::resolve`].
///
/// # Errors
/// What is wrong with the path, in words.
pub fn selectable(document: &Value, path: &str) -> Result<(String, bool), String> {
    let (normal, schema) = field_path::resolve(document, path, false)?;
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    Ok((normal, matches!(kind, "string" | "boolean" | "integer")))
}

fn text<'a>(schema: &'a Map<String, Value>, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Map<String, Value>, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn list<'a>(schema: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    schema.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn texts<'a>(schema: &'a Map<String, Value>, key: &str) -> Vec<&'a str> {
    list(schema, key).iter().filter_map(Value::as_str).collect()
}

fn members<'a>(schema: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema.get(key).and_then(Value::as_object).into_iter().flatten()
}

fn has_members(schema: &Map<String, Value>, key: &str) -> bool {
    members(schema, key).next().is_some()
}

/// The default a schema gives; `null` is none.
fn default_of(schema: &Map<String, Value>) -> Option<&Value> {
    schema.get("default").filter(|default| !default.is_null())
}

/// The node of a property, when the schema was compiled.
fn child<'a>(node: Option<&'a Node>, name: &str) -> Option<&'a Node> {
    node.and_then(|node| node.property(name))
}
