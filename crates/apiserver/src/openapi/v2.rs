//! The document of version 2, made of those of version 3.

use serde_json::{Map, Value, json};

use super::v3::SCHEMAS;

/// Where schemas are in a document.
const DEFINITIONS: &str = "#/definitions/";
/// What patches may be written in, in the order clients expect.
const CONSUMES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// One document of all documents of version 3.
pub fn document<'a>(parts: impl Iterator<Item = &'a Value>, version: &str) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for part in parts {
        for (name, schema) in part["components"]["schemas"].as_object().into_iter().flatten() {
            if !definitions.contains_key(name) {
                definitions.insert(name.clone(), self::schema(schema));
            }
        }
        for (name, item) in part["paths"].as_object().into_iter().flatten() {
            paths.insert(name.clone(), path(item));
        }
    }
    json!({
        "swagger": "2.0", "info": {"title": "Kubernetes", "version": version},
        "paths": paths, "definitions": definitions, "parameters": {},
        "securityDefinitions": {"BearerToken": {
            "type": "apiKey", "name": "authorization", "in": "header",
            "description": "Bearer token of a user.",
        }},
        "security": [{"BearerToken": []}],
    })
}

/// A schema without what version 2 cannot say.
fn schema(value: &Value) -> Value {
    let Some(map) = value.as_object() else { return value.clone() };
    let is = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
    let opaque = is("x-kubernetes-preserve-unknown-fields") || is("nullable");
    let mut out = Map::new();
    for (key, value) in map {
        match key.as_str() {
            "default" | "nullable" | "anyOf" | "oneOf" | "not" => {}
            "type" | "properties" | "items" if opaque => {}
            "allOf" => {
                if let Some(link) = value[0]["$ref"].as_str() {
                    out.insert("$ref".to_owned(), json!(moved(link)));
                }
            }
            "$ref" => {
                out.insert(key.clone(), json!(moved(value.as_str().unwrap_or_default())));
            }
            "properties" => {
                let inner = value.as_object().into_iter().flatten();
                let inner: Map<_, _> = inner.map(|(name, value)| (name.clone(), schema(value))).collect();
                out.insert(key.clone(), inner.into());
            }
            "items" | "additionalProperties" => {
                out.insert(key.clone(), schema(value));
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(out)
}

fn moved(link: &str) -> String {
    link.replace(SCHEMAS, DEFINITIONS)
}

fn path(item: &Value) -> Value {
    let each = |(key, value): (&String, &Value)| {
        let value = if key == "parameters" { parameters(value).into() } else { operation(key, value) };
        (key.clone(), value)
    };
    item.as_object().into_iter().flatten().map(each).collect::<Map<_, _>>().into()
}

fn parameters(list: &Value) -> Vec<Value> {
    let flat = |parameter: &Value| {
        let mut flat = parameter.clone();
        if let Some(map) = flat.as_object_mut() {
            map.remove("schema");
        }
        for (key, value) in parameter["schema"].as_object().into_iter().flatten() {
            flat[key] = value.clone();
        }
        flat
    };
    list.as_array().into_iter().flatten().map(flat).collect()
}

fn operation(method: &str, operation: &Value) -> Value {
    let mut out = operation.clone();
    let mut list = Vec::new();
    let content = &operation["requestBody"]["content"];
    if let Some((_, media)) = content.as_object().and_then(|content| content.iter().next()) {
        let mut body = json!({"in": "body", "name": "body", "schema": schema(&media["schema"])});
        if operation["requestBody"]["required"] == true {
            body["required"] = json!(true);
        }
        list.push(body);
    }
    list.extend(parameters(&operation["parameters"]));
    out["consumes"] = consumes(method, content);
    let answers = operation["responses"].as_object().into_iter().flatten();
    let first = answers.clone().next().map(|(_, answer)| &answer["content"]);
    out["produces"] =
        first.and_then(Value::as_object).map(|media| media.keys().cloned().collect()).unwrap_or_default();
    let each = |(code, answer): (&String, &Value)| {
        let mut plain = json!({"description": answer["description"]});
        if let Some((_, media)) = answer["content"].as_object().and_then(|content| content.iter().next()) {
            plain["schema"] = schema(&media["schema"]);
        }
        (code.clone(), plain)
    };
    out["responses"] = answers.map(each).collect::<Map<_, _>>().into();
    out["schemes"] = json!(["https"]);
    if let Some(map) = out.as_object_mut() {
        map.remove("requestBody");
        map.remove("parameters");
        if !list.is_empty() {
            map.insert("parameters".to_owned(), list.into());
        }
    }
    out
}

fn consumes(method: &str, content: &Value) -> Value {
    if method == "patch" {
        return CONSUMES.into_iter().filter(|media| content.get(*media).is_some()).collect();
    }
    match content.as_object() {
        Some(content) => content.keys().cloned().collect(),
        None => json!(["application/json", "application/yaml"]),
    }
}
