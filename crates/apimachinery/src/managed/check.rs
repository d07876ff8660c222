//! Whether a configuration fits the schema.

use serde_json::Value;

use super::element::element;
use super::merge::field_node;
use crate::go;
use crate::schema::node::{Field, Kind, ListType, Node};

/// Whether a configuration fits the schema: declared fields only, no list item twice.
///
/// # Errors
/// What is wrong, one text a place, such as `.spec.foo: field not declared in schema`.
pub(super) fn check(root: &Node, config: &Value) -> Result<(), Vec<String>> {
    let mut pass = Pass { path: String::new(), errors: Vec::new() };
    pass.value(Some(root), true, config);
    if pass.errors.is_empty() { Ok(()) } else { Err(pass.errors) }
}

struct Pass {
    path: String,
    errors: Vec<String>,
}

impl Pass {
    fn error(&mut self, text: &str) {
        self.errors.push(format!("{}: {text}", self.path));
    }

    fn value(&mut self, node: Option<&Node>, root: bool, value: &Value) {
        let Some(node) = node else { return };
        if let Some(text) = mismatch(node.kind, value) {
            return self.error(&text);
        }
        let len = self.path.len();
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    if root && matches!(name.as_str(), "apiVersion" | "kind") {
                        continue;
                    }
                    self.path.push('.');
                    self.path.push_str(name);
                    match field_node(Some(node), root, name) {
                        Field::Unknown => self.error("field not declared in schema"),
                        field => self.value(field.node(), false, value),
                    }
                    self.path.truncate(len);
                }
            }
            Value::Array(list) if node.list == ListType::Atomic => {
                for (index, item) in list.iter().enumerate() {
                    crate::schema::push_index(&mut self.path, index);
                    self.value(node.items.as_deref(), false, item);
                    self.path.truncate(len);
                }
            }
            Value::Array(list) => self.items(node, list),
            _ => {}
        }
    }

    fn items(&mut self, node: &Node, list: &[Value]) {
        let len = self.path.len();
        let mut seen = std::collections::BTreeSet::new();
        for (index, item) in list.iter().enumerate() {
            match element(node, item) {
                // Without a name for the item nothing below has a path.
                Err(error) => return self.error(&format!("element {index}: {error}")),
                Ok(name) => {
                    let text = name.to_string();
                    if !seen.insert(name) {
                        self.error(&format!("duplicate entries for key {text}"));
                    }
                    self.path.push_str(&text);
                    self.value(node.items.as_deref(), false, item);
                    self.path.truncate(len);
                }
            }
        }
    }
}

/// What is wrong with the type of a value; null fits everything. The words
/// and the print of values are those of `structured-merge-diff`.
fn mismatch(kind: Kind, value: &Value) -> Option<String> {
    let fits = match kind {
        Kind::Any | Kind::IntOrString => true,
        Kind::Object => value.is_object(),
        Kind::Array => value.is_array(),
        Kind::String => value.is_string(),
        Kind::Integer | Kind::Number => value.is_number(),
        Kind::Boolean => value.is_boolean(),
    };
    if fits || value.is_null() {
        return None;
    }
    Some(match kind {
        Kind::Object => format!("expected map, got &{{{}}}", go::plain(value)),
        Kind::Array => format!("expected list, got &{{{}}}", go::plain(value)),
        Kind::Boolean => format!("expected boolean, got &{{{}}}", go::plain(value)),
        Kind::String => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", go::literal(value))
        }
        Kind::Integer | Kind::Number | Kind::Any | Kind::IntOrString => {
            format!("expected numeric (int or float), got {}", go::type_name(value))
        }
    })
}
