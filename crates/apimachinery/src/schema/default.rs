//! Filling in defaults.

use serde_json::{Map, Value};

use super::node::{Additional, Kind, Node};

/// Fills in defaults; nulls without one go.
pub(super) fn default(node: &Node, value: &mut Value) {
    complete(node, value, false);
}

/// Fills in defaults; nulls without one stay.
pub(super) fn fill(node: &Node, value: &mut Value) {
    complete(node, value, true);
}

/// The fields a typed object has even when it is new.
pub(super) fn zero(node: &Node) -> Value {
    if node.kind == Kind::Array {
        return Value::Null;
    }
    let mut fields = Map::new();
    for property in &node.properties {
        let value = match property.node.default.as_deref() {
            _ if property.node.always => zero(&property.node),
            _ if property.node.go.null => Value::Null,
            Some(default) if default == "" || default == 0 => default.clone(),
            _ => continue,
        };
        fields.insert(property.name.to_string(), value);
    }
    Value::Object(fields)
}

fn complete(node: &Node, value: &mut Value, keep_nulls: bool) {
    match value {
        Value::Object(map) => {
            for property in &node.properties {
                let Some(default) = &property.node.default else {
                    if property.node.go.null && !map.contains_key(&*property.name) {
                        map.insert(property.name.to_string(), Value::Null);
                    }
                    continue;
                };
                match map.get_mut(&*property.name) {
                    None => {
                        map.insert(property.name.to_string(), (**default).clone());
                    }
                    Some(value) if value.is_null() && !property.node.nullable => *value = (**default).clone(),
                    Some(_) => {}
                }
            }
            map.retain(|name, value| {
                let child = match (node.property(name), &node.additional) {
                    (Some(child), _) => child,
                    (None, Additional::Schema(child)) => child,
                    (None, _) => return true,
                };
                if value.is_null() && !child.nullable && !child.go.null {
                    let Some(default) = &child.default else { return keep_nulls };
                    *value = (**default).clone();
                }
                complete(child, value, keep_nulls);
                true
            });
        }
        Value::Array(list) => {
            let Some(items) = &node.items else { return };
            for item in list {
                if let (Value::Null, false, Some(default)) = (&*item, items.nullable, &items.default) {
                    *item = (**default).clone();
                }
                complete(items, item, keep_nulls);
            }
        }
        _ => {}
    }
}
