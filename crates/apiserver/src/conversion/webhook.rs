//! Webhooks that convert objects: `ConversionReview` of `apiextensions.k8s.io`.

use std::time::Duration;

use serde_json::{Map, Value, json};
use windlass_apimachinery::{go, meta};

use crate::server::Server;
use crate::webhooks::ClientConfig;

/// How long a conversion may take (kube-apiserver's limit).
const TIMEOUT: Duration = Duration::from_secs(30);

/// A conversion webhook of a definition.
pub(super) struct Webhook {
    config: ClientConfig,
    /// Version of the reviews: the first that both sides know.
    review: Option<&'static str>,
}

impl Webhook {
    pub(super) fn of(webhook: &Value) -> Self {
        let known = |version: &Value| match version.as_str() {
            Some("v1") => Some("apiextensions.k8s.io/v1"),
            Some("v1beta1") => Some("apiextensions.k8s.io/v1beta1"),
            Some(_) | None => None,
        };
        let list = webhook["conversionReviewVersions"].as_array();
        Self {
            config: ClientConfig::of(&webhook["clientConfig"]),
            review: list.into_iter().flatten().find_map(known),
        }
    }

    /// Has objects converted, in one request; the errors are kube-apiserver's.
    pub(super) async fn convert(
        &self,
        server: &Server,
        objects: Vec<Value>,
        version: &str,
        kind: &str,
        list: bool,
    ) -> Result<Vec<Value>, String> {
        let review_version = self.review.ok_or("no supported conversion review versions")?;
        let from = objects.first().and_then(|object| object["apiVersion"].as_str()).unwrap_or_default();
        let subject =
            if list { format!("{version}, Kind={kind}List") } else { format!("{from}, Kind={kind}") };
        let uid = server.uid();
        let review = json!({
            "apiVersion": review_version, "kind": "ConversionReview",
            "request": {"uid": uid, "desiredAPIVersion": version, "objects": objects},
            "response": {"uid": "", "convertedObjects": null, "result": {"metadata": {}}},
        });
        let failed =
            |error: &dyn std::fmt::Display| format!("conversion webhook for {subject} failed: {error}");
        let answer = server
            .inner
            .webhooks
            .call(&self.config, TIMEOUT, &review)
            .await
            .map_err(|error| failed(&error))?;
        let converted = answered(answer, review_version, &uid).map_err(|error| failed(&error))?;
        if converted.len() != objects.len() {
            let (got, wanted) = (converted.len(), objects.len());
            return Err(format!(
                "conversion webhook for {subject} returned {got} objects, expected {wanted}"
            ));
        }
        converted
            .into_iter()
            .zip(&objects)
            .enumerate()
            .map(|(index, (converted, original))| {
                let index = if list { format!("converted object at index {index}") } else { String::new() };
                let say = |what: &str, why: &str| {
                    format!("conversion webhook for {subject} returned invalid {what}: {why}")
                };
                let object = if list { index.as_str() } else { "object" };
                typed(&converted, original, version)
                    .map_err(|why| say(if list { &index } else { "object at index 0" }, &why))?;
                identified(&converted, original).map_err(|why| say(object, &why))?;
                let place = index.trim_start_matches("converted ");
                let metadata = if list { format!("metadata in {place}") } else { "metadata".to_owned() };
                restored(converted, &original["metadata"]).map_err(|why| say(&metadata, &why))
            })
            .collect()
    }
}

/// The objects of an answer, if it is one to this review.
fn answered(mut answer: Value, version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let strict = version.ends_with("/v1");
    if answer["apiVersion"] == version && answer["kind"] != "ConversionReview" {
        let kind = answer["kind"].as_str().unwrap_or_default();
        return Err(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""
        ));
    }
    if strict && (answer["apiVersion"] != version || answer["kind"] != "ConversionReview") {
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        return Err(format!(
            "expected webhook response of {version}, Kind=ConversionReview, got {}, Kind={}",
            text("apiVersion"),
            text("kind")
        ));
    }
    let response = answer["response"].take();
    if response.is_null() {
        return Err("no response provided".to_owned());
    }
    let given = response["uid"].as_str().unwrap_or_default();
    if strict && given != uid {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    let result = &response["result"];
    let status = result["status"].as_str().unwrap_or_default();
    if status != "Success" {
        return Err(match result["message"].as_str().filter(|message| !message.is_empty()) {
            Some(message) => message.to_owned(),
            None => format!("response.result.status was '{status}', not 'Success'"),
        });
    }
    let objects = response.get("convertedObjects").and_then(Value::as_array);
    Ok(objects.cloned().unwrap_or_default())
}

fn typed(converted: &Value, original: &Value, version: &str) -> Result<(), String> {
    let got = converted["apiVersion"].as_str().unwrap_or_default();
    if got != version {
        return Err(format!("invalid groupVersion (expected {version}, received {got})"));
    }
    let (wanted, got) = (&original["kind"], &converted["kind"]);
    if wanted != got {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        return Err(format!("invalid kind (expected {}, received {})", text(wanted), text(got)));
    }
    Ok(())
}

/// What names an object does not change.
fn identified(converted: &Value, original: &Value) -> Result<(), String> {
    for (key, what) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let text = |object: &Value| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let (wanted, got) = (text(original), text(converted));
        if wanted != got {
            return Err(format!("must have the same {what}: {wanted} != {got}"));
        }
    }
    Ok(())
}

/// A converted object with the metadata of the original, but for labels and
/// annotations.
pub(super) fn restored(mut converted: Value, original: &Value) -> Result<Value, String> {
    let Some(object) = converted.as_object_mut() else { return Err("it is no object".to_owned()) };
    let given = match object.get("metadata") {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(given)) => given.clone(),
        Some(other) => {
            return Err(format!("invalid metadata of type {} in converted object", go::type_name(other)));
        }
    };
    let mut metadata = original.as_object().cloned().unwrap_or_default();
    for key in ["labels", "annotations"] {
        let map = match given.get(key) {
            None | Some(Value::Null) => {
                metadata.remove(key);
                continue;
            }
            Some(Value::Object(map)) => map,
            Some(other) => {
                return Err(format!(
                    "invalid metadata.{key} of type {} in converted object",
                    go::type_name(other)
                ));
            }
        };
        if let Some((name, value)) = map.iter().find(|(_, value)| !value.is_string()) {
            return Err(format!(
                "metadata.{key}[{name}] must be a string, but is {} in converted object",
                go::type_name(value)
            ));
        }
        check(key, map)?;
        metadata.insert(key.to_owned(), Value::Object(map.clone()));
    }
    object.insert("metadata".to_owned(), Value::Object(metadata));
    Ok(converted)
}

fn check(key: &str, map: &Map<String, Value>) -> Result<(), String> {
    let mut errors = Vec::new();
    if key == "labels" {
        meta::labels(Some(map), "metadata.labels", &mut errors);
    } else {
        for name in map.keys() {
            meta::qualified_name(&name.to_lowercase(), "metadata.annotation", &mut errors);
        }
    }
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.to_string()),
        many => {
            let texts: Vec<String> = many.iter().map(ToString::to_string).collect();
            Err(format!("[{}]", texts.join(", ")))
        }
    }
}
