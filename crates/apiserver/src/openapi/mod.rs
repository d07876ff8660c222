//! OpenAPI documents: version 3 an API version each, which `kubectl` asks for
//! before it writes and explains; and version 2 as a whole, in JSON and in
//! protobuf, which Argo CD and older clients read.

mod gnostic;
mod v2;
mod v3;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::body::{self, Body};
use crate::kinds::{Kind, KindSet, Version};
use crate::negotiate::{JSON, accepted};
use crate::request::pairs;
use crate::status::ApiError;

/// Media types of version 2 documents in protobuf: as clients ask, and as
/// upstream answers, since `@` does not belong into a media type.
const V2_PROTOBUF: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
/// How long a document may be kept under its hash.
const YEAR: i64 = 365 * 24 * 60 * 60;

/// Documents of a set of kinds, built at first use.
#[derive(Debug, Default)]
pub struct OpenApi {
    documents: Mutex<BTreeMap<String, Bytes>>,
    whole: OnceLock<Whole>,
    built: OnceLock<Timestamp>,
}

/// The document of version 2 in both encodings.
#[derive(Debug)]
struct Whole {
    json: Bytes,
    protobuf: Bytes,
    tag: String,
}

type Served<'a> = Vec<(&'a Kind, &'a Version)>;

/// Kinds served at each API version, by document path.
fn versions(kinds: &KindSet) -> BTreeMap<String, Served<'_>> {
    let mut all: BTreeMap<String, Served<'_>> = BTreeMap::new();
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

/// The schemas that compiled-in kinds are made of.
fn definitions(kinds: &KindSet) -> Option<&v3::Definitions> {
    kinds.iter().flat_map(|kind| &kind.versions).find_map(Version::definitions)
}

fn build(kinds: &KindSet, served: &[(&Kind, &Version)]) -> Value {
    v3::document(served, definitions(kinds).unwrap_or(&BTreeMap::new()))
}

/// A time as HTTP writes it.
fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn set(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(name, value);
    }
}

/// An answer without a body, of which nobody says what it would be.
fn bare(code: StatusCode) -> Response<Body> {
    let mut response = body::text(code, "");
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

fn knows(headers: &HeaderMap, tag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|known| known.as_bytes() == tag.as_bytes())
}

impl OpenApi {
    fn built(&self, now: Timestamp) -> String {
        http_date(*self.built.get_or_init(|| now))
    }

    /// `/openapi/v3`: where the documents are.
    pub fn index(&self, kinds: &KindSet, now: Timestamp) -> Response<Body> {
        let paths: BTreeMap<String, Value> = versions(kinds)
            .into_iter()
            .map(|(path, served)| {
                let url = format!("/openapi/v3/{path}?hash={}", hash(&served));
                (path, json!({"serverRelativeURL": url}))
            })
            .collect();
        // Upstream does not say that this is JSON.
        let mut response = body::text(StatusCode::OK, json!({"paths": paths}).to_string());
        set(&mut response, header::LAST_MODIFIED, &self.built(now));
        response
    }

