//! JSON patches (RFC 6902), as forgiving as the library kube-apiserver uses:
//! `replace` and `copy` take members that are not there, `add` without a value
//! adds null, indices below zero count from the end, and of a path what stands
//! before its first slash is not looked at.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{MAX_COPIED, MAX_OPERATIONS, PatchError};
use crate::json::MAX_DEPTH;

/// Applies a JSON patch; on error `target` is in between.
///
/// # Errors
/// Too many operations, or one that does not fit.
pub fn json(target: &mut Value, operations: &[Value]) -> Result<(), PatchError> {
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut copied = 0;
    for operation in operations {
        let operation = Operation(operation.as_object());
        apply(target, &operation, &mut copied).map_err(|why| PatchError::Unprocessable(why.into_owned()))?;
    }
    Ok(())
}

type Why = Cow<'static, str>;

/// One operation; a list item that is null has no members.
struct Operation<'a>(Option<&'a Map<String, Value>>);

impl<'a> Operation<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0?.get(name)?.as_str()
    }

    fn path(&self, name: &'static str) -> Result<&'a str, Why> {
        self.text(name).ok_or_else(|| format!("operation without {name}").into())
    }

    fn value(&self) -> Value {
        self.0.and_then(|members| members.get("value")).cloned().unwrap_or_default()
    }
}

fn apply(target: &mut Value, operation: &Operation<'_>, copied: &mut usize) -> Result<(), Why> {
    match operation.text("op").unwrap_or_default() {
        "add" => add(target, operation.path("path")?, operation.value()),
        "remove" => remove(target, operation.path("path")?).map(drop),
        "replace" => replace(target, operation.path("path")?, operation.value()),
        "move" => {
            let value = remove(target, operation.path("from")?)?;
            add(target, operation.path("path")?, value)
        }
        "copy" => {
            let value = get(target, operation.path("from")?)?.cloned().unwrap_or_default();
            *copied += value.to_string().len();
            if *copied > MAX_COPIED {
                return Err(format!("the copy operations copy more than {MAX_COPIED} bytes").into());
            }
            add(target, operation.path("path")?, value)
        }
        "test" => test(target, operation.path("path")?, &operation.value()),
        other => Err(format!("unknown operation {other:?}").into()),
    }
}

/// The container of the last segment, and that segment.
fn find<'a>(target: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), Why> {
    let missing = || Why::from(format!("missing path {path:?}"));
    let (_, path) = path.split_once('/').ok_or_else(missing)?;
    let mut here = target;
    let (parents, last) = path.rsplit_once('/').map_or((None, path), |(parents, last)| (Some(parents), last));
    for segment in parents.into_iter().flat_map(|parents| parents.split('/')) {
        here = child(here, &unescaped(segment))?.filter(|child| !child.is_null()).ok_or_else(missing)?;
    }
    if here.is_object() || here.is_array() { Ok((here, unescaped(last))) } else { Err(missing()) }
}

fn unescaped(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

fn child<'a>(container: &'a mut Value, key: &str) -> Result<Option<&'a mut Value>, Why> {
    match container {
        Value::Object(map) => Ok(map.get_mut(key)),
        Value::Array(list) => {
            let at = index(key, list.len(), list.len())?;
            list.get_mut(at).map(Some).ok_or_else(|| out_of_bounds(key))
        }
        _ => Ok(None),
    }
}

fn out_of_bounds(key: &str) -> Why {
    format!("index {key} is out of bounds").into()
}

/// A position in a list of `len` items; `end` is what -1 stands before.
fn index(key: &str, len: usize, end: usize) -> Result<usize, Why> {
    let at: i64 = key.parse().map_err(|_| Why::from(format!("{key:?} is no index")))?;
    let at = if at < 0 {
        usize::try_from(at.unsigned_abs()).ok().and_then(|back| end.checked_sub(back))
    } else {
        usize::try_from(at).ok()
    };
    at.filter(|at| *at <= len).ok_or_else(|| out_of_bounds(key))
}

