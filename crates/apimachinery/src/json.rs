//! Strict decoding of JSON: duplicate keys are reported, nesting is limited.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting of objects and lists. Everything that walks values recurses.
pub const MAX_DEPTH: usize = 100;
/// Most duplicates reported: an answer has an end.
const MAX_DUPLICATES: usize = 20;

/// A decoded document.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The document; of fields that occur twice, the last.
    pub value: Value,
    /// Paths of fields that occur more than once, as `spec.list[0].name`.
    pub duplicates: Vec<String>,
}

/// Bytes that are no JSON document, or one that is nested too deeply.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(#[from] serde_json::Error);

/// Decodes one document.
///
/// # Errors
/// Syntax errors, nesting deeper than [`MAX_DEPTH`], trailing bytes.
pub fn decode(bytes: &[u8]) -> Result<Decoded, JsonError> {
    let mut state = State { path: String::new(), duplicates: Vec::new(), depth: 0 };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict(&mut state).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Decoded { value, duplicates: state.duplicates })
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
    path: String,
    duplicates: Vec<String>,
    depth: usize,
}

/// Builds a value and notes what is wrong with it on the way.
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
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
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
        let len = state.path.len();
        loop {
            crate::schema::push_index(&mut state.path, list.len());
            let item = access.next_element_seed(Strict(state));
            state.path.truncate(len);
            match item? {
                Some(item) => list.push(item),
                None => break,
            }
        }
        state.depth -= 1;
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let state = self.0;
        state.enter::<A::Error>()?;
        let mut map = Map::new();
        let mut reported = HashSet::new();
        let len = state.path.len();
        while let Some(name) = access.next_key::<String>()? {
            crate::schema::push_name(&mut state.path, &name);
            if map.contains_key(&name)
                && reported.insert(name.clone())
                && state.duplicates.len() < MAX_DUPLICATES
            {
                state.duplicates.push(state.path.clone());
            }
            let value = access.next_value_seed(Strict(state));
            state.path.truncate(len);
            map.insert(name, value?);
        }
        state.depth -= 1;
        Ok(Value::Object(map))
    }
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
        for (text, duplicates) in cases {
            let decoded = decode(text.as_bytes()).unwrap();
            assert_eq!(decoded.duplicates, duplicates, "{text}");
            assert_eq!(decoded.value, serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn numbers_keep_their_value() {
        for text in ["0", "-1", "18446744073709551615", "-9223372036854775808", "1.5", "1e3", "0.1"] {
            assert_eq!(decode(text.as_bytes()).unwrap().value, serde_json::from_str::<Value>(text).unwrap());
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
                .starts_with("nested deeper than 100 levels")
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
