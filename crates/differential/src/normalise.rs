//! Makes equal what differs from run to run: `tests/differential/normalisations.toml` says what.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The committed list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    headers: Vec<Header>,
    rules: Vec<Row>,
}

/// A header that is recorded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Whether only its presence matters.
    #[serde(default)]
    pub presence: bool,
    /// Values that contain this are ours alone and left out.
    #[serde(default)]
    pub without: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// What it is called.
    name: String,
    /// Why answers differ in it.
    why: String,
    how: How,
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    with: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    /// Texts that the harness knows: addresses, certificates.
    Known,
    /// Numbered by first appearance.
    Number,
    /// Replaced.
    Replace,
    /// A whole field, by its name, replaced.
    Field,
    /// Times near the run's.
    Times,
    /// `resourceVersion`: numbered; of lists, only whether it is the latest.
    Revisions,
    /// Resource versions inside messages: the pattern's group; numbered if it is that of an object.
    RevisionsInText,
    /// What the server appended to a `generateName`.
    GeneratedNames,
    /// JSON web tokens: what they say.
    Tokens,
    /// Ages in the cells of tables.
    Ages,
    /// Descriptions of columns and of schemas: only whether there is one, unless the pattern matches.
    Documentation,
    /// The order of the entries of `managedFields`.
    Owners,
    /// Bookmarks that a clock sends are left out.
    Bookmarks,
}

/// The rules, read.
#[derive(Debug)]
pub struct Rules {
    /// The headers that are recorded, in this order.
    pub headers: Vec<Header>,
    list: Vec<Rule>,
    time: Regex,
    token: Regex,
    age: Regex,
}

#[derive(Debug)]
struct Rule {
    how: How,
    pattern: Option<Regex>,
    with: String,
}

impl Rules {
    /// Reads the list.
    ///
    /// # Errors
    /// When it is not TOML of the expected form, or a pattern is none.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).context("cannot read the normalisations")?;
        let mut rules = Vec::new();
        for row in file.rules {
            anyhow::ensure!(!row.why.is_empty(), "the normalisation {} has no reason", row.name);
            let pattern = if row.pattern.is_empty() {
                None
            } else {
                Some(Regex::new(&row.pattern).with_context(|| format!("the pattern of {}", row.name))?)
            };
            rules.push(Rule { how: row.how, pattern, with: row.with });
        }
        Ok(Self {
            headers: file.headers,
            list: rules,
            time: Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")?,
            token: Regex::new(r"eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")?,
            age: Regex::new(r"^(\d+[smhdy])+$")?,
        })
    }

    /// Whether bookmarks that a clock sends are left out.
    pub fn skip_bookmarks(&self) -> bool {
        self.has(How::Bookmarks)
    }

    fn has(&self, how: How) -> bool {
        self.list.iter().any(|rule| rule.how == how)
    }
}

/// What one play of a script has seen.
#[derive(Debug)]
pub struct Normaliser<'a> {
    rules: &'a Rules,
    start: Timestamp,
    known: Vec<(String, String)>,
    numbers: BTreeMap<String, BTreeMap<String, usize>>,
    revisions: BTreeMap<u64, usize>,
    generated: Vec<(String, String)>,
    times: Option<Vec<String>>,
    /// Whether this is a place where descriptions are documentation.
    documentation: bool,
    /// Whether this is part of an OpenAPI document.
    openapi: bool,
    /// Whether this is a bookmark: its revision is that of a collection.
    bookmark: bool,
}

impl<'a> Normaliser<'a> {
    /// Nothing seen yet; the run began at `start`.
    pub fn new(rules: &'a Rules, start: Timestamp) -> Self {
        Self {
            rules,
            start,
            known: Vec::new(),
            numbers: BTreeMap::new(),
            revisions: BTreeMap::new(),
            generated: Vec::new(),
            times: None,
            documentation: false,
            openapi: false,
            bookmark: false,
        }
    }

    /// A text that the harness knows, and what is written for it.
    pub fn know(&mut self, text: &str, with: &str) {
        self.known.push((text.to_owned(), with.to_owned()));
    }

    /// Numbers the times of the next document by their order, instead of hiding them.
    pub fn keep_order_of_times(&mut self, document: &Value) {
        let mut times = Vec::new();
        collect_times(&self.rules.time, document, &mut times);
        times.retain(|time| self.is_near(time));
        times.sort_by_key(|time| time.parse::<Timestamp>().ok());
        times.dedup_by_key(|time| time.parse::<Timestamp>().ok());
        self.times = Some(times);
    }

