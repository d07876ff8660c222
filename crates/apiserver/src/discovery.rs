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
use crate::negotiate::accepted;
use crate::openapi::OpenApi;
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

const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

/// The subresources of a kind at a version, by name.
fn subresources(kind: &Kind, version: &Version) -> Vec<Subresource> {
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
    list.sort_by_key(|row| row.name);
    list
}

/// Group → versions, the preferred one first.
fn groups(kinds: &KindSet) -> BTreeMap<String, Vec<String>> {
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
    let versions = groups.get(name).ok_or_else(ApiError::no_such_path)?;
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
            "kind": kind.kind, "verbs": kind.verbs, "storageVersionHash": storage_hash(kind),
        });
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
        return Err(ApiError::no_such_path());
    }
    let group_version = api_version(group, version);
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list,
    }))
}

fn storage_hash(kind: &Kind) -> String {
    let hash = Sha256::digest(format!("{}/{}/{}", kind.group, kind.storage_api_version, kind.kind));
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
    let own = |of: &str| json!({"group": kind.group, "version": version.name, "kind": of});
    let mut row = json!({
        "resource": kind.plural, "responseKind": own(&kind.kind), "singularResource": kind.singular,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "verbs": kind.verbs,
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

/// Answers `/api` (`core`) and `/apis`, in the form the client prefers.
pub fn root(kinds: &Arc<KindSet>, core: bool, headers: &HeaderMap) -> Response<Body> {
    for range in accepted(headers) {
        if range.essence != crate::negotiate::JSON && range.essence != "*/*" {
            continue;
        }
        match (range.transform.as_str(), range.group.as_str(), range.version.as_str()) {
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => {
                return aggregated_answer(kinds, core, headers, "v2");
            }
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1") => {
                return aggregated_answer(kinds, core, headers, "v2beta1");
            }
            ("", ..) => break,
            _ => {}
        }
    }
    let legacy = if core {
        json!({"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"], "serverAddressByClientCIDRs": []})
    } else {
        group_list(kinds)
    };
    let mut response = body::value(StatusCode::OK, &legacy);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn aggregated_answer(kinds: &Arc<KindSet>, core: bool, headers: &HeaderMap, version: &str) -> Response<Body> {
    let document = kinds.documents().tagged(kinds, core);
    let unchanged = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|known| known.contains(document.tag.trim_matches('"')));
    let mut response = if unchanged {
        let mut response = Response::new(Body::Full(Some(Bytes::new())));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        body::value(
            StatusCode::OK,
            &json!({
                "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
                "metadata": {}, "items": document.items,
            }),
        )
    };
    let out = response.headers_mut();
    let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    // Without the parameters clients take the answer for the legacy form.
    if let (Ok(media), Ok(tag)) = (HeaderValue::from_str(&media), HeaderValue::from_str(&document.tag)) {
        out.insert(header::CONTENT_TYPE, media);
        out.insert(header::ETAG, tag);
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
        let first = root(&kinds, false, &headers);
        assert!(first.headers()[header::CONTENT_TYPE].to_str().unwrap().contains("as=APIGroupDiscoveryList"));
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(root(&kinds, false, &headers).status(), StatusCode::NOT_MODIFIED);
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
