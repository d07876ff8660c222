//! The document of version 2 in protobuf: gnostic's `openapi.v2.Document`,
//! which client-go and Argo CD read. Tags are those of its `OpenAPIv2.proto`.

use serde_json::{Map, Value};

use crate::protobuf::{put_bytes, put_double, put_integer};

/// A document as a message.
pub fn document(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 1, &document["swagger"]);
    let mut info = Vec::new();
    text(&mut info, 1, &document["info"]["title"]);
    text(&mut info, 2, &document["info"]["version"]);
    put_bytes(&mut out, 2, &info);
    let mut paths = Vec::new();
    for (name, item) in members(&document["paths"]) {
        put_bytes(&mut paths, 2, &named(name, &path(item)));
    }
    put_bytes(&mut out, 8, &paths);
    let mut definitions = Vec::new();
    for (name, schema) in members(&document["definitions"]) {
        put_bytes(&mut definitions, 1, &named(name, &self::schema(schema)));
    }
    put_bytes(&mut out, 9, &definitions);
    out
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(out: &mut Vec<u8>, tag: u64, value: &Value) {
    if let Some(text) = value.as_str() {
        put_bytes(out, tag, text.as_bytes());
    }
}

fn texts(out: &mut Vec<u8>, tag: u64, value: &Value) {
    items(value).for_each(|item| text(out, tag, item));
}

fn flag(out: &mut Vec<u8>, tag: u64, value: &Value) {
    if value == true {
        put_integer(out, tag, 1);
    }
}

fn integer(out: &mut Vec<u8>, tag: u64, value: &Value) {
    if let Some(number) = value.as_i64() {
        put_integer(out, tag, number.cast_unsigned());
    }
}

fn double(out: &mut Vec<u8>, tag: u64, value: &Value) {
    if let Some(number) = value.as_f64() {
        put_double(out, tag, number);
    }
}

/// A name with a value.
fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, name.as_bytes());
    put_bytes(&mut out, 2, value);
    out
}

/// `Any`: YAML, of which JSON is a part.
fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 2, format!("{value}\n").as_bytes());
    out
}

/// Members that begin with `x-`.
fn extensions(out: &mut Vec<u8>, tag: u64, map: &Value) {
    for (name, value) in members(map).filter(|(name, _)| name.starts_with("x-")) {
        put_bytes(out, tag, &named(name, &any(value)));
    }
}

fn path(item: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (method, tag) in
        [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("options", 6), ("head", 7), ("patch", 8)]
    {
        if item[method].is_object() {
            put_bytes(&mut out, tag, &operation(&item[method]));
        }
    }
    for one in items(&item["parameters"]) {
        put_bytes(&mut out, 9, &parameter(one));
    }
    out
}

fn operation(operation: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    texts(&mut out, 1, &operation["tags"]);
    text(&mut out, 3, &operation["description"]);
    text(&mut out, 5, &operation["operationId"]);
    texts(&mut out, 6, &operation["produces"]);
    texts(&mut out, 7, &operation["consumes"]);
    for one in items(&operation["parameters"]) {
        put_bytes(&mut out, 8, &parameter(one));
    }
    let mut responses = Vec::new();
    for (code, answer) in members(&operation["responses"]) {
        let mut response = Vec::new();
        text(&mut response, 1, &answer["description"]);
        if answer["schema"].is_object() {
            put_bytes(&mut response, 2, &wrapped(1, &schema(&answer["schema"])));
        }
        put_bytes(&mut responses, 1, &named(code, &wrapped(1, &response)));
    }
    put_bytes(&mut out, 9, &responses);
    texts(&mut out, 10, &operation["schemes"]);
    extensions(&mut out, 13, operation);
    out
}

/// A message that holds one of several.
fn wrapped(tag: u64, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, tag, message);
    out
}

fn parameter(one: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if one["in"] == "body" {
        text(&mut out, 1, &one["description"]);
        text(&mut out, 2, &one["name"]);
        text(&mut out, 3, &one["in"]);
        flag(&mut out, 4, &one["required"]);
        put_bytes(&mut out, 5, &schema(&one["schema"]));
        return wrapped(1, &wrapped(1, &out));
    }
    flag(&mut out, 1, &one["required"]);
    text(&mut out, 2, &one["in"]);
    text(&mut out, 3, &one["description"]);
    text(&mut out, 4, &one["name"]);
    // Only of options in the query it can be said that they may be empty.
    let (kind, shift) = if one["in"] == "path" { (4, 0) } else { (3, 1) };
    text(&mut out, 5 + shift, &one["type"]);
    text(&mut out, 6 + shift, &one["format"]);
    flag(&mut out, 19 + shift, &one["uniqueItems"]);
    wrapped(1, &wrapped(2, &wrapped(kind, &out)))
}

