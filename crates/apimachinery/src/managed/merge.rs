//! Laying a configuration over an object, and taking fields out of one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::element;
use crate::fields::{PathElement, Set};
use crate::schema::node::{Field, ListType, Node, OBJECT_META};

/// The node of a field, where `metadata` is always an `ObjectMeta`.
pub(super) fn field_node<'a>(node: Option<&'a Node>, root: bool, name: &str) -> Field<'a> {
    match node {
        Some(node) if name == "metadata" && (root || node.embedded) => Field::Declared(&OBJECT_META),
        Some(node) => node.field(name),
        None => Field::Entry(None),
    }
}

/// The live object with the configuration laid over it.
pub(super) fn objects(root: &Node, live: &Value, config: &Value) -> Value {
    values(Some(root), true, live, config)
}

fn values(node: Option<&Node>, root: bool, live: &Value, config: &Value) -> Value {
    let list = node.map_or(&ListType::Atomic, |node| &node.list);
    match (live, config) {
        (Value::Object(a), Value::Object(b)) if !node.is_some_and(|node| node.atomic_map) => {
            let mut out = a.clone();
            for (name, new) in b {
                let merged = match a.get(name) {
                    Some(old) => values(field_node(node, root, name).node(), false, old, new),
                    None => new.clone(),
                };
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        // Null says nothing about what is in a map or list that is merged.
        (Value::Object(map), Value::Null) if !map.is_empty() && !node.is_some_and(|node| node.atomic_map) => {
            live.clone()
        }
        (Value::Array(items), Value::Null) if !items.is_empty() && *list != ListType::Atomic => live.clone(),
        (Value::Array(a), Value::Array(b)) if *list != ListType::Atomic => match node {
            Some(node) => Value::Array(lists(node, a, b)),
            None => config.clone(),
        },
        _ => config.clone(),
    }
}

/// Merges lists of named items: the configuration's order holds among its
/// items, other items stay before the item they stood before.
fn lists(node: &Node, live: &[Value], config: &[Value]) -> Vec<Value> {
    let names = |list: &[Value]| -> Vec<Option<PathElement>> {
        list.iter().map(|item| element(node, item).ok()).collect()
    };
    let (old, new) = (names(live), names(config));
    // Where a live item stands; nowhere if it occurs twice: which one would be merged with?
    let mut places: BTreeMap<&PathElement, Option<usize>> = BTreeMap::new();
    for (at, name) in old.iter().enumerate() {
        if let Some(name) = name {
            places.entry(name).and_modify(|place| *place = None).or_insert(Some(at));
        }
    }
    let applied: BTreeMap<&PathElement, usize> =
        new.iter().enumerate().filter_map(|(at, name)| Some((name.as_ref()?, at))).collect();
    let in_new = |name: &Option<PathElement>| name.as_ref().and_then(|name| applied.get(name).copied());
    let merge = |at: usize| match new[at].as_ref().and_then(|name| places.get(name).copied().flatten()) {
        Some(only) => values(node.items.as_deref(), false, &live[only], &config[at]),
        None => config[at].clone(),
    };
    let mut shared = new.iter().filter(|name| name.as_ref().is_some_and(|name| places.contains_key(name)));
    let mut next_shared = shared.next();
    let mut done = vec![false; new.len()];
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() {
            if old[i].is_some() && old[i] == new[j] {
                out.push(merge(j));
                done[j] = true;
                (i, j) = (i + 1, j + 1);
                next_shared = shared.next();
                continue;
            }
            if in_new(&old[i]).is_some() && next_shared.is_some_and(|next| *next != old[i]) {
                i += 1;
                continue;
            }
        }
        if i < old.len() {
            match in_new(&old[i]) {
                None => {
                    out.push(live[i].clone());
                    i += 1;
                    continue;
                }
                Some(at) if done[at] => i += 1,
                Some(_) => {}
            }
        }
        if j < new.len() {
            out.push(merge(j));
            done[j] = true;
            if next_shared.is_some_and(|next| *next == new[j]) {
                next_shared = shared.next();
            }
            j += 1;
        }
    }
    out
}

/// The object without the given fields. What is emptied by that becomes null,
/// as does what is atomic or was empty where something below is to go: so does
/// `structured-merge-diff` 6.3.0, and validation then says so.
pub(super) fn without(root: &Node, object: &Value, set: &Set) -> Value {
    remove(Some(root), true, object, set)
}

fn remove(node: Option<&Node>, root: bool, value: &Value, set: &Set) -> Value {
    if set.entries.is_empty() {
        return value.clone();
    }
    match value {
        Value::Object(map) if !node.is_some_and(|node| node.atomic_map) => {
            let mut out = Map::new();
            for (name, value) in map {
                match set.child(&PathElement::field(name)) {
                    None => {
                        out.insert(name.clone(), value.clone());
                    }
                    Some(child) if child.here => {}
                    Some(child) => {
                        let node = field_node(node, root, name).node();
                        out.insert(name.clone(), remove(node, false, value, child));
                    }
                }
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        Value::Array(list) => {
            let Some(node) = node.filter(|node| node.list != ListType::Atomic) else { return Value::Null };
            let keep = |item: &Value| match element(node, item).ok().and_then(|name| set.child(&name)) {
                None => Some(item.clone()),
                Some(child) if child.here => None,
                Some(child) => Some(remove(node.items.as_deref(), false, item, child)),
            };
            let left: Vec<Value> = list.iter().filter_map(keep).collect();
            if left.is_empty() { Value::Null } else { Value::Array(left) }
        }
        Value::Object(_) | Value::Null => Value::Null,
        scalar => scalar.clone(),
    }
}

/// The set with the declared fields above its members as members too, except
/// `metadata`, which is never given up as a whole.
pub(super) fn with_parents(root: &Node, set: &Set) -> Set {
    let mut out = set.clone();
    mark(Some(root), true, &mut out);
    out
}

fn mark(node: Option<&Node>, root: bool, set: &mut Set) {
    for (element, child) in &mut set.entries {
        let below = match element {
            PathElement::Field(name) => {
                let field = field_node(node, root, name);
                let whole = root && &**name == "metadata";
                child.here |= !whole && !child.entries.is_empty() && matches!(field, Field::Declared(_));
                field.node()
            }
            PathElement::Key(_) | PathElement::Value(_) | PathElement::Index(_) => {
                node.and_then(|node| node.items.as_deref())
            }
        };
        mark(below, false, child);
    }
}

/// Fits a set to a schema in which lists or maps became atomic since it was
/// written: they are owned whole. Says whether anything changed.
pub(super) fn reconcile(root: &Node, set: &mut Set) -> bool {
    fit(Some(root), true, set)
}

fn fit(node: Option<&Node>, root: bool, set: &mut Set) -> bool {
    let Some(node) = node else { return false };
    if set.entries.is_empty() {
        return false;
    }
    let by_field = matches!(set.entries.first(), Some((PathElement::Field(_), _)));
    let atomic = if by_field { node.atomic_map } else { node.list == ListType::Atomic };
    if atomic {
        *set = Set::leaf();
        return true;
    }
    let mut changed = false;
    for (element, child) in &mut set.entries {
        let below = match element {
            PathElement::Field(name) => field_node(Some(node), root, name).node(),
            PathElement::Key(_) | PathElement::Value(_) | PathElement::Index(_) => node.items.as_deref(),
        };
        changed |= fit(below, false, child);
    }
    changed
}
