//! From an `openAPIV3Schema` to nodes. Whether a schema may be used at all is
//! for `check` to say; here everything that makes sense is taken.

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::cel::Rule;
use super::check::field_path::resolve;
use super::format::Format;
use super::node::{Additional, Below, Bound, Checks, Go, Kind, ListType, Node, PatchStrategy, Property};
use super::pattern;
use crate::FieldError;

/// Deepest schema taken.
const MAX_DEPTH: usize = 96;

/// Compiles a schema.
///
/// # Errors
/// Unknown types, patterns that are no regular expressions, rules that
/// cannot be evaluated and too much nesting.
pub(super) fn compile(schema: &Value) -> Result<Node, Vec<FieldError>> {
    let mut compiler = Compiler { path: String::new(), errors: Vec::new() };
    let mut root = compiler.node(schema, false, 0);
    summarise(&mut root);
    if compiler.errors.is_empty() { Ok(root) } else { Err(compiler.errors) }
}

/// Compiles what can be compiled of a schema.
pub(super) fn nodes(schema: &Value) -> Node {
    let mut compiler = Compiler { path: String::new(), errors: Vec::new() };
    let mut root = compiler.node(schema, false, 0);
    // The root of a definition's schema is an object with a type of its own.
    root.embedded = true;
    summarise(&mut root);
    root
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

    fn invalid(&mut self, field: &str, value: impl Into<Value>, detail: impl Into<String>) {
        let error = FieldError::invalid(self.path_of(field), value, detail);
        self.errors.push(error);
    }

    fn node(&mut self, schema: &Value, lenient: bool, depth: usize) -> Node {
        let Some(schema) = schema.as_object() else {
            self.invalid("", schema.clone(), "must be an object");
            return Node::default();
        };
        if depth > MAX_DEPTH {
            self.errors.push(FieldError::forbidden(self.path.clone(), "schema is nested too deeply"));
            return Node::default();
        }
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
        let preserve = flag("x-kubernetes-preserve-unknown-fields");
        let lenient = lenient || preserve;
        let mut node = Node {
            kind: self.kind(schema),
            nullable: flag("nullable"),
            preserve,
            lenient,
            embedded: flag("x-kubernetes-embedded-resource"),
            always: flag("x-windlass-always"),
            atomic_map: schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
            list: list_type(schema),
            default: schema
                .get("default")
                .filter(|default| !default.is_null())
                .map(|default| Box::new(default.clone())),
            patch: patch_strategy(schema),
            go: go(schema),
            ..Node::default()
        };
        self.children(&mut node, schema, depth);
        node.checks = self.checks(schema, lenient, depth);
        node.rules = self.rules(schema);
        node
    }

    fn kind(&mut self, schema: &Map<String, Value>) -> Kind {
        if schema.get("x-kubernetes-int-or-string").and_then(Value::as_bool).unwrap_or(false) {
            return Kind::IntOrString;
        }
        match schema.get("type").and_then(Value::as_str).unwrap_or_default() {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            "" => Kind::Any,
            other => {
                let supported = ["array", "boolean", "integer", "number", "object", "string"];
                let error = FieldError::not_supported(self.path_of("type"), other, &supported);
                self.errors.push(error);
                Kind::Any
            }
        }
    }

    fn children(&mut self, node: &mut Node, schema: &Map<String, Value>, depth: usize) {
        let lenient = node.lenient;
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let mut out: Vec<Property> = Vec::with_capacity(properties.len());
            for (name, schema) in properties {
                let node =
                    self.at(&format!("properties[{name}]"), |this| this.node(schema, lenient, depth + 1));
                out.push(Property { name: name.as_str().into(), node });
            }
            out.sort_by(|a, b| a.name.cmp(&b.name));
            node.properties = out.into();
        }
        node.additional = match schema.get("additionalProperties") {
            None | Some(Value::Bool(false)) => Additional::None,
            Some(Value::Bool(true)) => Additional::Any,
            Some(schema) => Additional::Schema(Box::new(
                self.at("additionalProperties", |this| this.node(schema, lenient, depth + 1)),
            )),
        };
        if let Some(schema) = schema.get("items").filter(|items| !items.is_array()) {
            node.items = Some(Box::new(self.at("items", |this| this.node(schema, lenient, depth + 1))));
        }
    }

    fn rules(&mut self, schema: &Map<String, Value>) -> Box<[Rule]> {
        let Some(entries) = schema.get("x-kubernetes-validations").and_then(Value::as_array) else {
            return Box::default();
        };
        let mut rules = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            match Rule::compile(entry) {
                Ok(mut rule) => {
                    if let Some(path) = entry.get("fieldPath").and_then(Value::as_str) {
                        let schema = Value::Object(schema.clone());
                        rule.field_path = resolve(&schema, path, true).ok().map(|(path, _)| path.into());
                    }
                    rules.push(rule);
                }
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
                self.at(&format!("{name}[{index}]"), |this| this.node(schema, lenient, depth + 1))
            };
            list.iter().enumerate().map(compile).collect()
        };
        let (all_of, any_of, one_of) = (junction("allOf"), junction("anyOf"), junction("oneOf"));
        let not = schema
            .get("not")
            .map(|schema| Box::new(self.at("not", |this| this.node(schema, lenient, depth + 1))));
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
}

fn list_type(schema: &Map<String, Value>) -> ListType {
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => {
            let mut keys: Vec<Box<str>> =
                keys.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect();
            keys.sort();
            ListType::Map(keys.into())
        }
        Some(_) | None => ListType::Atomic,
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

fn go(schema: &Map<String, Value>) -> Go {
    let Some(go) = schema.get("x-go") else { return Go::default() };
    let flag = |name: &str| go.get(name).and_then(Value::as_bool).unwrap_or(false);
    Go { pointer: flag("pointer"), null: flag("null"), quantity: flag("quantity"), micro: flag("micro") }
}

/// The one junction with types that is structural beside `x-kubernetes-int-or-string`.
fn is_int_or_string(list: &[Value]) -> bool {
    let types: Vec<Option<&str>> =
        list.iter().map(|schema| schema.get("type").and_then(Value::as_str)).collect();
    types == [Some("integer"), Some("string")]
}

/// Notes for each subtree what occurs in it.
fn summarise(node: &mut Node) -> Below {
    let mut below = Below {
        rules: !node.rules.is_empty(),
        unique: node.list != ListType::Atomic,
        embedded: node.embedded,
    };
    let mut add = |other: Below| {
        below.rules |= other.rules;
        below.unique |= other.unique;
        below.embedded |= other.embedded;
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