/// Refuses what would nest the result deeper than documents may be: values are
/// walked and dropped recursively.
fn shallow(path: &str, value: &Value) -> Result<(), Why> {
    let above = path.bytes().filter(|byte| *byte == b'/').count();
    if above.saturating_add(depth(value)) > MAX_DEPTH {
        return Err(format!("the result is nested deeper than {MAX_DEPTH} levels").into());
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), Why> {
    shallow(path, &value)?;
    let (container, key) = find(target, path)?;
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let at = index(&key, list.len(), list.len() + 1)?;
            list.insert(at, value);
        }
        _ => {}
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<Value, Why> {
    let (container, key) = find(target, path)?;
    match container {
        Value::Object(map) => map.remove(&key).ok_or_else(|| format!("nothing at {path:?}").into()),
        Value::Array(list) => {
            let at = index(&key, list.len(), list.len())?;
            if at < list.len() { Ok(list.remove(at)) } else { Err(out_of_bounds(&key)) }
        }
        _ => Ok(Value::Null),
    }
}

fn replace(target: &mut Value, path: &str, value: Value) -> Result<(), Why> {
    shallow(path, &value)?;
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err("the whole can only be replaced by an object or a list".into());
        }
        *target = value;
        return Ok(());
    }
    let (container, key) = find(target, path)?;
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        container => {
            if let Some(slot) = child(container, &key)? {
                *slot = value;
            }
        }
    }
    Ok(())
}

fn get<'a>(target: &'a mut Value, path: &str) -> Result<Option<&'a Value>, Why> {
    let (container, key) = find(target, path)?;
    Ok(child(container, &key)?.map(|value| &*value))
}

fn test(target: &mut Value, path: &str, expected: &Value) -> Result<(), Why> {
    let found = if path.is_empty() { Some(&*target) } else { get(target, path)? };
    // Numbers are compared as they are written: 1 is not 1.0.
    if found.unwrap_or(&Value::Null) == expected {
        Ok(())
    } else {
        Err(format!("test of {path:?} failed").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations_are_as_forgiving_as_those_of_kube_apiserver() {
        let cases = [
            (
                json!([{"op": "add", "path": "/a/1", "value": 9}]),
                Some(json!({"a": [1, 9, 2], "b": {"c": 3}})),
            ),
            (
                json!([{"op": "add", "path": "/a/-1", "value": 9}]),
                Some(json!({"a": [1, 2, 9], "b": {"c": 3}})),
            ),
            (
                json!([{"op": "replace", "path": "/b/d", "value": 4}]),
                Some(json!({"a": [1, 2], "b": {"c": 3, "d": 4}})),
            ),
            (json!([{"op": "add", "path": "/b/d"}]), Some(json!({"a": [1, 2], "b": {"c": 3, "d": null}}))),
            (
                json!([{"op": "add", "path": "x/d", "value": 1}]),
                Some(json!({"a": [1, 2], "b": {"c": 3}, "d": 1})),
            ),
            (
                json!([{"op": "move", "from": "/b/c", "path": "/b/d~1e"}]),
                Some(json!({"a": [1, 2], "b": {"d/e": 3}})),
            ),
            (
                json!([{"op": "test", "path": "/b", "value": {"c": 3}}, {"op": "remove", "path": "/a/-1"}]),
                Some(json!({"a": [1], "b": {"c": 3}})),
            ),
            (json!([{"op": "remove", "path": "/b/d"}]), None),
            (json!([{"op": "move", "from": "/b", "path": "/b/d"}]), None),
            (json!([{"op": "remove", "path": ""}]), None),
            (json!([{"op": "add", "path": "/a/3", "value": 1}]), None),
            (json!([{"op": "replace", "path": "/a/2", "value": 1}]), None),
            (json!([{"op": "add", "path": "/a/x", "value": 1}]), None),
            (json!([{"op": "test", "path": "/b/c", "value": 3.0}]), None),
            (json!([{"path": "/b"}]), None),
            (json!([null]), None),
        ];
        for (operations, expected) in cases {
            let mut target = json!({"a": [1, 2], "b": {"c": 3}});
            let applied = super::json(&mut target, operations.as_array().unwrap());
            assert_eq!(applied.ok().map(|()| target), expected, "{operations}");
        }
    }

    #[test]
    fn a_patch_has_an_end() {
        let many = vec![json!({"op": "test", "path": "", "value": {}}); MAX_OPERATIONS + 1];
        assert!(matches!(super::json(&mut json!({}), &many), Err(PatchError::TooManyOperations(10_001))));
        let doubling = vec![json!({"op": "copy", "from": "/a", "path": "/a/-"}); 64];
        assert!(matches!(
            super::json(&mut json!({"a": ["text"]}), &doubling),
            Err(PatchError::Unprocessable(_))
        ));
    }
}
