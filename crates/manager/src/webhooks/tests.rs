//! The webhooks beside an API server that knows nothing of our rules but calls webhooks.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use windlass_apiserver::{Server, UserInfo};
use windlass_pki::SystemKeys;
use windlass_runtime::{Clock, Tasks};
use windlass_store::Engine;

use super::*;

async fn foreign() -> (Server, Client) {
    let clock = Clock::system();
    let server = Server::builder(Engine::memory().store("foreign"))
        .clock(Arc::new(move || jiff::Timestamp::from_microsecond(clock.now().0).unwrap()))
        .random(crate::entropy::system())
        .start()
        .await
        .unwrap();
    let client = server.client(UserInfo::admin("kim"), "test");
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in windlass_api::crd::crds() {
        definitions.create(&PostParams::default(), &definition).await.unwrap();
    }
    (server, client)
}

async fn served(client: &Client, policy: Policy, tasks: &Tasks) -> Webhooks {
    let options = Options {
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        address: Address::Url { host: "127.0.0.1".to_owned(), port: 0 },
        namespace: "kube-system".to_owned(),
        policy,
    };
    let keys = Arc::new(SystemKeys::default());
    Webhooks::serve(client.clone(), options, Clock::system(), keys, &tasks.spawner()).await.unwrap()
}

/// Does everything there is to do now; the registrar is replaced after every write, as if it had been lost.
async fn settle(webhooks: &Webhooks) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Advance::Wrote(step) = webhooks.registrar().advance().await.unwrap() {
        steps.push(step);
    }
    steps
}

fn machines(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "Machine");
    Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk_with_plural(&kind, "machines"))
}

/// A Machine of this version, which is right if it is one of Kubernetes.
fn machine(name: &str, version: &str) -> DynamicObject {
    let object = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "metadata": {"name": name},
        "spec": {"clusterName": "c", "version": version, "bootstrap": {"dataSecretName": "s"},
                 "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevMachine", "name": "n"}},
    });
    serde_json::from_value(object).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_get_their_defaults_and_are_refused() {
    let ((server, client), tasks) = (foreign().await, Tasks::new());
    let params = PostParams::default();
    machines(&client).create(&params, &machine("before", "nonsense")).await.unwrap();
    let webhooks = served(&client, Policy::of(Duration::from_hours(1)), &tasks).await;
    assert!(!webhooks.is_ready());
    assert_eq!(settle(&webhooks).await, [Step::Begin, Step::Register, Step::Register]);
    assert_eq!(settle(&webhooks).await, [], "everything is as it should be");
    assert!(webhooks.is_ready());

    let made = machines(&client).create(&params, &machine("good", "1.35.0")).await.unwrap();
    assert_eq!(made.data["spec"]["version"], "v1.35.0");
    assert_eq!(made.labels()["cluster.x-k8s.io/cluster-name"], "c");
    let refused = machines(&client).create(&params, &machine("bad", "nonsense")).await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    let expected = "admission webhook \"validate.windlass.cluster.x-k8s.io\" denied the request: \
                    Machine.cluster.x-k8s.io \"bad\" is invalid: spec.version: Invalid value: \"vnonsense\"";
    assert!(status.message.starts_with(expected), "{}", status.message);
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));

    // Somebody changes a registration: it is put right.
    let configurations: Api<k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration> =
        Api::all(client.clone());
    let mut changed = configurations.get(NAME).await.unwrap();
    changed.webhooks.as_mut().unwrap()[0].failure_policy = Some("Ignore".to_owned());
    configurations.replace(NAME, &params, &changed).await.unwrap();
    assert_eq!(settle(&webhooks).await, [Step::Register]);
    tasks.shutdown().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_manager_serves_what_the_first_registered() {
    let ((server, client), tasks) = (foreign().await, Tasks::new());
    let first = served(&client, Policy::of(Duration::from_secs(20)), &tasks).await;
    settle(&first).await;
    let second = served(&client, Policy::of(Duration::from_secs(20)), &tasks).await;
    while !second.is_ready() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It takes over: only the address differs, the authority stays.
    assert_eq!(settle(&second).await, [Step::Register, Step::Register]);
    machines(&client).create(&PostParams::default(), &machine("good", "1.35.0")).await.unwrap();
    tasks.shutdown().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authority_changes_hands_while_objects_are_written() {
    let ((server, client), tasks) = (foreign().await, Tasks::new());
    // The next authority is made after two seconds; the previous one expires six seconds later.
    let policy = Policy {
        lifetime: Duration::from_secs(8),
        overlap: Duration::from_secs(6),
        settle: Duration::from_millis(300),
        poll: Duration::from_millis(100),
    };
    let webhooks = served(&client, policy, &tasks).await;
    settle(&webhooks).await;
    let begun = bundle(&client).await;
    let (mut registrar, mut written, mut steps) = (webhooks.registrar(), 0, Vec::new());
    while steps.len() < 7 {
        if let Advance::Wrote(step) = registrar.advance().await.unwrap() {
            steps.push(step);
            registrar = webhooks.registrar();
        }
        let name = format!("m-{written}");
        machines(&client).create(&PostParams::default(), &machine(&name, "1.35.0")).await.unwrap();
        written += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let register = Step::Register;
    let rotation = [Step::Prepare, register, register, Step::Promote, Step::Forget, register, register];
    assert_eq!(steps, rotation);
    assert!(written > 50, "{written}");
    assert_ne!(bundle(&client).await, begun);
    tasks.shutdown().await;
    server.stop().await;
}

/// What the API server trusts.
async fn bundle(client: &Client) -> Value {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration");
    let resource = ApiResource::from_gvk_with_plural(&kind, "mutatingwebhookconfigurations");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    api.get(NAME).await.unwrap().data["webhooks"][0]["clientConfig"]["caBundle"].clone()
}
