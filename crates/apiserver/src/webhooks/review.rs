//! `AdmissionReview`: what a webhook is asked, and what its answer may be.

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::{DecodeError, Engine as _};
use serde_json::{Value, json};
use windlass_apimachinery::go::misfit;

use super::failure::not_json;
use crate::access::user_value;
use crate::admission::AdmissionRequest;
use crate::status::{ApiError, Cause, Details};

/// A group, a version, and the kind and resource in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form<'a> {
    /// API group.
    pub group: &'a str,
    /// Version.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Plural resource.
    pub resource: &'a str,
    /// Group of the kind, which for `scale` is another one.
    pub kind_group: &'a str,
    /// Version of the kind.
    pub kind_version: &'a str,
}

/// A request without the objects, as webhooks and match conditions see it: made in the form `own`, shown
/// in the form `shown`.
pub fn request(request: &AdmissionRequest<'_>, options: &Value, own: Form<'_>, shown: Form<'_>) -> Value {
    let kind =
        |form: Form<'_>| json!({"group": form.kind_group, "version": form.kind_version, "kind": form.kind});
    let resource =
        |form: Form<'_>| json!({"group": form.group, "version": form.version, "resource": form.resource});
    let mut value = json!({
        "kind": kind(shown), "resource": resource(shown),
        "requestKind": kind(own), "requestResource": resource(own),
        "operation": request.operation.as_str(), "userInfo": user_value(request.user),
        "dryRun": request.dry_run, "options": options,
    });
    for (key, text) in [
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
        ("name", request.name),
        ("namespace", request.namespace),
    ] {
        if !text.is_empty() {
            value[key] = json!(text);
        }
    }
    value
}

/// The review a webhook is sent.
pub fn review(version: &str, uid: &str, mut request: Value, object: &Value, old: &Value) -> Value {
    request["uid"] = json!(uid);
    request["object"] = object.clone();
    request["oldObject"] = old.clone();
    json!({"kind": "AdmissionReview", "apiVersion": api_version(version), "request": request})
}

fn api_version(version: &str) -> String {
    format!("admission.k8s.io/{version}")
}

/// What a webhook said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Whether the request may go on.
    pub allowed: bool,
    /// A JSON patch; null when there is none.
    pub patch: Value,
    /// Texts for the client.
    pub warnings: Vec<String>,
    /// A `Status` that says why not.
    pub result: Value,
}

impl Verdict {
    /// Reads an answer.
    ///
    /// # Errors
    /// What is wrong with it, in the words of kube-apiserver.
    pub fn of(answer: &Value, version: &str, uid: &str, mutating: bool) -> Result<Self, Unfit> {
        let invalid = |why: String| Unfit(format!("received invalid webhook response: {why}"));
        let of = |key: &str| answer[key].as_str().unwrap_or_default();
        if (version, of("apiVersion"), of("kind")) == ("v1", "admission.k8s.io/v1beta1", "AdmissionReview") {
            let why = "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion";
            return Err(Unfit(format!("failed to call webhook: {why}")));
        }
        let response = &answer["response"];
        check_types(response)?;
        if !response.is_object() {
            return Err(invalid("webhook response was absent".to_owned()));
        }
        let text = |key: &str| response[key].as_str();
        if version == "v1" {
            let given = text("uid").unwrap_or_default();
            if given != uid {
                return Err(invalid(format!("expected response.uid={uid:?}, got {given:?}")));
            }
            if (of("apiVersion"), of("kind")) != (api_version(version).as_str(), "AdmissionReview") {
                let (group, version) = crate::kinds::split_api_version(of("apiVersion"));
                let found = format!("{group}/{version}, Kind={}", of("kind"));
                let why = format!(
                    "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {found}"
                );
                return Err(invalid(why));
            }
            patch_and_type(text("patch"), text("patchType"), mutating).map_err(invalid)?;
        }
        let patch = match text("patch").filter(|text| mutating && !text.is_empty()) {
            None => Value::Null,
            Some(encoded) => decode(encoded)?,
        };
        let warnings = response["warnings"].as_array().into_iter().flatten();
        Ok(Self {
            allowed: response["allowed"] == true,
            patch,
            warnings: warnings.filter_map(Value::as_str).map(str::to_owned).collect(),
            result: response["status"].clone(),
        })
    }

