//! Strategic merge patches: merge patches that know which lists merge by key.

use serde_json::{Map, Value};

use super::PatchError;
use crate::go;
use crate::schema::Schema;
use crate::schema::node::{Field, Node, OBJECT_META, PatchStrategy};
use crate::value::equal;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch. Lists merge where the schema says so
/// (`x-kubernetes-patch-strategy: merge`, with `x-kubernetes-patch-merge-key`
/// for objects), else they are replaced.
///
/// # Errors
/// Malformed directives, and list items without their merge key, with the texts
/// of upstream's `strategicpatch`; `target` is then changed in part.
pub fn strategic(target: &mut Value, patch: &Value, schema: &Schema) -> Result<(), PatchError> {
    let (Some(target), Some(patch)) = (target.as_object_mut(), patch.as_object()) else {
        return Err(PatchError::Directive("patch and object must be objects".to_owned()));
    };
    Place { node: Some(&schema.root), root: true }.merge(target, patch)
}

fn malformed(text: String) -> PatchError {
    PatchError::Directive(text)
}

fn unknown_type(directive: &Value) -> PatchError {
    malformed(format!("unknown patch type found: {}", go::plain(directive)))
}

/// Where in the schema an object stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    node: Option<&'a Node>,
    root: bool,
}

impl<'a> Place<'a> {
    fn child(self, name: &str) -> Option<&'a Node> {
        let field = match self.node? {
            node if name == "metadata" && (self.root || node.embedded) => Field::Declared(&OBJECT_META),
            node => node.field(name),
        };
        field.node()
    }

    fn strategy(self, name: &str) -> Option<&'a PatchStrategy> {
        self.child(name)?.patch.as_deref()
    }

    fn merge(self, target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
        if let Some(directive) = patch.get(PATCH) {
            match directive.as_str() {
                Some("replace") => *target = without_directives(patch),
                Some("delete") => target.clear(),
                _ => return Err(unknown_type(directive)),
            }
            return Ok(());
        }
        if let Some(keys) = patch.get(RETAIN_KEYS) {
            retain(target, patch, keys)?;
        }
        for (name, value) in patch {
            if name == PATCH || name == RETAIN_KEYS || name.starts_with(ORDER) {
                continue;
            }
            if let Some(name) = name.strip_prefix(DELETE_FROM) {
                delete_from(target, name, value);
                continue;
            }
            let order = patch.get(&format!("{ORDER}{name}"));
            if let (Some(order), Value::Array(items)) = (order, value) {
                check_order(name, items, order, self.strategy(name).and_then(|s| s.merge_key.as_deref()))?;
            }
            self.field(target, name, value, order)?;
        }
        // Lists that only change their order.
        for (name, order) in patch.iter().filter_map(|(name, order)| Some((name.strip_prefix(ORDER)?, order)))
        {
            if let (Some(Value::Array(list)), false) = (target.get_mut(name), patch.contains_key(name)) {
                let items = std::mem::take(list);
                let server = items.clone();
                *list = arrange(
                    items,
                    keys(order)?,
                    &server,
                    self.strategy(name).and_then(|s| s.merge_key.as_deref()),
                );
            }
        }
        Ok(())
    }

    fn field(
        self,
        target: &mut Map<String, Value>,
        name: &str,
        value: &Value,
        order: Option<&Value>,
    ) -> Result<(), PatchError> {
        if value.is_null() {
            target.remove(name);
            return Ok(());
        }
        let strategy = self.strategy(name);
        let place = Place { node: self.child(name), root: false };
        match (target.get_mut(name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => place.merge(old, new),
            (Some(Value::Array(old)), Value::Array(new))
                if strategy.is_some_and(|strategy| strategy.merge) =>
            {
                let key = strategy.and_then(|strategy| strategy.merge_key.as_deref());
                let server = served(old, new, key, order.is_some());
                let merged = place.list(std::mem::take(old), new, key)?;
                *old = match order {
                    Some(order) => arrange(merged, keys(order)?, &server, key),
                    None => arrange(merged, new, &server, key),
                };
                Ok(())
            }
            (_, value) => {
                target.insert(name.to_owned(), clean(value));
                Ok(())
            }
        }
    }

    /// Merges list items by key, or as a set where there is none.
    fn list(self, old: Vec<Value>, new: &[Value], key: Option<&str>) -> Result<Vec<Value>, PatchError> {
        let Some(key) = key else {
            let mut out: Vec<Value> = Vec::with_capacity(old.len() + new.len());
            for item in old.iter().chain(new) {
                if !out.iter().any(|seen| equal(seen, item)) {
                    out.push(item.clone());
                }
            }
            return Ok(out);
        };
        if let Some(other) = new.iter().find(|item| !item.is_object()) {
            let type_name = go::type_name(other);
            return Err(malformed(format!(
                "expected map[string]interface {{}} in the list, got {type_name}"
            )));
        }
        let mut replaces = false;
        for directive in new.iter().filter_map(|item| item.get(PATCH)) {
            match directive.as_str() {
                Some("replace") => replaces = true,
                Some("delete") => {}
                Some("merge") => {
                    return Err(malformed("merging lists cannot yet be specified in the patch".to_owned()));
                }
                _ => return Err(unknown_type(directive)),
            }
        }
        if replaces {
            return Ok(new.iter().filter(|item| item.get(PATCH).is_none()).map(clean).collect());
        }
        let items = Place { node: self.node.and_then(|node| node.items.as_deref()), root: false };
        let mut out = old;
        for item in new {
            let name = merge_key(item, key)?;
            let same = |other: &Value| other.get(key).is_some_and(|other| equal(other, name));
            if item.get(PATCH).is_some() {
                out.retain(|other| !same(other));
                continue;
            }
            match (out.iter_mut().find(|other| same(other)), item) {
                (Some(Value::Object(old)), Value::Object(item)) => items.merge(old, item)?,
                // As it is: directives in a new item are fields that nobody knows.
                _ => out.push(item.clone()),
            }
        }
        Ok(out)
    }
}

