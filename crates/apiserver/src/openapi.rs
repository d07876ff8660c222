//! OpenAPI documents: version 3 an API version each, which `kubectl` asks for
//! before it writes and explains; of version 2 only the frame, for clients
//! that insist on its presence.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::body::{self, Body};
use crate::kinds::{Kind, KindSet, Version};
use crate::negotiate::accepted;
use crate::request::pairs;
use crate::status::ApiError;

/// Media type of version 2 documents in protobuf.
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What upstream answers with: `@` does not belong into a media type.
const V2_PROTOBUF_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Version 3 documents of a set of kinds, built at first use.
#[derive(Debug, Default)]
pub struct OpenApi {
    documents: Mutex<BTreeMap<String, Bytes>>,
}

/// Kinds served at each API version, by document path.
fn versions(kinds: &KindSet) -> BTreeMap<String, Vec<(&Kind, &Version)>> {
    let mut all: BTreeMap<String, Vec<(&Kind, &Version)>> = BTreeMap::new();
    for kind in kinds.iter() {
        for version in &kind.versions {
            all.entry(document_path(&kind.group, &version.name)).or_default().push((kind, version));
        }
    }
    all
}

fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Changes whenever the document does: compiled-in kinds change with the
/// program, custom ones with their definition.
fn hash(kinds: &[(&Kind, &Version)]) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    for (kind, version) in kinds {
        let definition = kind.definition.as_ref();
        hash.update(format!("{}/{}/{definition:?};", kind.plural, version.name));
    }
    hex::encode_upper(hash.finalize())
}

impl OpenApi {
    /// `/openapi/v3`: where the documents are.
    pub fn index(kinds: &KindSet) -> Response<Body> {
        let paths: BTreeMap<String, Value> = versions(kinds)
            .into_iter()
            .map(|(path, served)| {
                let url = format!("/openapi/v3/{path}?hash={}", hash(&served));
                (path, json!({"serverRelativeURL": url}))
            })
            .collect();
        body::value(StatusCode::OK, &json!({"paths": paths}))
    }

    /// `/openapi/v3/<path>`.
    ///
    /// # Errors
    /// 404 when no kind is served there.
    pub fn document(&self, kinds: &KindSet, path: &str, query: &str) -> Result<Response<Body>, ApiError> {
        let all = versions(kinds);
        let served = all.get(path).ok_or_else(ApiError::no_such_path)?;
        let current = hash(served);
        let asked = pairs(query)?.into_iter().find(|(key, _)| key == "hash").map(|(_, hash)| hash);
        if asked.as_ref().is_some_and(|asked| *asked != current) {
            let mut response = body::text(StatusCode::MOVED_PERMANENTLY, "");
            let location = format!("/openapi/v3/{path}?hash={current}");
            if let Ok(location) = HeaderValue::from_str(&location) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            return Ok(response);
        }
        let known = self.documents.lock().get(path).cloned();
        let bytes = known.unwrap_or_else(|| {
            let bytes = Bytes::from(build(served).to_string());
            self.documents.lock().insert(path.to_owned(), bytes.clone());
            bytes
        });
        let mut response = body::json(StatusCode::OK, bytes);
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{current}\"")) {
            headers.insert(header::ETAG, tag);
        }
        if asked.is_some() {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        }
        Ok(response)
    }

    /// `/openapi/v2`: a document without paths and definitions.
    pub fn v2(headers: &HeaderMap, version: &str) -> Response<Body> {
        if accepted(headers).iter().any(|range| range.essence == V2_PROTOBUF) {
            let field = |tag: u8, content: &[u8]| {
                let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
                [&[tag << 3 | 2, length], &content[..usize::from(length)]].concat()
            };
            // gnostic's `openapi.v2.Document`: swagger, info, paths.
            let info =
                [field(1, b"Kubernetes"), field(2, &version.as_bytes()[..version.len().min(100)])].concat();
            let document = [field(1, b"2.0"), field(2, &info), field(8, b"")].concat();
            return body::typed(StatusCode::OK, HeaderValue::from_static(V2_PROTOBUF_ANSWER), document);
        }
        let info = json!({"title": "Kubernetes", "version": version});
        body::value(StatusCode::OK, &json!({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}))
    }
}

/// The document of one API version.
fn build(served: &[(&Kind, &Version)]) -> Value {
    let mut paths = BTreeMap::new();
    let mut schemas = BTreeMap::new();
    for (kind, version) in served {
        let name = schema_name(kind, version);
        let of = json!({"group": kind.group, "kind": kind.kind, "version": version.name});
        let mut schema = (*version.document()).clone();
        complete(&mut schema, &of);
        schemas.insert(name.clone(), schema);
        let list = json!({"group": kind.group, "kind": kind.list_kind, "version": version.name});
        schemas.insert(format!("{name}List"), list_schema(&name, &list));
        for (path, item) in path_items(kind, version, &name, &of) {
            paths.insert(path, item);
        }
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths, "components": {"schemas": schemas},
    })
}

/// `dev.test.v1.Thing` for `Thing` in `test.dev/v1`.
fn schema_name(kind: &Kind, version: &Version) -> String {
    let reversed: Vec<&str> = kind.group.split('.').rev().filter(|part| !part.is_empty()).collect();
    let group = if kind.group.is_empty() { "io.k8s.api.core".to_owned() } else { reversed.join(".") };
    format!("{group}.{}.{}", version.name, kind.kind)
}

fn complete(schema: &mut Value, of: &Value) {
    schema["x-kubernetes-group-version-kind"] = json!([of]);
    for (key, text) in
        [("apiVersion", "Version of the schema of this object."), ("kind", "Kind of this object.")]
    {
        schema["properties"][key] = json!({"type": "string", "description": text});
    }
    schema["properties"]["metadata"] = metadata();
}

