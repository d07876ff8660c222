//! Questions about users and rights: answered, never stored.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_apimachinery::{FieldError, managed};
use windlass_rbac::{Request, User};

use crate::call::Call;
use crate::object::{meta_str, metadata_mut};
use crate::rules;
use crate::status::{ApiError, GroupKind};
use crate::user::UserInfo;

/// Answers the question in `object`.
///
/// # Errors
/// 400 and 422 for questions that make no sense.
pub fn answer(call: &Call<'_>, mut object: Value) -> Result<Value, ApiError> {
    rules::check_type(&call.kind, &call.api_version, &mut object)?;
    place(call, &mut object)?;
    let now = rules::seconds(call.now);
    managed::update(&call.identity().writer(call), call.version().schema(), None, &mut object);
    match call.kind.kind.as_str() {
        "SelfSubjectReview" => Ok(self_review(call, &now)),
        "SelfSubjectRulesReview" => rules_review(call, &object),
        "TokenReview" => token_review(call, object),
        _ => access_review(call, object),
    }
}

/// A user as reviews show it.
pub fn user_value(user: &UserInfo) -> Value {
    let mut value = json!({});
    for (key, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            value[key] = json!(text);
        }
    }
    if !user.groups.is_empty() {
        value["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        value["extra"] = json!(user.extra);
    }
    value
}

fn self_review(call: &Call<'_>, now: &str) -> Value {
    json!({
        "apiVersion": call.api_version, "kind": call.kind.kind, "metadata": {"creationTimestamp": now},
        "status": {"userInfo": user_value(&call.caller.user)},
    })
}

