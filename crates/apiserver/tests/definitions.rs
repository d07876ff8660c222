//! Definitions as objects, admission, ownership of fields, and who sees what.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::discovery::Discovery;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use support::{
    admin, builder, create, message, refusal, server, thing, thing_definition, thing_resource, things,
};
use windlass_apimachinery::FieldError;
use windlass_apiserver::{
    Admission, AdmissionRequest, Operation, Origin, UserInfo, WriteObserver, WriteRecord,
};

fn definition(change: impl Fn(&mut Value)) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(thing_definition()).unwrap();
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn definitions(client: Client) -> Api<CustomResourceDefinition> {
    Api::all(client)
}

#[tokio::test]
async fn a_definition_is_served_at_once() {
    let server = server().await;
    let crds = definitions(admin(&server));
    crds.create(&PostParams::default(), &thing_definition()).await.unwrap();
    let status = crds.get("things.test.dev").await.unwrap().status.unwrap();
    let conditions: Vec<String> = status
        .conditions
        .unwrap()
        .iter()
        .map(|c| format!("{}={} {}", c.type_, c.status, c.reason.clone().unwrap()))
        .collect();
    assert_eq!(conditions, ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"]);
    assert_eq!(status.accepted_names.unwrap().singular.as_deref(), Some("thing"));
    assert_eq!(status.stored_versions.unwrap(), ["v1"]);
    let api: Api<DynamicObject> = Api::namespaced_with(admin(&server), "default", &thing_resource());
    create(&api, &thing("a", 1)).await;
    let discovery = Discovery::new(admin(&server)).run().await.unwrap();
    assert!(discovery.get("test.dev").unwrap().recommended_kind("Thing").is_some());
    let discovery = Discovery::new(admin(&server)).run_aggregated().await.unwrap();
    assert!(discovery.get("test.dev").unwrap().recommended_kind("Thing").is_some());
}

#[tokio::test]
async fn a_definition_that_cannot_be_served_is_refused() {
    let server = server().await;
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    for (pointer, value, expected) in [
        ("/metadata/name", json!("other.test.dev"), "metadata.name: Invalid value"),
        ("/spec/versions/0/storage", json!(false), "spec.versions: Invalid value"),
        ("/spec/versions/0/schema", json!(null), "schema.openAPIV3Schema: Required value"),
        (&format!("{schema}/size"), json!({"type": "string", "pattern": "("}), "pattern: Invalid value"),
        (&format!("{schema}/size"), json!({}), "type: Required value"),
        ("/spec/scope", json!("Galaxy"), "spec.scope: Unsupported value"),
        (
            "/spec/conversion",
            json!({"strategy": "Webhook"}),
            "spec.conversion.webhookClientConfig: Required value",
        ),
        ("/spec/versions/0/additionalPrinterColumns/0/jsonPath", json!("a"), "JSONPath: Invalid value"),
    ] {
        let mut object = serde_json::to_value(thing_definition()).unwrap();
        match object.pointer_mut(pointer) {
            Some(slot) => *slot = value,
            None => object["spec"]["conversion"] = value,
        }
        let request = http::Request::post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
        let request = request.body(object.to_string().into_bytes()).unwrap();
        let said = message(admin(&server).request::<Value>(request).await);
        assert!(said.contains(expected), "{pointer}: {said}");
    }
    assert_eq!(definitions(admin(&server)).list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test]
async fn definitions_are_upgraded_in_place_and_survive_a_restart() {
    let engine = windlass_store::Engine::memory();
    let first = support::over(engine.store("s")).start().await.unwrap();
    first.install_crds(&[thing_definition()]).await.unwrap();
    let revision = first.store().revision();
    first.install_crds(&[thing_definition()]).await.unwrap();
    assert_eq!(first.store().revision(), revision, "installed again, nothing is written");
    let api: Api<DynamicObject> = Api::namespaced_with(admin(&first), "default", &thing_resource());
    create(&api, &thing("a", 1)).await;
    let wider = definition(|value| {
        let properties =
            value.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties");
        properties.unwrap()["extra"] = json!({"type": "string"});
    });
    first.install_crds(&[wider]).await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"extra": "x"}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data["spec"]["extra"], "x");
    first.stop().await;

    let revision = engine.store("s").revision();
    let second = support::over(engine.store("s")).start().await.unwrap();
    assert_eq!(second.store().revision(), revision, "a start writes nothing");
    let api: Api<DynamicObject> = Api::namespaced_with(admin(&second), "default", &thing_resource());
    assert_eq!(api.get("a").await.unwrap().data["spec"]["extra"], "x");
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_along() {
    let (server, api) = things().await;
    let mut held = thing("a", 1);
    held.metadata.finalizers = Some(vec!["test.dev/hold".to_owned()]);
    create(&api, &held).await;
    let crds = definitions(admin(&server));
    crds.delete("things.test.dev", &DeleteParams::default()).await.unwrap();
    let refused = api.create(&PostParams::default(), &thing("b", 1)).await;
    assert_eq!(refusal(refused), "403 Forbidden");
    let deleting = async || api.get("a").await.unwrap().metadata.deletion_timestamp.is_some();
    until(deleting).await;
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &none).await.unwrap();
    until(async || crds.get_opt("things.test.dev").await.unwrap().is_none()).await;
    assert_eq!(message(api.list(&ListParams::default()).await), "404 page not found");
}

