//! The `scale` subresource: replicas of any kind as `autoscaling/v1`.

use serde_json::{Map, Value, json};
use windlass_apimachinery::FieldError;

use crate::kinds::{Kind, Scale, Version};
use crate::object::{member, meta_str};
use crate::status::{ApiError, GroupKind};

const API_VERSION: &str = "autoscaling/v1";

/// A JSON path of plain names (`.spec.replicas`) as a JSON pointer.
fn pointer(path: &str) -> String {
    path.replace('.', "/")
}

fn paths(version: &Version) -> Result<&Scale, ApiError> {
    version.scale.as_ref().ok_or_else(ApiError::no_such_path)
}

/// The scale of an object.
///
/// # Errors
/// 500 when a path does not lead to a number.
pub fn of(kind: &Kind, version: &Version, object: &Value) -> Result<Value, ApiError> {
    let paths = paths(version)?;
    let wanted = count(kind, object, &paths.spec_replicas)?;
    if wanted.is_none() && !kind.builtin {
        let text = format!("the spec replicas field {:?} does not exist", paths.spec_replicas);
        return Err(ApiError::internal(&text).cause("", &*text, ""));
    }
    show(kind, paths, object, wanted.unwrap_or(0))
}

/// The scale of an object that may not say how many replicas it wants.
///
/// # Errors
/// As [`of`].
pub fn before(kind: &Kind, version: &Version, object: &Value) -> Result<Value, ApiError> {
    let paths = paths(version)?;
    let wanted = count(kind, object, &paths.spec_replicas)?;
    show(kind, paths, object, wanted.unwrap_or(0))
}

fn count(kind: &Kind, object: &Value, path: &str) -> Result<Option<i64>, ApiError> {
    match object.pointer(&pointer(path)) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_i64();
            number
                .map(Some)
                .ok_or_else(|| ApiError::internal(format!("{path} of {} is not a number", kind.kind)))
        }
    }
}

fn show(kind: &Kind, paths: &Scale, object: &Value, wanted: i64) -> Result<Value, ApiError> {
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !meta_str(object, key).is_empty() {
            metadata[key] = json!(meta_str(object, key));
        }
    }
    let mut status = json!({"replicas": count(kind, object, &paths.status_replicas)?.unwrap_or(0)});
    if let Some(path) = &paths.selector {
        let text = match object.pointer(&pointer(path)) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Object(selector)) => selector_text(selector),
            _ => String::new(),
        };
        if !text.is_empty() {
            status["selector"] = json!(text);
        }
    }
    let spec = if wanted == 0 { json!({}) } else { json!({"replicas": wanted}) };
    Ok(
        json!({"apiVersion": API_VERSION, "kind": "Scale", "metadata": metadata, "spec": spec, "status": status}),
    )
}

/// A `LabelSelector`, or a map of labels, as the text form of a selector.
fn selector_text(selector: &Map<String, Value>) -> String {
    let whole = selector.contains_key("matchLabels") || selector.contains_key("matchExpressions");
    let labels = if whole { selector.get("matchLabels").and_then(Value::as_object) } else { Some(selector) };
    let mut parts: Vec<(String, String)> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), format!("{key}={}", value.as_str()?))))
        .collect();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort();
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

fn with_replicas(paths: &Scale, old: &Value, replicas: i64) -> Value {
    let mut new = old.clone();
    let mut slot = &mut new;
    for key in paths.spec_replicas.split('.').filter(|key| !key.is_empty()) {
        slot = member(slot, key);
    }
    *slot = json!(replicas);
    new
}

/// The object with the replicas of a scale.
///
/// # Errors
/// 422 for negative replicas of compiled-in kinds; custom ones are checked
/// with the rest of the object.
pub fn into_object(kind: &Kind, version: &Version, old: &Value, scale: &Value) -> Result<Value, ApiError> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if kind.builtin && replicas < 0 {
        let what = GroupKind { group: "autoscaling", kind: "Scale" };
        let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(ApiError::invalid(what, meta_str(old, "name"), &[error]));
    }
    let mut new = with_replicas(paths(version)?, old, replicas);
    let metadata = member(&mut new, "metadata");
    for key in ["resourceVersion", "uid"] {
        if !meta_str(scale, key).is_empty() {
            metadata[key] = json!(meta_str(scale, key));
        }
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KindSet;

    #[test]
    fn a_scale_reads_and_writes_replicas() {
        let kinds = KindSet::builtin();
        let kind = kinds.get("apps", "deployments").unwrap();
        let version = &kind.versions[0];
        let object = json!({
            "metadata": {"name": "d", "resourceVersion": "5"},
            "spec": {"replicas": 2, "selector": {
                "matchLabels": {"b": "1", "a": "2"},
                "matchExpressions": [{"key": "c", "operator": "In", "values": ["y", "x"]}, {"key": "d", "operator": "DoesNotExist"}],
            }},
            "status": {"replicas": 1},
        });
        let scale = of(kind, version, &object).unwrap();
        assert_eq!(scale["spec"]["replicas"], 2);
        assert_eq!(scale["status"], json!({"replicas": 1, "selector": "a=2,b=1,c in (x,y),!d"}));
        let to =
            |replicas: i64| into_object(kind, version, &object, &json!({"spec": {"replicas": replicas}}));
        let seven = to(7).unwrap();
        assert_eq!(seven["spec"]["replicas"], 7);
        assert_eq!(seven["status"], object["status"]);
        assert_eq!(to(-1).unwrap_err().code, 422);
    }
}
