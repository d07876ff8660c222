//! Label and field selectors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use crate::error::FieldError;

/// Why a text or object is no selector.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SelectorError {
    /// The text does not parse; in the words of `k8s.io/apimachinery`.
    #[error("{0}")]
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
        Parser { rest: text }.selector().map_err(SelectorError::Syntax)
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

/// A piece of the text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// Operators, commas and parentheses.
    Sign(&'static str),
    Word(&'a str),
    End,
}

impl<'a> Token<'a> {
    /// As it stands in the text.
    fn text(self) -> &'a str {
        match self {
            Self::Sign(sign) => sign,
            Self::Word(word) => word,
            Self::End => "",
        }
    }
}

/// Longer ones first.
const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

/// Recursive descent over the text form, step by step that of apimachinery's
/// `labels.Parse`, whose errors name the token they stumbled over.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        Self { rest: self.rest }.take()
    }

    fn take(&mut self) -> Token<'a> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if self.rest.is_empty() {
            return Token::End;
        }
        if let Some(sign) = SIGNS.into_iter().find(|sign| self.rest.starts_with(sign)) {
            self.rest = &self.rest[sign.len()..];
            return Token::Sign(sign);
        }
        let end = self.rest.find([' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '>', '<']);
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        Token::Word(word)
    }

    fn selector(mut self) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => break,
                Token::Word(_) | Token::Sign("!") => {
                    let requirement = self.requirement();
                    requirements
                        .push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
                }
                other @ Token::Sign(_) => return Err(found(other, "!, identifier, or 'end of string'")),
            }
            match (self.take(), self.peek()) {
                (Token::End, _) => break,
                (Token::Sign(","), Token::Word(_) | Token::Sign("!")) => {}
                (Token::Sign(","), next) => return Err(found(next, "identifier after ','")),
                (other, _) => return Err(found(other, "',' or 'end of string'")),
            }
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector { requirements, nothing: false })
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Token::Sign("!");
        if absent {
            self.take();
        }
        let key = match self.take() {
            Token::Word(key) => key,
            other => return Err(found(other, "identifier")),
        };
        check_key(key)?;
        let requirement = |test| Ok(Requirement { key: key.to_owned(), test });
        if absent {
            return requirement(Test::DoesNotExist);
        }
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return requirement(Test::Exists);
        }
        let operator = self.take();
        match operator {
            Token::Word("in") => requirement(Test::In(self.list(key)?)),
            Token::Word("notin") => requirement(Test::NotIn(self.list(key)?)),
            Token::Sign("=" | "==") => requirement(Test::In(self.one(key)?)),
            Token::Sign("!=") => requirement(Test::NotIn(self.one(key)?)),
            Token::Sign(">") => requirement(Test::GreaterThan(self.number()?)),
            Token::Sign("<") => requirement(Test::LessThan(self.number()?)),
            other => Err(found(other, "in, notin, =, ==, !=, gt, lt")),
        }
    }

    /// One value; none at all is the empty one.
    fn value(&mut self) -> Result<&'a str, String> {
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return Ok("");
        }
        match self.take() {
            Token::Word(value) => Ok(value),
            other => Err(found(other, "identifier")),
        }
    }

    fn one(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        checked(key, BTreeSet::from([self.value()?.to_owned()]))
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        value.parse().map_err(|_| {
            let why = "for 'Gt', 'Lt' operators, the value must be an integer";
            FieldError::invalid("values[0]", value, why).to_string()
        })
    }

    fn list(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        match self.take() {
            Token::Sign("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let values = match self.peek() {
            Token::Word(_) | Token::Sign(",") => self.values()?,
            Token::Sign(")") => BTreeSet::new(),
            other => return Err(found(other, "',', ')' or identifier")),
        };
        match self.take() {
            Token::Sign(")") if values.is_empty() => {
                let why = "for 'in', 'notin' operators, values set can't be empty";
                Err(FieldError::invalid("values", serde_json::json!([]), why).to_string())
            }
            Token::Sign(")") => checked(key, values),
            other => Err(found(other, "')'")),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let mut values = BTreeSet::new();
        loop {
            match self.take() {
                Token::Word(value) => {
                    values.insert(value.to_owned());
                    match self.peek() {
                        Token::Sign(",") => {}
                        Token::Sign(")") => return Ok(values),
                        other => return Err(found(other, "',' or ')'")),
                    }
                }
                Token::Sign(",") => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek() {
                        Token::Sign(")") => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Sign(",") => {
                            self.take();
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                other => return Err(found(other, "',', or identifier")),
            }
        }
    }
}

fn found(token: Token<'_>, expected: &str) -> String {
    format!("found '{}', expected: {expected}", token.text())
}

fn check_key(key: &str) -> Result<(), String> {
    let mut errors = Vec::new();
    crate::meta::qualified_name(key, "<nil>", &mut errors);
    joined("<nil>", key, &errors).map_or(Ok(()), Err)
}

fn checked(key: &str, values: BTreeSet<String>) -> Result<BTreeSet<String>, String> {
    let mut wrong = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let (field, mut errors) = (format!("values[{index}][{key}]"), Vec::new());
        crate::meta::label_value(value, &field, &mut errors);
        wrong.extend(joined(&field, value, &errors));
    }
    match wrong.as_slice() {
        [] => Ok(values),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// Several findings about one text are one error.
fn joined(field: &str, text: &str, errors: &[FieldError]) -> Option<String> {
    let details: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
    (!errors.is_empty()).then(|| FieldError::invalid(field, text, details.join("; ")).to_string())
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
        let mut parts = split_escaped(text);
        // Errors name the first of the terms in order.
        parts.sort_unstable();
        for term in parts {
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
            let value = unescape(&term[at + operator.len()..])?;
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

fn unescape(text: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(escaped @ ('\\' | ',' | '='))) => {
                chars.next();
                out.push(escaped);
            }
            ('\\', other) => {
                let sequence: String = ['\\'].into_iter().chain(other).collect();
                let why = format!("invalid field selector: invalid escape sequence: {sequence}");
                return Err(SelectorError::Syntax(why));
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}
