//! `serviceaccounts/<name>/token`: tokens on demand.

use std::sync::OnceLock;

use serde_json::{Value, json};
use windlass_apimachinery::schema::Schema;
use windlass_apimachinery::{FieldError, managed};

use super::ISSUER;
use super::tokens::{Account, Bound, Terms, claims};
use crate::call::Call;
use crate::object::{member, meta_str};
use crate::rules;
use crate::status::{ApiError, GroupKind, GroupResource};

/// For how many seconds tokens count unless asked otherwise.
const DEFAULT_SECONDS: i64 = 3600;
/// Tokens count for ten minutes at least.
const SHORTEST_SECONDS: i64 = 600;
/// What a kubelet asks for; upstream then gives a year, so that programs that
/// do not read their token again go on.
const KUBELET_SECONDS: i64 = 3607;
const YEAR_SECONDS: i64 = 365 * 24 * 3600;

const WHAT: GroupKind<'static> = GroupKind { group: "authentication.k8s.io", kind: "TokenRequest" };

/// Answers a `TokenRequest` for the account of the call.
///
/// # Errors
/// 404 when the account or the object to bind to does not exist, 422 when the
/// request makes no sense.
pub fn answer(call: &Call<'_>, mut request: Value) -> Result<Value, ApiError> {
    if !request.is_object() {
        let why = "the object provided is unrecognized (must be of type TokenRequest): couldn't get version/kind; \
                   json parse error: unexpected end of JSON input (<empty>)";
        return Err(ApiError::bad_request(why));
    }
    check_type(&request)?;
    let given = meta_str(&request, "namespace");
    if !given.is_empty() && given != call.namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    let now = rules::seconds(call.now);
    prepare(call, &mut request, &now);
    let name = meta_str(&request, "name");
    if !name.is_empty() && name != call.name {
        let why = "must match the service account name if specified";
        return Err(ApiError::invalid(WHAT, &call.name, &[FieldError::invalid("metadata.name", name, why)]));
    }
    let entry = call.server.inner.store.get(&call.key()).ok_or_else(|| call.not_found())?;
    let account = call.parse(&entry)?;
    let spec = &mut request["spec"];
    if spec["audiences"].as_array().is_none_or(Vec::is_empty) {
        spec["audiences"] = json!([ISSUER]);
    }
    if spec["boundObjectRef"].is_null() {
        spec["boundObjectRef"] = Value::Null;
    }
    let spec = request["spec"].clone();
    if !spec["expirationSeconds"].is_i64() {
        let why = "TokenRequest in version \"v1\" cannot be handled as a TokenRequest: json: cannot unmarshal string \
                   into Go struct field TokenRequestSpec.spec.expirationSeconds of type int64";
        return Err(ApiError::bad_request(why));
    }
    let asked = check_seconds(&spec)?;
    let bound = bound(call, &spec)?;
    let audiences: Vec<String> = spec["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    let lasting = asked == KUBELET_SECONDS && audiences == [ISSUER];
    let terms = Terms { audiences, now: call.now, seconds: if lasting { YEAR_SECONDS } else { asked } };
    let account = Account { namespace: &call.namespace, name: &call.name, uid: meta_str(&account, "uid") };
    let mut claims = claims(account, &bound, &terms, &call.server.uid());
    if lasting {
        claims["kubernetes.io"]["warnafter"] = json!(call.now.as_second() + asked);
    }
    let keys = call.server.inner.rights.keys().ok_or_else(ApiError::no_such_path)?;
    let token = keys.sign(&claims).map_err(ApiError::internal)?;
    let until = call.now.checked_add(jiff::SignedDuration::from_secs(asked)).map_err(ApiError::internal)?;
    let metadata = member(&mut request, "metadata");
    metadata["name"] = json!(account.name);
    metadata["namespace"] = json!(account.namespace);
    metadata["uid"] = json!(account.uid);
    metadata["creationTimestamp"] = json!(now);
    request["status"] = json!({"token": token, "expirationTimestamp": rules::seconds(until)});
    Ok(request)
}

fn check_type(request: &Value) -> Result<(), ApiError> {
    let (kind, version) = (&request["kind"], &request["apiVersion"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fits = |value: &Value, expected: &str| value.is_null() || value == "" || value == expected;
    if fits(kind, WHAT.kind) && fits(version, "authentication.k8s.io/v1") {
        return Ok(());
    }
    let (kind, version) = (text(kind), text(version));
    Err(ApiError::bad_request(format!(
        "{kind} in version {:?} cannot be handled as a TokenRequest: no kind {kind:?} is registered for version \
         {version:?} in scheme \"pkg/runtime/scheme.go:111\"",
        version.rsplit('/').next().unwrap_or_default(),
    )))
}

/// Fills in defaults, and notes who asked for what.
fn prepare(call: &Call<'_>, request: &mut Value, now: &str) {
    request["apiVersion"] = json!("authentication.k8s.io/v1");
    request["kind"] = json!(WHAT.kind);
    let metadata = member(request, "metadata");
    if !metadata.is_object() {
        *metadata = json!({});
    }
    let spec = member(request, "spec");
    if !spec.is_object() {
        *spec = json!({});
    }
    if spec["expirationSeconds"].is_null() {
        spec["expirationSeconds"] = json!(DEFAULT_SECONDS);
    }
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
    let writer = managed::Writer {
        manager: call.manager(),
        api_version: "authentication.k8s.io/v1",
        subresource: "token",
        now,
        reset: &[],
        versions: managed::Versions::Any,
    };
    managed::update(&writer, schema(), None, request);
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = json!({"type": "string"});
        let reference = json!({"type": "object", "x-windlass-always": true, "properties": {
            "apiVersion": text, "kind": text, "name": text, "uid": text,
        }});
        let document = json!({"type": "object", "properties": {
            "apiVersion": text, "kind": text, "metadata": {"type": "object"},
            "spec": {"type": "object", "properties": {
                "audiences": {"type": "array", "items": text, "x-kubernetes-list-type": "atomic"},
                "boundObjectRef": reference,
                "expirationSeconds": {"type": "integer", "format": "int64"},
            }, "x-windlass-always": true},
            "status": {"type": "object", "properties": {"token": text, "expirationTimestamp": text}},
        }});
        Schema::compile(&document).expect("the schema above is structural: a test asks for a token")
    })
}

fn check_seconds(spec: &Value) -> Result<i64, ApiError> {
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    let why = if seconds < SHORTEST_SECONDS {
        "may not specify a duration less than 10 minutes"
    } else if seconds > 1 << 32 {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(seconds);
    };
    Err(ApiError::invalid(WHAT, "", &[FieldError::invalid("spec.expirationSeconds", seconds, why)]))
}

/// The objects the token is bound to.
fn bound(call: &Call<'_>, spec: &Value) -> Result<Vec<Bound>, ApiError> {
    let reference = &spec["boundObjectRef"];
    if reference.is_null() {
        return Ok(Vec::new());
    }
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    let (kind, version, name) = (text("kind"), text("apiVersion"), text("name"));
    let (claim, resource, folder) = match (version, kind) {
        ("v1", "Pod") => ("pod", "pods", format!("pods/{}/", call.namespace)),
        ("v1", "Secret") => ("secret", "secrets", format!("secrets/{}/", call.namespace)),
        ("v1", "Node") => ("node", "nodes", "minions/".to_owned()),
        _ => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(why));
        }
    };
    let what = GroupResource { group: "", resource };
    let object = call
        .server
        .object_at(&format!("/registry/{folder}{name}"))
        .ok_or_else(|| ApiError::not_found(what, name))?;
    let uid = meta_str(&object, "uid").to_owned();
    let mut out = Vec::new();
    if claim == "pod" {
        let runs_as = object.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or_default();
        if runs_as != call.name {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                call.name
            )));
        }
        let node = object.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        if let Some(node) =
            call.server.object_at(&format!("/registry/minions/{node}")).filter(|_| !node.is_empty())
        {
            let name = meta_str(&node, "name").to_owned();
            out.push(Bound { claim: "node", name, uid: meta_str(&node, "uid").to_owned() });
        }
    }
    if !text("uid").is_empty() && text("uid") != uid {
        let what = GroupResource { group: "", resource: kind };
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have \
             been deleted and then recreated",
            text("uid")
        );
        return Err(ApiError::conflict(what, name, &why));
    }
    out.push(Bound { claim, name: name.to_owned(), uid });
    Ok(out)
}