fn rules_review(call: &Call<'_>, object: &Value) -> Result<Value, ApiError> {
    let namespace = object["spec"]["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let user = &call.caller.user;
    let who = User { name: &user.name, groups: &user.groups };
    let inner = &call.server.inner;
    let mut status = inner.rights.with(&inner.store, |policy| {
        let resolved = policy.rules_for(who, namespace);
        let show = |keys: &[(&str, &Vec<String>)]| -> Value {
            keys.iter()
                .filter(|(_, list)| !list.is_empty())
                .map(|(key, list)| ((*key).to_owned(), json!(list)))
                .collect()
        };
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in &resolved.rules {
            if !rule.resources.is_empty() {
                resources.push(show(&[
                    ("verbs", &rule.verbs),
                    ("apiGroups", &rule.api_groups),
                    ("resources", &rule.resources),
                    ("resourceNames", &rule.resource_names),
                ]));
            }
            if !rule.non_resource_urls.is_empty() {
                paths.push(show(&[("verbs", &rule.verbs), ("nonResourceURLs", &rule.non_resource_urls)]));
            }
        }
        let lost: Vec<String> = resolved.missing.iter().map(ToString::to_string).collect();
        let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
        match lost.as_slice() {
            [] => {}
            [one] => status["evaluationError"] = json!(one),
            many => status["evaluationError"] = json!(format!("[{}]", many.join(", "))),
        }
        status
    });
    if call.server.inner.rights.nodes {
        status["incomplete"] = json!(true);
        status["evaluationError"] = json!("node authorizer does not support user rule resolution");
    }
    Ok(json!({
        "apiVersion": call.api_version, "kind": call.kind.kind, "metadata": {}, "spec": {}, "status": status,
    }))
}

fn token_review(call: &Call<'_>, mut object: Value) -> Result<Value, ApiError> {
    let spec = &object["spec"];
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = texts(&spec["audiences"]);
    object["status"] = match call.server.judge_token(token, &audiences) {
        Ok((user, audiences)) => {
            let mut status = json!({"authenticated": true, "user": user_value(&user)});
            if !audiences.is_empty() {
                status["audiences"] = json!(audiences);
            }
            status
        }
        Err(why) => json!({"user": {}, "error": why}),
    };
    Ok(object)
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn access_review(call: &Call<'_>, mut object: Value) -> Result<Value, ApiError> {
    let own = call.kind.kind == "SelfSubjectAccessReview";
    let errors = access_errors(call, &object, own);
    if !errors.is_empty() {
        // Upstream does not know the kind at this place.
        let what = GroupKind { group: &call.kind.group, kind: "" };
        return Err(ApiError::invalid(what, "", &errors));
    }
    let spec = &object["spec"];
    let named;
    let user = if own {
        &call.caller.user
    } else {
        named = subject(spec);
        &named
    };
    let text = |of: &str, key: &str| spec[of][key].as_str().unwrap_or_default();
    let resource = |key: &str| text("resourceAttributes", key);
    let request = if spec["nonResourceAttributes"].is_object() {
        Request::Path {
            verb: text("nonResourceAttributes", "verb"),
            path: text("nonResourceAttributes", "path"),
        }
    } else {
        Request::Resource {
            verb: resource("verb"),
            group: resource("group"),
            resource: resource("resource"),
            subresource: resource("subresource"),
            namespace: resource("namespace"),
            name: resource("name"),
        }
    };
    let decision = call.server.decide(user, &request);
    let mut status = json!({"allowed": decision.is_allowed()});
    if !decision.reason().is_empty() {
        status["reason"] = json!(decision.reason());
    }
    object["status"] = status;
    Ok(object)
}

fn subject(spec: &Value) -> UserInfo {
    let extra: BTreeMap<String, Vec<String>> = spec["extra"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, list)| (key.clone(), texts(list)))
        .collect();
    UserInfo {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups: texts(&spec["groups"]),
        extra,
    }
}

/// What is wrong with a question about rights (`apis/authorization/validation`).
fn access_errors(call: &Call<'_>, object: &Value, own: bool) -> Vec<FieldError> {
    let spec = &object["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let local = call.kind.namespaced;
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let shown = || json!({"Path": text(path, "path"), "Verb": text(path, "verb")});
    let mut errors = Vec::new();
    if resource.is_object() && path.is_object() {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.push(FieldError::invalid("spec.nonResourceAttributes", shown(), why));
    }
    if !resource.is_object() && !path.is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(FieldError::invalid("spec.resourceAttributes", Value::Null, why));
    }
    if !own && text(spec, "user").is_empty() && texts(&spec["groups"]).is_empty() {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "", why));
    }
    for selector in ["fieldSelector", "labelSelector"] {
        let selector_value = &resource[selector];
        let raw = text(selector_value, "rawSelector");
        if !raw.is_empty() && selector_value["requirements"].as_array().is_some_and(|list| !list.is_empty()) {
            let field = format!("spec.resourceAttributes.{selector}.rawSelector");
            errors.push(FieldError::invalid(
                field,
                raw,
                "may not specified at the same time as requirements",
            ));
        }
    }
    let metadata = object["metadata"].as_object().into_iter().flatten();
    let mut given = metadata.filter(|(key, _)| *key != "managedFields" && !(local && *key == "namespace"));
    if given.next().is_some() {
        errors.push(FieldError::invalid("metadata", object["metadata"].clone(), "must be empty"));
    }
    if local {
        if resource.is_object() && text(resource, "namespace") != meta_str(object, "namespace") {
            let field = "spec.resourceAttributes.namespace";
            errors.push(FieldError::invalid(
                field,
                text(resource, "namespace"),
                "must match metadata.namespace",
            ));
        }
        if path.is_object() {
            let why = "disallowed on this kind of request";
            errors.push(FieldError::invalid("spec.nonResourceAttributes", shown(), why));
        }
    }
    errors
}

/// Puts the namespace of the path into a question that may leave it out.
fn place(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let given = meta_str(object, "namespace").to_owned();
    if !given.is_empty() && given != call.namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    if call.kind.namespaced {
        metadata_mut(object).insert("namespace".to_owned(), json!(call.namespace));
    }
    Ok(())
}