    /// Times are hidden again.
    pub fn hide_times(&mut self) {
        self.times = None;
    }

    /// A document.
    pub fn value(&mut self, value: &Value) -> Value {
        self.remember_names(value);
        self.walk("", value, false)
    }

    fn remember_names(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.remember_names(item)),
            Value::Object(map) => {
                if let (Some(base), Some(name)) = (text(map, "generateName"), text(map, "name"))
                    && self.rules.has(How::GeneratedNames)
                    && name.len() > 5
                    && !base.is_empty()
                    && name.starts_with(&base[..base.len().min(name.len() - 5)])
                    && !self.generated.iter().any(|(known, _)| known == name)
                {
                    let with = format!("{}<suffix:{}>", &name[..name.len() - 5], self.generated.len() + 1);
                    self.generated.push((name.to_owned(), with));
                }
                map.values().for_each(|inner| self.remember_names(inner));
            }
            _ => {}
        }
    }

    /// `list`: whether this is the metadata of a list.
    fn walk(&mut self, key: &str, value: &Value, list: bool) -> Value {
        match value {
            Value::Object(map) => self.object(map, list),
            Value::Array(items) if key == "managedFields" && self.rules.has(How::Owners) => {
                let mut items: Vec<&Value> = items.iter().collect();
                items.sort_by_key(|entry| {
                    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
                    let who = (text("manager"), text("apiVersion"), text("subresource"));
                    (text("operation"), entry["time"].is_string(), who)
                });
                items.into_iter().map(|item| self.walk(key, item, false)).collect()
            }
            Value::Array(items) => items.iter().map(|item| self.walk(key, item, false)).collect(),
            Value::String(text) => {
                if key == "description" && self.documentation && !text.is_empty() && self.is_prose(text) {
                    return json!("<documentation>");
                }
                let field = |rule: &&Rule| {
                    rule.how == How::Field
                        && rule.pattern.as_ref().is_some_and(|pattern| pattern.is_match(key))
                };
                if let Some(rule) = self.rules.list.iter().find(field)
                    && !text.is_empty()
                {
                    return Value::String(rule.with.clone());
                }
                if key == "resourceVersion" && self.rules.has(How::Revisions) {
                    return Value::String(self.revision(text, list));
                }
                Value::String(self.text(text))
            }
            other => other.clone(),
        }
    }

    /// Whether a description is the server's own text, not one of a script.
    fn is_prose(&self, text: &str) -> bool {
        let rule = self.rules.list.iter().find(|rule| rule.how == How::Documentation);
        rule.is_some_and(|rule| !rule.pattern.as_ref().is_some_and(|pattern| pattern.is_match(text)))
    }

    fn object(&mut self, map: &Map<String, Value>, list: bool) -> Value {
        let kind = text(map, "kind").unwrap_or_default();
        let bookmark = text(map, "type") == Some("BOOKMARK");
        let is_list = kind.ends_with("List") || kind == "Table";
        let mut found = Map::new();
        let outside = (self.documentation, self.openapi);
        self.openapi |= map.contains_key("openapi") || map.contains_key("swagger");
        self.documentation |= self.openapi;
        for (key, inner) in map {
            // Documents may be explained more or less: that is not compared at all.
            if self.openapi && key == "description" && inner.as_str().is_some_and(|text| self.is_prose(text))
            {
                continue;
            }
            let inner = match (key.as_str(), inner) {
                ("metadata", Value::Object(metadata)) => self.object(metadata, list || is_list),
                ("object", Value::Object(object)) if bookmark => {
                    self.bookmark = true;
                    let object = self.object(object, true);
                    self.bookmark = false;
                    object
                }
                ("rows", Value::Array(rows)) if kind == "Table" => self.rows(rows),
                ("columnDefinitions", columns) if kind == "Table" => {
                    self.documentation = true;
                    let columns = self.walk(key, columns, false);
                    self.documentation = outside.0;
                    columns
                }
                _ => self.walk(key, inner, list && key == "resourceVersion"),
            };
            found.insert(self.text(key), inner);
        }
        (self.documentation, self.openapi) = outside;
        Value::Object(found)
    }

    fn rows(&mut self, rows: &[Value]) -> Value {
        let mut found = Vec::new();
        for row in rows {
            let mut row = row.clone();
            if let Some(cells) = row.get_mut("cells").and_then(Value::as_array_mut)
                && self.rules.has(How::Ages)
            {
                for cell in cells {
                    if cell.as_str().is_some_and(|cell| self.rules.age.is_match(cell)) {
                        *cell = json!("<age>");
                    }
                }
            }
            found.push(self.walk("", &row, false));
        }
        Value::Array(found)
    }

    /// Revisions of objects are numbered as they appear. Those of lists depend on what others wrote meanwhile:
    /// of them, only whether they are at least as new as everything seen.
    fn revision(&mut self, text: &str, list: bool) -> String {
        let Ok(revision) = text.parse::<u64>() else { return text.to_owned() };
        if revision == 0 {
            return text.to_owned();
        }
        if list || self.bookmark {
            let latest = self.revisions.keys().next_back().is_none_or(|last| revision >= *last);
            return if latest { "<rv:latest>" } else { "<rv:older>" }.to_owned();
        }
        let next = self.revisions.len() + 1;
        format!("<rv:{}>", self.revisions.entry(revision).or_insert(next))
    }

    /// A text outside of documents, or a string of one.
    pub fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (known, with) in &self.known {
            text = text.replace(known, with);
        }
        for (name, with) in &self.generated {
            text = text.replace(name, with);
        }
        let rules = self.rules;
        for rule in &rules.list {
            text = match (rule.how, &rule.pattern) {
                (How::Number, Some(pattern)) => self.number(pattern, &rule.with, &text),
                (How::Replace, Some(pattern)) => pattern.replace_all(&text, rule.with.as_str()).into_owned(),
                (How::RevisionsInText, Some(pattern)) => self.revisions_in(pattern, &text),
                (How::Times, _) => self.hidden_times(&text),
                (How::Tokens, _) => self.tokens(&text),
                _ => text,
            };
        }
        text
    }

    fn number(&mut self, pattern: &Regex, name: &str, text: &str) -> String {
        let seen = self.numbers.entry(name.to_owned()).or_default();
        let numbered = |found: &Captures<'_>| {
            let next = seen.len() + 1;
            format!("<{name}:{}>", seen.entry(found[0].to_owned()).or_insert(next))
        };
        pattern.replace_all(text, numbered).into_owned()
    }

    fn revisions_in(&self, pattern: &Regex, text: &str) -> String {
        let mut found = String::new();
        let mut rest = 0;
        for captures in pattern.captures_iter(text) {
            let Some(digits) = captures.get(1) else { continue };
            found.push_str(&text[rest..digits.start()]);
            match digits.as_str().parse().ok().and_then(|revision: u64| self.revisions.get(&revision)) {
                Some(number) => {
                    let _ = write!(found, "<rv:{number}>");
                }
                None => found.push_str("<rv>"),
            }
            rest = digits.end();
        }
        found.push_str(&text[rest..]);
        found
    }

    fn is_near(&self, time: &str) -> bool {
        let Ok(time) = time.parse::<Timestamp>() else { return false };
        let away = time.duration_since(self.start);
        away > SignedDuration::from_hours(-24) && away < SignedDuration::from_hours(48)
    }

    /// Times near the run's are `<time>`; with a fraction, it shows how many digits that has.
    fn hidden_times(&self, text: &str) -> String {
        let hide = |found: &Captures<'_>| {
            if !self.is_near(&found[0]) {
                return found[0].to_owned();
            }
            if let Some(times) = &self.times {
                let parsed = found[0].parse::<Timestamp>().ok();
                let order = times.iter().position(|time| time.parse::<Timestamp>().ok() == parsed);
                return format!("<time:{}>", order.map_or(0, |order| order + 1));
            }
            match found.get(1) {
                Some(fraction) => format!("<time.{}>", fraction.len() - 1),
                None => "<time>".to_owned(),
            }
        };
        self.rules.time.replace_all(text, hide).into_owned()
    }

    fn tokens(&mut self, text: &str) -> String {
        let rules = self.rules;
        let mut found = text.to_owned();
        for token in rules.token.find_iter(text) {
            if let Some(said) = self.token(token.as_str()) {
                found = found.replace(token.as_str(), &format!("<token {said}>"));
            }
        }
        found
    }

    /// Header and claims of a token; times of it as seconds since it was issued.
    fn token(&mut self, token: &str) -> Option<String> {
        let mut parts = token.split('.').map(|part| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice::<Value>(&bytes).ok()
        });
        let (mut header, mut claims) = (parts.next()??, parts.next()??);
        if let Some(id) = header.get_mut("kid") {
            *id = json!("<kid>");
        }
        let issued = claims.get("iat").and_then(Value::as_i64);
        since(&mut claims, issued);
        Some(format!("{} {}", self.walk("", &header, false), self.walk("", &claims, false)))
    }
}

