//! Filling in defaults.

use serde_json::Value;

use super::node::{Additional, Node};

pub(super) fn default(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for property in &node.properties {
                let Some(default) = &property.node.default else { continue };
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
                if value.is_null() && !child.nullable {
                    let Some(default) = &child.default else { return false };
                    *value = (**default).clone();
                }
                self::default(child, value);
                true
            });
        }
        Value::Array(list) => {
            let Some(items) = &node.items else { return };
            for item in list {
                if let (Value::Null, false, Some(default)) = (&*item, items.nullable, &items.default) {
                    *item = (**default).clone();
                }
                self::default(items, item);
            }
        }
        _ => {}
    }
}
