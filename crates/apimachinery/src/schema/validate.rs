//! Checking values; order and texts are those of kube-openapi's validator,
//! which kube-apiserver runs on custom resources.

use serde_json::{Map, Number, Value};

use super::node::{Additional, Bound, Checks, Kind, ListType, Node};
use super::{push_index, push_name, rules, unique};
use crate::value::equal;
use crate::{FieldError, FieldErrorKind};

/// Said instead of running CEL rules on an object whose shape is wrong.
const RULES_SKIPPED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// What the checks of an object find.
#[derive(Debug, Default)]
pub struct Findings {
    /// Why the object is refused.
    pub errors: Vec<FieldError>,
    /// Rules that are broken where nothing changed: clients are warned.
    pub tolerated: Vec<FieldError>,
}

/// Checks a whole object.
pub(super) fn object(root: &Node, object: &Value, old: Option<&Value>) -> Findings {
    let mut found = Findings { errors: plain(root, object, old, ""), tolerated: Vec::new() };
    super::embedded::check(root, object, &mut found.errors);
    unique::check(root, object, old, &mut found.errors);
    with_rules(root, object, old, &mut found);
    found
}

/// Checks an object of which only the status was written: of the schema only
/// that of the status counts, and messages name fields from there.
pub(super) fn status(root: &Node, object: &Value, old: &Value) -> Findings {
    let mut found = Findings::default();
    if let (Some(node), Some(status)) = (root.property("status"), object.get("status")) {
        let errors = plain(node, status, old.get("status"), "");
        found.errors.extend(errors.into_iter().map(|error| below("status", error)));
    }
    super::embedded::check(root, object, &mut found.errors);
    unique::check(root, object, Some(old), &mut found.errors);
    with_rules(root, object, Some(old), &mut found);
    found
}

fn below(parent: &str, error: FieldError) -> FieldError {
    let field = match error.field.as_str() {
        "" | "<nil>" => parent.to_owned(),
        field if field.starts_with('[') => format!("{parent}{field}"),
        field => format!("{parent}.{field}"),
    };
    FieldError { field, ..error }
}

/// A default against its own schema.
pub(super) fn value(node: &Node, value: &Value) -> Vec<FieldError> {
    let mut found = Findings { errors: plain(node, value, None, ""), tolerated: Vec::new() };
    if node.below.rules && found.errors.is_empty() {
        rules::run(node, value, Some(value), &mut found);
        if found.errors.is_empty() {
            rules::run(node, value, None, &mut found);
        }
    }
    found.errors
}

fn with_rules(root: &Node, object: &Value, old: Option<&Value>, found: &mut Findings) {
    use FieldErrorKind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    if !root.below.rules {
        return;
    }
    let hides = |kind| matches!(kind, NotSupported | Required | TooLong | TooMany | TypeInvalid);
    if found.errors.iter().any(|error| hides(error.kind)) {
        found.errors.push(FieldError::invalid("<nil>", Value::Null, RULES_SKIPPED));
    } else {
        rules::run(root, object, old, found);
    }
}

fn plain(node: &Node, value: &Value, old: Option<&Value>, path: &str) -> Vec<FieldError> {
    let mut pass = Pass { path: path.to_owned(), errors: Vec::new(), matches: 0 };
    pass.value(node, value, old);
    pass.errors
}

struct Pass {
    path: String,
    errors: Vec<FieldError>,
    /// How many checks were made and passed: of several alternatives that
    /// fail, the one with the most is reported.
    matches: usize,
}

impl Pass {
    fn value(&mut self, node: &Node, value: &Value, old: Option<&Value>) {
        if old == Some(value) {
            // What did not change is not held against the object.
            return;
        }
        if value.is_null() && node.go.null {
            return;
        }
        self.has_type(node, value);
        let checks = node.checks.as_deref();
        if !value.is_null() {
            if let Some(checks) = checks {
                self.junctions(checks, value, old);
            }
            self.matches += 1;
            match value {
                Value::String(text) => self.text(checks, text, value),
                Value::Number(number) => self.number(checks, number, value),
                Value::Array(list) => self.items(node, checks, list, old),
                Value::Object(_) | Value::Null | Value::Bool(_) => {}
            }
        }
        if let Some(values) = checks.and_then(|checks| checks.values.as_deref()) {
            self.enumerated(values, value);
        }
        self.matches += 1;
        if let Value::Object(map) = value {
            self.object(node, checks, map, old);
            self.matches += 1;
        }
    }

    fn fail(&mut self, kind: FieldErrorKind, value: impl Into<Value>, detail: String) {
        let field = if self.path.is_empty() { "<nil>".to_owned() } else { self.path.clone() };
        self.errors.push(FieldError::new(kind, field, value, detail));
    }

