//! Removing unknown fields.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::node::{Additional, Node};
use super::{push_index, push_name};

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

pub(super) fn prune(root: &Node, object: &mut Value) -> Vec<String> {
    let mut pass = Pass { path: String::new(), removed: Vec::new() };
    if let Value::Object(map) = object {
        pass.object(root, map, true);
    }
    pass.removed
}

/// A value of which nothing is known.
static UNKNOWN: LazyLock<Node> =
    LazyLock::new(|| Node { items: Some(Box::new(Node::default())), ..Node::default() });

/// Removes unknown fields of a value that is not a whole object.
pub(super) fn prune_value(node: &Node, value: &mut Value) {
    Pass { path: String::new(), removed: Vec::new() }.value(node, value);
}

struct Pass {
    path: String,
    removed: Vec<String>,
}

impl Pass {
    fn value(&mut self, node: &Node, value: &mut Value) {
        match value {
            Value::Object(map) => self.object(node, map, node.embedded),
            Value::Array(list) => {
                let Some(items) = &node.items else { return };
                for (index, item) in list.iter_mut().enumerate() {
                    let len = self.path.len();
                    push_index(&mut self.path, index);
                    self.value(items, item);
                    self.path.truncate(len);
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, node: &Node, map: &mut Map<String, Value>, resource: bool) {
        let keep_all = node.preserve || matches!(node.additional, Additional::Any);
        // Values that may be anything are known by name only.
        let by_name = !node.preserve && keep_all;
        map.retain(|name, value| {
            let len = self.path.len();
            push_name(&mut self.path, name);
            let known = match (node.property(name), &node.additional) {
                _ if resource && META.contains(&name.as_str()) => true,
                (Some(child), _) => {
                    self.value(child, value);
                    true
                }
                (None, Additional::Schema(child)) => {
                    self.value(child, value);
                    true
                }
                (None, _) => {
                    if by_name {
                        self.value(&UNKNOWN, value);
                    }
                    keep_all
                }
            };
            if !known {
                self.removed.push(self.path.clone());
            }
            self.path.truncate(len);
            known
        });
    }
}
