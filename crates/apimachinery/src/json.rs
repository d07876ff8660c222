//! Strict decoding of JSON: duplicate keys are noticed, nesting is limited,
//! and errors read as those of Go's `encoding/json`.

mod syntax;

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting of objects and lists. Everything that walks values recurses.
pub const MAX_DEPTH: usize = 100;
/// Most findings about one document, as `sigs.k8s.io/json`: an answer has an end.
pub(crate) const MAX_FINDINGS: usize = 100;

/// A decoded document.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The document; of fields that occur twice, the last.
    pub value: Value,
    /// Whether a field occurs twice; [`duplicates`] says which.
    pub duplicates: bool,
}

/// Bytes that are no JSON document, in the words of Go, or one that is nested
/// too deeply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

/// Decodes one document.
///
/// # Errors
/// Syntax errors, nesting deeper than [`MAX_DEPTH`], trailing bytes.
pub fn decode(bytes: &[u8]) -> Result<Decoded, JsonError> {
    decode_with(bytes, false)
}

fn decode_with(bytes: &[u8], merge: bool) -> Result<Decoded, JsonError> {
    let mut state = State { depth: 0, duplicates: false, merge };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let decoded = Strict(&mut state).deserialize(&mut deserializer);
    match decoded.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(Decoded { value, duplicates: state.duplicates }),
        Err(error) => Err(JsonError(syntax::error(bytes).unwrap_or_else(|| error.to_string()))),
    }
}

/// The document as Go decodes it into a struct: of an object that occurs
/// twice, the members of both. `None` when it is no document.
pub fn merge_duplicates(bytes: &[u8]) -> Option<Value> {
    decode_with(bytes, true).ok().map(|decoded| decoded.value)
}

fn add_up(old: Value, new: &mut Value) {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return };
    for (name, value) in old {
        match new.get_mut(&name) {
            Some(newer) => add_up(value, newer),
            None => {
                new.insert(name, value);
            }
        }
    }
}

/// Paths of the fields that occur more than once in an untyped document, as
/// `spec.list[0].name`, in their order and at most a hundred.
pub fn duplicates(bytes: &[u8]) -> Vec<String> {
    let mut walk = Walk { path: String::new(), found: Vec::new() };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    // A document that does not decode is reported as a whole.
    let _ = Duplicates(&mut walk).deserialize(&mut deserializer);
    walk.found
}

/// Whether a value is nested no deeper than [`MAX_DEPTH`]: it can be read back.
pub fn is_shallow(value: &Value) -> bool {
    let mut level = vec![value];
    for _ in 0..=MAX_DEPTH {
        let mut next = Vec::new();
        for value in level {
            match value {
                Value::Array(list) => next.extend(list),
                Value::Object(map) => next.extend(map.values()),
                _ => {}
            }
        }
        if next.is_empty() {
            return true;
        }
        level = next;
    }
    false
}

struct State {
    depth: usize,
    duplicates: bool,
    /// Whether the members of objects that occur twice add up.
    merge: bool,
}

impl State {
    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }
}

/// A number as Go keeps it in untyped data: integers up to 64 bits, else a
/// float, and whole floats written without a fraction.
pub fn number(value: f64) -> Option<Number> {
    // Up to here every whole float is exactly one integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within the range of i64")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

/// Builds a value and notes duplicates on the way.
struct Strict<'a>(&'a mut State);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "Go loses it, too")]
        Ok(i64::try_from(value).map_or_else(|_| Value::from(value as f64), Value::from))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        number(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let state = self.0;
        state.enter::<A::Error>()?;
        let mut list = Vec::new();
        while let Some(item) = access.next_element_seed(Strict(state))? {
            list.push(item);
        }
        state.depth -= 1;
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let state = self.0;
        state.enter::<A::Error>()?;
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let mut value = access.next_value_seed(Strict(state))?;
            if state.merge
                && let Some(old) = map.remove(&name)
            {
                add_up(old, &mut value);
            }
            state.duplicates |= map.insert(name, value).is_some();
        }
        state.depth -= 1;
        Ok(Value::Object(map))
    }
}

/// A pass over a document that keeps only what it finds.
pub(crate) struct Walk {
    pub(crate) path: String,
    pub(crate) found: Vec<String>,
}

impl Walk {
    /// Notes something once.
    pub(crate) fn note(&mut self, finding: String) {
        if self.found.len() < MAX_FINDINGS && !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }
}

struct Duplicates<'a>(&'a mut Walk);

impl<'de> DeserializeSeed<'de> for Duplicates<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Duplicates<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let walk = self.0;
        let len = walk.path.len();
        for index in 0.. {
            crate::schema::push_index(&mut walk.path, index);
            let more = access.next_element_seed(Duplicates(walk))?;
            walk.path.truncate(len);
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let walk = self.0;
        let mut seen = HashSet::new();
        let len = walk.path.len();
        while let Some(name) = access.next_key::<String>()? {
            crate::schema::push_name(&mut walk.path, &name);
            if !seen.insert(name) {
                walk.note(walk.path.clone());
            }
            access.next_value_seed(Duplicates(walk))?;
            walk.path.truncate(len);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_reported_once_with_their_path() {
        let cases: [(&str, &[&str]); 5] = [
            (r#"{"a":1,"b":{"a":1}}"#, &[]),
            (r#"{"a":1,"a":2,"a":3}"#, &["a"]),
            (r#"{"spec":{"x":1,"x":1},"l":[{},{"y":[],"y":{}}]}"#, &["spec.x", "l[1].y"]),
            (r#"{"a":1,"A":2}"#, &[]),
            (r#"{"a":1,"\u0061":2}"#, &["a"]),
        ];
        for (text, expected) in cases {
            let decoded = decode(text.as_bytes()).unwrap();
            assert_eq!(decoded.duplicates, !expected.is_empty(), "{text}");
            assert_eq!(duplicates(text.as_bytes()), expected, "{text}");
            assert_eq!(decoded.value, serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn members_of_objects_that_occur_twice_add_up() {
        let text = r#"{"a":{"b":{"x":1},"c":1},"a":{"b":{"y":2},"c":2}}"#;
        let merged = merge_duplicates(text.as_bytes()).unwrap();
        assert_eq!(merged, serde_json::json!({"a": {"b": {"x": 1, "y": 2}, "c": 2}}));
    }

    #[test]
    fn numbers_are_kept_as_go_keeps_them() {
        for (text, written) in [
            ("0", "0"),
            ("-1", "-1"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("9223372036854775807", "9223372036854775807"),
            ("1.5", "1.5"),
            ("0.1", "0.1"),
            ("1e3", "1000"),
            ("2.0", "2"),
            ("18446744073709551615", "1.8446744073709552e+19"),
        ] {
            assert_eq!(decode(text.as_bytes()).unwrap().value.to_string(), written);
        }
    }

    #[test]
    fn deep_wrong_and_trailing_input_is_refused() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_shallow(&decode(deep(MAX_DEPTH).as_bytes()).unwrap().value));
        assert!(
            decode(deep(MAX_DEPTH + 1).as_bytes())
                .unwrap_err()
                .to_string()
                .starts_with("invalid character '[' exceeded max depth")
        );
        for text in [
            deep(1_000_000).as_str(),
            r#"{"a":"#.repeat(100_000).as_str(),
            "{} {}",
            "",
            "{",
            r#"{"a":1,}"#,
            "1e999",
        ] {
            assert!(decode(text.as_bytes()).is_err());
        }
    }
}
