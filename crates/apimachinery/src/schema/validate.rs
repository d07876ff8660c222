//! Checking values; texts are those of kube-openapi's validator.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::format::Format;
use super::node::{Additional, Bound, Checks, Kind, ListType, Node};
use super::{cel, push_index, push_name};
use crate::value::equal;
use crate::{FieldError, FieldErrorKind};

/// Said instead of running CEL rules on an object whose shape is wrong.
const RULES_SKIPPED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

pub(super) fn validate(root: &Node, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut pass = Pass { path: String::new(), errors: Vec::new() };
    pass.value(root, object, old);
    if root.below.rules {
        use FieldErrorKind::{Required, TooLong, TooMany, TypeInvalid};
        if pass.errors.iter().any(|error| matches!(error.kind, Required | TooLong | TooMany | TypeInvalid)) {
            pass.errors.push(FieldError {
                field: "<nil>".to_owned(),
                kind: FieldErrorKind::Invalid,
                bad_value: None,
                detail: RULES_SKIPPED.to_owned(),
            });
        } else {
            pass.rules(root, object, old, false);
        }
    }
    pass.errors
}

struct Pass {
    path: String,
    errors: Vec<FieldError>,
}

impl Pass {
    fn value(&mut self, node: &Node, value: &Value, old: Option<&Value>) {
        if old == Some(value) {
            return;
        }
        if value.is_null() && (node.nullable || matches!(node.kind, Kind::Any)) {
            return;
        }
        if !self.has_type(node, value) {
            return;
        }
        if let Some(checks) = &node.checks {
            self.checks(checks, value, old);
        }
        match value {
            Value::Object(map) => self.members(node, map, old),
            Value::Array(list) => self.items(node, list, old),
            _ => {}
        }
    }

    fn fail(&mut self, kind: FieldErrorKind, value: impl Into<Value>, detail: String) {
        self.errors.push(FieldError::new(kind, self.path.clone(), value, detail));
    }

    /// `<path> in body <rule>`, an `Invalid` error.
    fn broken(&mut self, value: &Value, rule: &str) {
        let detail = format!("{} in body {rule}", self.path);
        self.fail(FieldErrorKind::Invalid, value.clone(), detail);
    }

    fn has_type(&mut self, node: &Node, value: &Value) -> bool {
        let (wanted, ok) = match node.kind {
            Kind::Any => return true,
            Kind::IntOrString => ("integer,string", value.is_string() || is_integer(value)),
            Kind::Object => ("object", value.is_object()),
            Kind::Array => ("array", value.is_array()),
            Kind::String => ("string", value.is_string()),
            Kind::Integer => ("integer", is_integer(value)),
            Kind::Number => ("number", value.is_number()),
            Kind::Boolean => ("boolean", value.is_boolean()),
        };
        if !ok {
            let found = type_of(value);
            let detail = format!("{} in body must be of type {wanted}: \"{found}\"", self.path);
            self.fail(FieldErrorKind::TypeInvalid, found, detail);
        }
        ok
    }

    fn checks(&mut self, checks: &Checks, value: &Value, old: Option<&Value>) {
        self.junctions(checks, value, old);
        match value {
            Value::String(text) => self.text(checks, text, value),
            Value::Number(number) => self.number(checks, number, value),
            Value::Array(list) => self.count_items(checks, list.len(), value),
            Value::Object(map) => self.object(checks, map, value),
            Value::Null | Value::Bool(_) => {}
        }
        if let Some(values) = &checks.values
            && !values.iter().any(|allowed| equal(allowed, value))
        {
            let supported: Vec<String> = values
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect();
            self.errors.push(FieldError::not_supported(self.path.clone(), value.clone(), &supported));
        }
    }

