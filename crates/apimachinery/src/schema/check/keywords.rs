//! The checks of single keywords, and of the rules beside them.

use serde_json::{Map, Value};

use super::rules::{self, Cost};
use super::{
    CheckOptions, Printed, child, default_of, field_path, flag, has_members, list, members, text, texts,
};
use crate::schema::node::{Additional, Node};
use crate::{FieldError, FieldErrorKind};

type Schema = Map<String, Value>;

/// What the checks of keywords find.
#[derive(Default)]
pub(super) struct Found {
    /// Breaches that have nothing to do with rules.
    pub(super) schema: Vec<FieldError>,
    /// Rules that do not compile or may cost too much.
    pub(super) rules: Vec<FieldError>,
    /// What all rules may cost together.
    pub(super) cost: Cost,
}

/// Where a schema stands in the tree.
#[derive(Clone, Default)]
struct Place<'a> {
    root: bool,
    in_meta: bool,
    /// Why defaults are not allowed here.
    no_defaults: Option<String>,
    /// The highest schema above whose values cannot be told apart over time.
    uncorrelatable: Option<String>,
    /// The compiled form and how often values of it can occur; `None` inside
    /// of junctions and when the structure is broken.
    rules: Option<(&'a Node, Option<u64>)>,
}

pub(super) fn check(schema: &Schema, path: &str, root: Option<&Node>, options: CheckOptions) -> Found {
    let mut pass = Pass { found: Found::default(), options };
    let place = Place { root: true, rules: root.map(|node| (node, Some(1))), ..Place::default() };
    pass.schema(schema, path, &place);
    pass.found
}

struct Pass {
    found: Found,
    options: CheckOptions,
}

impl Pass {
    fn forbidden(&mut self, path: String, detail: impl Into<String>) {
        self.found.schema.push(FieldError::forbidden(path, detail));
    }

    fn required(&mut self, path: String, detail: &str) {
        self.found.schema.push(FieldError::required(path, detail));
    }

    fn invalid(&mut self, path: String, value: impl Into<Value>, detail: &str) {
        self.found.schema.push(FieldError::invalid(path, value, detail));
    }

    fn schema(&mut self, schema: &Schema, path: &str, place: &Place<'_>) {
        let before = self.found.schema.len();
        self.plain(schema, path, place);
        self.children(schema, path, place);
        self.junctions(schema, path, place);
        self.items(schema, path, place);
        self.extensions(schema, path);
        self.map_items(schema, path);
        let entries = list(schema, "x-kubernetes-validations");
        for (index, entry) in entries.iter().enumerate() {
            self.rule_form(schema, entry, &format!("{path}.x-kubernetes-validations[{index}]"));
        }
        // Rules of a schema that is wrong here or below would only be said to
        // be wrong for reasons that go away with it.
        if !entries.is_empty()
            && self.found.schema.len() == before
            && let Some((node, cardinality)) = place.rules
        {
            let at = rules::Place {
                path,
                node,
                cardinality,
                uncorrelatable: place.uncorrelatable.as_deref(),
                known: self.options.known,
            };
            rules::check(entries, &at, &mut self.found.rules, &mut self.found.cost);
        }
    }

