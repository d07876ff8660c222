//! YAML as Kubernetes reads it: as go-yaml 2 does (YAML 1.1: `yes`, `y` and
//! `on` are booleans, `010` is eight), then as JSON.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Number, Value};

use crate::json::MAX_DEPTH;

/// Most duplicates reported: an answer has an end.
const MAX_DUPLICATES: usize = 20;
/// How many values aliases may repeat for each byte of the text, and besides.
const ALIASED: usize = 10;
const ALIASED_ANYWAY: usize = 10_000;

/// A decoded document.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The first document of the text; null when there is none.
    pub value: Value,
    /// What is said twice, as `line 4: key "a" already set in map`; of fields
    /// that occur twice, the last counts.
    pub duplicates: Vec<String>,
}

/// Text that is no YAML, or none that can be JSON.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum YamlError {
    /// Broken syntax.
    #[error("yaml: line {line}: {reason}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// Bytes that are no text.
    #[error("yaml: invalid leading UTF-8 octet")]
    Encoding,
    /// Infinity and not-a-number are no JSON.
    #[error("json: unsupported value: {0}")]
    Unsupported(&'static str),
    /// Lists or maps where a text must be.
    #[error("unsupported map key of type: {0}")]
    Key(&'static str),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("yaml: exceeded max depth of {MAX_DEPTH}")]
    Depth,
    /// Aliases of aliases that would fill the memory.
    #[error("yaml: document contains excessive aliasing")]
    Aliases,
    /// A value that is not what its tag says.
    #[error("yaml: cannot decode `{value}` as a {tag}")]
    Tag {
        /// The value.
        value: String,
        /// The tag, as `!!int`.
        tag: String,
    },
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        if error.info().contains("recursion limit") {
            return Self::Depth;
        }
        // go-yaml leaves out what it was about, and counts the lines of what it
        // could not parse from zero.
        let (line, info) = (error.marker().line(), error.info());
        match info.split_once(", ") {
            Some((context, reason)) if context.starts_with("while parsing") => {
                Self::Syntax { line: line.saturating_sub(1).max(1), reason: reason.to_owned() }
            }
            Some((context, reason)) if context.starts_with("while ") => {
                Self::Syntax { line, reason: reason.to_owned() }
            }
            _ => Self::Syntax { line, reason: info },
        }
    }
}

/// Decodes the first document of a text.
///
/// # Errors
/// See [`YamlError`].
pub fn decode(bytes: &[u8]) -> Result<Decoded, YamlError> {
    let text = std::str::from_utf8(bytes).map_err(|_| YamlError::Encoding)?;
    let mut builder = Builder {
        stack: Vec::new(),
        anchors: HashMap::new(),
        document: None,
        duplicates: Vec::new(),
        aliased: text.len().saturating_mul(ALIASED).saturating_add(ALIASED_ANYWAY),
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        builder.event(event, span.start.line())?;
    }
    Ok(Decoded { value: builder.document.unwrap_or(Value::Null), duplicates: builder.duplicates })
}

/// A list or map that is not complete yet, and the anchor on it.
enum Frame {
    List(Vec<Value>, usize),
    Map { map: Map<String, Value>, key: Option<Key>, anchor: usize },
}

struct Key {
    name: String,
    line: usize,
    /// `<<`: what follows is laid into the map.
    merge: bool,
}

