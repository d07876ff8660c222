//! Objects through kube's client: create, read, change, delete.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::{Resource, ResourceExt};
use serde_json::json;
use support::{admin, create, message, object, refusal, server, thing, things};

fn config(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        data: Some(BTreeMap::from([("key".to_owned(), value.to_owned())])),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_config_map_lives_and_dies() {
    let server = server().await;
    let api: Api<ConfigMap> = Api::namespaced(admin(&server), "default");
    let post = PostParams::default();
    let made = api.create(&post, &config("a", "1")).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(made.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(refusal(api.create(&post, &config("a", "1")).await), "409 AlreadyExists");

    let mut changed = made.clone();
    changed.data = Some(BTreeMap::from([("key".to_owned(), "2".to_owned())]));
    let changed = api.replace("a", &post, &changed).await.unwrap();
    assert_ne!(changed.resource_version(), made.resource_version());
    assert_eq!(refusal(api.replace("a", &post, &made).await), "409 Conflict");
    assert_eq!(api.get("a").await.unwrap(), changed);

    let same = api.replace("a", &post, &changed).await.unwrap();
    assert_eq!(same.resource_version(), changed.resource_version(), "a write of nothing writes nothing");

    let gone = api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(gone.right().unwrap().details.unwrap().uid, made.metadata.uid.unwrap());
    assert_eq!(refusal(api.get("a").await), "404 NotFound");
    assert_eq!(message(api.get("a").await), "configmaps \"a\" not found");
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn names_are_generated_and_namespaces_must_exist() {
    let server = server().await;
    let api: Api<ConfigMap> = Api::namespaced(admin(&server), "default");
    let mut nameless = config("x", "1");
    nameless.metadata.name = None;
    nameless.metadata.generate_name = Some("gen-".to_owned());
    let (one, two) = (
        api.create(&PostParams::default(), &nameless).await.unwrap(),
        api.create(&PostParams::default(), &nameless).await.unwrap(),
    );
    assert!(one.name_any().starts_with("gen-") && one.name_any().len() == 9, "{}", one.name_any());
    assert_ne!(one.name_any(), two.name_any());

    let nowhere: Api<ConfigMap> = Api::namespaced(admin(&server), "nowhere");
    let refused = nowhere.create(&PostParams::default(), &config("a", "1")).await;
    assert_eq!(message(refused), "namespaces \"nowhere\" not found");
}

#[tokio::test]
async fn secrets_take_texts_and_may_be_sealed() {
    let server = server().await;
    let api: Api<Secret> = Api::namespaced(admin(&server), "default");
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "s"}, "stringData": {"a": "b"}, "immutable": true,
    }))
    .unwrap();
    let made = api.create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(made.data.as_ref().unwrap()["a"].0, b"b");
    assert_eq!((made.type_.as_deref(), made.string_data.as_ref()), (Some("Opaque"), None));
    let patch = Patch::Merge(json!({"stringData": {"a": "c"}}));
    assert_eq!(refusal(api.patch("s", &PatchParams::default(), &patch).await), "422 Invalid");
}

#[tokio::test]
async fn patches_of_all_kinds() {
    let (_server, api) = things().await;
    let made = create(&api, &thing("a", 1)).await;
    assert_eq!(made.data["spec"]["color"], "red", "the schema's default");
    let params = PatchParams::default();
    let merged = api.patch("a", &params, &Patch::Merge(json!({"spec": {"size": 2}}))).await.unwrap();
    assert_eq!((&merged.data["spec"]["size"], merged.metadata.generation), (&json!(2), Some(2)));
    let operations = json!([{"op": "test", "path": "/spec/size", "value": 2}, {"op": "replace", "path": "/spec/size", "value": 3}]);
    let patch = |value: &serde_json::Value| Patch::<()>::Json(serde_json::from_value(value.clone()).unwrap());
    let patched = api.patch("a", &params, &patch(&operations)).await.unwrap();
    assert_eq!(patched.data["spec"]["size"], 3);
    assert_eq!(refusal(api.patch("a", &params, &patch(&operations)).await), "422 Invalid");
    let strategic = Patch::Strategic(json!({"spec": {"size": 4}}));
    assert_eq!(refusal(api.patch("a", &params, &strategic).await), "415 UnsupportedMediaType");
    let same = api.patch("a", &params, &Patch::Merge(json!({"spec": {"size": 3}}))).await.unwrap();
    assert_eq!(same.resource_version(), patched.resource_version());
    let stale = json!({"metadata": {"resourceVersion": made.resource_version()}, "spec": {"size": 9}});
    assert_eq!(refusal(api.patch("a", &params, &Patch::Merge(stale)).await), "409 Conflict");
}

