//! Which groups, versions and resources there are: the legacy documents and
//! the aggregated one (`apidiscovery.k8s.io`).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use crate::body::{self, Body};
use crate::call::Part;
use crate::kinds::{Kind, KindSet, Subresource, Version, api_version};
use crate::negotiate::{MediaRange, accepted};
use crate::openapi::OpenApi;
use crate::request::{ResourcePath, Verb};
use crate::status::ApiError;

/// Documents about a set of kinds, built at first use and then shared.
#[derive(Debug, Default)]
pub struct Documents {
    core: OnceLock<Tagged>,
    groups: OnceLock<Tagged>,
    /// The OpenAPI documents.
    pub(crate) openapi: OpenApi,
}

/// A document with its entity tag.
#[derive(Debug)]
struct Tagged {
    items: Value,
    tag: String,
}

/// Media type of the aggregated document.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The first part of a path and, below `apis`, its group.
fn top(path: &str) -> (&str, &str) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// Why there is nothing at a path. Only what is compiled in answers with a
/// `Status`; all else is no path of the API.
pub fn missing(kinds: &KindSet, path: &str) -> ApiError {
    match top(path) {
        ("api" | "version", _) => ApiError::no_such_path(),
        ("apis", group) if kinds.iter().any(|kind| kind.builtin && kind.group == group) => {
            ApiError::no_such_path()
        }
        _ => ApiError::no_such_page(),
    }
}

/// Whether a verb leads anywhere at a path of a kind.
///
/// # Errors
/// 405 when there is such a path, but not for this verb.
pub fn routed(kind: &Kind, verb: Verb, path: &ResourcePath) -> Result<(), ApiError> {
    let collection = path.name.is_none();
    if !kind.builtin {
        return routed_custom(kind, verb, path);
    }
    if kind.hook.is_virtual() && (!collection || (kind.namespaced && path.namespace.is_none())) {
        // Questions have no names, and are asked where they belong.
        return Err(ApiError::no_such_path());
    }
    let has = |verb: Verb| kind.verbs.contains(&verb.as_str());
    let good = match verb {
        Verb::Create if path.subresource.is_some() => true,
        // Objects are made where they belong.
        Verb::Create => has(verb) && collection && (path.namespace.is_some() || !kind.namespaced),
        Verb::DeleteCollection => has(verb) && (path.namespace.is_some() || !kind.namespaced),
        Verb::List | Verb::Watch => has(Verb::List),
        Verb::Get | Verb::Update | Verb::Patch | Verb::Delete => path.subresource.is_some() || has(verb),
    };
    if good { Ok(()) } else { Err(ApiError::method_not_allowed()) }
}

/// The same for custom kinds, of which kube-apiserver has one route for all.
fn routed_custom(kind: &Kind, verb: Verb, path: &ResourcePath) -> Result<(), ApiError> {
    let named = path.name.is_some();
    let misplaced =
        if kind.namespaced { named && path.namespace.is_none() } else { path.namespace.is_some() };
    let Some(version) = kind.version(&path.version).filter(|_| !misplaced) else {
        return Err(ApiError::no_such_page());
    };
    let part = path.subresource.as_deref();
    if part.is_some_and(|part| subresources(kind, version).iter().all(|known| known.name != part)) {
        return Err(ApiError::not_found(kind.resource(), path.name.as_deref().unwrap_or_default()));
    }
    let all_namespaces = kind.namespaced && path.namespace.is_none();
    let good = match verb {
        Verb::Create => !named && !all_namespaces,
        Verb::DeleteCollection => !all_namespaces,
        Verb::Delete => part.is_none(),
        Verb::Get | Verb::List | Verb::Watch | Verb::Update | Verb::Patch => true,
    };
    if good { Ok(()) } else { Err(ApiError::method_not_supported(verb.as_str(), kind.resource())) }
}

/// `/`: the paths there are.
pub fn paths(kinds: &KindSet) -> Value {
    let mut paths: Vec<String> = [
        "/api",
        "/apis",
        "/healthz",
        "/healthz/ping",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for (group, versions) in groups(kinds) {
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        paths.extend(versions.iter().map(|version| format!("{root}/{version}")));
        if !group.is_empty() {
            paths.push(root);
        }
    }
    paths.sort();
    json!({"paths": paths})
}

/// The order in which kube-apiserver lists what custom kinds can.
const CUSTOM_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

/// The subresources of a kind at a version, by name.
pub fn subresources(kind: &Kind, version: &Version) -> Vec<Subresource> {
    let view =
        |name, part| Subresource { name, kind: "", group_version: ("", ""), verbs: &SUBRESOURCE_VERBS, part };
    let mut list: Vec<Subresource> = kind.subresources.iter().map(|row| **row).collect();
    if version.scale.is_some() {
        let scale = view("scale", Part::Scale);
        list.push(Subresource { kind: "Scale", group_version: ("autoscaling", "v1"), ..scale });
    }
    if version.status {
        list.push(view("status", Part::Status));
    }
    if kind.builtin {
        list.sort_by_key(|row| row.name);
    } else {
        list.sort_by_key(|row| row.part != Part::Status);
    }
    list
}

/// The verbs of a kind, as discovery lists them.
fn verbs(kind: &Kind) -> &'static [&'static str] {
    if kind.builtin { kind.verbs } else { CUSTOM_VERBS }
}