/// The order that items on the server have for those of the patch. Where the patch deletes some and names an order,
/// upstream looks at a list whose end it has overwritten with the new items; so they follow those that stay.
fn served(old: &[Value], new: &[Value], key: Option<&str>, ordered: bool) -> Vec<Value> {
    let Some(key) = key.filter(|_| ordered) else { return old.to_vec() };
    let named = |list: &[Value], item: &Value, deletes: bool| {
        let same = |other: &Value| item.get(key).zip(other.get(key)).is_some_and(|(a, b)| equal(a, b));
        list.iter().any(|other| other.get(PATCH).is_some() == deletes && same(other))
    };
    if !old.iter().any(|item| named(new, item, true)) {
        return old.to_vec();
    }
    let kept = old.iter().filter(|item| !named(new, item, true));
    let added = new.iter().filter(|item| item.get(PATCH).is_none() && !named(old, item, false));
    kept.chain(added).take(old.len()).cloned().collect()
}

fn merge_key<'a>(item: &'a Value, key: &str) -> Result<&'a Value, PatchError> {
    let missing =
        || malformed(format!("map: {} does not contain declared merge key: {key}", go::plain(item)));
    item.get(key).ok_or_else(missing)
}

fn keys(order: &Value) -> Result<&[Value], PatchError> {
    let wrong = || malformed("invalid patch format of setElementOrder list".to_owned());
    order.as_array().map(Vec::as_slice).ok_or_else(wrong)
}

/// The items of a patch have to stand in `$setElementOrder` in the same order.
fn check_order(name: &str, items: &[Value], order: &Value, key: Option<&str>) -> Result<(), PatchError> {
    let order = keys(order)?;
    if let Some(key) = key {
        if let Some(other) = order.iter().find(|item| !item.is_object()) {
            let type_name = go::type_name(other);
            return Err(malformed(format!(
                "expected map[string]interface {{}} in the list, got {type_name}"
            )));
        }
        order.iter().try_for_each(|item| merge_key(item, key).map(drop))?;
    }
    let same = |a: &Value, b: &Value| match key {
        Some(key) => a.get(key).zip(b.get(key)).is_some_and(|(a, b)| equal(a, b)),
        None => equal(a, b),
    };
    let mut left = order.iter();
    let kept = |item: &&Value| item.get(PATCH).is_none();
    if items.iter().filter(kept).all(|item| left.any(|other| same(item, other))) {
        return Ok(());
    }
    let shown = |list: &[Value]| go::plain(&Value::Array(list.to_vec()));
    let (patch, order) = (shown(items), shown(order));
    Err(malformed(format!(
        "The order in patch list:\n{patch}\n doesn't match {ORDER}{name} list:\n{order}\n"
    )))
}

