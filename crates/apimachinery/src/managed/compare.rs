//! What changed between two objects, as sets of fields.

use serde_json::{Map, Value};

use super::element::element;
use crate::fields::{PathElement, Set};
use crate::schema::node::{Field, ListType, Node, OBJECT_META};
use crate::value::equal;

/// Fields of `metadata` that nobody owns.
pub(super) const UNOWNED: [&str; 9] = [
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The difference of two objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

impl Delta {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    fn attach(&mut self, element: impl FnOnce() -> PathElement, child: Delta) {
        if child.is_empty() {
            return;
        }
        let element = element();
        self.added.push(element.clone(), child.added);
        self.modified.push(element.clone(), child.modified);
        self.removed.push(element, child.removed);
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.added.here = true,
            (_, None) => self.removed.here = true,
            (Some(old), Some(new)) => self.modified.here = !equal(old, new),
        }
    }
}

/// Compares two objects of a kind, without the fields nobody owns.
pub(super) fn objects(root: &Node, old: &Value, new: &Value) -> Delta {
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut delta = Delta::default();
    join(old, new, |name, old, new| {
        let child = match name {
            "apiVersion" | "kind" => return,
            "metadata" => metadata(old, new),
            _ => values(root.field(name).node(), old, new),
        };
        delta.attach(|| PathElement::field(name), child);
    });
    delta
}

fn metadata(old: Option<&Value>, new: Option<&Value>) -> Delta {
    let empty = Map::new();
    let old = old.and_then(Value::as_object).unwrap_or(&empty);
    let new = new.and_then(Value::as_object).unwrap_or(&empty);
    let mut delta = Delta::default();
    join(old, new, |name, old, new| {
        if !UNOWNED.contains(&name) {
            delta.attach(|| PathElement::field(name), values(OBJECT_META.field(name).node(), old, new));
        }
    });
    delta
}

/// Compares two values at one path, at least one of which is there.
fn values(node: Option<&Node>, old: Option<&Value>, new: Option<&Value>) -> Delta {
    let mut delta = Delta::default();
    match (shape(old), shape(new)) {
        (Shape::Map(None) | Shape::Scalar, Shape::Map(None) | Shape::Scalar) => delta.leaf(old, new),
        (Shape::Map(a), Shape::Map(b)) => maps(&mut delta, node, (old, a), (new, b)),
        (Shape::List(a), Shape::List(b)) => lists(&mut delta, node, (old, a), (new, b)),
        (Shape::Map(None), Shape::List(b)) => lists(&mut delta, node, (old, &[]), (new, b)),
        (Shape::List(a), Shape::Map(None)) => lists(&mut delta, node, (old, a), (new, &[])),
        // Where anything may stand, what was a map and no longer is loses its
        // fields one by one, and the other way round; the rest is one value.
        (a, b) => {
            if let Shape::Map(Some(map)) = a {
                maps(&mut delta, node, (old, Some(map)), (new, None));
            }
            if let Shape::Map(Some(map)) = b {
                let mut gained = Delta::default();
                maps(&mut gained, node, (old, None), (new, Some(map)));
                delta.added.unite(&gained.added);
            }
            delta.leaf(old, new);
        }
    }
    delta
}

/// How a value is compared; what is absent or null takes the shape of the other side.
enum Shape<'a> {
    Map(Option<&'a Map<String, Value>>),
    List(&'a [Value]),
    Scalar,
}

fn shape(value: Option<&Value>) -> Shape<'_> {
    match value {
        None | Some(Value::Null) => Shape::Map(None),
        Some(Value::Object(map)) => Shape::Map(Some(map)),
        Some(Value::Array(list)) => Shape::List(list),
        Some(_) => Shape::Scalar,
    }
}

type MapSide<'a> = (Option<&'a Value>, Option<&'a Map<String, Value>>);

fn maps(delta: &mut Delta, node: Option<&Node>, old: MapSide<'_>, new: MapSide<'_>) {
    let empty = Map::new();
    let (a, b) = (old.1.unwrap_or(&empty), new.1.unwrap_or(&empty));
    if (a.is_empty() && b.is_empty()) || node.is_some_and(|node| node.atomic_map) {
        return delta.leaf(old.0, new.0);
    }
    join(a, b, |name, old, new| {
        let child = match node {
            Some(node) if node.embedded && name == "metadata" => values(Some(&OBJECT_META), old, new),
            Some(node) => values(node.field(name).node(), old, new),
            None => values(None, old, new),
        };
        delta.attach(|| PathElement::field(name), child);
    });
    delta.container(old.0, new.0);
}

impl Delta {
    /// Removes everything at and below the paths of a set.
    pub(super) fn exclude(&mut self, set: &Set) {
        for side in [&mut self.added, &mut self.modified, &mut self.removed] {
            side.exclude(set);
        }
    }

    fn container(&mut self, old: Option<&Value>, new: Option<&Value>) {
        self.added.here = old.is_none();
        self.removed.here = old.is_some() && new.is_none();
    }
}

type ListSide<'a> = (Option<&'a Value>, &'a [Value]);

