//! The functions that rules are run with: those of `kube-cel`, and what it lacks.

use std::cmp::Ordering;
use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::extractors::{Arguments, This};
use kube_cel::cel::objects::{Key, Map, OptionalValue};
use kube_cel::cel::{Context, ExecutionError, Value};

use super::macros::{INSERT, MAYBE, PAIRS, SORT, TYPES};

type Outcome = Result<Value, ExecutionError>;

/// All functions and the names of types.
pub(super) fn library() -> Context<'static> {
    let mut library = Context::default().with_all();
    library.add_function("type", |value: Value| Arc::new(type_of(&value).to_owned()));
    library.add_function("dyn", |value: Value| -> Outcome { Ok(value) });
    library.add_function("bool", |value: Value| truth(&value));
    library.add_function("slice", |This(list): This<Value>, start: i64, end: i64| slice(&list, start, end));
    library.add_function(MAYBE, |value: Value| -> Outcome {
        let some = !matches!(value, Value::Null);
        Ok(Value::Opaque(Arc::new(if some { OptionalValue::of(value) } else { OptionalValue::none() })))
    });
    library.add_function(PAIRS, pairs);
    library.add_function(INSERT, |Arguments(parts): Arguments| insert(&parts));
    library.add_function(SORT, |This(list): This<Value>, keys: Value| sort(&list, &keys));
    library.add_function("optional.unwrap", |list: Value| unwrap(&list));
    library.add_function("unwrapOpt", |This(list): This<Value>| unwrap(&list));
    crate::condition::register(&mut library);
    let types = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
    for name in types.into_iter().chain(TYPES) {
        library.add_variable_from_value(name, Value::String(Arc::new(name.to_owned())));
    }
    library
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Bytes(_) => "bytes",
        Value::Duration(_) => "google.protobuf.Duration",
        Value::Timestamp(_) => "google.protobuf.Timestamp",
        Value::Float(_) => "double",
        Value::Int(_) => "int",
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Null => "null_type",
        Value::String(_) => "string",
        Value::UInt(_) => "uint",
        _ => "object",
    }
}

fn truth(value: &Value) -> Outcome {
    match value {
        Value::Bool(truth) => Ok(Value::Bool(*truth)),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(ExecutionError::function_error("bool", "type conversion error from 'string' to 'bool'")),
        },
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn list(items: Vec<Value>) -> Value {
    Value::List(Arc::new(items))
}

/// Lists as pairs of index and item, maps as pairs of key and value.
fn pairs(range: Value) -> Outcome {
    match range {
        Value::List(items) => {
            let pairs = (0_i64..).zip(items.iter());
            Ok(list(pairs.map(|(index, item)| list(vec![Value::Int(index), item.clone()])).collect()))
        }
        Value::Map(map) => {
            let mut entries: Vec<(&Key, &Value)> = map.map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            Ok(list(entries.into_iter().map(|(key, value)| list(vec![key.into(), value.clone()])).collect()))
        }
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

/// A map with one more entry, or with those of another map; none may be there already.
fn insert(parts: &[Value]) -> Outcome {
    let (Some(Value::Map(map)), more) = (parts.first(), parts.get(1..).unwrap_or_default()) else {
        return Err(ExecutionError::NoSuchOverload);
    };
    let mut entries = (*map.map).clone();
    let mut add = |key: Key, value: Value| {
        if entries.insert(key.clone(), value).is_none() {
            return Ok(());
        }
        let text = format!("insert failed: key {key} already exists");
        Err(ExecutionError::function_error("insert", text))
    };
    match more {
        [Value::Map(more)] => {
            more.map.iter().try_for_each(|(key, value)| add(key.clone(), value.clone()))?;
        }
        [key, value] => add(as_key(key)?, value.clone())?,
        _ => return Err(ExecutionError::NoSuchOverload),
    }
    Ok(Value::Map(Map { map: Arc::new(entries) }))
}

fn as_key(value: &Value) -> Result<Key, ExecutionError> {
    Ok(match value {
        Value::Int(value) => Key::Int(*value),
        Value::UInt(value) => Key::Uint(*value),
        Value::Bool(value) => Key::Bool(*value),
        Value::String(value) => Key::String(Arc::clone(value)),
        other => return Err(ExecutionError::UnsupportedKeyType(other.clone())),
    })
}

/// The items of a list in the order of their keys.
fn sort(items: &Value, keys: &Value) -> Outcome {
    let (Value::List(items), Value::List(keys)) = (items, keys) else {
        return Err(ExecutionError::NoSuchOverload);
    };
    let mut pairs: Vec<(&Value, &Value)> = keys.iter().zip(items.iter()).collect();
    pairs.sort_by(|(left, _), (right, _)| left.partial_cmp(right).unwrap_or(Ordering::Equal));
    Ok(list(pairs.into_iter().map(|(_, item)| item.clone()).collect()))
}

/// A part of a list.
fn slice(items: &Value, start: i64, end: i64) -> Outcome {
    let Value::List(items) = items else { return Err(ExecutionError::NoSuchOverload) };
    let length = items.len();
    let refused = |why: String| {
        Err(ExecutionError::function_error("slice", format!("cannot slice({start}, {end}), {why}")))
    };
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return refused("negative indexes not supported".to_owned());
    };
    if from > to {
        return refused("start index must be less than or equal to end index".to_owned());
    }
    items
        .get(from..to)
        .map_or_else(|| refused(format!("list is length {length}")), |part| Ok(list(part.to_vec())))
}

/// The values of those optionals that have one.
fn unwrap(items: &Value) -> Outcome {
    let Value::List(items) = items else { return Err(ExecutionError::NoSuchOverload) };
    let values: Result<Vec<Option<Value>>, ExecutionError> = items
        .iter()
        .map(|item| <&OptionalValue>::try_from(item).map(|optional| optional.value().cloned()))
        .collect();
    Ok(list(values?.into_iter().flatten().collect()))
}