/// `$retainKeys`: of the object's fields only these stay.
fn retain(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    keys: &Value,
) -> Result<(), PatchError> {
    let wrong = || PatchError::RetainKeys;
    let keys = keys.as_array().ok_or_else(wrong)?;
    let kept = |name: &String| keys.iter().any(|key| key.as_str() == Some(name));
    if patch.iter().any(|(name, value)| !name.starts_with('$') && !value.is_null() && !kept(name)) {
        return Err(wrong());
    }
    target.retain(|name, _| kept(name));
    Ok(())
}

/// `$deleteFromPrimitiveList`: what is no list, or deletes from none, changes nothing.
fn delete_from(target: &mut Map<String, Value>, name: &str, values: &Value) {
    if let (Some(Value::Array(list)), Some(values)) = (target.get_mut(name), values.as_array()) {
        list.retain(|item| !values.iter().any(|value| equal(value, item)));
    }
}

/// Puts items in order: those named by the patch in its order, each of the
/// others before the patched items it stood before on the server.
fn arrange(items: Vec<Value>, order: &[Value], server: &[Value], key: Option<&str>) -> Vec<Value> {
    let same = |a: &Value, b: &Value| match key {
        Some(key) => a.get(key).is_some_and(|a| b.get(key).is_some_and(|b| equal(a, b))),
        None => equal(a, b),
    };
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item));
    let (mut patched, mut rest): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|item| place(order, item).is_some());
    patched.sort_by_key(|item| place(order, item));
    rest.sort_by_key(|item| place(server, item));
    let mut out = Vec::with_capacity(patched.len() + rest.len());
    let (mut patched, mut rest) = (patched.into_iter().peekable(), rest.into_iter().peekable());
    loop {
        let first = match (rest.peek(), patched.peek()) {
            (Some(left), Some(right)) => match (place(server, left), place(server, right)) {
                (Some(left), Some(right)) => left < right,
                _ => false,
            },
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        out.extend(if first { rest.next() } else { patched.next() });
    }
}