/// Replaces numbers that are times near `issued`.
fn since(value: &mut Value, issued: Option<i64>) {
    match value {
        Value::Object(map) => map.values_mut().for_each(|inner| since(inner, issued)),
        Value::Number(number) => {
            if let (Some(number), Some(issued)) = (number.as_i64(), issued)
                && (issued - 1_000_000..issued + 100_000_000).contains(&number)
            {
                *value = json!(format!("<issued+{}>", number - issued));
            }
        }
        _ => {}
    }
}

fn text<'v>(map: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
    map.get(key).and_then(Value::as_str)
}

fn collect_times(pattern: &Regex, value: &Value, times: &mut Vec<String>) {
    match value {
        Value::String(text) => times.extend(pattern.find_iter(text).map(|found| found.as_str().to_owned())),
        Value::Array(items) => items.iter().for_each(|item| collect_times(pattern, item, times)),
        Value::Object(map) => map.values().for_each(|item| collect_times(pattern, item, times)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite;

    fn normalised(documents: &[Value]) -> Vec<Value> {
        let rules = suite::rules().unwrap();
        let mut normaliser = Normaliser::new(&rules, "2026-01-02T00:00:00Z".parse().unwrap());
        documents.iter().map(|document| normaliser.value(document)).collect()
    }

    #[test]
    fn equal_uids_and_revisions_stay_equal() {
        let (a, b) = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222");
        let object =
            |uid: &str, revision: &str| json!({"metadata": {"uid": uid, "resourceVersion": revision}});
        assert_eq!(
            normalised(&[object(b, "7"), object(a, "9"), object(b, "9"), json!(format!("uid {a}."))]),
            [
                object("<uid:1>", "<rv:1>"),
                object("<uid:2>", "<rv:2>"),
                object("<uid:1>", "<rv:2>"),
                json!("uid <uid:2>."),
            ]
        );
    }

    #[test]
    fn revisions_of_lists_say_only_whether_they_are_the_latest() {
        let list = |revision: &str| json!({"kind": "XList", "metadata": {"resourceVersion": revision}});
        let object = json!({"metadata": {"resourceVersion": "7"}});
        let said: Vec<Value> = normalised(&[object, list("9"), list("7"), list("6")])[1..]
            .iter()
            .map(|list| list["metadata"]["resourceVersion"].clone())
            .collect();
        assert_eq!(said, ["<rv:latest>", "<rv:latest>", "<rv:older>"]);
    }

    #[test]
    fn only_times_of_the_run_are_hidden() {
        for (time, shown) in [
            ("2026-01-02T03:04:05Z", "<time>"),
            ("2026-01-02T03:04:05.123456Z", "<time.6>"),
            ("2020-01-02T03:04:05Z", "2020-01-02T03:04:05Z"),
        ] {
            assert_eq!(normalised(&[json!({"t": time})]), [json!({"t": shown})]);
        }
    }

    #[test]
    fn generated_names_keep_their_base() {
        let object = json!({"metadata": {"generateName": "job-", "name": "job-x7k2p"}});
        assert_eq!(
            normalised(&[object, json!("configmaps \"job-x7k2p\" not found")])[1],
            json!("configmaps \"job-<suffix:1>\" not found")
        );
    }

    #[test]
    fn tokens_say_what_they_say() {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "ES256", "kid": "abc"});
        let claims = json!({"iat": 1_700_000_000, "exp": 1_700_003_600, "sub": "x"});
        let token = format!("{}.{}.c2ln", part(&header), part(&claims));
        assert_eq!(
            normalised(&[json!(token)]),
            [json!(
                "<token {\"alg\":\"ES256\",\"kid\":\"<kid>\"} {\"exp\":\"<issued+3600>\",\"iat\":\"<issued+0>\",\"sub\":\"x\"}>"
            )]
        );
    }
}
