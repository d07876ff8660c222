//! Versions of a kind that a converter of the process turns into one another.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    WatchEvent, WatchParams,
};
use serde_json::{Value, json};
use support::{admin, builder, create, message, object, refusal};
use windlass_apiserver::{Converter, Server};

/// `v1` says `spec.size` in centimetres, `v2` says `spec.metres` and a unit in
/// a label. What is larger than a kilometre cannot be said in `v2`.
struct Sizes;

impl Converter for Sizes {
    fn convert(&self, mut object: Value, api_version: &str) -> Result<Value, String> {
        let spec = object["spec"].as_object_mut().ok_or("there is no spec")?;
        if api_version == "test.dev/v2" {
            let size = spec.remove("size").and_then(|size| size.as_i64()).unwrap_or(0);
            if size > 100_000 {
                return Err(format!("{size} cm are too many"));
            }
            spec.insert("metres".to_owned(), json!(size / 100));
            object["metadata"]["labels"] = json!({"unit": "m"});
        } else {
            let metres = spec.remove("metres").and_then(|metres| metres.as_i64()).unwrap_or(0);
            spec.insert("size".to_owned(), json!(metres * 100));
            object["metadata"].as_object_mut().map(|metadata| metadata.remove("labels"));
        }
        object["apiVersion"] = json!(api_version);
        Ok(object)
    }
}

fn definition() -> CustomResourceDefinition {
    let version = |name: &str, field: &str, storage: bool| {
        let spec =
            json!({"type": "object", "properties": {field: {"type": "integer"}, "note": {"type": "string"}}});
        json!({
            "name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            "additionalPrinterColumns": [{"name": "Much", "type": "integer", "jsonPath": format!(".spec.{field}")}],
        })
    };
    serde_json::from_value(json!({
        "metadata": {"name": "things.test.dev"},
        "spec": {
            "group": "test.dev", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [version("v1", "size", true), version("v2", "metres", false)],
        },
    }))
    .unwrap()
}

async fn start() -> Server {
    let server = builder().converter("test.dev", "Thing", Arc::new(Sizes)).start().await.unwrap();
    server.install_crds(&[definition()]).await.unwrap();
    server
}

fn things(server: &Server, version: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("test.dev", version, "Thing");
    Api::namespaced_with(admin(server), "default", &ApiResource::from_gvk_with_plural(&gvk, "things"))
}

fn small(name: &str, size: i64) -> DynamicObject {
    let (kind, version) = ("Thing", "test.dev/v1");
    object(json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {"size": size}}))
}

fn large(name: &str, metres: i64) -> DynamicObject {
    let (kind, version) = ("Thing", "test.dev/v2");
    object(
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": {"metres": metres}}),
    )
}

fn version_of(object: &DynamicObject) -> &str {
    &object.types.as_ref().unwrap().api_version
}

#[tokio::test]
async fn objects_are_written_and_read_in_both_versions() {
    let server = start().await;
    let (old, new) = (things(&server, "v1"), things(&server, "v2"));
    let made = create(&old, &small("a", 300)).await;
    let made_new = create(&new, &large("b", 7)).await;
    assert_eq!((version_of(&made_new), &made_new.data["spec"]), ("test.dev/v2", &json!({"metres": 7})));

    let read = new.get("a").await.unwrap();
    assert_eq!((version_of(&read), &read.data["spec"]), ("test.dev/v2", &json!({"metres": 3})));
    assert_eq!(read.metadata.labels.as_ref().unwrap()["unit"], "m");
    assert_eq!(
        (&read.metadata.uid, &read.metadata.resource_version),
        (&made.metadata.uid, &made.metadata.resource_version)
    );
    let read = old.get("b").await.unwrap();
    assert_eq!((&read.data["spec"], read.metadata.labels), (&json!({"size": 700}), None));

    let specs = |list: Vec<DynamicObject>| -> Vec<Value> {
        list.into_iter().map(|object| object.data["spec"].clone()).collect()
    };
    let every = ListParams::default();
    assert_eq!(specs(old.list(&every).await.unwrap().items), [json!({"size": 300}), json!({"size": 700})]);
    assert_eq!(specs(new.list(&every).await.unwrap().items), [json!({"metres": 3}), json!({"metres": 7})]);

    // What is stored has one form.
    let stored = server.store().get("/registry/test.dev/things/default/b").unwrap();
    let stored: Value = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!((&stored["apiVersion"], &stored["spec"]), (&json!("test.dev/v1"), &json!({"size": 700})));

    let patch = Patch::Merge(json!({"spec": {"metres": 9}}));
    let changed = new.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(changed.data["spec"], json!({"metres": 9}));
    assert_eq!(old.get("a").await.unwrap().data["spec"], json!({"size": 900}));
    new.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(refusal(old.get("a").await), "404 NotFound");
}