#[tokio::test]
async fn the_status_is_apart() {
    let (_server, api) = things().await;
    let mut with_status = thing("a", 1);
    with_status.data["status"] = json!({"phase": "Lies"});
    let made = create(&api, &with_status).await;
    assert!(made.data.get("status").is_none(), "{made:?}");
    let patch = Patch::Merge(
        json!({"spec": {"size": 9}, "metadata": {"labels": {"a": "b"}}, "status": {"phase": "Ready"}}),
    );
    let patched = api.patch_status("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data["status"]["phase"], "Ready");
    assert_eq!(patched.data["spec"]["size"], 1);
    assert_eq!((patched.metadata.generation, &patched.metadata.labels), (Some(1), &None));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!((patched.metadata.generation, &patched.data["status"]["phase"]), (Some(2), &json!("Ready")));
}

#[tokio::test]
async fn scale_reads_and_writes_replicas() {
    let (_server, api) = things().await;
    create(&api, &thing("a", 1)).await;
    assert_eq!(refusal(api.get_scale("a").await), "500 InternalError");
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let scale = api.patch_scale("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(3));
    assert_eq!(api.get("a").await.unwrap().data["spec"]["replicas"], 3);
}

#[tokio::test]
async fn finalizers_hold_a_deleted_object() {
    let (_server, api) = things().await;
    let mut held = thing("a", 1);
    held.metadata.finalizers = Some(vec!["test.dev/hold".to_owned()]);
    create(&api, &held).await;
    let deleted = api.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(deleted.metadata.deletion_timestamp.is_some());
    assert_eq!(deleted.metadata.generation, Some(2));
    let again = api.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(again.resource_version(), deleted.resource_version());
    let more = Patch::Merge(json!({"metadata": {"finalizers": ["test.dev/hold", "test.dev/more"]}}));
    assert_eq!(refusal(api.patch("a", &PatchParams::default(), &more).await), "422 Invalid");
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &none).await.unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn preconditions_guard_a_delete() {
    let (_server, api) = things().await;
    let made = create(&api, &thing("a", 1)).await;
    let other = DeleteParams {
        preconditions: Some(kube::api::Preconditions {
            uid: Some("other".to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    assert_eq!(refusal(api.delete("a", &other).await), "409 Conflict");
    let mine = DeleteParams {
        preconditions: Some(kube::api::Preconditions { uid: made.metadata.uid, resource_version: None }),
        ..DeleteParams::default()
    };
    assert!(api.delete("a", &mine).await.unwrap().is_right());
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let (server, api) = things().await;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let made = api.create(&dry, &thing("a", 1)).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.resource_version().is_none());
    assert!(api.get_opt("a").await.unwrap().is_none());
    create(&api, &thing("a", 1)).await;
    let revision = server.store().revision();
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let patched = api.patch("a", &params, &Patch::Merge(json!({"spec": {"size": 7}}))).await.unwrap();
    assert_eq!(patched.data["spec"]["size"], 7);
    api.delete("a", &DeleteParams::default().dry_run()).await.unwrap();
    assert_eq!(server.store().revision(), revision);
}

#[tokio::test]
async fn lists_come_in_pages_of_one_moment() {
    let (_server, api) = things().await;
    for index in 0..5 {
        create(&api, &thing(&format!("t{index}"), 1)).await;
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    create(&api, &thing("t11", 1)).await;
    let token = first.metadata.continue_.clone().unwrap();
    let rest = api.list(&ListParams::default().continue_token(&token)).await.unwrap();
    assert_eq!(rest.metadata.resource_version, first.metadata.resource_version);
    let names: Vec<String> = first.items.iter().chain(&rest.items).map(ResourceExt::name_any).collect();
    assert_eq!(names, ["t0", "t1", "t2", "t3", "t4"]);
}

#[tokio::test]
async fn selectors_select() {
    let (_server, api) = things().await;
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        let mut labelled = thing(name, 1);
        labelled.metadata.labels = Some(BTreeMap::from([("color".to_owned(), color.to_owned())]));
        create(&api, &labelled).await;
    }
    let names = async |params: ListParams| -> Vec<String> {
        api.list(&params).await.unwrap().items.iter().map(ResourceExt::name_any).collect()
    };
    assert_eq!(names(ListParams::default().labels("color=red")).await, ["a", "c"]);
    assert_eq!(names(ListParams::default().labels("color!=red")).await, ["b"]);
    assert_eq!(names(ListParams::default().fields("metadata.name=b")).await, ["b"]);
    let unknown = api.list(&ListParams::default().fields("spec.size=1")).await;
    assert_eq!(message(unknown), "field label not supported: spec.size");
    api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("color=red"))
        .await
        .unwrap();
    assert_eq!(names(ListParams::default()).await, ["b"]);
}

#[tokio::test]
async fn an_invalid_object_names_its_fields() {
    let (_server, api) = things().await;
    let refused = api.create(&PostParams::default(), &thing("a", 0)).await;
    let text = message(refused);
    assert!(text.starts_with("Thing.test.dev \"a\" is invalid: spec.size: Invalid value: 0"), "{text}");
    let refused = api.create(&PostParams::default(), &thing("a", 100)).await;
    let text = message(refused);
    assert!(text.contains("size must be below 100"), "{text}");
    let refused = api.create(&PostParams::default(), &thing("Not a Name", 1)).await;
    assert_eq!(refusal(refused), "422 Invalid");
}

async fn eventually_gone<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    for _ in 0..200 {
        if api.get_opt(name).await.unwrap().is_none() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{name} stays");
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    let (_server, api) = things().await;
    let owner = create(&api, &thing("owner", 1)).await;
    let mut child = thing("child", 1);
    child.metadata.owner_references = Some(vec![owner_reference(&owner, false)]);
    let child = create(&api, &child).await;
    let mut grandchild = thing("grandchild", 1);
    grandchild.metadata.owner_references = Some(vec![owner_reference(&child, false)]);
    create(&api, &grandchild).await;
    api.delete("owner", &DeleteParams::default()).await.unwrap();
    eventually_gone(&api, "grandchild").await;
    eventually_gone(&api, "child").await;
}

#[tokio::test]
async fn foreground_waits_and_orphan_lets_go() {
    let (_server, api) = things().await;
    let owner = create(&api, &thing("owner", 1)).await;
    let mut child = thing("child", 1);
    child.metadata.owner_references = Some(vec![owner_reference(&owner, true)]);
    child.metadata.finalizers = Some(vec!["test.dev/hold".to_owned()]);
    create(&api, &child).await;
    let foreground =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    let waiting = api.delete("owner", &foreground).await.unwrap().left().unwrap();
    assert_eq!(waiting.metadata.finalizers.unwrap(), ["foregroundDeletion"]);
    let deleting = async || api.get("child").await.unwrap().metadata.deletion_timestamp.is_some();
    for _ in 0..200 {
        if deleting().await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(deleting().await && api.get_opt("owner").await.unwrap().is_some());
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("child", &PatchParams::default(), &none).await.unwrap();
    eventually_gone(&api, "owner").await;

    let owner = create(&api, &thing("owner", 1)).await;
    let mut child = thing("child", 1);
    child.metadata.owner_references = Some(vec![owner_reference(&owner, true)]);
    create(&api, &child).await;
    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    api.delete("owner", &orphan).await.unwrap();
    eventually_gone(&api, "owner").await;
    assert_eq!(api.get("child").await.unwrap().metadata.owner_references, None);
}

fn owner_reference(
    owner: &kube::api::DynamicObject,
    block: bool,
) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        api_version: "test.dev/v1".to_owned(),
        kind: "Thing".to_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap(),
        block_owner_deletion: Some(block),
        controller: None,
    }
}

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let (server, _) = things().await;
    let namespaces: Api<Namespace> = Api::all(admin(&server));
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    let made = namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    assert_eq!(made.status.unwrap().phase.as_deref(), Some("Active"));
    let things = Api::namespaced_with(admin(&server), "n", &support::thing_resource());
    let configs: Api<ConfigMap> = Api::namespaced(admin(&server), "n");
    let mut held = thing("a", 1);
    held.metadata.finalizers = Some(vec!["test.dev/hold".to_owned()]);
    create(&things, &held).await;
    configs.create(&PostParams::default(), &config("c", "1")).await.unwrap();
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    eventually_gone(&configs, "c").await;
    assert!(namespaces.get("n").await.unwrap().metadata.deletion_timestamp.is_some());
    let refused = configs.create(&PostParams::default(), &config("d", "1")).await;
    assert_eq!(refusal(refused), "403 Forbidden");
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    things.patch("a", &PatchParams::default(), &none).await.unwrap();
    eventually_gone(&namespaces, "n").await;
    let refused = namespaces.delete("default", &DeleteParams::default()).await;
    assert_eq!(refusal(refused), "403 Forbidden");
}

#[tokio::test]
async fn one_event_has_two_faces() {
    let server = server().await;
    let new: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(admin(&server), "default");
    let old: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(admin(&server), "default");
    let event = serde_json::from_value(json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "note": "hello", "reason": "R",
        "action": "A", "type": "Normal", "reportingController": "c", "reportingInstance": "i",
        "regarding": {"kind": "Thing", "name": "a", "namespace": "default"},
    }))
    .unwrap();
    new.create(&PostParams::default(), &event).await.unwrap();
    let seen = old.get("e").await.unwrap();
    assert_eq!((seen.message.as_deref(), seen.involved_object.name.as_deref()), (Some("hello"), Some("a")));
    let about = ListParams::default().fields("involvedObject.name=a,involvedObject.kind=Thing");
    assert_eq!(old.list(&about).await.unwrap().items.len(), 1);
    assert_eq!(new.list(&ListParams::default()).await.unwrap().items[0].note.as_deref(), Some("hello"));
    let _ = object(json!({"apiVersion": "v1", "kind": "Event", "metadata": {}}));
}

#[tokio::test(start_paused = true)]
async fn events_go_when_their_time_is_up() {
    let hour = std::time::Duration::from_hours(1);
    let server = support::builder().event_ttl(hour).start().await.unwrap();
    let api: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(admin(&server), "default");
    for name in ["once", "again"] {
        let event =
            serde_json::from_value(json!({"metadata": {"name": name}, "involvedObject": {}})).unwrap();
        api.create(&PostParams::default(), &event).await.unwrap();
    }
    tokio::time::sleep(hour / 2).await;
    api.patch("again", &PatchParams::default(), &Patch::Merge(json!({"count": 2}))).await.unwrap();
    let names = async || -> Vec<String> {
        api.list(&ListParams::default()).await.unwrap().items.iter().map(ResourceExt::name_any).collect()
    };
    tokio::time::sleep(std::time::Duration::from_secs(1799)).await;
    assert_eq!(names().await, ["again", "once"]);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(names().await, ["again"]);
    tokio::time::sleep(hour / 2).await;
    assert!(names().await.is_empty());
}
