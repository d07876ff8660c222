//! The `scale` subresource: replicas of any kind as `autoscaling/v1`.

use serde_json::{Value, json};

use crate::kinds::{Kind, Scale, Version};
use crate::object::{member, meta_str};
use crate::status::ApiError;

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
    let count = |path: &str| match object.pointer(&pointer(path)) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value
            .as_i64()
            .ok_or_else(|| ApiError::internal(format!("{path} of {} is not a number", kind.kind))),
    };
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !meta_str(object, key).is_empty() {
            metadata[key] = json!(meta_str(object, key));
        }
    }
    let mut status = json!({"replicas": count(&paths.status_replicas)?});
    if let Some(path) = &paths.selector {
        match object.pointer(&pointer(path)) {
            Some(Value::String(text)) => status["selector"] = json!(text),
            Some(selector @ Value::Object(_)) => status["selector"] = json!(selector_text(selector)),
            _ => {}
        }
    }
    Ok(json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata,
        "spec": {"replicas": count(&paths.spec_replicas)?}, "status": status,
    }))
}

/// `matchLabels` as the text form of a selector.
fn selector_text(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object();
    let pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    pairs.join(",")
}

/// The object with the replicas of a scale.
///
/// # Errors
/// 400 when the body is not a scale, 422 for negative replicas.
pub fn into_object(version: &Version, old: &Value, scale: &Value) -> Result<Value, ApiError> {
    let paths = paths(version)?;
    let is = |key: &str, expected: &str| scale[key].as_str().is_none_or(|text| text == expected);
    if !is("kind", "Scale") || !is("apiVersion", "autoscaling/v1") {
        return Err(ApiError::bad_request("the body of a scale must be of kind Scale in autoscaling/v1"));
    }
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => 0,
        value => {
            value.as_i64().ok_or_else(|| ApiError::bad_request("spec.replicas is not a whole number"))?
        }
    };
    if replicas < 0 {
        let what = crate::status::GroupKind { group: "autoscaling", kind: "Scale" };
        let text = "must be greater than or equal to 0";
        let error = windlass_apimachinery::FieldError::invalid("spec.replicas", replicas, text);
        return Err(ApiError::invalid(what, meta_str(old, "name"), &[error]));
    }
    let mut new = old.clone();
    let mut slot = &mut new;
    for key in paths.spec_replicas.split('.').filter(|key| !key.is_empty()) {
        slot = member(slot, key);
    }
    *slot = json!(replicas);
    for key in ["resourceVersion", "uid"] {
        let metadata = member(&mut new, "metadata");
        match scale["metadata"][key].as_str() {
            Some(text) if !text.is_empty() => metadata[key] = json!(text),
            _ => {}
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
            "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b", "c": "d"}}},
            "status": {"replicas": 1},
        });
        let mut scale = of(kind, version, &object).unwrap();
        assert_eq!(scale["spec"]["replicas"], 2);
        assert_eq!(scale["status"], json!({"replicas": 1, "selector": "a=b,c=d"}));
        scale["spec"]["replicas"] = json!(7);
        let scaled = into_object(version, &object, &scale).unwrap();
        assert_eq!(scaled["spec"]["replicas"], 7);
        assert_eq!(scaled["status"], object["status"]);
        scale["spec"]["replicas"] = json!(-1);
        assert_eq!(into_object(version, &object, &scale).unwrap_err().code, 422);
    }
}
