//! From an `openAPIV3Schema` to nodes, with the structural-schema checks
//! (Kubernetes documentation, "Specifying a structural schema").

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::cel::Rule;
use super::format::Format;
use super::node::{Additional, Below, Bound, Checks, Kind, ListType, Node, PatchStrategy, Property};
use super::pattern;
use crate::{FieldError, FieldErrorKind};

/// Deepest schema taken.
const MAX_DEPTH: usize = 96;

pub(super) fn compile(schema: &Value) -> Result<Node, Vec<FieldError>> {
    let mut compiler = Compiler { path: String::new(), errors: Vec::new() };
    let mut root = compiler.node(schema, Place::Root, false, 0);
    if compiler.errors.is_empty() {
        summarise(&mut root);
        compiler.check_defaults(&root);
    }
    if compiler.errors.is_empty() { Ok(root) } else { Err(compiler.errors) }
}

/// Where a schema stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Property,
    Items,
    AdditionalProperties,
    /// Within `allOf`, `anyOf`, `oneOf` or `not`, which may only add value validations.
    Junction,
}

struct Compiler {
    path: String,
    errors: Vec<FieldError>,
}

impl Compiler {
    fn at<T>(&mut self, step: &str, run: impl FnOnce(&mut Self) -> T) -> T {
        let len = self.path.len();
        super::push_name(&mut self.path, step);
        let out = run(self);
        self.path.truncate(len);
        out
    }

    fn path_of(&self, field: &str) -> String {
        let mut path = self.path.clone();
        super::push_name(&mut path, field);
        path
    }

    fn required(&mut self, field: &str, detail: &str) {
        let error = FieldError::required(self.path_of(field), detail);
        self.errors.push(error);
    }

    fn forbidden(&mut self, field: &str, detail: &str) {
        let error = FieldError::forbidden(self.path_of(field), detail);
        self.errors.push(error);
    }

    fn invalid(&mut self, field: &str, value: impl Into<Value>, detail: impl Into<String>) {
        let error = FieldError::invalid(self.path_of(field), value, detail);
        self.errors.push(error);
    }

    fn node(&mut self, schema: &Value, place: Place, lenient: bool, depth: usize) -> Node {
        let Some(schema) = schema.as_object() else {
            self.invalid("", schema.clone(), "must be an object");
            return Node::default();
        };
        if depth > MAX_DEPTH {
            self.forbidden("", "schema is nested too deeply");
            return Node::default();
        }
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
        let preserve = flag("x-kubernetes-preserve-unknown-fields");
        let lenient = lenient || preserve;
        let mut node = Node {
            kind: self.kind(schema, place),
            nullable: flag("nullable"),
            preserve,
            lenient,
            embedded: flag("x-kubernetes-embedded-resource"),
            atomic_map: schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
            default: schema
                .get("default")
                .filter(|default| !default.is_null())
                .map(|default| Box::new(default.clone())),
            patch: patch_strategy(schema),
            ..Node::default()
        };
        self.forbid(schema, place);
        self.children(&mut node, schema, place, depth);
        node.list = self.list_type(schema, &node);
        node.checks = self.checks(schema, lenient, depth);
        node.rules = self.rules(schema, place);
        node
    }

    fn kind(&mut self, schema: &Map<String, Value>, place: Place) -> Kind {
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
        let name = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        if flag("x-kubernetes-int-or-string") {
            if !name.is_empty() {
                self.forbidden("type", "must be empty if x-kubernetes-int-or-string is true");
            }
            return Kind::IntOrString;
        }
        match name {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            "" => {
                let detail = match place {
                    _ if flag("x-kubernetes-preserve-unknown-fields") => return Kind::Any,
                    Place::Junction => return Kind::Any,
                    Place::Root => "must not be empty at the root",
                    Place::Items => "must not be empty for specified array items",
                    Place::Property | Place::AdditionalProperties => {
                        "must not be empty for specified object fields"
                    }
                };
                self.required("type", detail);
                Kind::Any
            }
            other => {
                let supported = ["array", "boolean", "integer", "number", "object", "string"];
                let error = FieldError::not_supported(self.path_of("type"), other, &supported);
                self.errors.push(error);
                Kind::Any
            }
        }
    }

    fn forbid(&mut self, schema: &Map<String, Value>, place: Place) {
        for field in
            ["$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id", "$schema"]
        {
            if schema.contains_key(field) {
                self.forbidden(field, "is not supported");
            }
        }
        if schema.get("uniqueItems").and_then(Value::as_bool) == Some(true) {
            self.forbidden(
                "uniqueItems",
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            );
        }
        let object =
            |name: &str| schema.get(name).and_then(Value::as_object).is_some_and(|map| !map.is_empty());
        if object("properties") && object("additionalProperties") {
            self.forbidden(
                "additionalProperties",
                "additionalProperties and properties are mutual exclusive",
            );
        }
        match place {
            Place::Junction => {
                let list = [
                    "additionalProperties",
                    "default",
                    "nullable",
                    "x-kubernetes-preserve-unknown-fields",
                    "x-kubernetes-embedded-resource",
                    "x-kubernetes-int-or-string",
                    "x-kubernetes-list-type",
                ];
                for field in list.into_iter().filter(|field| schema.contains_key(*field)) {
                    self.forbidden(field, "must be undefined to be structural");
                }
            }
            Place::Root => {
                if schema.contains_key("additionalProperties") {
                    self.forbidden("additionalProperties", "must not be used at the root");
                }
                self.check_metadata(schema);
            }
            Place::Property | Place::Items | Place::AdditionalProperties => {}
        }
    }