    /// The answer to a client whose request was denied.
    pub fn denial(&self, webhook: &str) -> ApiError {
        let text = |key: &str| self.result[key].as_str().unwrap_or_default();
        let denied = format!("admission webhook {webhook:?} denied the request");
        let message = match (text("message"), text("reason")) {
            ("", "") => format!("{denied} without explanation"),
            ("", why) | (why, _) => format!("{denied}: {why}"),
        };
        let code = self.result["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        let mut error = ApiError::new(code.unwrap_or(0).max(400), text("reason").to_owned(), message);
        if let Some(details) = self.result["details"].as_object() {
            error.details = Some(Box::new(details_of(&Value::Object(details.clone()))));
        }
        error
    }
}

/// An answer that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

fn patch_and_type(patch: Option<&str>, kind: Option<&str>, mutating: bool) -> Result<(), String> {
    let patch = patch.filter(|patch| !patch.is_empty());
    let why = match (mutating, patch, kind) {
        (true, Some(_), None) => "webhook returned response.patch but not response.patchType".to_owned(),
        (true, None, Some(_)) => "webhook returned response.patchType but not response.patch".to_owned(),
        (true, Some(_), Some("")) => "webhook returned invalid response.patchType of \"\"".to_owned(),
        (false, Some(_), _) => "validating webhook may not return response.patch".to_owned(),
        (false, None, Some(_)) => "validating webhook may not return response.patchType".to_owned(),
        (true, Some(_), Some(_)) | (_, None, None) => return Ok(()),
    };
    Err(why)
}

/// Types of the members of a response, in the order in which Go's decoder meets them.
fn check_types(response: &Value) -> Result<(), Unfit> {
    type Fits = fn(&Value) -> bool;
    let members: [(&str, &str, Fits); 5] = [
        ("uid", "types.UID", Value::is_string),
        ("allowed", "bool", Value::is_boolean),
        ("patch", "[]uint8", Value::is_string),
        ("patchType", "v1.PatchType", Value::is_string),
        ("warnings", "[]string", Value::is_array),
    ];
    for (name, kind, fits) in members {
        if let Some(value) = response.get(name).filter(|value| !value.is_null() && !fits(value)) {
            let wanted = format!("struct field AdmissionResponse.response.{name} of type {kind}");
            return Err(Unfit(format!("failed to call webhook: {}", misfit(value, &wanted))));
        }
    }
    Ok(())
}

fn decode(encoded: &str) -> Result<Value, Unfit> {
    let undecodable = |why: String| Unfit(format!("received undecodable patch in webhook response: {why}"));
    let bytes = BASE64.decode(encoded).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _)
            | DecodeError::InvalidLastSymbol(at, _)
            | DecodeError::InvalidLength(at) => at,
            DecodeError::InvalidPadding => encoded.len(),
        };
        Unfit(format!("failed to call webhook: illegal base64 data at input byte {at}"))
    })?;
    let patch: Value =
        serde_json::from_slice(&bytes).map_err(|error| undecodable(not_json(&bytes, &error)))?;
    if patch.is_array() {
        Ok(patch)
    } else {
        Err(undecodable(misfit(&patch, "value of type jsonpatch.Patch")))
    }
}

fn details_of(details: &Value) -> Details {
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let causes = details["causes"].as_array().into_iter().flatten();
    Details {
        name: text(details, "name"),
        group: text(details, "group"),
        kind: text(details, "kind"),
        uid: text(details, "uid"),
        causes: causes
            .map(|cause| Cause {
                reason: text(cause, "reason"),
                message: text(cause, "message"),
                field: text(cause, "field"),
            })
            .collect(),
        retry_after_seconds: details["retryAfterSeconds"]
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: &Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn answers_are_verified() {
        let patch = BASE64.encode("[]");
        let cases = [
            (json!({"uid": "u", "allowed": true}), true, None),
            (json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch"}), true, None),
            (
                json!({"uid": "v"}),
                true,
                Some("received invalid webhook response: expected response.uid=\"u\", got \"v\""),
            ),
            (Value::Null, true, Some("received invalid webhook response: webhook response was absent")),
            (
                json!({"uid": "u", "patch": patch}),
                true,
                Some(
                    "received invalid webhook response: webhook returned response.patch but not response.patchType",
                ),
            ),
            (
                json!({"uid": "u", "patchType": "JSONPatch"}),
                true,
                Some(
                    "received invalid webhook response: webhook returned response.patchType but not response.patch",
                ),
            ),
            (
                json!({"uid": "u", "patch": patch, "patchType": "JSONPatch"}),
                false,
                Some("received invalid webhook response: validating webhook may not return response.patch"),
            ),
        ];
        for (response, mutating, expected) in cases {
            let verdict = Verdict::of(&answer(&response), "v1", "u", mutating);
            assert_eq!(verdict.err().map(|error| error.0).as_deref(), expected, "{response}");
        }
        let untyped = json!({"response": {"uid": "u"}});
        let error = Verdict::of(&untyped, "v1", "u", true).unwrap_err().0;
        assert!(error.ends_with("got /, Kind="), "{error}");
    }

    #[test]
    fn denials_carry_what_the_webhook_said() {
        for (status, code, reason, message) in [
            (Value::Null, 400, "", "admission webhook \"w\" denied the request without explanation"),
            (json!({"code": 200}), 400, "", "admission webhook \"w\" denied the request without explanation"),
            (
                json!({"message": "no", "code": 422}),
                422,
                "",
                "admission webhook \"w\" denied the request: no",
            ),
            (
                json!({"reason": "Forbidden", "code": 403}),
                403,
                "Forbidden",
                "admission webhook \"w\" denied the request: Forbidden",
            ),
        ] {
            let error = Verdict { result: status.clone(), ..Verdict::default() }.denial("w");
            assert_eq!(
                (error.code, &*error.reason, error.message.as_str()),
                (code, reason, message),
                "{status}"
            );
        }
    }
}
