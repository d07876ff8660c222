//! Tables: what `kubectl get` prints.

use jiff::Timestamp;
use serde_json::Value;

/// How long ago something was, `seconds` before now, as `kubectl` prints it:
/// two units where the larger is small (`2m30s`, `5d`, `3y40d`).
pub fn age(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{small_unit}") }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 24 * 8 {
        two(days, "d", hours % 24, "h")
    } else if hours < 24 * 365 * 2 {
        format!("{days}d")
    } else if hours < 24 * 365 * 8 {
        two(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

/// The `jsonPath` of a printer column: the subset of kubectl's JSONPath that
/// CRDs may use. `.a.b`, `['a.b']`, `[0]`, `[-1]`, `[1:3]`, `[*]`, `.*`,
/// `[?(@.type=="Ready")]` with `==`, `!=`, `<`, `<=`, `>`, `>=` or bare existence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Name(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Filter { path: Vec<Step>, compare: Option<(Comparison, Value)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A text that is no such path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is an invalid path: {0}")]
pub struct PathError(String);

impl Path {
    /// Parses a path, with or without braces and leading dot.
    ///
    /// # Errors
    /// Texts outside the subset.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(inner);
        let inner = inner.strip_prefix('$').unwrap_or(inner);
        let mut steps = Vec::new();
        let mut rest = inner;
        while !rest.is_empty() {
            rest = step(rest, &mut steps).map_err(|what| PathError(format!("{what} in {text:?}")))?;
        }
        Ok(Self(steps))
    }

    /// Everything the path leads to, in order.
    pub fn find<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        follow(&self.0, object)
    }

    /// The cell of a column of type `kind` (`string`, `integer`, `number`,
    /// `boolean`, `date`); null where there is nothing or nothing of that type.
    /// Dates become ages at `now`.
    pub fn cell(&self, object: &Value, kind: &str, now: Timestamp) -> Value {
        let found = self.find(object);
        let Some(first) = found.first() else { return Value::Null };
        match kind {
            "integer" => first.as_i64().or_else(|| whole(first)).map_or(Value::Null, Value::from),
            "number" => number(first),
            "boolean" => first.as_bool().map_or(Value::Null, Value::Bool),
            "date" if first.is_null() => Value::Null,
            "date" => match first.as_str().map(str::parse::<Timestamp>) {
                Some(Ok(time)) => Value::String(age(now.as_second() - time.as_second())),
                Some(Err(_)) | None => Value::String("<invalid>".to_owned()),
            },
            // Of several only the first is printed, as in kube-apiserver.
            _ => Value::String(print(first)),
        }
    }
}

fn whole(value: &Value) -> Option<i64> {
    let number = value.as_f64()?;
    #[expect(clippy::cast_possible_truncation, reason = "bounds are checked")]
    (number.abs() < 9.0e18).then_some(number as i64)
}

fn print(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whole numbers are written without a fraction.
fn number(value: &Value) -> Value {
    match (value.as_i64(), value.as_f64()) {
        (Some(whole), _) => Value::from(whole),
        (None, Some(number)) => Value::from(number),
        (None, None) => Value::Null,
    }
}

fn follow<'a>(steps: &[Step], value: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![value];
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            step.apply(value, &mut next);
        }
        found = next;
    }
    found
}

impl Step {
    fn apply<'a>(&self, value: &'a Value, out: &mut Vec<&'a Value>) {
        match (self, value) {
            (Self::Name(name), Value::Object(map)) => out.extend(map.get(name)),
            (Self::Index(index), Value::Array(list)) => {
                out.extend(position(*index, list.len()).and_then(|at| list.get(at)));
            }
            (Self::Slice(from, to), Value::Array(list)) => {
                let bound = |bound: &Option<i64>, absent: usize| {
                    bound.map_or(absent, |bound| position(bound, list.len()).unwrap_or(0).min(list.len()))
                };
                let (from, to) = (bound(from, 0), bound(to, list.len()));
                out.extend(list.get(from..to.max(from)).into_iter().flatten());
            }
            (Self::All, Value::Array(list)) => out.extend(list),
            (Self::All, Value::Object(map)) => out.extend(map.values()),
            (Self::Filter { path, compare }, Value::Array(list)) => out.extend(list.iter().filter(|item| {
                let found = follow(path, item);
                match (compare, found.first()) {
                    (_, None) => false,
                    (None, Some(_)) => true,
                    (Some((comparison, wanted)), Some(found)) => comparison.holds(found, wanted),
                }
            })),
            _ => {}
        }
    }
}

fn position(index: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    usize::try_from(if index < 0 { index + len } else { index }).ok()
}

impl Comparison {
    fn holds(self, found: &Value, wanted: &Value) -> bool {
        use std::cmp::Ordering;
        let order = match (found, wanted) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) => (a == b).then_some(Ordering::Equal),
        };
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::NotEqual => order != Some(Ordering::Equal),
            Self::Less => order.is_some_and(Ordering::is_lt),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order.is_some_and(Ordering::is_gt),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

