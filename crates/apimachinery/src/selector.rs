//! Label and field selectors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

/// Why a text or object is no selector.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SelectorError {
    /// The text does not parse.
    #[error("unable to parse requirement: {0}")]
    Syntax(String),
    /// An operator that does not exist.
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
    /// The operator needs values and has none, or has some and needs none.
    #[error("values: Invalid value: {values}: for '{operator}' operator, values set {rule}")]
    Values {
        /// The operator.
        operator: &'static str,
        /// The values given, printed.
        values: String,
        /// `must be empty` or `can't be empty`.
        rule: &'static str,
    },
}

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What must hold.
    pub test: Test,
}

/// What must hold for a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// Set to one of these.
    In(BTreeSet<String>),
    /// Not set, or to none of these.
    NotIn(BTreeSet<String>),
    /// Set.
    Exists,
    /// Not set.
    DoesNotExist,
    /// Set to an integer greater than this.
    GreaterThan(i64),
    /// Set to an integer less than this.
    LessThan(i64),
}

/// A label selector: all requirements must hold. Without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Parses the text form: `a=b,c!=d,e in (f,g),h,!i`.
    ///
    /// # Errors
    /// Texts that do not parse.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser { rest: text }.selector()
    }

    /// Reads a `LabelSelector` object; `null` selects nothing, `{}` everything.
    ///
    /// # Errors
    /// Unknown operators and wrong numbers of values.
    pub fn from_object(object: &Value) -> Result<Self, SelectorError> {
        if object.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in object.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let values = BTreeSet::from([value.as_str().unwrap_or_default().to_owned()]);
            requirements.push(Requirement { key: key.clone(), test: Test::In(values) });
        }
        for expression in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            requirements.push(requirement(expression)?);
        }
        Ok(Self { requirements, nothing: false })
    }

    /// The requirements, all of which must hold.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether labels, given by lookup, are selected.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing
            && self.requirements.iter().all(|requirement| requirement.test.holds(get(&requirement.key)))
    }

    /// Whether `metadata.labels` as JSON is selected.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches_with(|key| labels?.get(key)?.as_str())
    }

    /// Whether a map of labels is selected.
    pub fn matches_map(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Self::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

fn requirement(expression: &Value) -> Result<Requirement, SelectorError> {
    let key = expression.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
    let operator = expression.get("operator").and_then(Value::as_str).unwrap_or_default();
    let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
    let values: BTreeSet<String> = values.filter_map(Value::as_str).map(str::to_owned).collect();
    let wrong = |operator, rule| {
        let values = format!("[{}]", values.iter().cloned().collect::<Vec<_>>().join(" "));
        Err(SelectorError::Values { operator, values, rule })
    };
    let test = match operator {
        "In" if values.is_empty() => return wrong("in", "can't be empty"),
        "NotIn" if values.is_empty() => return wrong("notin", "can't be empty"),
        "Exists" if !values.is_empty() => return wrong("exists", "must be empty"),
        "DoesNotExist" if !values.is_empty() => return wrong("!", "must be empty"),
        "In" => Test::In(values),
        "NotIn" => Test::NotIn(values),
        "Exists" => Test::Exists,
        "DoesNotExist" => Test::DoesNotExist,
        other => return Err(SelectorError::Operator(other.to_owned())),
    };
    Ok(Requirement { key, test })
}

impl fmt::Display for LabelSelector {
    /// The text form, as the `scale` subresource's `status.selector` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            fmt::Display::fmt(requirement, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
        let key = &self.key;
        match &self.test {
            Test::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Test::In(values) => write!(f, "{key} in ({})", list(values)),
            Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values)),
            Test::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
            Test::Exists => f.write_str(key),
            Test::DoesNotExist => write!(f, "!{key}"),
            Test::GreaterThan(bound) => write!(f, "{key}>{bound}"),
            Test::LessThan(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

/// Recursive descent over the text form.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn selector(mut self) -> Result<LabelSelector, SelectorError> {
        let mut requirements = Vec::new();
        self.space();
        while !self.rest.is_empty() {
            requirements.push(self.requirement()?);
            self.space();
            if self.rest.is_empty() {
                break;
            }
            if !self.eat(",") {
                return Err(self.unexpected("',' or 'end of string'"));
            }
            self.space();
            if self.rest.is_empty() {
                return Err(self.unexpected("identifier after ','"));
            }
        }
        Ok(LabelSelector { requirements, nothing: false })
    }

    fn unexpected(&self, expected: &str) -> SelectorError {
        let found: String = self.rest.chars().take(20).collect();
        SelectorError::Syntax(format!("found '{found}', expected: {expected}"))
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest;
        true
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let end =
            self.rest.find(|c: char| c.is_whitespace() || ",()=!<>".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn key(&mut self) -> Result<String, SelectorError> {
        let key = self.word();
        let mut errors = Vec::new();
        crate::meta::qualified_name(key, "key", &mut errors);
        match errors.first() {
            _ if key.is_empty() => Err(self.unexpected("identifier")),
            Some(error) => Err(SelectorError::Syntax(error.to_string())),
            None => Ok(key.to_owned()),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.eat("!") {
            return Ok(Requirement { key: self.key()?, test: Test::DoesNotExist });
        }
        let key = self.key()?;
        self.space();
        let one = |value: String| BTreeSet::from([value]);
        let test = if self.rest.is_empty() || self.rest.starts_with(',') {
            Test::Exists
        } else if self.eat("==") || self.eat("=") {
            Test::In(one(self.value()?))
        } else if self.eat("!=") {
            Test::NotIn(one(self.value()?))
        } else if self.eat(">") {
            Test::GreaterThan(self.number()?)
        } else if self.eat("<") {
            Test::LessThan(self.number()?)
        } else {
            match self.word() {
                "in" => Test::In(self.list()?),
                "notin" => Test::NotIn(self.list()?),
                other => {
                    let message = format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt");
                    return Err(SelectorError::Syntax(message));
                }
            }
        };
        Ok(Requirement { key, test })
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        let value = self.word();
        let mut errors = Vec::new();
        crate::meta::label_value(value, "value", &mut errors);
        errors
            .first()
            .map_or_else(|| Ok(value.to_owned()), |error| Err(SelectorError::Syntax(error.to_string())))
    }

    fn number(&mut self) -> Result<i64, SelectorError> {
        let word = self.word();
        word.parse().map_err(|_| SelectorError::Syntax(format!("found '{word}', expected: an integer")))
    }

    fn list(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        self.space();
        if !self.eat("(") {
            return Err(self.unexpected("'('"));
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            self.space();
            if self.eat(")") {
                return Ok(values);
            }
            if !self.eat(",") {
                return Err(self.unexpected("',' or ')'"));
            }
        }
    }
}

/// A field selector: `=`, `==` and `!=` on paths such as `metadata.name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// One condition on a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field's path.
    pub field: String,
    /// The value compared with.
    pub value: String,
    /// Whether it must be equal, or must differ.
    pub equal: bool,
}

impl FieldSelector {
    /// Parses a selector such as `metadata.name=a,status.phase!=Running`.
    /// `\,`, `\=` and `\\` stand for themselves in values.
    ///
    /// # Errors
    /// Terms without operator.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for term in split_escaped(text) {
            if term.is_empty() {
                continue;
            }
            let found = term.char_indices().find_map(|(at, _)| {
                let rest = &term[at..];
                ["!=", "==", "="]
                    .into_iter()
                    .find(|operator| rest.starts_with(operator))
                    .map(|operator| (at, operator))
            });
            let Some((at, operator)) = found else {
                return Err(SelectorError::Syntax(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                )));
            };
            let value = unescape(&term[at + operator.len()..]);
            terms.push(FieldTerm { field: term[..at].to_owned(), value, equal: operator != "!=" });
        }
        Ok(Self { terms })
    }

    /// The terms, all of which must hold.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value `field` must have, if a term says so.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    /// Whether an object is selected; absent fields count as empty texts.
    pub fn matches_with<S: AsRef<str>>(&self, get: impl Fn(&str) -> Option<S>) -> bool {
        self.terms.iter().all(|term| {
            let value = get(&term.field);
            (value.as_ref().map_or("", AsRef::as_ref) == term.value) == term.equal
        })
    }
}

fn split_escaped(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}
