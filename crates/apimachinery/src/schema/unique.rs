//! Items of sets and keys of list maps occur once.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::node::{Additional, ListType, Node};
use super::{push_index, push_name};
use crate::FieldError;

/// Checks all lists of an object; not if the old object broke the rule.
pub(super) fn check(root: &Node, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if !root.below.unique || old == Some(object) {
        return;
    }
    let mut pass = Pass { path: String::new(), errors: Vec::new() };
    pass.value(root, object);
    if pass.errors.is_empty() {
        return;
    }
    if let Some(old) = old {
        let mut before = Pass { path: String::new(), errors: Vec::new() };
        before.value(root, old);
        if !before.errors.is_empty() {
            return;
        }
    }
    errors.append(&mut pass.errors);
}

struct Pass {
    path: String,
    errors: Vec<FieldError>,
}

impl Pass {
    fn value(&mut self, node: &Node, value: &Value) {
        if !node.below.unique {
            return;
        }
        let len = self.path.len();
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    match (node.property(name), &node.additional) {
                        (Some(child), _) => {
                            push_name(&mut self.path, name);
                            self.value(child, value);
                        }
                        (None, Additional::Schema(child)) => {
                            self.path.extend(["[", name, "]"]);
                            self.value(child, value);
                        }
                        (None, Additional::None | Additional::Any) => {}
                    }
                    self.path.truncate(len);
                }
            }
            Value::Array(list) => {
                self.list(node, list);
                let Some(items) = &node.items else { return };
                for (index, item) in list.iter().enumerate() {
                    push_index(&mut self.path, index);
                    self.value(items, item);
                    self.path.truncate(len);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn list(&mut self, node: &Node, list: &[Value]) {
        let keys: Vec<Value> = match &node.list {
            ListType::Atomic => return,
            ListType::Set => list.to_vec(),
            ListType::Map(names) => {
                if let Some(index) = list.iter().position(|item| !item.is_null() && !item.is_object()) {
                    let detail = "must be an object for an array of list-type map";
                    let field = self.at(index);
                    self.errors.push(FieldError::invalid(field, list[index].clone(), detail));
                    return;
                }
                let key = |item: &Value| -> Map<String, Value> {
                    let part = |name: &str| Some((name.to_owned(), item.get(name)?.clone()));
                    names.iter().filter_map(|name| part(name)).collect()
                };
                list.iter().map(|item| Value::Object(key(item))).collect()
            }
        };
        let mut seen: HashMap<String, usize> = HashMap::with_capacity(keys.len());
        for (index, key) in keys.into_iter().enumerate() {
            let times = seen.entry(key.to_string()).or_default();
            *times += 1;
            if *times == 2 {
                let field = self.at(index);
                self.errors.push(FieldError::duplicate(field, key));
            }
        }
    }

    fn at(&self, index: usize) -> String {
        let mut field = self.path.clone();
        push_index(&mut field, index);
        field
    }
}