    fn text(&mut self, checks: &Checks, text: &str, value: &Value) {
        if let Some(format) = checks.format
            && !format.accepts(text)
        {
            // Bytes may be secret: the error says only what they are.
            let shown = if format == Format::Byte { "string" } else { text };
            let quoted = crate::quote(shown);
            let detail = format!("{} in body must be of type {}: {quoted}", self.path, format.name());
            self.fail(FieldErrorKind::TypeInvalid, shown, detail);
        }
        if checks.max_length.is_some() || checks.min_length.is_some() {
            let length = text.chars().count() as u64;
            if let Some(max) = checks.max_length.filter(|max| length > *max) {
                self.errors.push(FieldError::too_long(self.path.clone(), value.clone(), max));
            }
            if let Some(min) = checks.min_length.filter(|min| length < *min) {
                self.broken(value, &format!("should be at least {min} chars long"));
            }
        }
        if let Some((source, pattern)) = &checks.pattern
            && !pattern.is_match(text)
        {
            self.broken(value, &format!("should match '{source}'"));
        }
    }

    fn number(&mut self, checks: &Checks, number: &Number, value: &Value) {
        if checks.format == Some(Format::Int32)
            && number.as_i64().is_none_or(|number| i32::try_from(number).is_err())
        {
            self.fail(
                FieldErrorKind::Invalid,
                value.clone(),
                "Checked value must be of type integer with format int32".to_owned(),
            );
        }
        if let Some(Bound { limit, exclusive }) = &checks.minimum {
            let order = compare(number, limit);
            if order.is_lt() || (*exclusive && order.is_eq()) {
                self.broken(
                    value,
                    &format!(
                        "should be greater than {}{limit}",
                        if *exclusive { "" } else { "or equal to " }
                    ),
                );
            }
        }
        if let Some(Bound { limit, exclusive }) = &checks.maximum {
            let order = compare(number, limit);
            if order.is_gt() || (*exclusive && order.is_eq()) {
                self.broken(
                    value,
                    &format!("should be less than {}{limit}", if *exclusive { "" } else { "or equal to " }),
                );
            }
        }
        if let (Some(factor), Some(number)) = (checks.multiple_of, number.as_f64())
            && (number / factor).fract() != 0.0
        {
            self.broken(value, &format!("should be a multiple of {factor}"));
        }
    }

    fn count_items(&mut self, checks: &Checks, count: usize, value: &Value) {
        if let Some(min) = checks.min_items.filter(|min| (count as u64) < *min) {
            self.broken(value, &format!("should have at least {min} items"));
        }
        if let Some(max) = checks.max_items.filter(|max| count as u64 > *max) {
            self.errors.push(FieldError::too_many(self.path.clone(), count, max));
        }
    }

    fn object(&mut self, checks: &Checks, map: &Map<String, Value>, value: &Value) {
        let count = map.len() as u64;
        if let Some(min) = checks.min_properties.filter(|min| count < *min) {
            self.broken(value, &format!("should have at least {min} properties"));
        }
        if let Some(max) = checks.max_properties.filter(|max| count > *max) {
            self.errors.push(FieldError::too_many(self.path.clone(), map.len(), max));
        }
        for name in checks.required.iter().filter(|name| !map.contains_key(&***name)) {
            let len = self.path.len();
            push_name(&mut self.path, name);
            self.errors.push(FieldError::required(self.path.clone(), ""));
            self.path.truncate(len);
        }
    }

    /// `allOf`, `anyOf`, `oneOf`, `not`.
    fn junctions(&mut self, checks: &Checks, value: &Value, old: Option<&Value>) {
        let path = &self.path;
        let failures = |node: &Node| {
            let mut inner = Pass { path: path.clone(), errors: Vec::new() };
            inner.value(node, value, old);
            inner.errors
        };
        let name = crate::quote(path);
        let mut found = Vec::new();
        let mut say = |detail: String| found.push(FieldError::invalid(path.clone(), value.clone(), detail));
        if !checks.any_of.is_empty() && checks.any_of.iter().all(|node| !failures(node).is_empty()) {
            say(format!("{name} must validate at least one schema (anyOf)"));
        }
        if !checks.one_of.is_empty() {
            match checks.one_of.iter().filter(|node| failures(node).is_empty()).count() {
                1 => {}
                0 => say(format!("{name} must validate one and only one schema (oneOf). Found none valid")),
                count => say(format!(
                    "{name} must validate one and only one schema (oneOf). Found {count} valid alternatives"
                )),
            }
        }
        let broken: Vec<FieldError> = checks.all_of.iter().flat_map(failures).collect();
        if !broken.is_empty() {
            say(format!("{name} must validate all the schemas (allOf)"));
        }
        if checks.not.as_deref().is_some_and(|node| failures(node).is_empty()) {
            say(format!("{name} must not validate the schema (not)"));
        }
        found.extend(broken);
        self.errors.append(&mut found);
    }

