//! A server in memory, with a clock and randomness that repeat.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

pub mod place;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use windlass_apiserver::{Server, ServerBuilder, UserInfo};
use windlass_store::{Engine, Store};

/// Seconds since the beginning of 2026.
pub static SECONDS: AtomicI64 = AtomicI64::new(0);

/// A server builder over a fresh store; its clock moves a second a look.
pub fn builder() -> ServerBuilder {
    over(Engine::memory().store("test"))
}

/// A server builder over a store.
pub fn over(store: Store) -> ServerBuilder {
    let start = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
    let random = AtomicU64::new(1);
    Server::builder(store)
        .clock(Arc::new(move || {
            Timestamp::from_second(start + SECONDS.fetch_add(1, Ordering::Relaxed)).unwrap()
        }))
        .random(Arc::new(move |bytes: &mut [u8]| {
            for byte in bytes {
                let next =
                    random.load(Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                random.store(next, Ordering::Relaxed);
                *byte = next.to_be_bytes()[1];
            }
        }))
}

/// A started server.
pub async fn server() -> Server {
    builder().start().await.unwrap()
}

/// An administrator's client.
pub fn admin(server: &Server) -> Client {
    server.client(UserInfo::admin("root"), "test/1.0")
}

/// A started server with the kind `Thing`, and an administrator's client.
pub async fn things() -> (Server, Api<DynamicObject>) {
    let server = server().await;
    server.install_crds(&[thing_definition()]).await.unwrap();
    let api = Api::namespaced_with(admin(&server), "default", &thing_resource());
    (server, api)
}

pub fn thing_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("test.dev", "v1", "Thing"), "things")
}

pub fn thing_definition() -> CustomResourceDefinition {
    let integer = |minimum: i32| json!({"type": "integer", "minimum": minimum});
    serde_json::from_value(json!({
        "metadata": {"name": "things.test.dev"},
        "spec": {
            "group": "test.dev", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing", "shortNames": ["th"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                }},
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {"type": "object", "description": "A thing.", "properties": {
                    "spec": {"type": "object", "required": ["size"], "properties": {
                        "size": integer(1), "replicas": integer(0),
                        "color": {"type": "string", "default": "red", "enum": ["red", "blue"]},
                        "parts": {"type": "array", "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"],
                            "items": {"type": "object", "required": ["name"], "properties": {
                                "name": {"type": "string"}, "weight": integer(0),
                            }}},
                    }, "x-kubernetes-validations": [
                        {"rule": "self.size < 100", "message": "size must be below 100"},
                    ]},
                    "status": {"type": "object", "properties": {
                        "replicas": integer(0), "selector": {"type": "string"}, "phase": {"type": "string"},
                        "conditions": {"type": "array", "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["type"],
                            "items": {"type": "object", "required": ["type", "status"], "properties": {
                                "type": {"type": "string"}, "status": {"type": "string"},
                            }}},
                    }},
                }}},
            }],
        },
    }))
    .unwrap()
}

/// A thing of this name and size.
pub fn thing(name: &str, size: i64) -> DynamicObject {
    object(json!({
        "apiVersion": "test.dev/v1", "kind": "Thing", "metadata": {"name": name}, "spec": {"size": size},
    }))
}

pub fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

/// Creates an object and returns it as stored.
pub async fn create(api: &Api<DynamicObject>, object: &DynamicObject) -> DynamicObject {
    api.create(&PostParams::default(), object).await.unwrap()
}

/// Code and reason of a refusal.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.unwrap_err() {
        Error::Api(status) => format!("{} {}", status.code, status.reason),
        other => panic!("{other}"),
    }
}

/// The message of a refusal.
pub fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.unwrap_err() {
        Error::Api(status) => status.message,
        other => panic!("{other}"),
    }
}
