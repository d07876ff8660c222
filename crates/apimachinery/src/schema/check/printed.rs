//! Values in messages as kube-apiserver prints them: its internal structures,
//! with the names and the order of their fields and with absent ones as `null`.

use serde_json::{Map, Value};

/// The fields of a schema: name in the document, name in the structure.
pub(super) const ORDER: [(&str, &str); 44] = [
    ("id", "ID"),
    ("$schema", "Schema"),
    ("$ref", "Ref"),
    ("description", "Description"),
    ("type", "Type"),
    ("nullable", "Nullable"),
    ("format", "Format"),
    ("title", "Title"),
    ("default", "Default"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("enum", "Enum"),
    ("maxProperties", "MaxProperties"),
    ("minProperties", "MinProperties"),
    ("required", "Required"),
    ("items", "Items"),
    ("allOf", "AllOf"),
    ("oneOf", "OneOf"),
    ("anyOf", "AnyOf"),
    ("not", "Not"),
    ("properties", "Properties"),
    ("additionalProperties", "AdditionalProperties"),
    ("patternProperties", "PatternProperties"),
    ("dependencies", "Dependencies"),
    ("additionalItems", "AdditionalItems"),
    ("definitions", "Definitions"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-embedded-resource", "XEmbeddedResource"),
    ("x-kubernetes-int-or-string", "XIntOrString"),
    ("x-kubernetes-list-map-keys", "XListMapKeys"),
    ("x-kubernetes-list-type", "XListType"),
    ("x-kubernetes-map-type", "XMapType"),
    ("x-kubernetes-validations", "XValidations"),
];

/// A value of a message, printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed(pub Box<str>);

/// Whether a keyword says something: not absent, null, false, empty or zero.
pub(super) fn is_set(schema: &Map<String, Value>, key: &str) -> bool {
    match schema.get(key) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => {
            *value || matches!(key, "x-kubernetes-preserve-unknown-fields" | "additionalProperties")
        }
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty() || !matches!(key, "properties"),
        Some(Value::Number(_)) => true,
    }
}

impl Printed {
    /// A whole schema.
    pub fn schema(schema: &Map<String, Value>) -> Self {
        Self(object(schema).into())
    }

    /// A validation rule.
    pub fn rule(rule: &Value) -> Self {
        Self(self::rule(rule).into())
    }
}

fn object(schema: &Map<String, Value>) -> String {
    let fields: Vec<String> =
        ORDER.iter().map(|(json, go)| format!("\"{go}\":{}", field(json, schema.get(*json)))).collect();
    format!("{{{}}}", fields.join(","))
}

fn field(key: &str, value: Option<&Value>) -> String {
    let value = value.filter(|value| !value.is_null());
    match (key, value) {
        ("id" | "$schema" | "description" | "type" | "format" | "title" | "pattern", None) => {
            "\"\"".to_owned()
        }
        (
            "nullable"
            | "exclusiveMaximum"
            | "exclusiveMinimum"
            | "uniqueItems"
            | "x-kubernetes-embedded-resource"
            | "x-kubernetes-int-or-string",
            None,
        ) => "false".to_owned(),
        (_, None) => "null".to_owned(),
        ("allOf" | "oneOf" | "anyOf", Some(Value::Array(list))) => go_list(list, nested),
        ("not", Some(schema)) => nested(schema),
        ("items", Some(Value::Array(list))) => {
            format!("{{\"Schema\":null,\"JSONSchemas\":{}}}", go_list(list, nested))
        }
        ("items", Some(schema)) => format!("{{\"Schema\":{},\"JSONSchemas\":null}}", nested(schema)),
        ("additionalProperties", Some(Value::Bool(allows))) => {
            format!("{{\"Allows\":{allows},\"Schema\":null}}")
        }
        ("additionalProperties", Some(schema)) => {
            format!("{{\"Allows\":true,\"Schema\":{}}}", nested(schema))
        }
        ("properties" | "patternProperties" | "definitions", Some(Value::Object(map))) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(name, schema)| format!("{}:{}", go_json(&Value::from(name.as_str())), nested(schema)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        ("externalDocs", Some(docs)) => {
            format!("{{\"Description\":{},\"URL\":{}}}", text(docs, "description"), text(docs, "url"))
        }
        ("x-kubernetes-validations", Some(Value::Array(list))) => go_list(list, rule),
        (_, Some(value)) => go_json(value),
    }
}

fn nested(schema: &Value) -> String {
    schema.as_object().map_or_else(|| "null".to_owned(), object)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).map_or_else(|| "\"\"".to_owned(), go_json)
}

fn optional(value: &Value, key: &str) -> String {
    value.get(key).map_or_else(|| "null".to_owned(), go_json)
}

fn rule(rule: &Value) -> String {
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        text(rule, "rule"),
        text(rule, "message"),
        text(rule, "messageExpression"),
        optional(rule, "reason"),
        text(rule, "fieldPath"),
        optional(rule, "optionalOldSelf"),
    )
}

/// A printer column of a definition.
pub fn column(column: &Value) -> String {
    format!(
        "{{\"Name\":{},\"Type\":{},\"Format\":{},\"Description\":{},\"Priority\":{},\"JSONPath\":{}}}",
        text(column, "name"),
        text(column, "type"),
        text(column, "format"),
        text(column, "description"),
        column["priority"].as_i64().unwrap_or(0),
        text(column, "jsonPath"),
    )
}

/// A list of printed values.
pub fn go_list(list: &[Value], print: impl Fn(&Value) -> String) -> String {
    let list: Vec<String> = list.iter().map(print).collect();
    format!("[{}]", list.join(","))
}

/// JSON as Go writes it: `<`, `>` and `&` are escaped.
pub fn go_json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}