struct Builder {
    stack: Vec<Frame>,
    anchors: HashMap<usize, Value>,
    document: Option<Value>,
    duplicates: Vec<String>,
    /// How many values aliases may still repeat.
    aliased: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(name).unwrap_or_default();
                let plain = style == ScalarStyle::Plain;
                let value = scalar(&text, plain, &tag)?;
                if anchor != 0 {
                    self.anchors.insert(anchor, value.clone());
                }
                let merge = plain && text == "<<" && tag.is_empty();
                self.value(value, line, merge)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Frame::List(Vec::new(), anchor)),
            Event::MappingStart(_, anchor, _) => self.open(Frame::Map { map: Map::new(), key: None, anchor }),
            Event::SequenceEnd | Event::MappingEnd => {
                let (value, anchor) = match self.stack.pop() {
                    Some(Frame::List(list, anchor)) => (Value::Array(list), anchor),
                    Some(Frame::Map { map, anchor, .. }) => (Value::Object(map), anchor),
                    None => return Ok(()),
                };
                if anchor != 0 {
                    self.anchors.insert(anchor, value.clone());
                }
                self.value(value, line, false)
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned().unwrap_or(Value::Null);
                let (size, depth) = measure(&value);
                self.aliased = self.aliased.checked_sub(size).ok_or(YamlError::Aliases)?;
                if self.stack.len() + depth > MAX_DEPTH {
                    return Err(YamlError::Depth);
                }
                self.value(value, line, false)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), YamlError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(YamlError::Depth);
        }
        self.stack.push(frame);
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn value(&mut self, value: Value, line: usize, merge: bool) -> Result<(), YamlError> {
        match self.stack.last_mut() {
            None => self.document = Some(value),
            Some(Frame::List(list, _)) => list.push(value),
            Some(Frame::Map { map, key, .. }) => match key.take() {
                None => *key = Some(Key { name: key_of(&value)?, line, merge }),
                Some(key) if key.merge => {
                    let parts = match value {
                        Value::Array(list) => list,
                        other => vec![other],
                    };
                    for part in parts {
                        let Value::Object(part) = part else {
                            let reason = "map merge requires map or sequence of maps as the value".to_owned();
                            return Err(YamlError::Syntax { line: key.line, reason });
                        };
                        for (name, value) in part {
                            insert(map, &mut self.duplicates, name, value, key.line);
                        }
                    }
                }
                Some(key) => insert(map, &mut self.duplicates, key.name, value, key.line),
            },
        }
        Ok(())
    }
}

fn insert(
    map: &mut Map<String, Value>,
    duplicates: &mut Vec<String>,
    name: String,
    value: Value,
    line: usize,
) {
    if map.contains_key(&name) && duplicates.len() < MAX_DUPLICATES {
        duplicates.push(format!("line {line}: key {} already set in map", crate::quote(&name)));
    }
    map.insert(name, value);
}

/// A tag as `!!int`, or empty where it says nothing.
fn name(tag: &Tag) -> String {
    match tag.core_suffix() {
        Some(suffix) => format!("!!{suffix}"),
        None => String::new(),
    }
}

/// How many values and levels there are.
fn measure(value: &Value) -> (usize, usize) {
    let parts: Vec<&Value> = match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => return (1, 0),
    };
    let below = parts.into_iter().map(measure);
    let (size, depth) = below.fold((0, 0), |(size, depth), (s, d)| (size + s, depth.max(d)));
    (size + 1, depth + 1)
}

/// The name of a field; numbers and booleans are written out.
fn key_of(value: &Value) -> Result<String, YamlError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(crate::go::plain(value)),
        Value::Null => Err(YamlError::Key("%!s(<nil>)")),
        Value::Array(_) => Err(YamlError::Key("slice")),
        Value::Object(_) => Err(YamlError::Key("map")),
    }
}

/// The value of a scalar.
fn scalar(text: &str, plain: bool, tag: &str) -> Result<Value, YamlError> {
    if tag == "!!str" || (!plain && tag.is_empty()) {
        return Ok(Value::String(text.to_owned()));
    }
    let value = resolve(text)?;
    let fits = match tag {
        "!!null" => value.is_null(),
        "!!bool" => value.is_boolean(),
        "!!int" => value.is_i64() || value.is_u64(),
        "!!float" => value.is_number(),
        _ => true,
    };
    if fits {
        return Ok(value);
    }
    Err(YamlError::Tag { value: text.to_owned(), tag: tag.to_owned() })
}

/// What a plain scalar means.
fn resolve(text: &str) -> Result<Value, YamlError> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Value::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" => return Err(YamlError::Unsupported("NaN")),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Err(YamlError::Unsupported("+Inf")),
        "-.inf" | "-.Inf" | "-.INF" => return Err(YamlError::Unsupported("-Inf")),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Ok(Value::String(text.to_owned()));
    }
    let digits = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
    if let Some(number) = integer(&digits) {
        return Ok(Value::Number(number));
    }
    if is_float(&digits)
        && let Ok(float) = digits.parse::<f64>()
    {
        if float.is_infinite() {
            // Go takes what is out of range for a text.
            return Ok(Value::String(text.to_owned()));
        }
        return Ok(float_value(float));
    }
    Ok(Value::String(text.to_owned()))
}