fn lists(delta: &mut Delta, node: Option<&Node>, old: ListSide<'_>, new: ListSide<'_>) {
    let atomic = node.is_none_or(|node| node.list == ListType::Atomic);
    if atomic || (old.1.is_empty() && new.1.is_empty()) {
        return delta.leaf(old.0, new.0);
    }
    let Some(node) = node else { return };
    let items = node.items.as_deref();
    let (old_names, new_names) = (names(node, old.1), names(node, new.1));
    let (mut old_rest, mut new_rest) = (old_names.as_slice(), new_names.as_slice());
    loop {
        let name = match (old_rest.first(), new_rest.first()) {
            (Some((old, _)), Some((new, _))) => old.min(new),
            (Some((name, _)), None) | (None, Some((name, _))) => name,
            (None, None) => break,
        };
        let same = |(other, _): &&(PathElement, &Value)| other == name;
        let (old_items, rest) = old_rest.split_at(old_rest.iter().take_while(same).count());
        old_rest = rest;
        let (new_items, rest) = new_rest.split_at(new_rest.iter().take_while(same).count());
        new_rest = rest;
        delta.attach(|| name.clone(), same_name(items, old_items, new_items));
    }
    delta.container(old.0, new.0);
}

/// The items of a list with their names, sorted by name; those without one are left out.
fn names<'a>(list: &Node, items: &'a [Value]) -> Vec<(PathElement, &'a Value)> {
    let mut out: Vec<_> = items.iter().filter_map(|item| Some((element(list, item).ok()?, item))).collect();
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    out
}

/// Compares the items of one name. Duplicates are owned as one: their marker comes or goes.
fn same_name(node: Option<&Node>, old: &[(PathElement, &Value)], new: &[(PathElement, &Value)]) -> Delta {
    let first_old = old.first().map(|(_, item)| *item);
    let first_new = new.first().map(|(_, item)| *item);
    match (old.len(), new.len()) {
        (0 | 1, 0 | 1) => values(node, first_old, first_new),
        (2.., 2..) => {
            let same =
                old.len() == new.len() && old.iter().zip(new).all(|((_, old), (_, new))| equal(old, new));
            Delta { modified: Set { here: !same, entries: Vec::new() }, ..Delta::default() }
        }
        (2.., _) => {
            let mut delta = first_new.map_or_else(Delta::default, |new| values(node, None, Some(new)));
            delta.removed.here = true;
            delta
        }
        (_, _) => {
            let mut delta = first_old.map_or_else(Delta::default, |old| values(node, Some(old), None));
            delta.added.here = true;
            delta
        }
    }
}

/// Visits the union of the keys of two sorted maps in order.
fn join<'a>(
    a: &'a Map<String, Value>,
    b: &'a Map<String, Value>,
    mut visit: impl FnMut(&str, Option<&'a Value>, Option<&'a Value>),
) {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (Some((x, _)), Some((y, _))) => x.cmp(y),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return,
        };
        let old = if order.is_le() { a.next() } else { None };
        let new = if order.is_ge() { b.next() } else { None };
        if let Some((name, _)) = old.or(new) {
            visit(name, old.map(|(_, value)| value), new.map(|(_, value)| value));
        }
    }
}

/// The fields an object holds, as its applier owns them; without those nobody owns.
pub(super) fn fields_of(root: &Node, object: &Value) -> Set {
    let mut set = Set::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let child = match name.as_str() {
            "apiVersion" | "kind" => continue,
            "metadata" => {
                let mut child = fields(Some(&OBJECT_META), value);
                child.entries.retain(
                    |(element, _)| !matches!(element, PathElement::Field(name) if UNOWNED.contains(&&**name)),
                );
                child.here = false;
                child
            }
            _ => member(root.field(name), value),
        };
        set.push(PathElement::field(name), child);
    }
    set
}

/// The fields of a member of an object: entries of maps and empty values are members themselves.
fn member(field: Field<'_>, value: &Value) -> Set {
    let mut child = fields(field.node(), value);
    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
    child.here |= empty || !matches!(field, Field::Declared(_));
    child
}

fn fields(node: Option<&Node>, value: &Value) -> Set {
    match value {
        Value::Object(map) => {
            if node.is_some_and(|node| node.atomic_map) {
                return Set::leaf();
            }
            let mut set = Set::new();
            for (name, value) in map {
                let field = match node {
                    Some(node) if node.embedded && name == "metadata" => Field::Declared(&OBJECT_META),
                    Some(node) => node.field(name),
                    None => Field::Entry(None),
                };
                set.push(PathElement::field(name), member(field, value));
            }
            set
        }
        Value::Array(list) => {
            let Some(node) = node.filter(|node| node.list != ListType::Atomic) else { return Set::leaf() };
            let mut keyed: Vec<(PathElement, &Value)> =
                list.iter().filter_map(|item| Some((element(node, item).ok()?, item))).collect();
            keyed.sort_by(|a, b| a.0.cmp(&b.0));
            let mut set = Set::new();
            for run in keyed.chunk_by(|a, b| a.0 == b.0) {
                let mut child =
                    if let [(_, item)] = run { fields(node.items.as_deref(), item) } else { Set::new() };
                child.here = true;
                set.push(run[0].0.clone(), child);
            }
            set
        }
        Value::Null => Set::new(),
        _ => Set::leaf(),
    }
}
