//! Paths into answers: `.spec`, `.items[0].metadata.name`, `.paths["/api/v1"] | keys`.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// A path into a JSON document, as written and as read.
#[derive(Debug, Clone)]
pub struct Pick {
    /// As written.
    pub text: String,
    segments: Vec<Segment>,
    then: Option<Then>,
}

#[derive(Debug, Clone)]
enum Segment {
    Key(String),
    Index(usize),
    /// `[]`: all elements, or all values.
    All,
    /// `[metadata.name=x]`: the first element whose member has this text.
    Where(Vec<String>, String),
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Keys,
    Length,
}

impl Pick {
    /// Reads a path. `.` alone is the whole document.
    ///
    /// # Errors
    /// When it is not written like a path.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let parts = split(text, '|');
        let then = match parts.get(1).map(|word| word.trim()) {
            None => None,
            Some("keys") => Some(Then::Keys),
            Some("length") => Some(Then::Length),
            Some(other) => bail!("after | come keys or length, not {other:?}"),
        };
        let path = parts[0].trim();
        ensure!(path.starts_with('.'), "the path {text:?} must begin with a dot");
        Ok(Self { text: text.to_owned(), segments: segments(path)?, then })
    }

    /// What is there; null if nothing is.
    pub fn of(&self, document: &Value) -> Value {
        let found = walk(document, &self.segments);
        match self.then {
            None => found,
            Some(Then::Keys) => match &found {
                Value::Object(map) => map.keys().cloned().collect(),
                _ => Value::Null,
            },
            Some(Then::Length) => match &found {
                Value::Object(map) => json!(map.len()),
                Value::Array(items) => json!(items.len()),
                Value::String(text) => json!(text.len()),
                _ => json!(0),
            },
        }
    }
}

fn walk(value: &Value, segments: &[Segment]) -> Value {
    let Some((first, rest)) = segments.split_first() else { return value.clone() };
    match first {
        Segment::Key(key) => value.get(key).map_or(Value::Null, |inner| walk(inner, rest)),
        Segment::Index(index) => value.get(index).map_or(Value::Null, |inner| walk(inner, rest)),
        Segment::Where(path, wanted) => {
            let is_it = |item: &&Value| {
                let mut found = Some(*item);
                for key in path {
                    found = found.and_then(|found| found.get(key));
                }
                found.and_then(Value::as_str) == Some(wanted)
            };
            let found = value.as_array().and_then(|items| items.iter().find(is_it));
            found.map_or(Value::Null, |inner| walk(inner, rest))
        }
        Segment::All => match value {
            Value::Array(items) => items.iter().map(|item| walk(item, rest)).collect(),
            Value::Object(map) => Value::Object(
                map.iter().map(|(key, item)| (key.clone(), walk(item, rest))).collect::<Map<_, _>>(),
            ),
            _ => Value::Null,
        },
    }
}

/// `.a["b.c"][0][].d`
fn segments(path: &str) -> Result<Vec<Segment>> {
    let mut found = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (segment, after) =
                bracket(inner).with_context(|| format!("cannot read the path {path:?}"))?;
            found.push(segment);
            rest = after;
        } else {
            let after = rest.strip_prefix('.').unwrap_or(rest);
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end > 0 {
                found.push(Segment::Key(after[..end].to_owned()));
            }
            rest = &after[end..];
        }
    }
    Ok(found)
}

fn bracket(inner: &str) -> Result<(Segment, &str)> {
    if let Some(quoted) = inner.strip_prefix('"') {
        let (key, after) = quoted.split_once("\"]").context("a quoted key ends with \"]")?;
        return Ok((Segment::Key(key.to_owned()), after));
    }
    let (index, after) = inner.split_once(']').context("[ without ]")?;
    if index.is_empty() {
        return Ok((Segment::All, after));
    }
    if let Some((path, wanted)) = index.split_once('=') {
        return Ok((Segment::Where(path.split('.').map(str::to_owned).collect(), wanted.to_owned()), after));
    }
    Ok((Segment::Index(index.parse().context("an index is a number")?), after))
}

/// Splits outside quotes and brackets.
pub fn split(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted) = (Vec::new(), 0, false);
    for (index, c) in text.char_indices() {
        if c == '"' {
            quoted = !quoted;
        } else if c == at && !quoted {
            parts.push(&text[start..index]);
            start = index + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Reads a variable's path: the part after its root.
pub(crate) fn variable(path: &str, document: &Value) -> Option<Value> {
    let found = walk(document, &segments(path).ok()?);
    (!found.is_null()).then_some(found)
}

/// What must hold of an answer before a script goes on.
#[derive(Debug, Clone)]
pub enum Condition {
    /// The status code is this.
    Status(u16),
    /// A part of the body equals, or does not equal, a value.
    Compare {
        /// Which part.
        pick: Pick,
        /// Whether it is to be equal.
        equal: bool,
        /// The value.
        value: Value,
    },
    /// A part of the body is there and is not false.
    Present(Pick),
}

impl Condition {
    /// Reads `status 404`, `.a == "b"`, `.a != 1`, `.items | length == 0` or `.a`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(code) = text.strip_prefix("status ") {
            return Ok(Self::Status(code.trim().parse().context("a status is a number")?));
        }
        ensure!(
            text.starts_with('.'),
            "{text:?} is not a condition such as `status 404`, `.status.phase == \"Active\"` or `.items`"
        );
        for (operator, equal) in [(" == ", true), (" != ", false)] {
            if let Some((path, value)) = text.split_once(operator) {
                let value = serde_json::from_str(value.trim())
                    .with_context(|| format!("{value} is not JSON; text needs quotes"))?;
                return Ok(Self::Compare { pick: Pick::parse(path)?, equal, value });
            }
        }
        Ok(Self::Present(Pick::parse(text)?))
    }

    /// Whether it holds.
    pub fn holds(&self, status: u16, body: &Value) -> bool {
        match self {
            Self::Status(code) => status == *code,
            Self::Compare { pick, equal, value } => (pick.of(body) == *value) == *equal,
            Self::Present(pick) => !matches!(pick.of(body), Value::Null | Value::Bool(false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find() {
        let document = json!({
            "a": {"b.c": [{"d": 1}, {"d": 2}]}, "list": [{"m": {"n": "x"}}, {"m": {"n": "y"}, "v": 2}],
        });
        for (path, found) in [
            (".", document.clone()),
            (".a[\"b.c\"][1].d", json!(2)),
            (".a[\"b.c\"][].d", json!([1, 2])),
            (".a | keys", json!(["b.c"])),
            (".a[\"b.c\"] | length", json!(2)),
            (".list[m.n=y].v", json!(2)),
            (".list[m.n=z].v", Value::Null),
            (".nothing.here", Value::Null),
        ] {
            assert_eq!(Pick::parse(path).unwrap().of(&document), found, "{path}");
        }
        assert!(Pick::parse("a").is_err() && Pick::parse(".a | sort").is_err());
    }

    #[test]
    fn conditions_hold() {
        let body = json!({"phase": "Active", "items": [], "no": false});
        for (text, holds) in [
            ("status 200", true),
            ("status 404", false),
            (".phase == \"Active\"", true),
            (".phase != \"Active\"", false),
            (".items | length == 0", true),
            (".items", true),
            (".no", false),
            (".none", false),
        ] {
            assert_eq!(Condition::parse(text).unwrap().holds(200, &body), holds, "{text}");
        }
    }
}