    fn plain(&mut self, schema: &Schema, path: &str, place: &Place<'_>) {
        let kind = text(schema, "type");
        let known = ["array", "boolean", "integer", "number", "object", "string"];
        if !kind.is_empty() && !known.contains(&kind) {
            self.found.schema.push(FieldError::not_supported(format!("{path}.type"), kind, &known));
        }
        if let Some(why) = &place.no_defaults
            && default_of(schema).is_some()
        {
            self.forbidden(format!("{path}.default"), format!("must not be set {why}"));
        }
        let set = |key: &str| match key {
            "id" | "$ref" => !text(schema, key).is_empty(),
            "patternProperties" | "definitions" => has_members(schema, key),
            _ => schema.contains_key(key),
        };
        for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
            if set(key) {
                self.forbidden(format!("{path}.{key}"), format!("{key} is not supported"));
            }
        }
        if kind == "null" {
            let detail = "type cannot be set to null, use nullable as an alternative";
            self.forbidden(format!("{path}.type"), detail);
        }
        if schema.get("items").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            self.forbidden(format!("{path}.items"), "items must be a schema object and not an array");
        }
        if place.in_meta && flag(schema, "x-kubernetes-embedded-resource") {
            let detail = "must not be used inside of resource meta";
            self.forbidden(format!("{path}.x-kubernetes-embedded-resource"), detail);
        }
        if flag(schema, "uniqueItems") {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbidden(format!("{path}.uniqueItems"), detail);
        }
    }

    fn children(&mut self, schema: &Schema, path: &str, place: &Place<'_>) {
        if let Some(additional) = schema.get("additionalProperties") {
            if has_members(schema, "properties") && *additional != Value::Bool(true) {
                let detail = "additionalProperties and properties are mutual exclusive";
                self.forbidden(format!("{path}.additionalProperties"), detail);
            }
            if let Some(additional) = additional.as_object() {
                let mut inner = below(place);
                if place.in_meta {
                    inner.no_defaults =
                        Some("inside additionalProperties applying to object metadata".to_owned());
                }
                inner.rules = place.rules.and_then(|(node, count)| match &node.additional {
                    Additional::Schema(child) => Some((&**child, times(count, max(schema, "maxProperties")))),
                    Additional::None | Additional::Any => None,
                });
                self.schema(additional, &format!("{path}.additionalProperties"), &inner);
            }
        }
        for (name, property) in members(schema, "properties") {
            let Some(property) = property.as_object() else { continue };
            let mut inner = below(place);
            let meta = matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
            if meta && (place.root || flag(schema, "x-kubernetes-embedded-resource")) {
                inner.in_meta = true;
                if place.root {
                    inner.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            inner.rules = place.rules.and_then(|(node, count)| Some((child(Some(node), name)?, count)));
            self.schema(property, &format!("{path}.properties[{name}]"), &inner);
        }
    }

    fn junctions(&mut self, schema: &Schema, path: &str, place: &Place<'_>) {
        let mut inner = below(place);
        inner.rules = None;
        if let Some(not) = schema.get("not").and_then(Value::as_object) {
            self.schema(not, &format!("{path}.not"), &inner);
        }
        for key in ["allOf", "oneOf", "anyOf"] {
            for (index, nested) in list(schema, key).iter().enumerate() {
                if let Some(nested) = nested.as_object() {
                    self.schema(nested, &format!("{path}.{key}[{index}]"), &inner);
                }
            }
        }
    }

    fn items(&mut self, schema: &Schema, path: &str, place: &Place<'_>) {
        let Some(items) = schema.get("items").and_then(Value::as_object) else { return };
        let mut inner = below(place);
        if text(schema, "x-kubernetes-list-type") != "map" && inner.uncorrelatable.is_none() {
            inner.uncorrelatable = Some(path.to_owned());
        }
        inner.rules = place
            .rules
            .and_then(|(node, count)| Some((node.items.as_deref()?, times(count, max(schema, "maxItems")))));
        self.schema(items, &format!("{path}.items"), &inner);
    }

    fn extensions(&mut self, schema: &Schema, path: &str) {
        if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let at = format!("{path}.x-kubernetes-preserve-unknown-fields");
            self.invalid(at, false, "must be true or undefined");
        }
        let kind = text(schema, "type");
        for (key, wanted, known) in [
            ("x-kubernetes-map-type", "object", ["atomic", "granular"].as_slice()),
            ("x-kubernetes-list-type", "array", ["atomic", "set", "map"].as_slice()),
        ] {
            let Some(given) = schema.get(key).and_then(Value::as_str) else { continue };
            if kind != wanted {
                let detail = format!("must be {wanted} if {key} is specified");
                if kind.is_empty() {
                    self.required(format!("{path}.type"), &detail);
                } else {
                    self.invalid(format!("{path}.type"), kind, &detail);
                }
            } else if given == "set" {
                self.set_items(schema, path);
            }
            if !known.contains(&given) {
                self.found.schema.push(FieldError::not_supported(format!("{path}.{key}"), given, known));
            }
        }
        if !map_keys(schema).is_empty() {
            let at = format!("{path}.x-kubernetes-list-type");
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("map") => {}
                None => self.required(at, detail),
                Some(other) => self.invalid(at, other, detail),
            }
        }
        if text(schema, "x-kubernetes-list-type") == "map" {
            self.list_map(schema, path);
        }
    }

    /// Items of a set are compared as wholes.
    fn set_items(&mut self, schema: &Schema, path: &str) {
        let Some(items) = schema.get("items").and_then(Value::as_object) else { return };
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let list_type = items.get("x-kubernetes-list-type");
        match text(items, "type") {
            "array" if list_type.is_some_and(|kind| kind != "atomic") => {
                let value = list_type.cloned().unwrap_or_default();
                self.invalid(format!("{path}.items.x-kubernetes-list-type"), value, detail);
            }
            "object" if text(items, "x-kubernetes-map-type") != "atomic" => {
                let value = list_type.cloned().unwrap_or_default();
                self.invalid(format!("{path}.items.x-kubernetes-map-type"), value, detail);
            }
            _ => {}
        }
    }

    fn list_map(&mut self, schema: &Schema, path: &str) {
        let keys = map_keys(schema);
        let at = format!("{path}.x-kubernetes-list-map-keys");
        if keys.is_empty() {
            self.required(at.clone(), "must not be empty if x-kubernetes-list-type is map");
        }
        let Some(items) = schema.get("items").and_then(Value::as_object) else {
            if !schema.contains_key("items") {
                let detail = "must have a schema if x-kubernetes-list-type is map";
                self.required(format!("{path}.items"), detail);
            }
            return;
        };
        let kind = text(items, "type");
        if kind != "object" {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            self.invalid(format!("{path}.items.type"), kind, detail);
            return;
        }
        for (index, key) in keys.iter().enumerate() {
            match property(items, key) {
                Some(found) if matches!(text(found, "type"), "array" | "object") => {
                    let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    self.invalid(format!("{path}.items.properties[{key}].type"), kind, detail);
                }
                Some(_) => {}
                None => {
                    let detail = "entries must all be names of item properties";
                    self.invalid(at.clone(), keys.clone(), detail);
                }
            }
            if keys[..index].contains(key) {
                self.invalid(at.clone(), keys.clone(), "must not contain duplicate entries");
            }
        }
    }

    /// Items of maps and sets are there, and maps have their keys.
    fn map_items(&mut self, schema: &Schema, path: &str) {
        let kind = text(schema, "x-kubernetes-list-type");
        let Some(items) = schema.get("items").and_then(Value::as_object) else { return };
        if kind != "set" && kind != "map" {
            return;
        }
        if flag(items, "nullable") {
            let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
            self.forbidden(format!("{path}.items.nullable"), detail);
        }
        if kind == "set" {
            return;
        }
        let required = texts(items, "required");
        for key in map_keys(schema) {
            let Some(found) = property(items, key) else { continue };
            if !required.contains(&key) && !found.contains_key("default") {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.required(format!("{path}.items.properties[{key}].default"), detail);
            }
            if flag(found, "nullable") {
                let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbidden(format!("{path}.items.properties[{key}].nullable"), detail);
            }
        }
    }

    /// The parts of a rule, before its expressions are looked at.
    fn rule_form(&mut self, schema: &Schema, entry: &Value, at: &str) {
        let part = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let (rule, message) = (part("rule"), part("message"));
        let broken = |text: &str| text.contains(['\n', '\r']);
        if rule.trim().is_empty() {
            self.required(format!("{at}.rule"), "rule is not specified");
        } else if !message.is_empty() && message.trim().is_empty() {
            self.invalid(format!("{at}.message"), message, "must be non-empty if specified");
        } else if broken(message.trim()) {
            self.invalid(format!("{at}.message"), message, "must not contain line breaks");
        } else if broken(rule.trim()) && message.is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            self.required(format!("{at}.message"), detail);
        }
        let expression = part("messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            self.required(format!("{at}.messageExpression"), detail);
        }
        let reasons =
            ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
        if let Some(reason) = entry.get("reason").and_then(Value::as_str)
            && !reasons.contains(&reason)
        {
            let error = FieldError::not_supported(format!("{at}.reason"), reason, &reasons);
            self.found.schema.push(error);
        }
        let field = part("fieldPath");
        if field.is_empty() {
            return;
        }
        if field.trim().is_empty() {
            self.invalid(format!("{at}.fieldPath"), field, "must be non-empty if specified");
        }
        if broken(field) {
            self.invalid(format!("{at}.fieldPath"), field, "must not contain line breaks");
        }
        let schema = Value::Object(schema.clone());
        if field_path::resolve(&schema, field, true).is_err() {
            self.invalid(format!("{at}.fieldPath"), field, "must be a valid path");
        }
    }
}

fn property<'a>(schema: &'a Schema, name: &str) -> Option<&'a Schema> {
    schema.get("properties").and_then(|properties| properties.get(name)).and_then(Value::as_object)
}

fn below<'a>(place: &Place<'a>) -> Place<'a> {
    Place { root: false, ..place.clone() }
}

fn max(schema: &Schema, key: &str) -> Option<u64> {
    schema.get(key).and_then(Value::as_u64)
}

/// How often values occur below: known only if every count above is.
fn times(count: Option<u64>, max: Option<u64>) -> Option<u64> {
    Some(count?.saturating_mul(max?))
}

/// An error that shows a whole rule.
pub(super) fn about_rule(path: String, entry: &Value, detail: String) -> FieldError {
    FieldError::printed(FieldErrorKind::Invalid, path, Printed::rule(entry), detail)
}

fn map_keys(schema: &Schema) -> Vec<&str> {
    texts(schema, "x-kubernetes-list-map-keys")
}