/// Parses one step and returns what follows it.
fn step<'a>(rest: &'a str, steps: &mut Vec<Step>) -> Result<&'a str, String> {
    if rest.starts_with("..") {
        return Err("recursive descent is not supported".to_owned());
    }
    if let Some(inner) = rest.strip_prefix('[') {
        let end = bracket_end(inner).ok_or("unterminated array")?;
        steps.push(bracket(inner[..end].trim())?);
        return Ok(&inner[end + 1..]);
    }
    let name = rest.strip_prefix('.').unwrap_or(rest);
    if name.is_empty() || name.starts_with('[') {
        return Ok(name);
    }
    let (mut out, mut chars) = (String::new(), name.char_indices());
    let mut end = name.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => {
                end = at;
                break;
            }
            c if c.is_whitespace() || "{}()'\"".contains(c) => return Err(format!("unexpected {c:?}")),
            c => out.push(c),
        }
    }
    if out.is_empty() {
        return Err("empty name".to_owned());
    }
    steps.push(if out == "*" { Step::All } else { Step::Name(out) });
    Ok(&name[end..])
}

/// Where a bracket closes, brackets within and quotes counted.
fn bracket_end(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) => quote = if c == open { None } else { Some(open) },
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Result<Step, String> {
    if inner == "*" {
        return Ok(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|inner| inner.strip_suffix(')')) {
        return self::filter(filter);
    }
    if let Some(name) = unquote(inner) {
        return Ok(Step::Name(name));
    }
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("invalid array index {text}"));
    match inner.split_once(':') {
        None => Ok(Step::Index(number(inner)?)),
        Some((from, to)) => {
            let bound = |text: &str| if text.trim().is_empty() { Ok(None) } else { number(text).map(Some) };
            Ok(Step::Slice(bound(from)?, bound(to)?))
        }
    }
}

fn unquote(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text.strip_prefix(quote)?.strip_suffix(quote).map(|inner| inner.replace("\\.", "."))
}

fn filter(text: &str) -> Result<Step, String> {
    const OPERATORS: [(&str, Comparison); 6] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let operator = OPERATORS
        .iter()
        .filter_map(|(token, comparison)| Some((text.find(token)?, *token, *comparison)))
        .min_by_key(|(at, token, _)| (*at, 2 - token.len()));
    let (left, compare) = match operator {
        None => (text, None),
        Some((at, token, comparison)) => {
            let right = text[at + token.len()..].trim();
            let value = match unquote(right) {
                Some(text) => Value::String(text),
                None => serde_json::from_str(right).map_err(|_| format!("invalid filter value {right}"))?,
            };
            (&text[..at], Some((comparison, value)))
        }
    };
    let left = left.trim().strip_prefix('@').ok_or("filter must start with @")?;
    Ok(Step::Filter { path: Path::parse(left).map_err(|error| error.0)?.0, compare })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ages() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (12_600, "3h30m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (66_528_000, "2y40d"),
            (252_288_000, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(age(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn cells() {
        let object = json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"a.b/c": "l"}},
            "spec": {"n": 3, "f": 2.0, "text": "t", "yes": true, "list": ["a", "b", "c"], "null": null, "map": {"k": 1}},
            "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True", "n": 5}]},
        });
        let now: Timestamp = "2026-01-01T00:02:30Z".parse().unwrap();
        let cases = [
            (".spec.n", "integer", json!(3)),
            (".spec.f", "integer", json!(2)),
            (".spec.text", "integer", json!(null)),
            (".spec.n", "string", json!("3")),
            (".spec.yes", "boolean", json!(true)),
            (".spec.f", "number", json!(2.0)),
            (".spec.none", "string", json!(null)),
            (".spec.null", "string", json!("<no value>")),
            (".spec.null", "date", json!(null)),
            (".spec.n", "number", json!(3)),
            ("{.spec.text}", "string", json!("t")),
            (".spec.list[1]", "string", json!("b")),
            (".spec.list[-1]", "string", json!("c")),
            (".spec.list[1:]", "string", json!("b")),
            (".spec.list[*]", "string", json!("a")),
            (".spec.list", "string", json!("[\"a\",\"b\",\"c\"]")),
            (".spec.map", "string", json!("{\"k\":1}")),
            (r#".status.conditions[?(@.type=="Ready")].status"#, "string", json!("True")),
            (".status.conditions[?(@.type=='Ready')].status", "string", json!("True")),
            (".status.conditions[?(@.n>=5)].type", "string", json!("Ready")),
            (".status.conditions[?(@.n)].type", "string", json!("Ready")),
            (".status.conditions[?(@.type!='A')].type", "string", json!("Ready")),
            (".metadata.labels.a\\.b/c", "string", json!("l")),
            (".metadata.labels['a.b/c']", "string", json!("l")),
            (".metadata.creationTimestamp", "date", json!("2m30s")),
            (".spec.text", "date", json!("<invalid>")),
        ];
        for (path, kind, cell) in cases {
            assert_eq!(Path::parse(path).unwrap().cell(&object, kind, now), cell, "{path} as {kind}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for path in ["..a", ".a[", ".a[x]", ".a[?(b)]", ".a b", ".a[?(@.b==c)]"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