/// `ObjectMeta`, for explanations and for clients that type their fields.
fn metadata() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let time = json!({"type": "string", "format": "date-time"});
    let owner = json!({"type": "object", "x-kubernetes-map-type": "atomic",
        "required": ["apiVersion", "kind", "name", "uid"],
        "properties": {"apiVersion": text, "kind": text, "name": text, "uid": text,
            "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"}}});
    json!({"type": "object", "description": "Standard object's metadata.", "properties": {
        "name": text, "generateName": text, "namespace": text, "uid": text, "resourceVersion": text,
        "labels": texts, "annotations": texts, "generation": {"type": "integer", "format": "int64"},
        "creationTimestamp": time, "deletionTimestamp": time,
        "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
        "finalizers": {"type": "array", "items": text, "x-kubernetes-list-type": "set",
            "x-kubernetes-patch-strategy": "merge"},
        "ownerReferences": {"type": "array", "items": owner, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"], "x-kubernetes-patch-merge-key": "uid",
            "x-kubernetes-patch-strategy": "merge"},
        "managedFields": {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "atomic"},
    }})
}

fn list_schema(item: &str, of: &Value) -> Value {
    json!({"type": "object", "required": ["items"], "x-kubernetes-group-version-kind": [of], "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
        "items": {"type": "array", "items": reference(item)},
    }})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn path_items(kind: &Kind, version: &Version, schema: &str, of: &Value) -> Vec<(String, Value)> {
    let root = match kind.group.as_str() {
        "" => "/api".to_owned(),
        group => format!("/apis/{group}"),
    };
    let root = format!("{root}/{}", version.name);
    let plural = &kind.plural;
    let collection = if kind.namespaced {
        format!("{root}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{root}/{plural}")
    };
    let operation = |method: &str, action: &str| operation(kind, schema, of, method, action);
    if kind.hook.is_virtual() {
        return vec![(collection, json!({"post": operation("post", "post")}))];
    }
    let object = json!({
        "get": operation("get", "get"), "put": operation("put", "put"),
        "patch": operation("patch", "patch"), "delete": operation("delete", "delete"),
    });
    let part = json!({
        "get": operation("get", "get"), "put": operation("put", "put"), "patch": operation("patch", "patch"),
    });
    let named = format!("{collection}/{{name}}");
    let mut items = vec![
        (
            collection.clone(),
            json!({
                "get": operation("get", "list"), "post": operation("post", "post"),
                "delete": operation("delete", "deletecollection"),
            }),
        ),
        (named.clone(), object),
    ];
    if kind.namespaced {
        items.push((format!("{root}/{plural}"), json!({"get": operation("get", "list")})));
    }
    if version.status {
        items.push((format!("{named}/status"), part));
    }
    items
}

fn operation(kind: &Kind, schema: &str, of: &Value, method: &str, action: &str) -> Value {
    let writes = matches!(method, "post" | "put" | "patch");
    let mut names: BTreeSet<(&str, &str)> = BTreeSet::from([("pretty", "string")]);
    if writes {
        names.extend([("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")]);
    }
    if method == "patch" {
        names.insert(("force", "boolean"));
    }
    let parameters: Vec<Value> = names
        .into_iter()
        .map(|(name, kind)| json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}}))
        .collect();
    let answer = if action == "list" { reference(&format!("{schema}List")) } else { reference(schema) };
    let mut operation = json!({
        "operationId": format!("{action}{}{}", kind.kind, of["version"].as_str().unwrap_or_default()),
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}},
        "x-kubernetes-action": action, "x-kubernetes-group-version-kind": of,
    });
    if writes {
        let media = if method == "patch" { "application/merge-patch+json" } else { "application/json" };
        let schema = if method == "patch" { json!({"type": "object"}) } else { reference(schema) };
        operation["requestBody"] = json!({"required": true, "content": {media: {"schema": schema}}});
        if method == "patch" {
            let any = json!({"schema": {"type": "object"}});
            for media in ["application/apply-patch+yaml", "application/json-patch+json"] {
                operation["requestBody"]["content"][media] = any.clone();
            }
        }
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn read(response: Response<Body>) -> Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn the_index_leads_to_documents_and_old_links_to_new_ones() {
        let kinds = KindSet::builtin();
        let index = read(OpenApi::index(&kinds)).await;
        for (path, entry) in index["paths"].as_object().unwrap() {
            let url = entry["serverRelativeURL"].as_str().unwrap();
            let query = url.split_once('?').unwrap().1;
            let openapi = OpenApi::default();
            let response = openapi.document(&kinds, path, query).unwrap();
            assert_eq!(response.headers()[header::CACHE_CONTROL], "public, immutable");
            let document = read(response).await;
            let schemas = document["components"]["schemas"].as_object().unwrap();
            assert!(!schemas.is_empty(), "{path}");
            let moved = openapi.document(&kinds, path, "hash=OLD").unwrap();
            assert_eq!(moved.status(), StatusCode::MOVED_PERMANENTLY);
            assert_eq!(moved.headers()[header::LOCATION], url);
        }
    }

    #[tokio::test]
    async fn kubectl_finds_the_patch_of_a_kind_with_its_parameters() {
        let kinds = KindSet::builtin();
        let document = read(OpenApi::default().document(&kinds, "api/v1", "").unwrap()).await;
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/secrets/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Secret");
        let parameters = patch["parameters"].as_array().unwrap();
        for name in ["fieldValidation", "dryRun", "fieldManager", "force"] {
            assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{name}");
        }
    }
}