    /// `<path> in body <rule>`, an `Invalid` error.
    fn broken(&mut self, value: impl Into<Value>, rule: &str) {
        let detail = format!("{} in body {rule}", self.path);
        self.fail(FieldErrorKind::Invalid, value, detail);
    }

    fn has_type(&mut self, node: &Node, value: &Value) {
        let wanted = match node.kind {
            Kind::Any => return,
            _ if value.is_null() && node.nullable => return,
            Kind::IntOrString => "integer,string",
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        };
        let ok = match node.kind {
            Kind::Any => true,
            Kind::IntOrString => value.is_string() || is_integer(value),
            Kind::Object => value.is_object(),
            Kind::Array => value.is_array(),
            Kind::String => value.is_string(),
            Kind::Integer => is_integer(value),
            Kind::Number => value.is_number(),
            Kind::Boolean => value.is_boolean(),
        };
        if ok {
            self.matches += 1;
            return;
        }
        let format = node.checks.as_ref().and_then(|checks| checks.format).filter(|format| format.is_text());
        let (wanted, found) = match (format, value) {
            // With a format only some types are told apart.
            (Some(_), Value::String(_) | Value::Array(_))
                if !matches!(node.kind, Kind::Integer | Kind::Number) =>
            {
                return;
            }
            (Some(format), Value::Bool(_) | Value::Object(_)) => (format.name(), ""),
            (Some(format), Value::Number(number)) => {
                (format.name(), if number.is_f64() { "float64" } else { "int64" })
            }
            (Some(_) | None, _) => (wanted, type_of(value)),
        };
        let detail = format!("{} in body must be of type {wanted}: \"{found}\"", self.path);
        self.fail(FieldErrorKind::TypeInvalid, found, detail);
    }

    fn enumerated(&mut self, values: &[Value], value: &Value) {
        if !value.is_null() && values.iter().any(|allowed| equal(allowed, value)) {
            return;
        }
        let supported: Vec<String> = values
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        self.errors.push(FieldError::not_supported(self.path.clone(), value.clone(), &supported));
    }

    fn text(&mut self, checks: Option<&Checks>, text: &str, value: &Value) {
        self.matches += 1;
        let Some(checks) = checks else { return };
        self.text_size(checks, text, value);
        if let Some(format) = checks.format.filter(|format| format.is_text()) {
            self.matches += 1;
            if !format.accepts(text) {
                let detail = format!(
                    "{} in body must be of type {}: {}",
                    self.path,
                    format.name(),
                    crate::quote(text)
                );
                self.fail(FieldErrorKind::TypeInvalid, text, detail);
            }
        }
    }

    fn text_size(&mut self, checks: &Checks, text: &str, value: &Value) {
        if checks.max_length.is_some() || checks.min_length.is_some() {
            let length = text.chars().count() as u64;
            if let Some(max) = checks.max_length.filter(|max| length > *max) {
                self.errors.push(FieldError::too_long(self.path.clone(), value.clone(), max));
                return;
            }
            if let Some(min) = checks.min_length.filter(|min| length < *min) {
                return self.broken(value.clone(), &format!("should be at least {min} chars long"));
            }
        }
        if let Some((source, pattern)) = &checks.pattern
            && !pattern.is_match(text)
        {
            self.broken(value.clone(), &format!("should match '{source}'"));
        }
    }

    fn number(&mut self, checks: Option<&Checks>, number: &Number, value: &Value) {
        self.matches += 2;
        let Some(checks) = checks else { return };
        if let (Some(factor), Some(number)) = (checks.multiple_of, number.as_f64())
            && (number / factor).fract() != 0.0
        {
            self.broken(value.clone(), &format!("should be a multiple of {factor}"));
        }
        if let Some(Bound { limit, exclusive }) = &checks.minimum {
            let order = compare(number, limit);
            if order.is_lt() || (*exclusive && order.is_eq()) {
                let or_equal = if *exclusive { "" } else { "or equal to " };
                self.broken(value.clone(), &format!("should be greater than {or_equal}{limit}"));
            }
        }
        if let Some(Bound { limit, exclusive }) = &checks.maximum {
            let order = compare(number, limit);
            if order.is_gt() || (*exclusive && order.is_eq()) {
                let or_equal = if *exclusive { "" } else { "or equal to " };
                self.broken(value.clone(), &format!("should be less than {or_equal}{limit}"));
            }
        }
    }