    fn check_metadata(&mut self, schema: &Map<String, Value>) {
        let Some(metadata) = schema.get("properties").and_then(|properties| properties.get("metadata"))
        else {
            return;
        };
        let properties = metadata.get("properties").and_then(Value::as_object);
        if properties
            .is_some_and(|properties| properties.keys().any(|name| name != "name" && name != "generateName"))
        {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.forbidden("properties[metadata]", detail);
        }
    }

    fn children(&mut self, node: &mut Node, schema: &Map<String, Value>, place: Place, depth: usize) {
        let inside = |inner: Place| if place == Place::Junction { Place::Junction } else { inner };
        let lenient = node.lenient;
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let mut out: Vec<Property> = Vec::with_capacity(properties.len());
            for (name, schema) in properties {
                let node = self.at(&format!("properties[{name}]"), |this| {
                    this.node(schema, inside(Place::Property), lenient, depth + 1)
                });
                out.push(Property { name: name.as_str().into(), node });
            }
            out.sort_by(|a, b| a.name.cmp(&b.name));
            node.properties = out.into();
        }
        node.additional = match schema.get("additionalProperties") {
            None | Some(Value::Bool(false)) => Additional::None,
            Some(Value::Bool(true)) => Additional::Any,
            Some(schema) => {
                let place = inside(Place::AdditionalProperties);
                Additional::Schema(Box::new(
                    self.at("additionalProperties", |this| this.node(schema, place, lenient, depth + 1)),
                ))
            }
        };
        match schema.get("items") {
            Some(Value::Array(list)) => {
                self.invalid("items", list.clone(), "items must be a schema object and not an array");
            }
            Some(schema) => {
                let place = inside(Place::Items);
                node.items =
                    Some(Box::new(self.at("items", |this| this.node(schema, place, lenient, depth + 1))));
            }
            None if node.kind == Kind::Array && place != Place::Junction => {
                self.required("items", "must be specified");
            }
            None => {}
        }
    }

    fn list_type(&mut self, schema: &Map<String, Value>, node: &Node) -> ListType {
        let keys: Vec<&str> = schema
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let kind = schema.get("x-kubernetes-list-type").and_then(Value::as_str).unwrap_or("atomic");
        if kind != "map" && !keys.is_empty() {
            self.forbidden(
                "x-kubernetes-list-map-keys",
                "must be empty if x-kubernetes-list-type is not map",
            );
        }
        match kind {
            "atomic" => ListType::Atomic,
            "set" => ListType::Set,
            "map" => {
                self.map_keys(node, &keys);
                let mut keys: Vec<Box<str>> = keys.into_iter().map(Into::into).collect();
                keys.sort();
                ListType::Map(keys.into())
            }
            other => {
                let error = FieldError::not_supported(
                    self.path_of("x-kubernetes-list-type"),
                    other,
                    &["atomic", "map", "set"],
                );
                self.errors.push(error);
                ListType::Atomic
            }
        }
    }

    fn map_keys(&mut self, node: &Node, keys: &[&str]) {
        if keys.is_empty() {
            self.required("x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map");
        }
        let Some(items) = &node.items else { return };
        if items.kind != Kind::Object {
            self.invalid(
                "items.type",
                Value::Null,
                "must be object if parent array's x-kubernetes-list-type is map",
            );
            return;
        }
        let required = |key: &str| {
            items.checks.as_ref().is_some_and(|checks| checks.required.iter().any(|name| &**name == key))
        };
        for key in keys {
            let at = format!("items.properties[{key}]");
            match items.property(key) {
                None => self.invalid(
                    "x-kubernetes-list-map-keys",
                    *key,
                    "entries must all be names of item properties",
                ),
                Some(property) if matches!(property.kind, Kind::Object | Kind::Array) => {
                    self.invalid(
                        &format!("{at}.type"),
                        Value::Null,
                        "must be a scalar type if parent array's x-kubernetes-list-type is map",
                    );
                }
                Some(property) if property.default.is_none() && !required(key) => {
                    self.required(&format!("{at}.default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property");
                }
                Some(_) => {}
            }
        }
    }

    fn rules(&mut self, schema: &Map<String, Value>, place: Place) -> Box<[Rule]> {
        let Some(entries) = schema.get("x-kubernetes-validations").and_then(Value::as_array) else {
            return Box::default();
        };
        if place == Place::Junction && !entries.is_empty() {
            self.forbidden("x-kubernetes-validations", "must be empty to be structural");
        }
        let mut rules = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            match Rule::compile(entry) {
                Ok(rule) => rules.push(rule),
                Err((field, detail)) => {
                    let value = entry.get(field).cloned().unwrap_or_default();
                    self.invalid(&format!("x-kubernetes-validations[{index}].{field}"), value, detail);
                }
            }
        }
        rules.into()
    }

    fn checks(&mut self, schema: &Map<String, Value>, lenient: bool, depth: usize) -> Option<Box<Checks>> {
        let number = |name: &str| schema.get(name).and_then(Value::as_number).cloned();
        let count = |name: &str| schema.get(name).and_then(Value::as_u64);
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
        let bound = |limit: Option<Number>, exclusive: bool| limit.map(|limit| Bound { limit, exclusive });
        let int_or_string = flag("x-kubernetes-int-or-string");
        let mut junction = |name: &str| -> Box<[Node]> {
            let Some(list) = schema.get(name).and_then(Value::as_array) else { return Box::default() };
            if int_or_string && name == "anyOf" && is_int_or_string(list) {
                return Box::default();
            }
            let compile = |(index, schema)| {
                self.at(&format!("{name}[{index}]"), |this| {
                    this.node(schema, Place::Junction, lenient, depth + 1)
                })
            };
            list.iter().enumerate().map(compile).collect()
        };
        let (all_of, any_of, one_of) = (junction("allOf"), junction("anyOf"), junction("oneOf"));
        let not = schema.get("not").map(|schema| {
            Box::new(self.at("not", |this| this.node(schema, Place::Junction, lenient, depth + 1)))
        });
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(Into::into);
        let checks = Checks {
            format: schema.get("format").and_then(Value::as_str).and_then(Format::parse),
            values: schema
                .get("enum")
                .and_then(Value::as_array)
                .filter(|list| !list.is_empty())
                .map(|list| list.clone().into()),
            minimum: bound(number("minimum"), flag("exclusiveMinimum")),
            maximum: bound(number("maximum"), flag("exclusiveMaximum")),
            multiple_of: schema.get("multipleOf").and_then(Value::as_f64),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            pattern: self.pattern(schema),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            required: required.collect(),
            all_of,
            any_of,
            one_of,
            not,
        };
        (!checks.is_empty()).then(|| Box::new(checks))
    }

    fn pattern(&mut self, schema: &Map<String, Value>) -> Option<(Box<str>, Regex)> {
        let source = schema.get("pattern").and_then(Value::as_str).filter(|pattern| !pattern.is_empty())?;
        match pattern::compile(source) {
            Ok(regex) => Some((source.into(), regex)),
            Err(error) => {
                self.invalid(
                    "pattern",
                    source,
                    format!("must be a valid regular expression, but isn't: {error}"),
                );
                None
            }
        }
    }

    /// Defaults must be valid themselves.
    fn check_defaults(&mut self, node: &Node) {
        if let Some(default) = &node.default {
            let mut filled = (**default).clone();
            super::default::default(node, &mut filled);
            for error in super::validate::validate(node, &filled, None) {
                let field = if error.field.is_empty() {
                    "default".to_owned()
                } else {
                    format!("default.{}", error.field)
                };
                let field = self.path_of(&field);
                self.errors.push(FieldError {
                    field,
                    kind: FieldErrorKind::Invalid,
                    bad_value: error.bad_value,
                    detail: error.detail,
                });
            }
        }
        for property in &node.properties {
            self.at(&format!("properties[{}]", property.name), |this| this.check_defaults(&property.node));
        }
        if let Additional::Schema(child) = &node.additional {
            self.at("additionalProperties", |this| this.check_defaults(child));
        }
        if let Some(items) = &node.items {
            self.at("items", |this| this.check_defaults(items));
        }
    }
}

