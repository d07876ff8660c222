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

/// What the library ends its reasons with.
const MISSING: &str = "missing value";
const NO_INDEX: &str = "invalid index referenced";

/// One operation; a list item that is null has no members.
struct Operation<'a>(Option<&'a Map<String, Value>>);

impl<'a> Operation<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0?.get(name)?.as_str()
    }

    fn path(&self) -> Result<&'a str, Why> {
        let why = match self.op() {
            op @ ("add" | "remove") => format!("{op} operation failed to decode path: {MISSING}"),
            op => format!("{op} operation failed to decode path: operation missing path field: {MISSING}"),
        };
        self.text("path").ok_or(Why::Owned(why))
    }

    fn from(&self) -> Result<&'a str, Why> {
        let why = "operation failed to decode from: operation, missing from field";
        self.text("from").ok_or_else(|| format!("{} {why}: {MISSING}", self.op()).into())
    }

    fn op(&self) -> &'a str {
        self.text("op").unwrap_or("unknown")
    }

    fn value(&self) -> Value {
        self.0.and_then(|members| members.get("value")).cloned().unwrap_or_default()
    }
}

fn apply(target: &mut Value, operation: &Operation<'_>, copied: &mut usize) -> Result<(), Why> {
    match operation.op() {
        "add" => {
            let path = operation.path()?;
            shallow(path, &operation.value())?;
            let missing =
                || format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}");
            let (container, key) = find(target, path).ok_or_else(missing)?;
            add(container, key, operation.value()).map_err(|why| wrapped("add for path", path, &why))
        }
        "remove" => {
            let path = operation.path()?;
            let missing =
                || format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}");
            let (container, key) = find(target, path).ok_or_else(missing)?;
            remove(container, &key).map_err(|why| wrapped("remove for path", path, &why)).map(drop)
        }
        "replace" => replace(target, operation.path()?, operation.value()),
        "move" => {
            let (from, path) = (operation.from()?, operation.path()?);
            let missing = |what: &str, at: &str| {
                Why::from(format!(
                    "move operation does not apply: doc is missing {what} path: {at}: {MISSING}"
                ))
            };
            let (container, key) = find(target, from).ok_or_else(|| missing("from", from))?;
            let value = remove(container, &key).map_err(|why| wrapped("move for path", &key, &why))?;
            let (container, key) = find(target, path).ok_or_else(|| missing("destination", path))?;
            shallow(path, &value)?;
            add(container, key, value).map_err(|why| wrapped("move for path", path, &why))
        }
        "copy" => copy(target, operation, copied),
        "test" => test(target, operation.path()?, &operation.value()),
        other => Err(format!("Unexpected kind: {other}").into()),
    }
}

/// A reason with the operation it is about.
fn wrapped(operation: &str, at: &str, why: &str) -> Why {
    format!("error in {operation}: '{at}': {why}").into()
}

fn copy(target: &mut Value, operation: &Operation<'_>, copied: &mut usize) -> Result<(), Why> {
    let (from, path) = (operation.from()?, operation.path()?);
    let missing = |what: &str, at: &str| {
        Why::from(format!("copy operation does not apply: doc is missing {what} path: {at}: {MISSING}"))
    };
    let (container, key) = find(target, from).ok_or_else(|| missing("from", from))?;
    let value = child(container, &key).map_err(|why| wrapped("copy for from", from, &why))?;
    let value = value.map(|value| value.clone()).unwrap_or_default();
    let (container, key) = find(target, path).ok_or_else(|| missing("destination", path))?;
    *copied += value.to_string().len();
    if *copied > MAX_COPIED {
        return Err(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
        )
        .into());
    }
    shallow(path, &value)?;
    add(container, key, value).map_err(|why| format!("error while adding value during copy: {why}").into())
}

/// The container of the last segment, and that segment.
fn find<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (_, path) = path.split_once('/')?;
    let mut here = target;
    let (parents, last) = path.rsplit_once('/').map_or((None, path), |(parents, last)| (Some(parents), last));
    for segment in parents.into_iter().flat_map(|parents| parents.split('/')) {
        here = child(here, &unescaped(segment)).ok()?.filter(|child| !child.is_null())?;
    }
    (here.is_object() || here.is_array()).then(|| (here, unescaped(last)))
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
    format!("Unable to access invalid index: {key}: {NO_INDEX}").into()
}

/// A position in a list of `len` items; `end` is what -1 stands before.
fn index(key: &str, len: usize, end: usize) -> Result<usize, Why> {
    let at: i64 =
        key.parse().map_err(|_| Why::from(format!("strconv.Atoi: parsing {key:?}: invalid syntax")))?;
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

fn add(container: &mut Value, key: String, value: Value) -> Result<(), Why> {
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            if key.parse::<i64>().is_err() {
                let why = format!("value was not a proper array index: '{key}'");
                return Err(format!("{why}: strconv.Atoi: parsing {key:?}: invalid syntax").into());
            }
            let at = index(&key, list.len(), list.len() + 1)?;
            list.insert(at, value);
        }
        _ => {}
    }
    Ok(())
}

fn remove(container: &mut Value, key: &str) -> Result<Value, Why> {
    match container {
        Value::Object(map) => {
            let missing = || format!("Unable to remove nonexistent key: {key}: {MISSING}").into();
            map.remove(key).ok_or_else(missing)
        }
        Value::Array(list) => {
            let at = index(key, list.len(), list.len())?;
            if at < list.len() { Ok(list.remove(at)) } else { Err(out_of_bounds(key)) }
        }
        _ => Ok(Value::Null),
    }
}

fn replace(target: &mut Value, path: &str, value: Value) -> Result<(), Why> {
    shallow(path, &value)?;
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            // So Go prints an error that wraps none.
            return Err("replace operation value must be object or array: %!w(<nil>)".into());
        }
        *target = value;
        return Ok(());
    }
    let missing = |what: &str| {
        Why::from(format!("replace operation does not apply: doc is missing {what}: {path}: {MISSING}"))
    };
    let (container, key) = find(target, path).ok_or_else(|| missing("path"))?;
    if let Value::Object(map) = container {
        map.insert(key, value);
    } else if let Some(slot) = child(container, &key).map_err(|_| missing("key"))? {
        *slot = value;
    }
    Ok(())
}

fn test(target: &mut Value, path: &str, expected: &Value) -> Result<(), Why> {
    let found = if path.is_empty() {
        Some(&*target)
    } else {
        let missing = || format!("test operation does not apply: is missing path: {path}: {MISSING}");
        let (container, key) = find(target, path).ok_or_else(missing)?;
        child(container, &key).map_err(|why| wrapped("test for path", path, &why))?.map(|value| &*value)
    };
    // Numbers are compared as they are written: 1 is not 1.0.
    if found.unwrap_or(&Value::Null) == expected {
        Ok(())
    } else {
        Err(format!("testing value {path} failed: test failed").into())
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
