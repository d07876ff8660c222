//! The form of typed objects: what Go's decoder and encoder make of a value
//! that passes through a struct.

use serde_json::{Value, json};

use super::node::{Additional, Field, Kind, Node, OBJECT_META};

/// Nulls become the zero value of their type: fields are then absent, entries
/// of maps and lists empty. Empty maps and lists are left out where the field
/// need not be there.
pub(super) fn settle(root: &Node, object: &mut Value) {
    let Value::Object(map) = object else { return };
    map.retain(|name, value| match name.as_str() {
        "metadata" => {
            children(&OBJECT_META, value);
            !value.is_null()
        }
        _ => keep(root.field(name), value),
    });
}

fn keep(field: Field<'_>, value: &mut Value) -> bool {
    match field {
        Field::Declared(node) => {
            if value.is_null() {
                return false;
            }
            children(node, value);
            let empty = match value {
                Value::Object(map) => map.is_empty() && matches!(node.additional, Additional::Schema(_)),
                Value::Array(list) => list.is_empty() && node.kind == Kind::Array,
                _ => false,
            };
            node.always || !empty
        }
        Field::Entry(Some(node)) => {
            if value.is_null() {
                *value = zero(node);
            }
            children(node, value);
            true
        }
        Field::Entry(None) | Field::Unknown => true,
    }
}

fn children(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) if !node.preserve => {
            map.retain(|name, value| {
                let field = if node.embedded && name == "metadata" {
                    Field::Declared(&OBJECT_META)
                } else {
                    node.field(name)
                };
                keep(field, value)
            });
        }
        Value::Array(list) => {
            let Some(items) = &node.items else { return };
            for item in list {
                if item.is_null() {
                    *item = zero(items);
                }
                children(items, item);
            }
        }
        _ => {}
    }
}

fn zero(node: &Node) -> Value {
    match node.kind {
        Kind::String => json!(""),
        Kind::Integer | Kind::Number | Kind::IntOrString => json!(0),
        Kind::Boolean => json!(false),
        Kind::Object => json!({}),
        Kind::Array | Kind::Any => Value::Null,
    }
}