    /// `/openapi/v3/<path>`.
    ///
    /// # Errors
    /// 400 when the query cannot be read.
    pub fn document(
        &self,
        kinds: &KindSet,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Response<Body>, ApiError> {
        let all = versions(kinds);
        let Some(served) = all.get(path) else { return Ok(bare(StatusCode::NOT_FOUND)) };
        let json = |essence: &str| matches!(essence, JSON | "application/*" | "*/*");
        if !accepted(headers).iter().any(|range| json(&range.essence)) {
            let mut response = bare(StatusCode::NOT_ACCEPTABLE);
            set(&mut response, header::VARY, "Accept");
            return Ok(response);
        }
        let current = hash(served);
        let tag = format!("\"{current}\"");
        let asked = pairs(query)?.into_iter().find(|(key, _)| key == "hash").map(|(_, hash)| hash);
        let mut response = if asked.as_ref().is_some_and(|asked| *asked != current) {
            let mut response = body::typed(StatusCode::MOVED_PERMANENTLY, HeaderValue::from_static(JSON), "");
            set(&mut response, header::LOCATION, &format!("/openapi/v3/{path}?hash={current}"));
            response
        } else if knows(headers, &tag) {
            bare(StatusCode::NOT_MODIFIED)
        } else {
            let known = self.documents.lock().get(path).cloned();
            let bytes = known.unwrap_or_else(|| {
                let bytes = Bytes::from(build(kinds, served).to_string());
                self.documents.lock().insert(path.to_owned(), bytes.clone());
                bytes
            });
            let mut response = body::json(StatusCode::OK, bytes);
            set(&mut response, header::LAST_MODIFIED, &self.built(now));
            response
        };
        set(&mut response, header::ETAG, &tag);
        set(&mut response, header::VARY, "Accept");
        if asked.is_some_and(|asked| asked == current) {
            let immutable = HeaderValue::from_static("public, immutable");
            response.headers_mut().insert(header::CACHE_CONTROL, immutable);
            let expires = now + jiff::SignedDuration::from_secs(YEAR);
            set(&mut response, header::EXPIRES, &http_date(expires));
        }
        Ok(response)
    }

    /// `/openapi/v2`: one document of everything.
    pub fn v2(&self, kinds: &KindSet, headers: &HeaderMap, version: &str, now: Timestamp) -> Response<Body> {
        let choice = accepted(headers).into_iter().find_map(|range| match range.essence.as_str() {
            JSON | "application/*" | "*/*" => Some(JSON),
            other if V2_PROTOBUF.contains(&other) => Some(V2_PROTOBUF[1]),
            _ => None,
        });
        let mut response = match choice {
            None => bare(StatusCode::NOT_ACCEPTABLE),
            Some(media) => {
                let whole = self.whole(kinds, version);
                let mut response = if knows(headers, &whole.tag) {
                    bare(StatusCode::NOT_MODIFIED)
                } else {
                    let bytes = if media == JSON { &whole.json } else { &whole.protobuf };
                    let mut response =
                        body::typed(StatusCode::OK, HeaderValue::from_static(media), bytes.clone());
                    set(&mut response, header::LAST_MODIFIED, &self.built(now));
                    response
                };
                set(&mut response, header::ETAG, &whole.tag);
                response
            }
        };
        set(&mut response, header::VARY, "Accept-Encoding");
        set(&mut response, header::VARY, "Accept");
        response
    }

    fn whole(&self, kinds: &KindSet, version: &str) -> &Whole {
        self.whole.get_or_init(|| {
            let parts: Vec<Value> = versions(kinds).values().map(|served| build(kinds, served)).collect();
            let document = v2::document(parts.iter(), version);
            let json = Bytes::from(document.to_string());
            let tag = format!("\"{}\"", hex::encode_upper(Sha256::digest(&json)));
            Whole { protobuf: Bytes::from(gnostic::document(&document)), json, tag }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn read(response: Response<Body>) -> Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn get(openapi: &OpenApi, kinds: &KindSet, path: &str, query: &str) -> Response<Body> {
        openapi.document(kinds, path, query, &HeaderMap::new(), now()).unwrap()
    }

    #[tokio::test]
    async fn the_index_leads_to_documents_and_old_links_to_new_ones() {
        let kinds = KindSet::builtin();
        let openapi = OpenApi::default();
        let index = read(openapi.index(&kinds, now())).await;
        for (path, entry) in index["paths"].as_object().unwrap() {
            let url = entry["serverRelativeURL"].as_str().unwrap();
            let query = url.split_once('?').unwrap().1;
            let response = get(&openapi, &kinds, path, query);
            assert_eq!(response.headers()[header::CACHE_CONTROL], "public, immutable");
            let document = read(response).await;
            let schemas = document["components"]["schemas"].as_object().unwrap();
            assert!(!schemas.is_empty(), "{path}");
            let moved = get(&openapi, &kinds, path, "hash=OLD");
            assert_eq!(moved.status(), StatusCode::MOVED_PERMANENTLY);
            assert_eq!(moved.headers()[header::LOCATION], url);
        }
    }

    #[tokio::test]
    async fn no_reference_leads_nowhere() {
        let kinds = KindSet::builtin();
        let openapi = OpenApi::default();
        for path in ["api/v1", "apis/apps/v1", "apis/rbac.authorization.k8s.io/v1"] {
            let document = read(get(&openapi, &kinds, path, "")).await;
            let text = document.to_string();
            for link in text.split("#/components/schemas/").skip(1) {
                let name = link.split('"').next().unwrap();
                assert!(document["components"]["schemas"][name].is_object(), "{path}: {name}");
            }
        }
        let whole = openapi.v2(&kinds, &HeaderMap::new(), "v1.35.0", now());
        let document = read(whole).await;
        for link in document.to_string().split("#/definitions/").skip(1) {
            let name = link.split('"').next().unwrap();
            assert!(document["definitions"][name].is_object(), "{name}");
        }
    }

    #[tokio::test]
    async fn kubectl_finds_the_patch_of_a_kind_with_its_parameters() {
        let kinds = KindSet::builtin();
        let document = read(get(&OpenApi::default(), &kinds, "api/v1", "")).await;
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/secrets/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Secret");
        let parameters = patch["parameters"].as_array().unwrap();
        for name in ["fieldValidation", "dryRun", "fieldManager", "force"] {
            assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{name}");
        }
    }
}