fn schema(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, tag) in [("$ref", 1), ("format", 2), ("title", 3), ("description", 4), ("pattern", 13)] {
        text(&mut out, tag, &value[key]);
    }
    for (key, tag) in [("multipleOf", 6), ("maximum", 7), ("minimum", 9)] {
        double(&mut out, tag, &value[key]);
    }
    for (key, tag) in [("exclusiveMaximum", 8), ("exclusiveMinimum", 10), ("uniqueItems", 16)] {
        flag(&mut out, tag, &value[key]);
    }
    for (key, tag) in [
        ("maxLength", 11),
        ("minLength", 12),
        ("maxItems", 14),
        ("minItems", 15),
        ("maxProperties", 17),
        ("minProperties", 18),
    ] {
        integer(&mut out, tag, &value[key]);
    }
    texts(&mut out, 19, &value["required"]);
    for one in items(&value["enum"]) {
        put_bytes(&mut out, 20, &any(one));
    }
    match &value["additionalProperties"] {
        Value::Bool(allowed) => {
            let mut item = Vec::new();
            put_integer(&mut item, 2, u64::from(*allowed));
            put_bytes(&mut out, 21, &item);
        }
        inner @ Value::Object(_) => put_bytes(&mut out, 21, &wrapped(1, &schema(inner))),
        _ => {}
    }
    if let Some(kind) = value["type"].as_str() {
        put_bytes(&mut out, 22, &wrapped(1, kind.as_bytes()));
    }
    if value["items"].is_object() {
        put_bytes(&mut out, 23, &wrapped(1, &schema(&value["items"])));
    }
    if let Some(inner) = value["properties"].as_object() {
        put_bytes(&mut out, 25, &properties(inner));
    }
    extensions(&mut out, 31, value);
    out
}

fn properties(map: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, inner) in map {
        put_bytes(&mut out, 1, &named(name, &schema(inner)));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protobuf::{Parts, Wire};

    /// The message below a path of tags, the first of each.
    fn find<'a>(mut bytes: &'a [u8], tags: &[u64]) -> &'a [u8] {
        for tag in tags {
            bytes = Parts(bytes)
                .flatten()
                .find_map(|(found, wire)| match wire {
                    Wire::Bytes(inner) if found == *tag => Some(inner),
                    _ => None,
                })
                .unwrap_or_else(|| panic!("no tag {tag} of {tags:?}"));
        }
        bytes
    }

    #[test]
    fn what_clients_look_for_is_where_they_look() {
        let kind = json!([{"group": "g", "kind": "Thing", "version": "v1"}]);
        let bytes = document(&json!({
            "swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1"},
            "paths": {"/x": {"get": {"operationId": "listThing", "responses": {"200": {
                "description": "OK", "schema": {"$ref": "#/definitions/Thing"}}}}}},
            "definitions": {"Thing": {"type": "object", "x-kubernetes-group-version-kind": kind,
                "properties": {"spec": {"type": "array", "items": {"type": "string"}}}}},
        }));
        assert_eq!(find(&bytes, &[1]), b"2.0");
        assert_eq!(find(&bytes, &[8, 2, 1]), b"/x");
        assert_eq!(find(&bytes, &[8, 2, 2, 2, 5]), b"listThing");
        assert_eq!(find(&bytes, &[8, 2, 2, 2, 9, 1, 2, 1, 2, 1, 1]), b"#/definitions/Thing");
        assert_eq!(find(&bytes, &[9, 1, 1]), b"Thing");
        assert_eq!(find(&bytes, &[9, 1, 2, 22, 1]), b"object");
        assert_eq!(find(&bytes, &[9, 1, 2, 25, 1, 2, 23, 1, 22, 1]), b"string");
        assert_eq!(find(&bytes, &[9, 1, 2, 31, 1]), b"x-kubernetes-group-version-kind");
        assert_eq!(find(&bytes, &[9, 1, 2, 31, 2, 2]), format!("{kind}\n").as_bytes());
    }
}
