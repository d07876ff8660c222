//! Laws held against hostile inputs: a committed corpus, and what is made of it.
//! `cargo xtask fuzz` searches for longer.
#![allow(clippy::unwrap_used, reason = "a law that cannot be checked is broken")]

#[path = "../../testkit/src/fuzz.rs"]
mod fuzz;

use std::path::Path;
use std::sync::LazyLock;

use fuzz::Target;
use serde_json::{Map, Value, json};
use windlass_apimachinery::managed::{self, Versions, Writer};
use windlass_apimachinery::schema::Schema;
use windlass_apimachinery::selector::{FieldSelector, LabelSelector};
use windlass_apimachinery::{json as strict, patch, yaml};

/// How much of an error or a value tells inputs apart.
fn shape(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "n".to_owned(),
        Value::Bool(_) => "b".to_owned(),
        Value::Number(number) => if number.is_f64() { "f" } else { "i" }.to_owned(),
        Value::String(_) => "s".to_owned(),
        _ if depth == 0 => ".".to_owned(),
        Value::Array(list) => {
            format!("[{}]", list.iter().take(4).map(|v| shape(v, depth - 1)).collect::<String>())
        }
        Value::Object(map) => {
            let parts: Vec<String> = map
                .iter()
                .take(6)
                .map(|(k, v)| format!("{}{}", k.len().min(9), shape(v, depth - 1)))
                .collect();
            format!("{{{}}}", parts.concat())
        }
    }
}

/// Whether two values are the same; floats may differ in the last place,
/// which `serde_json` reads exactly only with its feature `float_roundtrip`.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (x, y) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || (a.is_f64() || b.is_f64()) && (x - y).abs() <= x.abs() * 1e-15
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(a, b))
        }
        _ => a == b,
    }
}

fn words_of(error: &str) -> String {
    error.chars().filter(|c| c.is_ascii_alphabetic() || *c == ' ').take(60).collect()
}

fn json(bytes: &[u8]) -> String {
    match strict::decode(bytes) {
        Ok(decoded) => {
            assert!(strict::is_shallow(&decoded.value));
            let again = strict::decode(decoded.value.to_string().as_bytes()).unwrap();
            assert!(same(&again.value, &decoded.value), "{} {}", again.value, decoded.value);
            assert!(!again.duplicates);
            // An integer beyond 64 bits with a sign is a float, as in Go.
            let other = serde_json::from_slice::<Value>(bytes).unwrap();
            assert!(same(&decoded.value, &other), "{} {other}", decoded.value);
            assert_eq!(decoded.duplicates, !strict::duplicates(bytes).is_empty());
            format!("{} {}", shape(&decoded.value, 4), decoded.duplicates)
        }
        Err(error) => words_of(&error.to_string()),
    }
}

fn longest_key(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(longest_key).max().unwrap_or(0),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| json!(key).to_string().len().max(longest_key(value)))
            .max()
            .unwrap_or(0),
        _ => 0,
    }
}

fn yaml(bytes: &[u8]) -> String {
    match yaml::decode(bytes) {
        Ok(decoded) => {
            assert!(strict::is_shallow(&decoded.value));
            // JSON is YAML, and means the same; but YAML's keys end somewhere.
            let text = decoded.value.to_string();
            if text.is_ascii() && !text.contains("\\u") && longest_key(&decoded.value) < 1000 {
                assert!(same(&yaml::decode(text.as_bytes()).unwrap().value, &decoded.value), "{text}");
            }
            format!("{} {}", shape(&decoded.value, 4), decoded.duplicates.len())
        }
        Err(error) => words_of(&error.to_string()),
    }
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let item = json!({"type": "object", "properties": {"k": text, "v": text, "n": {"type": "integer", "default": 1},
        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "map": {"type": "object", "additionalProperties": text}}});
    Schema::compile(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": text, "n": {"type": "integer"}, "map": {"type": "object", "additionalProperties": text},
        "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": text},
        "list": {"type": "array", "items": item, "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "k"},
        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"},
        "items": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "k"},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}}}))
    .unwrap()
});

fn writer(manager: &str) -> Writer<'_> {
    let now = "2026-01-01T00:00:00Z";
    Writer { manager, api_version: "x.io/v1", subresource: "", now, reset: &[], versions: Versions::Any }
}

fn config(spec: &Value) -> Value {
    json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec})
}

/// Whether something in a value is null or empty, in which the laws do not hold: see `managed`.
fn hollow(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty() || list.iter().any(hollow),
        Value::Object(map) => map.is_empty() || map.values().any(hollow),
        _ => false,
    }
}