async fn until(condition: impl AsyncFn() -> bool) {
    for _ in 0..400 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not happen");
}

#[tokio::test]
async fn old_versions_are_served_beside_the_stored_one() {
    let server = server().await;
    let two = definition(|value| {
        let mut old = value["spec"]["versions"][0].clone();
        old["name"] = json!("v1beta1");
        old["storage"] = json!(false);
        old["deprecated"] = json!(true);
        let versions = value["spec"]["versions"].as_array_mut().unwrap();
        let mut unserved = old.clone();
        unserved["name"] = json!("v1alpha1");
        unserved["served"] = json!(false);
        versions.extend([old, unserved]);
    });
    server.install_crds(&[two]).await.unwrap();
    let at = |version: &str| {
        let mut resource = thing_resource();
        resource.version = version.to_owned();
        resource.api_version = format!("test.dev/{version}");
        Api::<DynamicObject>::namespaced_with(admin(&server), "default", &resource)
    };
    let mut old = thing("a", 1);
    old.types.as_mut().unwrap().api_version = "test.dev/v1beta1".to_owned();
    let made = create(&at("v1beta1"), &old).await;
    assert_eq!(made.types.unwrap().api_version, "test.dev/v1beta1");
    assert_eq!(at("v1").get("a").await.unwrap().types.unwrap().api_version, "test.dev/v1");
    let listed = at("v1beta1").list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items[0].types.as_ref().unwrap().api_version, "test.dev/v1beta1");
    assert_eq!(message(at("v1alpha1").get("a").await), "404 page not found");
    assert_eq!(refusal(at("v1").create(&PostParams::default(), &old).await), "400 BadRequest");
}

/// Sizes get a `tidy` label; 13 is refused, 7 warned of.
struct Rules;

impl Admission for Rules {
    fn mutate(&self, request: &AdmissionRequest<'_>, object: &mut Value) {
        if request.kind == "Thing" && request.subresource.is_empty() {
            object["metadata"]["labels"]["tidy"] = json!("yes");
        }
    }

    fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Vec<FieldError>> {
        if request.kind != "Thing" {
            return Ok(Vec::new());
        }
        match (request.operation, object["spec"]["size"].as_i64()) {
            (Operation::Create | Operation::Update, Some(13)) => {
                Err(vec![FieldError::invalid("spec.size", 13, "must not be thirteen")])
            }
            (Operation::Delete, Some(99)) => Err(vec![FieldError::forbidden("spec", "is still in use")]),
            (Operation::Update, Some(7)) if old.is_some() => Ok(vec!["seven is unusual".to_owned()]),
            _ => Ok(Vec::new()),
        }
    }
}