    fn items(&mut self, node: &Node, checks: Option<&Checks>, list: &[Value], old: Option<&Value>) {
        if let Some(items) = &node.items {
            for (index, value) in list.iter().enumerate() {
                let len = self.path.len();
                push_index(&mut self.path, index);
                self.value(items, value, old_item(node, value, old));
                self.path.truncate(len);
            }
        }
        if let Some(checks) = checks {
            if let Some(min) = checks.min_items.filter(|min| (list.len() as u64) < *min) {
                self.broken(list.len(), &format!("should have at least {min} items"));
            }
            if let Some(max) = checks.max_items.filter(|max| list.len() as u64 > *max) {
                self.errors.push(FieldError::too_many(self.path.clone(), list.len(), max));
            }
        }
        self.matches += 2;
    }

    fn object(
        &mut self,
        node: &Node,
        checks: Option<&Checks>,
        map: &Map<String, Value>,
        old: Option<&Value>,
    ) {
        if let Some(checks) = checks {
            let count = map.len() as u64;
            if let Some(min) = checks.min_properties.filter(|min| count < *min) {
                self.broken(map.len(), &format!("should have at least {min} properties"));
            }
            if let Some(max) = checks.max_properties.filter(|max| count > *max) {
                self.errors.push(FieldError::too_many(self.path.clone(), map.len(), max));
            }
        }
        for (name, value) in map {
            let child = match (node.property(name), &node.additional) {
                (Some(child), _) => child,
                (None, Additional::Schema(child)) => child,
                (None, Additional::None | Additional::Any) => continue,
            };
            let len = self.path.len();
            push_name(&mut self.path, name);
            self.value(child, value, old.and_then(|old| old.get(name)));
            self.path.truncate(len);
        }
        for name in checks.into_iter().flat_map(|checks| &checks.required) {
            if !map.contains_key(&**name) {
                let len = self.path.len();
                push_name(&mut self.path, name);
                self.errors.push(FieldError::required(self.path.clone(), ""));
                self.path.truncate(len);
            }
        }
    }

    /// `anyOf`, `oneOf`, `allOf`, `not`. Their own errors name no field.
    fn junctions(&mut self, checks: &Checks, value: &Value, old: Option<&Value>) {
        if checks.any_of.is_empty()
            && checks.one_of.is_empty()
            && checks.all_of.is_empty()
            && checks.not.is_none()
        {
            return;
        }
        let path = self.path.clone();
        let attempt = |node: &Node| {
            let mut inner = Pass { path: path.clone(), errors: Vec::new(), matches: 0 };
            inner.value(node, value, old);
            inner
        };
        let name = crate::quote(&path);
        if !checks.any_of.is_empty() {
            let (_, best) = alternatives(&checks.any_of, attempt, true);
            if let Some(best) = best {
                self.nowhere(format!("{name} must validate at least one schema (anyOf)"));
                self.errors.extend(best.errors);
            }
        }
        if !checks.one_of.is_empty() {
            let (valid, best) = alternatives(&checks.one_of, attempt, false);
            if valid != 1 {
                let found = match valid {
                    0 => "Found none valid".to_owned(),
                    count => format!("Found {count} valid alternatives"),
                };
                self.nowhere(format!("{name} must validate one and only one schema (oneOf). {found}"));
                self.errors.extend(best.into_iter().flat_map(|best| best.errors));
            }
        }
        let broken: Vec<Pass> =
            checks.all_of.iter().map(attempt).filter(|pass| !pass.errors.is_empty()).collect();
        if !broken.is_empty() {
            let none = if broken.len() == checks.all_of.len() { ". None validated" } else { "" };
            self.errors.extend(broken.into_iter().flat_map(|pass| pass.errors));
            self.nowhere(format!("{name} must validate all the schemas (allOf){none}"));
        }
        if checks.not.as_deref().is_some_and(|node| attempt(node).errors.is_empty()) {
            self.nowhere(format!("{name} must not validate the schema (not)"));
        }
    }

    fn nowhere(&mut self, detail: String) {
        self.errors.push(FieldError::invalid("<nil>", "", detail));
    }
}

/// How many alternatives are valid and, if none is, the best of the others.
fn alternatives(
    nodes: &[Node],
    attempt: impl Fn(&Node) -> Pass,
    one_is_enough: bool,
) -> (usize, Option<Pass>) {
    let (mut valid, mut best) = (0, None::<Pass>);
    for node in nodes {
        let pass = attempt(node);
        if pass.errors.is_empty() {
            valid += 1;
            best = None;
            if one_is_enough {
                break;
            }
        } else if valid == 0 && best.as_ref().is_none_or(|best| pass.matches > best.matches) {
            best = Some(pass);
        }
    }
    (valid, best)
}

/// The old item that a list item continues: only list maps say.
pub(super) fn old_item<'a>(node: &Node, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
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
        Value::Number(number) if !number.is_f64() => "integer",
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