#[tokio::test]
async fn watches_see_their_own_version() {
    let server = start().await;
    let (old, new) = (things(&server, "v1"), things(&server, "v2"));
    create(&old, &small("a", 100)).await;
    let from = old.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let params = WatchParams::default();
    let mut streams =
        [old.watch(&params, &from).await.unwrap().boxed(), new.watch(&params, &from).await.unwrap().boxed()];
    create(&new, &large("b", 2)).await;
    old.patch("a", &PatchParams::default(), &Patch::Merge(json!({"spec": {"size": 500}}))).await.unwrap();
    old.delete("a", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    for stream in &mut streams {
        for _ in 0..3 {
            let event = tokio::time::timeout(Duration::from_secs(5), stream.next()).await.unwrap();
            let (what, object) = match event.unwrap().unwrap() {
                WatchEvent::Added(object) => ("added", object),
                WatchEvent::Modified(object) => ("modified", object),
                WatchEvent::Deleted(object) => ("deleted", object),
                other => panic!("{other:?}"),
            };
            let name = object.metadata.name.clone().unwrap();
            seen.push(format!("{what} {name} {} {}", version_of(&object), object.data["spec"]));
        }
    }
    assert_eq!(
        seen,
        [
            r#"added b test.dev/v1 {"size":200}"#,
            r#"modified a test.dev/v1 {"size":500}"#,
            r#"deleted a test.dev/v1 {"size":500}"#,
            r#"added b test.dev/v2 {"metres":2}"#,
            r#"modified a test.dev/v2 {"metres":5}"#,
            r#"deleted a test.dev/v2 {"metres":5}"#,
        ]
    );
}

#[tokio::test]
async fn configurations_are_applied_in_both_versions() {
    let server = start().await;
    let (old, new) = (things(&server, "v1"), things(&server, "v2"));
    let apply = |manager: &str| PatchParams::apply(manager);
    let made = new.patch("a", &apply("metres"), &Patch::Apply(large("a", 4))).await.unwrap();
    assert_eq!(made.data["spec"], json!({"metres": 4}));
    let mut noted = small("a", 400);
    noted.data["spec"] = json!({"note": "n"});
    let both = old.patch("a", &apply("notes"), &Patch::Apply(noted)).await.unwrap();
    assert_eq!(both.data["spec"], json!({"size": 400, "note": "n"}));
    let managers = both.metadata.managed_fields.unwrap();
    let managers: Vec<(String, String)> =
        managers.into_iter().map(|entry| (entry.manager.unwrap(), entry.api_version.unwrap())).collect();
    let owner = |manager: &str, version: &str| (manager.to_owned(), format!("test.dev/{version}"));
    assert_eq!(managers, [owner("metres", "v2"), owner("notes", "v1")]);

    let again = new.patch("a", &apply("metres"), &Patch::Apply(large("a", 5))).await.unwrap();
    assert_eq!(again.data["spec"], json!({"metres": 5, "note": "n"}));
    let conflict = new.patch("a", &apply("others"), &Patch::Apply(large("a", 6))).await;
    assert_eq!(refusal(conflict), "409 Conflict");
}

#[tokio::test]
async fn what_cannot_be_converted_is_an_error_of_the_server() {
    let server = start().await;
    let (old, new) = (things(&server, "v1"), things(&server, "v2"));
    create(&old, &small("a", 100)).await;
    create(&old, &small("far", 200_000)).await;
    assert_eq!(old.list(&ListParams::default()).await.unwrap().items.len(), 2);
    let text = "conversion of test.dev/v1, Kind=Thing to test.dev/v2 failed: 200000 cm are too many";
    assert_eq!(message(new.get("far").await), text);
    assert_eq!(message(new.list(&ListParams::default()).await), text);
    assert_eq!(new.get("a").await.unwrap().data["spec"], json!({"metres": 1}));
    let patch = Patch::Merge(json!({"spec": {"size": 50_000}}));
    old.patch("far", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(new.list(&ListParams::default()).await.unwrap().items.len(), 2);
}
