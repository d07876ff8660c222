//! Defaults must be values their own schemas keep and accept.

use serde_json::Value;

use crate::FieldError;
use crate::schema::node::Node;
use crate::schema::{prune, validate};

/// Everything wrong with the defaults of a compiled schema. Those in the
/// values of maps are not looked at, as in kube-apiserver.
pub(super) fn check(root: &Node, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(root, path, false, &mut errors);
    errors
}

fn walk(node: &Node, path: &str, in_meta: bool, errors: &mut Vec<FieldError>) {
    if let Some(default) = &node.default {
        own(node, default, &format!("{path}.default"), in_meta, errors);
    }
    if let Some(items) = &node.items {
        walk(items, &format!("{path}.items"), in_meta, errors);
    }
    for property in &node.properties {
        let meta = node.embedded && matches!(&*property.name, "metadata" | "apiVersion" | "kind");
        let path = format!("{path}.properties[{}]", property.name);
        walk(&property.node, &path, (in_meta && !node.embedded) || meta, errors);
    }
}

fn own(node: &Node, default: &Value, path: &str, in_meta: bool, errors: &mut Vec<FieldError>) {
    if !in_meta {
        let mut pruned = default.clone();
        prune::prune_value(node, &mut pruned);
        if pruned != *default {
            errors.push(FieldError::invalid(path, default.clone(), "must not have unknown fields"));
        }
    }
    for error in validate::value(node, default) {
        let field = match (error.field.is_empty() || error.field == "<nil>", error.field.starts_with('[')) {
            (true, _) => path.to_owned(),
            (false, true) => format!("{path}{}", error.field),
            (false, false) => format!("{path}.{}", error.field),
        };
        errors.push(FieldError { field, ..error });
    }
}