#[tokio::test]
async fn admission_completes_and_judges() {
    let server = builder().admission(Arc::new(Rules)).start().await.unwrap();
    server.install_crds(&[thing_definition()]).await.unwrap();
    let api: Api<DynamicObject> = Api::namespaced_with(admin(&server), "default", &thing_resource());
    let made = create(&api, &thing("a", 1)).await;
    assert_eq!(made.labels()["tidy"], "yes");
    // What admission adds belongs to nobody.
    assert!(!json!(made.managed_fields()).to_string().contains("tidy"), "{:?}", made.managed_fields());
    let said = message(api.create(&PostParams::default(), &thing("b", 13)).await);
    assert_eq!(said, "Thing.test.dev \"b\" is invalid: spec.size: Invalid value: 13: must not be thirteen");
    create(&api, &thing("c", 99)).await;
    assert_eq!(refusal(api.delete("c", &DeleteParams::default()).await), "422 Invalid");
    let patch = json!({"spec": {"size": 7}}).to_string().into_bytes();
    let request = http::Request::patch("/apis/test.dev/v1/namespaces/default/things/a")
        .header("content-type", "application/merge-patch+json")
        .body(kube::client::Body::from(patch))
        .unwrap();
    let response = admin(&server).send(request).await.unwrap();
    assert_eq!(response.headers()["warning"], "299 - \"seven is unusual\"");
}

/// Notes `origin verb resource/subresource name agent`, and `-` for no-ops.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl WriteObserver for Notes {
    fn wrote(&self, record: &WriteRecord<'_>) {
        let WriteRecord { origin, verb, resource, subresource, name, field_manager, no_op, .. } = record;
        let origin = match origin {
            Origin::Client => "client",
            Origin::Gc => "gc",
            Origin::Bootstrap => return,
        };
        let slash = if subresource.is_empty() { "" } else { "/" };
        let mark = if *no_op { "-" } else { "" };
        let line = format!("{mark}{origin} {verb} {resource}{slash}{subresource} {name} {field_manager}");
        self.0.lock().unwrap().push(line);
    }
}

#[tokio::test]
async fn every_write_is_seen_once() {
    let notes = Arc::new(Notes::default());
    let server = builder().audit(notes.clone()).start().await.unwrap();
    server.install_crds(&[thing_definition()]).await.unwrap();
    let client = server.client(UserInfo::admin("kim"), "manager/1.2 (linux)");
    let api: Api<DynamicObject> = Api::namespaced_with(client, "default", &thing_resource());
    let owner = create(&api, &thing("a", 1)).await;
    let params = PatchParams::default();
    api.patch("a", &params, &Patch::Merge(json!({"spec": {"size": 2}}))).await.unwrap();
    api.patch("a", &params, &Patch::Merge(json!({"spec": {"size": 2}}))).await.unwrap();
    api.patch_status("a", &params, &Patch::Merge(json!({"status": {"phase": "x"}}))).await.unwrap();
    refusal(api.create(&PostParams::default(), &thing("a", 1)).await);
    let mut child = thing("b", 1);
    child.metadata = ObjectMeta {
        name: Some("b".to_owned()),
        owner_references: Some(vec![
            serde_json::from_value(json!({
                "apiVersion": "test.dev/v1", "kind": "Thing", "name": "a", "uid": owner.uid(),
            }))
            .unwrap(),
        ]),
        ..ObjectMeta::default()
    };
    create(&api, &child).await;
    api.delete("a", &DeleteParams::default()).await.unwrap();
    until(async || api.get_opt("b").await.unwrap().is_none()).await;
    assert_eq!(
        *notes.0.lock().unwrap(),
        [
            "client create things a manager",
            "client patch things a manager",
            "-client patch things a manager",
            "client patch things/status a manager",
            "client create things b manager",
            "client delete things a manager",
            "gc delete things b kube-controller-manager",
        ]
    );
}

fn owners(object: &DynamicObject) -> Vec<String> {
    object
        .managed_fields()
        .iter()
        .map(|entry| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let subresource = text(&entry.subresource);
            let slash = if subresource.is_empty() { "" } else { "/" };
            format!("{} {}{slash}{subresource}", text(&entry.manager), text(&entry.operation))
        })
        .collect()
}