fn patch_strategy(schema: &Map<String, Value>) -> Option<Box<PatchStrategy>> {
    let strategy = schema.get("x-kubernetes-patch-strategy").and_then(Value::as_str).unwrap_or_default();
    let merge_key = schema.get("x-kubernetes-patch-merge-key").and_then(Value::as_str);
    if strategy.is_empty() && merge_key.is_none() {
        return None;
    }
    let merge = strategy.split(',').any(|part| part.trim() == "merge");
    Some(Box::new(PatchStrategy { merge, merge_key: merge_key.map(Into::into) }))
}

/// The one junction with types that is structural beside `x-kubernetes-int-or-string`.
fn is_int_or_string(list: &[Value]) -> bool {
    let types: Vec<Option<&str>> =
        list.iter().map(|schema| schema.get("type").and_then(Value::as_str)).collect();
    types == [Some("integer"), Some("string")]
}

/// Notes for each subtree what occurs in it.
fn summarise(node: &mut Node) -> Below {
    let mut below =
        Below { rules: !node.rules.is_empty(), transitions: node.rules.iter().any(|rule| rule.transition) };
    let mut add = |other: Below| {
        below.rules |= other.rules;
        below.transitions |= other.transitions;
    };
    for property in &mut node.properties {
        add(summarise(&mut property.node));
    }
    if let Additional::Schema(child) = &mut node.additional {
        add(summarise(child));
    }
    if let Some(items) = &mut node.items {
        add(summarise(items));
    }
    node.below = below;
    below
}
