//! The rules of structural schemas (Kubernetes documentation, "Specifying a
//! structural schema").

use serde_json::{Map, Value};

use super::{default_of, flag, has_members, list, members, text};
use crate::FieldError;
use crate::schema::pattern;

type Schema = Map<String, Value>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// The keyword that keeps a schema from being read as structural at all.
pub(super) fn unsupported(schema: &Schema) -> Option<String> {
    let keyword = |name: &str| Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    if !text(schema, "id").is_empty() {
        return keyword("id");
    }
    if !text(schema, "$schema").is_empty() {
        return keyword("schema");
    }
    if !text(schema, "$ref").is_empty() {
        return keyword("$ref");
    }
    for name in ["patternProperties", "dependencies"] {
        if has_members(schema, name) {
            return keyword(name);
        }
    }
    if schema.contains_key("additionalItems") {
        return keyword("additionalItems");
    }
    if has_members(schema, "definitions") {
        return keyword("definitions");
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        return Some(
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned(),
        );
    }
    if schema.get("items").is_some_and(Value::is_array) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    let junctions = ["allOf", "anyOf", "oneOf"].iter().flat_map(|key| list(schema, key));
    let single = ["not", "items", "additionalProperties"].iter().filter_map(|key| schema.get(*key));
    let properties = members(schema, "properties").map(|(_, schema)| schema);
    junctions.chain(single).chain(properties).filter_map(Value::as_object).find_map(unsupported)
}

/// Everything that is not structural, sorted by its text.
pub(super) fn check(schema: &Schema, path: &str) -> Vec<FieldError> {
    let mut pass = Pass { errors: Vec::new() };
    pass.invariants(schema, Level::Root, path);
    complete(schema, schema, path, path, &mut pass.errors);
    pass.errors.sort_by_cached_key(ToString::to_string);
    pass.errors
}

struct Pass {
    errors: Vec<FieldError>,
}

impl Pass {
    fn required(&mut self, path: String, detail: &str) {
        self.errors.push(FieldError::required(path, detail));
    }

    fn forbidden(&mut self, path: String, detail: &str) {
        self.errors.push(FieldError::forbidden(path, detail));
    }

    fn invalid(&mut self, path: String, value: impl Into<Value>, detail: impl Into<String>) {
        self.errors.push(FieldError::invalid(path, value, detail));
    }

    fn invariants(&mut self, schema: &Schema, level: Level, path: &str) {
        let kind = text(schema, "type");
        let items = schema.get("items").and_then(Value::as_object);
        if kind == "array" && items.is_none() {
            self.required(format!("{path}.items"), "must be specified");
        }
        if let Some(items) = items {
            self.invariants(items, Level::Item, &format!("{path}.items"));
        }
        for (name, property) in members(schema, "properties") {
            if let Some(property) = property.as_object() {
                self.invariants(property, Level::Field, &format!("{path}.properties[{name}]"));
            }
        }
        if let Some(additional) = schema.get("additionalProperties") {
            if level == Level::Root {
                self.forbidden(format!("{path}.additionalProperties"), "must not be used at the root");
            }
            if let Some(additional) = additional.as_object() {
                self.invariants(additional, Level::Field, &format!("{path}.additionalProperties"));
            }
        }
        self.extensions(schema, path);
        let first_is_int_or_string = list(schema, "allOf")
            .first()
            .and_then(Value::as_object)
            .is_some_and(|first| is_int_or_string(list(first, "anyOf")));
        let own_is_int_or_string = is_int_or_string(list(schema, "anyOf"));
        self.values(schema, own_is_int_or_string, first_is_int_or_string, path);
        self.kind(schema, kind, level, path);
        self.meta(schema, level, path);
    }