    fn members(&mut self, node: &Node, map: &Map<String, Value>, old: Option<&Value>) {
        for (name, value) in map {
            let child = match (node.property(name), &node.additional) {
                (Some(child), _) => child,
                (None, Additional::Schema(child)) => child,
                (None, _) => continue,
            };
            let len = self.path.len();
            push_name(&mut self.path, name);
            self.value(child, value, old.and_then(|old| old.get(name)));
            self.path.truncate(len);
        }
    }

    fn items(&mut self, node: &Node, list: &[Value], old: Option<&Value>) {
        self.unique(node, list);
        let Some(items) = &node.items else { return };
        for (index, value) in list.iter().enumerate() {
            let len = self.path.len();
            push_index(&mut self.path, index);
            self.value(items, value, old_item(node, value, old));
            self.path.truncate(len);
        }
    }

    fn unique(&mut self, node: &Node, list: &[Value]) {
        let mut seen = BTreeSet::new();
        for (index, item) in list.iter().enumerate() {
            let key = match &node.list {
                ListType::Atomic => return,
                ListType::Set => item.clone(),
                ListType::Map(keys) => {
                    let key = |key: &str| Some((key.to_owned(), item.get(key)?.clone()));
                    Value::Object(keys.iter().filter_map(|name| key(name)).collect())
                }
            };
            if !seen.insert(key.to_string()) {
                let mut field = self.path.clone();
                push_index(&mut field, index);
                self.errors.push(FieldError::duplicate(field, key));
            }
        }
    }

    /// CEL rules, top down. `unchanged` is whether an enclosing value equals its old one.
    fn rules(&mut self, node: &Node, value: &Value, old: Option<&Value>, unchanged: bool) {
        let unchanged = unchanged || old == Some(value);
        if !node.below.rules || value.is_null() || (unchanged && !node.below.transitions) {
            return;
        }
        cel::run(node, value, old, &self.path, unchanged, &mut self.errors);
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    let (child, entry) = match (node.property(name), &node.additional) {
                        (Some(child), _) => (child, false),
                        (None, Additional::Schema(child)) => (&**child, true),
                        (None, _) => continue,
                    };
                    let len = self.path.len();
                    if entry {
                        self.path.extend(["[", name, "]"]);
                    } else {
                        push_name(&mut self.path, name);
                    }
                    self.rules(child, value, old.and_then(|old| old.get(name)), unchanged);
                    self.path.truncate(len);
                }
            }
            Value::Array(list) => {
                let Some(items) = &node.items else { return };
                for (index, value) in list.iter().enumerate() {
                    let len = self.path.len();
                    push_index(&mut self.path, index);
                    self.rules(items, value, old_item(node, value, old), unchanged);
                    self.path.truncate(len);
                }
            }
            _ => {}
        }
    }
}

/// The old item that a list item continues: only list maps say.
fn old_item<'a>(node: &Node, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    let ListType::Map(keys) = &node.list else { return None };
    let same = |old: &&Value| keys.iter().all(|key| old.get(&**key) == item.get(&**key));
    old?.as_array()?.iter().find(same)
}

fn is_integer(value: &Value) -> bool {
    value
        .as_number()
        .is_some_and(|number| !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn compare(a: &Number, b: &Number) -> std::cmp::Ordering {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
    }
}