/// The order in which kube-apiserver lists its own groups; clients look for a
/// resource that is in several of them in this order. Others come after.
const ORDER: [&str; 21] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// Groups with their versions, the preferred one first.
fn groups(kinds: &KindSet) -> Vec<(String, Vec<String>)> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in kinds.iter() {
        let versions = groups.entry(kind.group.clone()).or_default();
        for version in &kind.versions {
            if !versions.contains(&version.name) {
                versions.push(version.name.clone());
            }
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by_cached_key(|version| std::cmp::Reverse(priority(version)));
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(group, _)| ORDER.iter().position(|known| known == group).unwrap_or(ORDER.len()));
    groups
}

/// Kubernetes' order of versions (`apimachinery/pkg/version`): GA before beta
/// before alpha, later before earlier, other names last.
pub fn priority(version: &str) -> (u8, u64, u64) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, rest) = rest.split_at(digits);
        let major: u64 = major.parse().ok()?;
        let stage =
            |rank, text: &str| Some((rank, major, if text.is_empty() { 0 } else { text.parse().ok()? }));
        match rest {
            "" => Some((3, major, 0)),
            _ if rest.starts_with("beta") => stage(2, &rest[4..]),
            _ if rest.starts_with("alpha") => stage(1, &rest[5..]),
            _ => None,
        }
    };
    parse().unwrap_or((0, 0, 0))
}

fn group_value(group: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": api_version(group, version), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions[0]})
}

/// `/apis`, legacy form.
fn group_list(kinds: &KindSet) -> Value {
    let groups: Vec<Value> = groups(kinds)
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_value(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
///
/// # Errors
/// 404 when no kind is in the group.
pub fn group(kinds: &KindSet, name: &str) -> Result<Value, ApiError> {
    let groups = groups(kinds);
    let (_, versions) = groups.iter().find(|(group, _)| group == name).ok_or_else(ApiError::no_such_page)?;
    let mut value = group_value(name, versions);
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    Ok(value)
}

/// `/api/v1` or `/apis/<group>/<version>`.
///
/// # Errors
/// 404 when no kind is in the group and version.
pub fn resources(kinds: &KindSet, group: &str, version: &str) -> Result<Value, ApiError> {
    let mut list = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.group == group) {
        let Some(served) = kind.version(version) else { continue };
        let mut row = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": verbs(kind),
        });
        if kind.verbs.contains(&"create") && !kind.hook.is_virtual() {
            row["storageVersionHash"] = json!(storage_hash(kind));
        }
        if !kind.short_names.is_empty() {
            row["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            row["categories"] = json!(kind.categories);
        }
        list.push(row);
        for sub in subresources(kind, served) {
            let of = if sub.kind.is_empty() { &kind.kind } else { sub.kind };
            let mut row = json!({
                "name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
                "namespaced": kind.namespaced, "kind": of, "verbs": sub.verbs,
            });
            if !sub.group_version.0.is_empty() {
                row["group"] = json!(sub.group_version.0);
                row["version"] = json!(sub.group_version.1);
            }
            list.push(row);
        }
    }
    if list.is_empty() {
        return Err(missing(kinds, &format!("/{}/{group}", if group.is_empty() { "api" } else { "apis" })));
    }
    let group_version = api_version(group, version);
    let mut document = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": list});
    // The oldest of these documents has never said what it is.
    if !group.is_empty() {
        document["apiVersion"] = json!("v1");
    }
    Ok(document)
}

/// Names the form in which objects are kept. Three of kube-apiserver's are
/// not that of the group they are served in.
fn storage_hash(kind: &Kind) -> String {
    let version = crate::kinds::split_api_version(&kind.storage_api_version).1;
    let (group, version) = match (kind.group.as_str(), kind.kind.as_str()) {
        ("events.k8s.io", "Event") => ("", "v1"),
        ("apiextensions.k8s.io", _) | ("storage.k8s.io", "VolumeAttributesClass") => {
            (kind.group.as_str(), "v1beta1")
        }
        (group, _) => (group, version),
    };
    let hash = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    BASE64.encode(&hash[..8])
}