    fn extensions(&mut self, schema: &Schema, path: &str) {
        if !flag(schema, "x-kubernetes-int-or-string") {
            return;
        }
        for key in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
            if flag(schema, key) {
                let detail = "must be false if x-kubernetes-int-or-string is true";
                self.invalid(format!("{path}.{key}"), true, detail);
            }
        }
    }

    fn kind(&mut self, schema: &Schema, kind: &str, level: Level, path: &str) {
        let embedded = flag(schema, "x-kubernetes-embedded-resource");
        let at = format!("{path}.type");
        if embedded && kind != "object" {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            if kind.is_empty() {
                self.required(at, detail);
            } else {
                self.invalid(at, kind, detail);
            }
        } else if kind.is_empty()
            && !flag(schema, "x-kubernetes-int-or-string")
            && !flag(schema, "x-kubernetes-preserve-unknown-fields")
        {
            self.required(
                at,
                match level {
                    Level::Root => "must not be empty at the root",
                    Level::Item => "must not be empty for specified array items",
                    Level::Field => "must not be empty for specified object fields",
                },
            );
        }
        if embedded && schema.contains_key("additionalProperties") {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            self.forbidden(format!("{path}.additionalProperties"), detail);
        }
        if level == Level::Root && !kind.is_empty() && kind != "object" {
            self.invalid(format!("{path}.type"), kind, "must be object at the root");
        }
    }

    fn meta(&mut self, schema: &Schema, level: Level, path: &str) {
        let embedded = flag(schema, "x-kubernetes-embedded-resource");
        let property = |name: &str| {
            schema.get("properties").and_then(|properties| properties.get(name)).and_then(Value::as_object)
        };
        if level == Level::Root || embedded {
            for name in ["kind", "apiVersion"] {
                if let Some(found) = property(name).map(|property| text(property, "type"))
                    && found != "string"
                {
                    self.invalid(format!("{path}.properties[{name}].type"), found, "must be string");
                }
            }
        }
        if let Some(metadata) = property("metadata") {
            let at = format!("{path}.properties[metadata]");
            let kind = text(metadata, "type");
            if (level == Level::Root || embedded) && kind != "object" {
                self.invalid(format!("{at}.type"), kind, "must be object");
            }
            if level == Level::Root && !only_names(metadata) {
                let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
                self.forbidden(at, detail);
            }
        }
        if embedded
            && !flag(schema, "x-kubernetes-preserve-unknown-fields")
            && !has_members(schema, "properties")
        {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            self.required(format!("{path}.properties"), detail);
        }
    }

    /// Value validations: in junctions nothing else is allowed.
    fn values(&mut self, schema: &Schema, skip_any_of: bool, skip_first: bool, path: &str) {
        if !skip_any_of {
            self.junction(schema, "anyOf", false, path);
        }
        self.junction(schema, "allOf", skip_first, path);
        self.junction(schema, "oneOf", false, path);
        if let Some(not) = schema.get("not").and_then(Value::as_object) {
            self.nested(not, false, &format!("{path}.not"));
        }
        let pattern = text(schema, "pattern");
        if let Some(error) = pattern::error(pattern) {
            let detail = format!("must be a valid regular expression, but isn't: {error}");
            self.invalid(format!("{path}.pattern"), pattern, detail);
        }
    }

    fn junction(&mut self, schema: &Schema, key: &str, skip_first: bool, path: &str) {
        for (index, nested) in list(schema, key).iter().enumerate() {
            if let Some(nested) = nested.as_object() {
                self.nested(nested, skip_first && index == 0, &format!("{path}.{key}[{index}]"));
            }
        }
    }

    fn nested(&mut self, schema: &Schema, skip_any_of: bool, path: &str) {
        self.values(schema, skip_any_of, false, path);
        if let Some(items) = schema.get("items").and_then(Value::as_object) {
            self.nested(items, false, &format!("{path}.items"));
        }
        for (name, property) in members(schema, "properties") {
            if let Some(property) = property.as_object() {
                self.nested(property, false, &format!("{path}.properties[{name}]"));
            }
            if name == "metadata" {
                let detail = "must not be specified in a nested context";
                self.forbidden(format!("{path}.properties[metadata]"), detail);
            }
        }
        if schema.get("additionalProperties").is_some_and(|additional| *additional != Value::Bool(false)) {
            self.forbidden(format!("{path}.additionalProperties"), "must be undefined to be structural");
        }
        let set = |key: &str| match schema.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        };
        for (key, detail) in [
            ("type", "must be empty to be structural"),
            ("title", "must be empty to be structural"),
            ("description", "must be empty to be structural"),
            ("nullable", "must be false to be structural"),
            ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
            ("x-kubernetes-embedded-resource", "must be false to be structural"),
            ("x-kubernetes-int-or-string", "must be false to be structural"),
            ("x-kubernetes-list-map-keys", "must be empty to be structural"),
            ("x-kubernetes-list-type", "must be undefined to be structural"),
            ("x-kubernetes-map-type", "must be undefined to be structural"),
            ("x-kubernetes-validations", "must be empty to be structural"),
        ] {
            if set(key) {
                self.forbidden(format!("{path}.{key}"), detail);
            }
        }
        if default_of(schema).is_some() {
            self.forbidden(format!("{path}.default"), "must be undefined to be structural");
        }
    }
}

/// The one junction with types that is structural: integer or string.
fn is_int_or_string(list: &[Value]) -> bool {
    let only = |value: &Value, kind: &str| {
        value.as_object().is_some_and(|schema| schema.len() == 1 && text(schema, "type") == kind)
    };
    matches!(list, [first, second] if only(first, "integer") && only(second, "string"))
}

/// Whether root metadata restricts nothing but names.
fn only_names(metadata: &Schema) -> bool {
    let names = members(metadata, "properties").all(|(name, _)| name == "name" || name == "generateName");
    names && metadata.keys().all(|key| matches!(key.as_str(), "properties" | "type" | "default"))
}

/// Every field that the value validations of the root name is declared
/// outside of them too. `spine` is where it would be declared.
fn complete(schema: &Schema, values: &Schema, spine: &str, path: &str, errors: &mut Vec<FieldError>) {
    for key in ["allOf", "anyOf", "oneOf"] {
        for (index, nested) in list(values, key).iter().enumerate() {
            if let Some(nested) = nested.as_object() {
                complete_nested(Some(schema), nested, spine, &format!("{path}.{key}[{index}]"), errors);
            }
        }
    }
    if let Some(not) = values.get("not").and_then(Value::as_object) {
        complete_nested(Some(schema), not, spine, &format!("{path}.not"), errors);
    }
}

fn complete_nested(
    schema: Option<&Schema>,
    values: &Schema,
    spine: &str,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(schema) = schema else {
        errors.push(FieldError::required(spine, format!("because it is defined in {path}")));
        return;
    };
    complete(schema, values, spine, path, errors);
    if let Some(items) = values.get("items").and_then(Value::as_object) {
        let declared = schema.get("items").and_then(Value::as_object);
        complete_nested(declared, items, &format!("{spine}.items"), &format!("{path}.items"), errors);
    }
    for (name, property) in members(values, "properties") {
        let declared = schema.get("properties").and_then(|properties| properties.get(name));
        if let Some(property) = property.as_object() {
            let (spine, path) = (format!("{spine}.properties[{name}]"), format!("{path}.properties[{name}]"));
            complete_nested(declared.and_then(Value::as_object), property, &spine, &path, errors);
        }
    }
}