#[tokio::test]
async fn fields_have_owners() {
    let (_server, api) = things().await;
    let mut wanted = thing("a", 1);
    wanted.metadata.labels = Some([("l".to_owned(), "1".to_owned())].into());
    let apply = |manager: &str| PatchParams::apply(manager);
    let made = api.patch("a", &apply("one"), &Patch::Apply(&wanted)).await.unwrap();
    assert_eq!(owners(&made), ["one Apply"]);
    assert!(!json!(made.managed_fields()).to_string().contains("color"), "defaults belong to nobody");
    let again = api.patch("a", &apply("one"), &Patch::Apply(&wanted)).await.unwrap();
    assert_eq!(again.resource_version(), made.resource_version());
    let two = json!({"apiVersion": "test.dev/v1", "kind": "Thing", "spec": {"size": 5}});
    assert_eq!(refusal(api.patch("a", &apply("two"), &Patch::Apply(&two)).await), "409 Conflict");
    let forced = api.patch("a", &apply("two").force(), &Patch::Apply(&two)).await.unwrap();
    assert_eq!((owners(&forced).len(), &forced.data["spec"]["size"]), (2, &json!(5)));
    let status = Patch::Merge(json!({"status": {"phase": "x"}}));
    let with_status = api.patch_status("a", &PatchParams::default(), &status).await.unwrap();
    assert!(owners(&with_status).contains(&"test Update/status".to_owned()), "{:?}", owners(&with_status));
    // What a manager no longer claims goes, unless another holds it.
    wanted.metadata.labels = None;
    wanted.data["spec"] = json!({"size": 5});
    let less = api.patch("a", &apply("one"), &Patch::Apply(&wanted)).await.unwrap();
    assert!(less.labels().is_empty(), "{less:?}");
    let nameless = Patch::Apply(json!({"apiVersion": "test.dev/v1", "kind": "Thing", "spec": {"size": 5}}));
    assert_eq!(refusal(api.patch("a", &PatchParams::default(), &nameless).await), "422 Invalid");
    let status = json!({"apiVersion": "test.dev/v1", "kind": "Thing", "status": {"phase": "y"}});
    let applied = api.patch_status("a", &apply("three").force(), &Patch::Apply(&status)).await.unwrap();
    assert_eq!(applied.data["status"]["phase"], "y");
    assert!(owners(&applied).contains(&"three Apply/status".to_owned()));
}

#[tokio::test]
async fn strangers_see_nothing() {
    let server = server().await;
    let stranger = server.client(UserInfo::new("eve", &[]), "eve/1");
    let secrets: Api<Secret> = Api::namespaced(stranger.clone(), "default");
    let said = message(secrets.get("s").await);
    assert_eq!(
        said,
        "secrets \"s\" is forbidden: User \"eve\" cannot get resource \"secrets\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(refusal(secrets.list(&ListParams::default()).await), "403 Forbidden");
    stranger.list_api_groups().await.unwrap();
    let nobody = server.client(UserInfo::anonymous(), "x");
    nobody.apiserver_version().await.unwrap();
    assert_eq!(refusal(nobody.list_api_groups().await), "403 Forbidden");
    let public: Api<ConfigMap> = Api::namespaced(nobody, "kube-public");
    assert_eq!(refusal(public.get("cluster-info").await), "404 NotFound");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_objects() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        support::SECONDS.store(0, std::sync::atomic::Ordering::SeqCst);
        let (server, api) = things().await;
        let owner = create(&api, &thing("owner", 1)).await;
        for index in 0..10 {
            let mut child = thing(&format!("t{index}"), 1);
            child.metadata.owner_references = Some(vec![
                serde_json::from_value(json!({
                    "apiVersion": "test.dev/v1", "kind": "Thing", "name": "owner", "uid": owner.uid(),
                }))
                .unwrap(),
            ]);
            create(&api, &child).await;
        }
        api.delete("owner", &DeleteParams::default()).await.unwrap();
        until(async || api.list(&ListParams::default()).await.unwrap().items.is_empty()).await;
        let mut watch = server.store().watch("", windlass_store::FIRST_REVISION).unwrap();
        let mut history = Vec::new();
        while let Some(event) = watch.try_next().unwrap() {
            history.push(format!("{} {}", event.revision, event.key));
        }
        assert!(history.len() > 20);
        runs.push(history);
    }
    assert_eq!(runs[0], runs[1]);
}