/// The items of the aggregated document: the core group, or all others.
fn aggregated(kinds: &KindSet, core: bool) -> Value {
    let items: Vec<Value> = groups(kinds)
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = kinds
                        .iter()
                        .filter(|kind| kind.group == *group)
                        .filter_map(|kind| Some(aggregated_resource(kind, kind.version(version)?)))
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if core { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    Value::Array(items)
}

fn aggregated_resource(kind: &Kind, version: &Version) -> Value {
    // What is compiled in leaves group and version to the document around it.
    let (group, served) = if kind.builtin { ("", "") } else { (kind.group.as_str(), version.name.as_str()) };
    let own = |of: &str| json!({"group": group, "version": served, "kind": of});
    let mut row = json!({
        "resource": kind.plural, "responseKind": own(&kind.kind), "singularResource": kind.singular,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "verbs": verbs(kind),
    });
    if !kind.short_names.is_empty() {
        row["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        row["categories"] = json!(kind.categories);
    }
    let subresources: Vec<Value> = subresources(kind, version)
        .into_iter()
        .map(|sub| {
            let (group, version) = sub.group_version;
            let response = match sub.kind {
                "" => own(&kind.kind),
                of if group.is_empty() => own(of),
                of => json!({"group": group, "version": version, "kind": of}),
            };
            json!({"subresource": sub.name, "responseKind": response, "verbs": sub.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        row["subresources"] = Value::Array(subresources);
    }
    row
}

impl Documents {
    fn tagged(&self, kinds: &KindSet, core: bool) -> &Tagged {
        let slot = if core { &self.core } else { &self.groups };
        slot.get_or_init(|| {
            let items = aggregated(kinds, core);
            let tag = hex::encode_upper(Sha512::digest(items.to_string()));
            Tagged { items, tag: format!("\"{tag}\"") }
        })
    }
}

/// Answers `/api` (`core`) and `/apis`, in the form the client accepts.
///
/// # Errors
/// 406 when it accepts neither form.
pub fn root(kinds: &Arc<KindSet>, core: bool, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let ranges = accepted(headers);
    let is_aggregated = |range: &MediaRange| {
        range.essence == crate::negotiate::JSON
            && (range.transform.as_str(), range.group.as_str(), range.version.as_str())
                == ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2")
    };
    if ranges.iter().any(is_aggregated) {
        return Ok(aggregated_answer(kinds, core, headers));
    }
    if !ranges.iter().any(MediaRange::takes_plain) {
        return Err(ApiError::not_acceptable());
    }
    let legacy = if core {
        json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}]})
    } else {
        group_list(kinds)
    };
    Ok(body::value(StatusCode::OK, &legacy))
}

fn aggregated_answer(kinds: &Arc<KindSet>, core: bool, headers: &HeaderMap) -> Response<Body> {
    let document = kinds.documents().tagged(kinds, core);
    let unchanged = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|known| known == document.tag);
    let mut response = if unchanged {
        let mut response = Response::new(Body::Full(Some(Bytes::new())));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        body::value(
            StatusCode::OK,
            &json!({
                "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
                "metadata": {}, "items": document.items,
            }),
        )
    };
    let out = response.headers_mut();
    // Without the parameters clients take the answer for the legacy form.
    if let Ok(tag) = HeaderValue::from_str(&document.tag) {
        out.insert(header::ETAG, tag);
    }
    if !unchanged {
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    }
    out.insert(header::VARY, HeaderValue::from_static("Accept"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let mut versions = ["v1alpha1", "v10", "foo", "v2beta1", "v1", "v2beta10", "v2"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta10", "v2beta1", "v1alpha1", "foo"]);
    }

    #[test]
    fn an_aggregated_answer_names_itself_and_is_not_sent_twice() {
        let kinds = KindSet::builtin();
        let mut headers = HeaderMap::new();
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        let first = root(&kinds, false, &headers).unwrap();
        assert!(first.headers()[header::CONTENT_TYPE].to_str().unwrap().contains("as=APIGroupDiscoveryList"));
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(root(&kinds, false, &headers).unwrap().status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn resources_list_their_subresources() {
        let kinds = KindSet::builtin();
        let list = resources(&kinds, "apps", "v1").unwrap();
        let names: Vec<&str> =
            list["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "controllerrevisions",
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale",
                "deployments/status",
                "replicasets",
                "replicasets/scale",
                "replicasets/status",
                "statefulsets",
                "statefulsets/scale",
                "statefulsets/status",
            ]
        );
        assert_eq!(resources(&kinds, "apps", "v2").unwrap_err().code, 404);
    }
}