/// A value of a patch as it is stored where there was nothing: without directives and nulls.
fn clean(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(list) => {
            let directive = |item: &Value| item.get(PATCH).and_then(Value::as_str) == Some("delete");
            list.iter().filter(|item| !directive(item)).map(clean).collect()
        }
        scalar => scalar.clone(),
    }
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    let is_directive = |name: &str| {
        name == PATCH || name == RETAIN_KEYS || name.starts_with(ORDER) || name.starts_with(DELETE_FROM)
    };
    map.iter()
        .filter(|(name, value)| !is_directive(name) && !value.is_null())
        .map(|(name, value)| (name.clone(), clean(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let item = json!({"type": "object", "properties": {"name": {"type": "string"}, "image": {"type": "string"},
            "env": {"type": "object", "additionalProperties": {"type": "string"}}}});
        Schema::compile(&json!({"type": "object", "properties": {
            "items": {"type": "array", "items": item, "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name"},
            "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-patch-strategy": "merge"},
            "list": {"type": "array", "items": {"type": "string"}},
            "strategy": {"type": "object", "properties": {"type": {"type": "string"}, "rolling": {"type": "object", "properties": {"max": {"type": "integer"}}}}},
        }}))
        .unwrap()
    }

    fn items(names: &str) -> Value {
        names.split_whitespace().map(|name| json!({"name": name})).collect()
    }

    #[expect(clippy::too_many_lines, reason = "one table")]
    #[test]
    fn patches() {
        let cases = [
            // Maps merge, null removes, lists without strategy are replaced.
            (
                json!({"a": 1, "m": {"x": 1, "y": 2}}),
                json!({"a": null, "m": {"x": 3}}),
                json!({"m": {"x": 3, "y": 2}}),
            ),
            (json!({"list": ["a", "b"]}), json!({"list": ["c"]}), json!({"list": ["c"]})),
            (
                json!({"strategy": {"type": "R", "rolling": {"max": 1}}}),
                json!({"strategy": {"$patch": "replace", "type": "X"}}),
                json!({"strategy": {"type": "X"}}),
            ),
            (
                json!({"strategy": {"type": "R"}}),
                json!({"strategy": {"$patch": "delete"}}),
                json!({"strategy": {}}),
            ),
            (
                json!({"strategy": {"type": "R", "rolling": {"max": 1}}}),
                json!({"strategy": {"$retainKeys": ["type"], "type": "X"}}),
                json!({"strategy": {"type": "X"}}),
            ),
            (
                json!({"strategy": {"type": "R", "rolling": {"max": 1}}}),
                json!({"strategy": {"$retainKeys": ["type"], "type": "X", "rolling": null}}),
                json!({"strategy": {"type": "X"}}),
            ),
            // Lists of objects merge by key.
            (
                json!({"items": [{"name": "a", "image": "1"}, {"name": "b"}]}),
                json!({"items": [{"name": "a", "image": "2"}]}),
                json!({"items": [{"name": "a", "image": "2"}, {"name": "b"}]}),
            ),
            (
                json!({"items": items("a b")}),
                json!({"items": [{"name": "c"}]}),
                json!({"items": items("c a b")}),
            ),
            (
                json!({"items": items("a b c")}),
                json!({"items": [{"name": "b", "$patch": "delete"}]}),
                json!({"items": items("a c")}),
            ),
            (
                json!({"items": items("a b")}),
                json!({"items": [{"$patch": "replace"}, {"name": "z"}]}),
                json!({"items": items("z")}),
            ),
            (
                json!({"items": items("a b c")}),
                json!({"$setElementOrder/items": items("c b a")}),
                json!({"items": items("c b a")}),
            ),
            (
                json!({"items": items("a b c")}),
                json!({"$setElementOrder/items": items("d a c"), "items": items("d")}),
                json!({"items": items("d a b c")}),
            ),
            (
                json!({}),
                json!({"items": [{"name": "a", "env": {"k": null}}], "$setElementOrder/items": items("a")}),
                json!({"items": [{"name": "a", "env": {}}]}),
            ),
            // Lists of scalars merge as sets.
            (json!({"set": ["a", "b"]}), json!({"set": ["b", "c"]}), json!({"set": ["a", "b", "c"]})),
            (
                json!({"set": ["a", "b", "c"]}),
                json!({"$deleteFromPrimitiveList/set": ["b"]}),
                json!({"set": ["a", "c"]}),
            ),
            (
                json!({"set": ["a", "b"]}),
                json!({"$setElementOrder/set": ["b", "a"], "$deleteFromPrimitiveList/set": ["x"]}),
                json!({"set": ["b", "a"]}),
            ),
            // metadata is ObjectMeta everywhere.
            (
                json!({"metadata": {"finalizers": ["f"]}}),
                json!({"metadata": {"finalizers": ["g"]}}),
                json!({"metadata": {"finalizers": ["g", "f"]}}),
            ),
            (
                json!({"metadata": {"finalizers": ["f", "g"]}}),
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["f"]}}),
                json!({"metadata": {"finalizers": ["g"]}}),
            ),
            (
                json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "a"}]}}),
                json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "b"}]}}),
                json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "b"}]}}),
            ),
        ];
        let schema = schema();
        for (mut target, patch, result) in cases {
            let before = target.clone();
            strategic(&mut target, &patch, &schema).unwrap();
            assert_eq!(target, result, "{before} + {patch}");
        }
    }

    #[test]
    fn malformed_patches_are_refused() {
        let cases = [
            json!({"items": [{"image": "1"}]}),
            json!({"strategy": {"$patch": "bogus"}}),
            json!({"strategy": {"$retainKeys": ["x"], "type": "X"}}),
            json!({"$setElementOrder/items": 1}),
            json!({"$setElementOrder/items": items("b"), "items": items("a")}),
            json!({"$setElementOrder/items": ["b"], "items": items("a")}),
            json!({"$setElementOrder/items": [{"image": "b"}], "items": items("a")}),
            json!({"strategy": {"$patch": "merge"}}),
            json!({"items": [{"name": "a", "$patch": "merge"}]}),
            json!({"items": ["a"]}),
        ];
        for patch in cases {
            let mut target = json!({"items": items("a"), "strategy": {"type": "R"}});
            let error = strategic(&mut target, &patch, &schema()).unwrap_err();
            assert!(matches!(error, PatchError::Directive(_) | PatchError::RetainKeys), "{patch}: {error}");
        }
    }
}
