//! Paths of fields as definitions write them (`.spec.a`, `.map['key']`).

use serde_json::{Map, Value};

type Schema = Map<String, Value>;

/// Follows a path through a schema; returns the path as messages print it and
/// the schema it leads to.
///
/// # Errors
/// What is wrong with the path, in words.
pub(crate) fn resolve<'a>(
    document: &'a Value,
    path: &str,
    keys: bool,
) -> Result<(String, &'a Value), String> {
    let mut at = document;
    let mut normal = String::new();
    let mut tokens = Tokens { rest: path };
    while let Some(token) = tokens.next() {
        let name = match token {
            "." => tokens.next().ok_or("unexpected end of JSON path")?.to_owned(),
            "[" if !keys => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let name = tokens.next().ok_or("unexpected end of JSON path")?;
                let inner = name
                    .strip_prefix('\'')
                    .and_then(|name| name.strip_suffix('\''))
                    .ok_or_else(|| format!("expected single quoted string but got {name}"))?;
                match tokens.next() {
                    Some("]") => unescape(inner)?,
                    Some(other) => return Err(format!("expected ] but got {other}")),
                    None => return Err("unexpected end of JSON path".to_owned()),
                }
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        at = step(at, &name, &mut normal)?;
    }
    Ok((normal, at))
}

fn step<'a>(schema: &'a Value, name: &str, normal: &mut String) -> Result<&'a Value, String> {
    let nowhere = || "does not refer to a valid field".to_owned();
    let schema: &Schema = schema.as_object().ok_or_else(nowhere)?;
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        crate::schema::push_name(normal, name);
        return properties.get(name).ok_or_else(nowhere);
    }
    let additional = schema.get("additionalProperties").ok_or_else(nowhere)?;
    normal.push('[');
    normal.push_str(name);
    normal.push(']');
    Ok(additional)
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(same @ ('\'' | '\\')) => same,
            other => {
                let escape: String = other.into_iter().collect();
                return Err(format!("invalid string literal: invalid escape char \\{escape}"));
            }
        });
    }
    Ok(out)
}

/// Dots, brackets, quoted texts and what stands between them.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let first = self.rest.chars().next()?;
        let end = if first == '\'' {
            let mut before = '\'';
            let close = self.rest.char_indices().skip(1).find(|(_, c)| {
                let ends = *c == '\'' && before != '\\';
                before = *c;
                ends
            });
            close.map_or(self.rest.len(), |(at, _)| at + 1)
        } else if matches!(first, '.' | '[' | ']') {
            1
        } else {
            self.rest.find(['.', '[', ']']).unwrap_or(self.rest.len())
        };
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }
}
