//! The conversion webhook of a run: `{hook}/{id}/convert/v1=size/v2=length/fail=uid`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Converts the objects of a review. Pairs like `v1=size` say what a version
/// calls a field of `spec`; `fail=` says what is wrong with the answer.
pub fn convert(settings: &str, review: &Value) -> Value {
    let settings: BTreeMap<&str, &str> =
        settings.split('/').filter_map(|setting| setting.split_once('=')).collect();
    let fail = settings.get("fail").copied().unwrap_or_default();
    let wanted = &review["request"]["desiredAPIVersion"];
    let field = |api_version: &Value| {
        let version = api_version.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        settings.get(version).map(|name| (*name).to_owned())
    };
    let mut objects = review["request"]["objects"].as_array().cloned().unwrap_or_default();
    for object in &mut objects {
        let names = (field(&object["apiVersion"]), field(wanted));
        if let ((Some(from), Some(to)), Some(spec)) = (names, object["spec"].as_object_mut())
            && let Some(value) = spec.remove(&from)
        {
            spec.insert(to, value);
        }
        object["apiVersion"] = wanted.clone();
        spoil(object, fail);
    }
    if fail == "missing" {
        objects.clear();
    }
    let result = match fail {
        "status" => json!({"status": "Failure"}),
        "message" => json!({"status": "Failure", "message": "it does not convert"}),
        _ => json!({"status": "Success"}),
    };
    let uid = if fail == "review-uid" { json!("other") } else { review["request"]["uid"].clone() };
    let mut answer = json!({
        "apiVersion": review["apiVersion"], "kind": review["kind"],
        "response": {"uid": uid, "result": result, "convertedObjects": objects},
    });
    match fail {
        "response" => answer["response"] = Value::Null,
        "review" => answer["kind"] = json!("AdmissionReview"),
        _ => {}
    }
    answer
}

/// Changes what a conversion must not change.
fn spoil(object: &mut Value, fail: &str) {
    match fail {
        "version" => object["apiVersion"] = json!("example.dev/v9"),
        "kind" => object["kind"] = json!("Other"),
        "name" | "namespace" | "uid" => object["metadata"][fail] = json!("other"),
        "labels" => object["metadata"]["labels"] = json!({"a b": "c"}),
        "label-type" => object["metadata"]["labels"] = json!({"a": 1}),
        "no-metadata" => {
            object.as_object_mut().map(|object| object.remove("metadata"));
        }
        "metadata" => {
            object["metadata"]["finalizers"] = json!(["a/b"]);
            object["metadata"]["annotations"] = json!({"converted": "yes"});
        }
        _ => {}
    }
}
