//! Objects within objects (`x-kubernetes-embedded-resource`) have a type, and
//! metadata that makes sense.

use serde_json::Value;

use super::node::{Additional, Node};
use super::{push_index, push_name};
use crate::FieldError;
use crate::meta::{self, NameRule};

/// Checks every embedded object; the root is checked by its own rules.
pub(super) fn check(root: &Node, object: &Value, errors: &mut Vec<FieldError>) {
    if root.below.embedded {
        walk(root, object, &mut String::new(), errors);
    }
}

fn walk(node: &Node, value: &Value, path: &mut String, errors: &mut Vec<FieldError>) {
    if !node.below.embedded {
        return;
    }
    let len = path.len();
    match value {
        Value::Object(map) => {
            if node.embedded {
                resource(value, path, errors);
            }
            for (name, value) in map {
                match (node.property(name), &node.additional) {
                    (Some(child), _) => {
                        push_name(path, name);
                        walk(child, value, path, errors);
                    }
                    (None, Additional::Schema(child)) => {
                        path.extend(["[", name, "]"]);
                        walk(child, value, path, errors);
                    }
                    (None, Additional::None | Additional::Any) => {}
                }
                path.truncate(len);
            }
        }
        Value::Array(list) => {
            let Some(items) = &node.items else { return };
            for (index, item) in list.iter().enumerate() {
                push_index(path, index);
                walk(items, item, path, errors);
                path.truncate(len);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Brings the metadata of embedded objects into the form of `ObjectMeta`;
/// returns the paths of unknown fields.
///
/// # Errors
/// The first field of a wrong JSON type.
pub(super) fn coerce(root: &Node, object: &mut Value) -> Result<Vec<String>, FieldError> {
    let mut unknown = Vec::new();
    if root.below.embedded {
        coerce_below(root, object, &mut String::new(), &mut unknown)?;
    }
    Ok(unknown)
}

fn coerce_below(
    node: &Node,
    value: &mut Value,
    path: &mut String,
    unknown: &mut Vec<String>,
) -> Result<(), FieldError> {
    if !node.below.embedded {
        return Ok(());
    }
    if node.embedded && value.is_object() {
        let at = |field: &str| format!("{path}.{field}");
        let found = meta::coerce(value).map_err(|error| FieldError { field: at(&error.field), ..error })?;
        unknown.extend(found.iter().map(|field| at(field)));
    }
    let len = path.len();
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let child = match (node.property(name), &node.additional) {
                    (Some(child), _) => child,
                    (None, Additional::Schema(child)) => child,
                    (None, Additional::None | Additional::Any) => continue,
                };
                push_name(path, name);
                let result = coerce_below(child, value, path, unknown);
                path.truncate(len);
                result?;
            }
        }
        Value::Array(list) => {
            let Some(items) = &node.items else { return Ok(()) };
            for (index, item) in list.iter_mut().enumerate() {
                push_index(path, index);
                let result = coerce_below(items, item, path, unknown);
                path.truncate(len);
                result?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

fn resource(object: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for key in ["apiVersion", "kind"] {
        if object.get(key).is_none() {
            errors.push(FieldError::required(format!("{path}.{key}"), ""));
        }
    }
    for key in ["apiVersion", "kind"] {
        let field = format!("{path}.{key}");
        match object.get(key) {
            None => {}
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(field, "", "must not be empty"));
            }
            Some(Value::String(text)) if key == "apiVersion" && text.matches('/').count() > 1 => {
                let detail = format!("unexpected GroupVersion string: {text}");
                errors.push(FieldError::invalid(field, text.as_str(), detail));
            }
            Some(Value::String(text)) => {
                let broken = meta::dns1035_label(&text.to_lowercase());
                if !broken.is_empty() {
                    let detail =
                        format!("may have mixed case, but should otherwise match: {}", broken.join(","));
                    errors.push(FieldError::invalid(field, text.as_str(), detail));
                }
            }
            Some(other) => errors.push(FieldError::invalid(field, other.clone(), "must be a string")),
        }
    }
    if let Some(Value::Object(metadata)) = object.get("metadata") {
        let mut metadata = metadata.clone();
        metadata.entry("name").or_insert_with(|| Value::from("fakename"));
        let namespaced = metadata.contains_key("namespace");
        for error in meta::validate(&metadata, NameRule::PathSegment, namespaced) {
            errors.push(FieldError { field: format!("{path}.{}", error.field), ..error });
        }
    }
}