/// Steps: a list of specs, each applied or, after a number, written as an update. A list is what somebody
/// wrote into `managedFields`, which may be anything.
fn apply(bytes: &[u8]) -> String {
    let Ok(decoded) = strict::decode(bytes) else { return String::new() };
    let Value::Array(steps) = decoded.value else { return "no list".to_owned() };
    let mut live: Option<Value> = None;
    let (mut as_update, mut sound) = (false, true);
    let mut told = String::new();
    for (at, spec) in steps.iter().take(8).enumerate() {
        let manager = ["m", "n", "o"][at % 3];
        if spec.is_number() {
            as_update = true;
            continue;
        }
        if spec.is_array() {
            let live = live.get_or_insert_with(|| config(&json!({})));
            live["metadata"]["managedFields"] = spec.clone();
            sound = false;
            continue;
        }
        if std::mem::take(&mut as_update) {
            let mut new = live.clone().unwrap_or_else(|| config(&json!({})));
            patch::merge(&mut new, &json!({"spec": spec}));
            managed::update(&writer(manager), &SCHEMA, live.as_ref(), &mut new);
            live = Some(new);
            continue;
        }
        match managed::apply(&writer(manager), &SCHEMA, live.as_ref(), &config(spec), true) {
            Ok(object) => {
                let again = managed::apply(&writer(manager), &SCHEMA, Some(&object), &config(spec), false);
                if sound && !hollow(spec) && !hollow(&object["spec"]) {
                    // Who applied with force owns what it says: again is nothing.
                    assert_eq!(again.as_ref(), Ok(&object));
                }
                live = Some(object);
            }
            Err(error) => told += &words_of(&error.to_string()),
        }
    }
    let owners = live.as_ref().and_then(|live| live["metadata"]["managedFields"].as_array().cloned());
    told + &shape(
        &Value::Array(owners.unwrap_or_default().into_iter().map(|o| o["fieldsV1"].clone()).collect()),
        6,
    )
}

/// Two documents: `[target, patch]`.
fn pair(bytes: &[u8]) -> Option<(Value, Value)> {
    let Value::Array(list) = strict::decode(bytes).ok()?.value else { return None };
    let [target, patch] = <[Value; 2]>::try_from(list).ok()?;
    Some((target, patch))
}

fn nulls_in_lists(value: &Value) -> bool {
    fn nulls(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.values().any(|value| value.is_null() || nulls(value)),
            Value::Array(list) => list.iter().any(nulls),
            _ => false,
        }
    }
    match value {
        Value::Object(map) => map.values().any(nulls_in_lists),
        Value::Array(list) => list.iter().any(nulls),
        _ => false,
    }
}

fn merge(bytes: &[u8]) -> String {
    let Some((target, change)) = pair(bytes) else { return String::new() };
    let mut once = target.clone();
    patch::merge(&mut once, &change);
    let mut twice = once.clone();
    patch::merge(&mut twice, &change);
    // As in upstream's library, a list that replaces a map keeps the nulls in it, and loses them when it replaces a
    // list.
    if !nulls_in_lists(&change) {
        assert_eq!(once, twice);
    }
    shape(&once, 4)
}

fn json_patch(bytes: &[u8]) -> String {
    let Some((target, operations)) = pair(bytes) else { return String::new() };
    let mut patched = target.clone();
    let operations = operations.as_array().map_or(&[][..], Vec::as_slice);
    match patch::json(&mut patched, operations) {
        Ok(()) => {
            assert!(strict::is_shallow(&patched));
            shape(&patched, 4)
        }
        Err(error) => words_of(&error.to_string()),
    }
}

fn strategic(bytes: &[u8]) -> String {
    let Some((target, change)) = pair(bytes) else { return String::new() };
    let mut once = json!({"spec": target});
    let change = json!({"spec": change});
    if let Err(error) = patch::strategic(&mut once, &change, &SCHEMA) {
        return words_of(&error.to_string());
    }
    // A patch of nothing is one.
    let mut same = once.clone();
    patch::strategic(&mut same, &json!({}), &SCHEMA).unwrap();
    assert_eq!(once, same);
    shape(&once, 5)
}

