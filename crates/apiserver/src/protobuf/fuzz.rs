//! Laws of the translation, held against a committed corpus and what is made
//! of it; `cargo xtask fuzz` searches for longer.

#[path = "../../../testkit/src/fuzz.rs"]
mod engine;

use std::path::Path;

use serde_json::{Number, Value};

use self::engine::Target;
use super::{decode, encode};

/// Without what does not matter: members that are null, which a message does
/// not tell from absent ones, and the last places of floats, which `serde_json`
/// reads exactly only with its feature `float_roundtrip`.
fn essence(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let said = map.iter().filter(|(_, value)| !value.is_null());
            said.map(|(name, value)| (name.clone(), essence(value))).collect()
        }
        Value::Array(list) => list.iter().map(essence).collect(),
        #[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
        Value::Number(number) if number.is_f64() => {
            let short = number.as_f64().map(|number| f64::from(number as f32));
            short.and_then(Number::from_f64).map_or(Value::Null, Value::Number)
        }
        other => other.clone(),
    }
}

/// What an object says: the names in it, by their depth.
fn names(value: &Value, depth: usize, told: &mut String) {
    match value {
        Value::Object(map) if depth > 0 => {
            for (name, value) in map.iter().take(12) {
                told.push_str(&name[..name.floor_char_boundary(6)]);
                names(value, depth - 1, told);
            }
            told.push('}');
        }
        Value::Array(list) if depth > 0 => list.iter().take(3).for_each(|item| names(item, depth - 1, told)),
        Value::Null => told.push('0'),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) | Value::Array(_) => {}
    }
}

/// What was read can be written and read again, and is then what it was.
fn settles(read: &Value) {
    let Some(written) = encode(read) else { return };
    let again = decode(&written).unwrap();
    assert_eq!(essence(&again), essence(read));
}

/// Bodies that claim to be protobuf.
fn decoded(bytes: &[u8]) -> String {
    match decode(bytes) {
        Ok(object) => {
            settles(&object);
            let mut told = String::new();
            names(&object, 6, &mut told);
            told
        }
        Err(error) => error.code.to_string(),
    }
}

/// Objects, of the right form or not.
fn encoded(bytes: &[u8]) -> String {
    let Ok(object) = windlass_apimachinery::json::decode(bytes) else { return String::new() };
    let Some(written) = encode(&object.value) else { return "no".to_owned() };
    let read = decode(&written).unwrap();
    settles(&read);
    let mut told = String::new();
    names(&read, 6, &mut told);
    told
}

fn fuzz(name: &'static str, run: fn(&[u8]) -> String, words: &'static [&'static str]) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    engine::fuzz(&Target { name, run, words }, &corpus);
}

#[test]
fn decoded_protobuf() {
    let words = &["k8s\0", "\n\0", "\x12\0", "\x1a\x01a", "\x08\x01", "\x10\x7f", "\n\x02v1", "\x12\x03Pod"];
    fuzz("decoded_protobuf", decoded, words);
}

#[test]
fn encoded_protobuf() {
    let words = &[
        "\"kind\":\"Pod\"",
        "\"metadata\":{\"name\":\"a\"}",
        "\"creationTimestamp\":\"2026-01-01T00:00:00Z\"",
        "\"creationTimestamp\":null",
        "\"labels\":{\"a\":\"\"}",
        "\"data\":{\"k\":\"AQID\"}",
        "\"spec\":{}",
        "\"status\":{}",
        "\"port\":\"http\"",
        "\"port\":0",
        "\"additionalProperties\":false",
        "\"items\":[]",
        "\"default\":1.5",
        "\"fieldsV1\":{\"f:a\":{}}",
        "\"1m\"",
        "-1",
        "9223372036854775808",
        "[",
        "]",
        "{",
        "}",
        ",",
        "null",
        "true",
    ];
    fuzz("encoded_protobuf", encoded, words);
}