/// An integer in any of Go's notations: `-7`, `0x1F`, `017`, `0o17`, `0b11`.
fn integer(text: &str) -> Option<Number> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = rest.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    i64::try_from(value).map(Number::from).or_else(|_| u64::try_from(value).map(Number::from)).ok()
}

/// Whether a text is a decimal number, by YAML's own rule.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent_fits && digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
}

/// A float as it reads after a trip through JSON: without a fraction it is an integer.
fn float_value(float: f64) -> Value {
    if float.fract() == 0.0 && float.abs() < 1e15 {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        return Value::from(float as i64);
    }
    Number::from_f64(float).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        decode(text.as_bytes()).unwrap().value
    }

    #[test]
    fn scalars_are_those_of_yaml_1_1() {
        for (text, expected) in [
            ("a", json!("a")),
            ("yes", json!(true)),
            ("y", json!(true)),
            ("n", json!(false)),
            ("Off", json!(false)),
            ("'y'", json!("y")),
            ("~", json!(null)),
            ("", json!(null)),
            ("10", json!(10)),
            ("010", json!(8)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0b11", json!(3)),
            ("1_000", json!(1000)),
            ("-5", json!(-5)),
            ("+5", json!(5)),
            ("09", json!(9)),
            ("1.5", json!(1.5)),
            ("3.0", json!(3)),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            ("1.", json!(1)),
            ("12e", json!("12e")),
            ("1:30", json!("1:30")),
            ("2020-01-01", json!("2020-01-01")),
            ("!!str 5", json!("5")),
            ("!!float 5", json!(5)),
            ("1.2.3", json!("1.2.3")),
            ("-", json!([null])),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn documents_become_json() {
        for (text, expected) in [
            ("a: 1\nb: [x, {c: d}]\n", json!({"a": 1, "b": ["x", {"c": "d"}]})),
            ("1: a\ntrue: b\n1.5: c\n", json!({"1": "a", "true": "b", "1.5": "c"})),
            ("a: &x [1]\nb: *x\n", json!({"a": [1], "b": [1]})),
            ("<<: {a: 1, b: 2}\nc: 3\n", json!({"a": 1, "b": 2, "c": 3})),
            ("a: 1\n---\nb: 2\n", json!({"a": 1})),
            ("# nothing\n", json!(null)),
            ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", json!({"a": "x\ny\n", "b": "x y"})),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_said_twice_is_reported_with_its_line() {
        let decoded = decode(b"a: 1\nb: {c: 1, c: 2}\na: 3\n").unwrap();
        assert_eq!(decoded.value, json!({"a": 3, "b": {"c": 2}}));
        assert_eq!(
            decoded.duplicates,
            ["line 2: key \"c\" already set in map", "line 3: key \"a\" already set in map"]
        );
    }

    #[test]
    fn hostile_texts_are_refused() {
        let bomb = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            let (last, name) = (format!("*a{}", n - 1), format!("a{n}"));
            text + &format!("{name}: &{name} [{last}, {last}, {last}]\n")
        });
        assert_eq!(decode(bomb.as_bytes()), Err(YamlError::Aliases));
        assert!(decode("[".repeat(100_000).as_bytes()).is_err());
        assert!(decode("- ".repeat(10_000).as_bytes()).is_err());
        assert_eq!(decode(b"a: .inf"), Err(YamlError::Unsupported("+Inf")));
        assert!(matches!(decode(b"{a: [}"), Err(YamlError::Syntax { line: 1, .. })));
        assert!(matches!(decode(b"? [a]\n: b\n"), Err(YamlError::Key("slice"))));
        assert_eq!(decode(b"\xff"), Err(YamlError::Encoding));
        assert!(matches!(decode(b"!!int x"), Err(YamlError::Tag { .. })));
    }
}
