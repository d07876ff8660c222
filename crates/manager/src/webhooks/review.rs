//! The answers of the webhooks: reviews in, reviews out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use windlass_api::admission::{self, FieldError, Operation, Options, Review};

/// What a webhook is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// To fill in what a client left open.
    Default,
    /// To find what is wrong.
    Validate,
}

impl Door {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Default, Self::Validate];

    /// Where it is.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Default => "/default",
            Self::Validate => "/validate",
        }
    }
}

/// The object that a review of a scale is about: its kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Group, version and kind.
    pub kind: GroupVersionKind,
    /// Plural resource.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Whose scale a review is about; nothing for reviews of whole objects.
pub fn parent(review: &Value) -> Option<Parent> {
    let request = &review["request"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if text(&request["subResource"]) != "scale" {
        return None;
    }
    let resource = &request["resource"];
    let (group, version, plural) =
        (text(&resource["group"]), text(&resource["version"]), text(&resource["resource"]));
    let mut known = super::registration::kinds().iter();
    let kind = known.find(|kind| kind.group == group && kind.plural == plural)?;
    Some(Parent {
        kind: GroupVersionKind::gvk(&group, &version, &kind.kind),
        resource: plural,
        namespace: text(&request["namespace"]),
        name: text(&request["name"]),
    })
}

/// Answers a review. `scaled` is the object whose scale it is about, if it is about one.
///
/// `None` for what is no `AdmissionReview`.
pub fn answer(door: Door, review: &Value, scaled: Option<(&GroupVersionKind, &Value)>) -> Option<Value> {
    let request = review.get("request")?;
    let uid = request.get("uid")?.as_str()?;
    let response = match door {
        Door::Default => defaults(request),
        Door::Validate => verdict(request, scaled),
    };
    let mut response = response;
    response["uid"] = json!(uid);
    Some(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
}

fn kind(request: &Value) -> GroupVersionKind {
    let text = |key: &str| request["kind"][key].as_str().unwrap_or_default();
    GroupVersionKind::gvk(text("group"), text("version"), text("kind"))
}

fn operation(request: &Value) -> Operation {
    match request["operation"].as_str() {
        Some("CREATE") => Operation::Create,
        Some("UPDATE") => Operation::Update,
        // Nothing else is registered.
        _ => Operation::Delete,
    }
}

fn old(request: &Value) -> Option<&Value> {
    Some(&request["oldObject"]).filter(|old| old.is_object())
}

fn defaults(request: &Value) -> Value {
    let before = &request["object"];
    let mut object = before.clone();
    admission::default(&kind(request), operation(request), &mut object, old(request));
    let patch = json_patch::diff(before, &object);
    if patch.0.is_empty() {
        return json!({"allowed": true});
    }
    let patch = serde_json::to_vec(&patch).unwrap_or_default();
    json!({"allowed": true, "patchType": "JSONPatch", "patch": BASE64.encode(patch)})
}

fn verdict(request: &Value, scaled: Option<(&GroupVersionKind, &Value)>) -> Value {
    let object = &request["object"];
    let options = Options { dry_run: request["dryRun"] == true, ..Options::default() };
    let of = kind(request);
    let (of, review) = match (request["subResource"].as_str(), scaled) {
        (None | Some(""), _) => {
            let review = admission::validate_with(options, &of, operation(request), object, old(request));
            (of, review)
        }
        (Some(_), Some((kind, parent))) => (kind.clone(), admission::validate_scale(kind, object, parent)),
        (Some(_), None) => (of, Review::default()),
    };
    let mut response = json!({"allowed": review.allowed()});
    if !review.warnings.is_empty() {
        response["warnings"] = json!(review.warnings);
    }
    if !review.allowed() {
        response["status"] = invalid(&of, request["name"].as_str().unwrap_or_default(), &review.errors);
    }
    response
}

/// The `Status` of an invalid object, as API servers word it.
fn invalid(kind: &GroupVersionKind, name: &str, errors: &[FieldError]) -> Value {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let list = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
    let cause = |error: &FieldError| {
        let text = error.to_string();
        let message = text.strip_prefix(&format!("{}: ", error.field)).unwrap_or(&text).to_owned();
        json!({"reason": error.reason.cause(), "message": message, "field": error.field})
    };
    let GroupVersionKind { group, kind, .. } = kind;
    json!({
        "status": "Failure", "code": 422, "reason": "Invalid",
        "message": format!("{kind}.{group} {name:?} is invalid: {list}"),
        "details": {
            "name": name, "group": group, "kind": kind,
            "causes": errors.iter().map(cause).collect::<Vec<_>>(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(operation: &str, object: &Value) -> Value {
        json!({"request": {
            "uid": "u", "operation": operation, "name": "c", "object": object, "oldObject": null,
            "kind": {"group": "cluster.x-k8s.io", "version": "v1beta2", "kind": "Cluster"},
            "resource": {"group": "cluster.x-k8s.io", "version": "v1beta2", "resource": "clusters"},
        }})
    }

    #[test]
    fn defaults_come_as_a_patch() {
        let machine = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": "m"},
            "spec": {"clusterName": "c", "version": "1.35.0", "bootstrap": {},
                     "infrastructureRef": {"apiGroup": "g", "kind": "K", "name": "n"}}});
        let mut asked = review("CREATE", &machine);
        asked["request"]["kind"]["kind"] = json!("Machine");
        let answer = answer(Door::Default, &asked, None).unwrap();
        let patch = BASE64.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut patched = machine.clone();
        json_patch::patch(&mut patched, &patch).unwrap();
        assert_eq!(patched["spec"]["version"], "v1.35.0");
        assert_eq!(patched["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"], "c");
        asked["request"]["object"] = patched;
        let settled = super::answer(Door::Default, &asked, None).unwrap();
        assert_eq!(settled["response"], json!({"uid": "u", "allowed": true}), "nothing more to fill in");
    }

    #[test]
    fn what_is_wrong_is_told_field_by_field() {
        let cluster = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {"name": "c", "namespace": "n"},
            "spec": {"infrastructureRef": {"apiGroup": "g.io", "kind": "K", "name": "n"},
                     "clusterNetwork": {"pods": {"cidrBlocks": ["nonsense"]}}}});
        let said = answer(Door::Validate, &review("CREATE", &cluster), None).unwrap();
        let status = &said["response"]["status"];
        assert_eq!((&said["response"]["allowed"], &status["code"]), (&json!(false), &json!(422)));
        let message = status["message"].as_str().unwrap();
        assert!(
            message.starts_with("Cluster.cluster.x-k8s.io \"c\" is invalid: spec.clusterNetwork"),
            "{message}"
        );
        assert_eq!(status["details"]["causes"][0]["reason"], "FieldValueInvalid");
        assert!(answer(Door::Validate, &json!({"kind": "Other"}), None).is_none());
    }
}
