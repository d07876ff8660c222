//! An object as a flat table of what can be compared: path and value.

use std::collections::BTreeMap;

use serde_json::Value;

/// What is true of `object`, without what differs from run to run.
pub fn facts(object: &Value) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let Value::Object(fields) = object else { return facts };
    facts.insert("is".to_owned(), "there".to_owned());
    let generation = &object["metadata"]["generation"];
    for (key, value) in fields {
        match key.as_str() {
            "metadata" => metadata(value, &mut facts),
            // Values of Secrets are not in the recording; that they are right is tested where they are made.
            "data" => {
                for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
                    facts.insert(format!("data.{key}"), "there".to_owned());
                }
            }
            _ => flatten(key, value, generation, &mut facts),
        }
    }
    facts
}

fn metadata(metadata: &Value, facts: &mut BTreeMap<String, String>) {
    for part in ["labels", "annotations"] {
        for (key, value) in metadata[part].as_object().into_iter().flatten() {
            facts.insert(format!("{part}.{key}"), stable(value.as_str().unwrap_or_default()));
        }
    }
    let items = |part: &str| metadata[part].as_array().cloned().unwrap_or_default();
    for owner in items("ownerReferences") {
        let text = |field| owner[field].as_str().unwrap_or_default();
        let path = format!("ownerReferences.{}/{}", text("kind"), text("name"));
        let flag = |field| owner[field].as_bool().map_or("-".to_owned(), |flag| flag.to_string());
        let (controller, blocks) = (flag("controller"), flag("blockOwnerDeletion"));
        facts.insert(path, format!("{} controller={controller} blocks={blocks}", text("apiVersion")));
    }
    for finalizer in items("finalizers") {
        facts.insert(format!("finalizers.{}", finalizer.as_str().unwrap_or_default()), "there".to_owned());
    }
    for entry in items("managedFields") {
        facts.insert(format!("managedFields.{}", manager(&entry)), "there".to_owned());
    }
}

/// `manager:operation[:subresource]`. Upstream's managers write as "manager"; for the recording they ran as programs
/// of different names, and a program's name is the default.
fn manager(entry: &Value) -> String {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entry = match entry {
        Value::String(recorded) => recorded.clone(),
        _ if text("subresource").is_empty() => format!("{}:{}", text("manager"), text("operation")),
        _ => format!("{}:{}:{}", text("manager"), text("operation"), text("subresource")),
    };
    match entry.split_once(':') {
        Some(("core" | "kbm" | "kcpm" | "capd", rest)) => format!("manager:{rest}"),
        _ => entry,
    }
}

fn flatten(path: &str, value: &Value, generation: &Value, facts: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "lastTransitionTime" | "uid" => {}
                    "observedGeneration" if value == generation => {
                        facts.insert(format!("{path}.{key}"), "<generation>".to_owned());
                    }
                    // Ours are short, to have the test fast.
                    "startupDuration" => {
                        facts.insert(format!("{path}.{key}"), "<duration>".to_owned());
                    }
                    _ => flatten(&format!("{path}.{key}"), value, generation, facts),
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let at = item["type"].as_str().map_or(at.to_string(), str::to_owned);
                flatten(&format!("{path}.{at}"), item, generation, facts);
            }
        }
        Value::String(text) => {
            facts.insert(path.to_owned(), stable(text));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            facts.insert(path.to_owned(), value.to_string());
        }
    }
}

/// A text without times, hashes, tokens and ports.
fn stable(text: &str) -> String {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let token = |text: &str| {
        text.split_once('.').is_some_and(|(id, secret)| {
            (id.len(), secret.len()) == (6, 16) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
        })
    };
    if shape == "0000-00-00T00:00:00Z" {
        "<time>".to_owned()
    } else if text.starts_with("sha256:") {
        "<hash>".to_owned()
    } else if token(text) {
        "<token>".to_owned()
    } else {
        text.to_owned()
    }
}