fn selectors(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return String::new() };
    let mut told = String::new();
    match LabelSelector::parse(text) {
        Ok(selector) => {
            let labels: Map<String, Value> = [("a".to_owned(), json!("b"))].into_iter().collect();
            told = format!(
                "{} {} {}",
                selector.requirements().len(),
                selector.matches(None),
                selector.matches(Some(&labels))
            );
        }
        Err(error) => told += &words_of(&error.to_string()),
    }
    match FieldSelector::parse(text) {
        Ok(selector) => {
            let hit = selector.matches_with(|field| (field == "metadata.name").then_some("a"));
            told + &format!(" {} {hit}", selector.terms().len())
        }
        Err(error) => told + &words_of(&error.to_string()),
    }
}

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "1e3",
    "-0",
    "1.5",
    "18446744073709551616",
    "\"\\u0000\"",
    "\"\\ud83d\"",
    "\"a\":",
    "\"a\":1,\"a\":2",
    "\n",
];
const STEPS: &[&str] = &[
    "\"manager\":\"m\",\"operation\":\"Apply\",\"apiVersion\":\"x.io/v1\",\"fieldsType\":\"FieldsV1\"",
    "\"manager\":\"n\",\"operation\":\"Update\",\"apiVersion\":\"x.io/v2\",\"fieldsType\":\"FieldsV1\"",
    "\"fieldsV1\":{\"f:spec\":{\".\":{},\"f:items\":{\"k:{\\\"k\\\":\\\"p\\\"}\":{\".\":{},\"f:v\":{}}}}}",
    "\"fieldsV1\":{\"f:spec\":{\"f:set\":{\"v:\\\"p\\\"\":{},\"v:1\":{}},\"f:list\":{\"i:0\":{}}}}",
    "\"subresource\":\"status\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    "null",
    "0,",
    "\"a\":\"x\"",
    "\"n\":1",
    "\"map\":{\"x\":\"y\"}",
    "\"set\":[\"p\",\"q\"]",
    "\"items\":[{\"k\":\"p\"}]",
    "\"k\":\"q\"",
    "\"v\":\"w\"",
    "\"any\":{\"x\":[{}]}",
    "\"atomic\":{\"x\":\"y\"}",
    "\"list\":[{\"k\":\"p\",\"v\":\"1\"}]",
];
const STRATEGIC: &[&str] = &[
    "\"$patch\":\"delete\"",
    "\"$patch\":\"replace\"",
    "\"$patch\":\"merge\"",
    "\"$retainKeys\":[\"a\"]",
    "\"$setElementOrder/items\":[{\"k\":\"p\"}]",
    "\"$setElementOrder/set\":[\"q\"]",
    "\"$deleteFromPrimitiveList/set\":[\"p\"]",
    "\"items\":[{\"k\":\"p\"}]",
    "\"set\":[\"p\"]",
    "{",
    "}",
    "[",
    "]",
    ",",
    "null",
];
const OPERATIONS: &[&str] = &[
    "{\"op\":\"add\",\"path\":\"/a\",\"value\":1}",
    "{\"op\":\"copy\",\"from\":\"\",\"path\":\"/a\"}",
    "{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/b\"}",
    "{\"op\":\"test\",\"path\":\"/a\",\"value\":1}",
    "{\"op\":\"remove\",\"path\":\"/a/0\"}",
    "/-",
    "~1",
    "~0",
    "\"\"",
    ",",
    "null",
];
const YAML: &[&str] = &[
    "a: ",
    "- ",
    "\n",
    "  ",
    "&x ",
    "*x",
    "<<: ",
    "? ",
    "!!str ",
    "!!int ",
    "!!binary ",
    "|\n",
    ">-\n",
    "---\n",
    "...\n",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "'",
    "\"",
    "# ",
    "0x1F",
    ".inf",
    "1e3",
    "yes",
    "%YAML 1.1\n",
];
const SELECTORS: &[&str] = &[
    "a",
    "b",
    "=",
    "==",
    "!=",
    "!",
    ",",
    " in ",
    " notin ",
    "(",
    ")",
    "a/b",
    "metadata.name",
    "\\",
    " ",
    ">",
    "<",
    "1",
];

macro_rules! targets {
    ($($test:ident $run:ident $words:ident),+ $(,)?) => {
        $(
            #[test]
            fn $test() {
                let target = Target { name: stringify!($test), run: $run, words: $words };
                fuzz::fuzz(&target, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"));
            }
        )+
    };
}

targets! {
    decoded_json json JSON,
    decoded_yaml yaml YAML,
    applied apply STEPS,
    merged merge JSON,
    json_patched json_patch OPERATIONS,
    strategically_merged strategic STRATEGIC,
    selected selectors SELECTORS,
}
