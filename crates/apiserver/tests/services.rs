//! Addresses and ports of Services: never two at a time, and back when they are not needed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::IPAddress;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use support::{admin, builder, over, refusal};
use tokio::task::JoinSet;
use windlass_apiserver::Server;
use windlass_store::{Engine, Expect, Txn};

const MANY: usize = 100;

fn service(name: &str, spec: &Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

fn exposed() -> Value {
    json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]})
}

fn services(server: &Server) -> Api<Service> {
    Api::namespaced(admin(server), "default")
}

/// Does something for each number, all at once.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    server: &Server,
    act: impl Fn(Api<Service>, String) -> F,
) -> Vec<T> {
    let mut tasks = JoinSet::new();
    for number in 0..MANY {
        tasks.spawn(act(services(server), format!("s{number}")));
    }
    tasks.join_all().await
}

/// How many different addresses and ports of nodes there are.
fn different(services: &[Service]) -> (usize, usize) {
    let specs = || services.iter().map(|service| service.spec.as_ref().unwrap());
    let addresses: BTreeSet<&String> = specs().filter_map(|spec| spec.cluster_ip.as_ref()).collect();
    let ports = specs().flat_map(|spec| spec.ports.iter().flatten()).filter_map(|port| port.node_port);
    (addresses.len(), ports.collect::<BTreeSet<i32>>().len())
}

/// Addresses that are noted as held, and keys under which it is noted.
async fn held(server: &Server) -> (usize, usize) {
    let objects = Api::<IPAddress>::all(admin(server)).list(&ListParams::default()).await.unwrap();
    let keys = server.store().range("/registry/ranges/", None, None, None).unwrap();
    (objects.items.len(), keys.entries.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn services_that_are_made_at_one_instant_share_nothing() {
    let server = builder().start().await.unwrap();
    let made = at_once(&server, |api, name| async move {
        api.create(&PostParams::default(), &service(&name, &exposed())).await.unwrap()
    })
    .await;
    assert_eq!(different(&made), (MANY, 2 * MANY));
    assert_eq!(held(&server).await, (MANY, 3 * MANY));
    at_once(&server, |api, name| async move { api.delete(&name, &DeleteParams::default()).await.unwrap() })
        .await;
    assert_eq!(held(&server).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn services_that_are_changed_at_one_instant_share_nothing() {
    let server = builder().start().await.unwrap();
    let outside = json!({"type": "ExternalName", "externalName": "a.example.dev"});
    let create = outside.clone();
    at_once(&server, move |api, name| {
        let spec = create.clone();
        async move { api.create(&PostParams::default(), &service(&name, &spec)).await.unwrap() }
    })
    .await;
    assert_eq!(held(&server).await, (0, 0));
    let patch = |spec: Value| {
        move |api: Api<Service>, name: String| {
            let patch = Patch::Merge(json!({"spec": spec}));
            async move { api.patch(&name, &PatchParams::default(), &patch).await.unwrap() }
        }
    };
    let mut inside = exposed();
    inside["externalName"] = Value::Null;
    let changed = at_once(&server, patch(inside)).await;
    assert_eq!(different(&changed), (MANY, 2 * MANY));
    assert_eq!(held(&server).await, (MANY, 3 * MANY));
    let back = json!({"type": "ExternalName", "externalName": "b.example.dev", "ports": null});
    at_once(&server, patch(back)).await;
    assert_eq!(held(&server).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_that_all_want_is_given_to_one() {
    let server = builder().start().await.unwrap();
    let spec = json!({"clusterIP": "10.0.0.77", "ports": [{"port": 80}]});
    let answers = at_once(&server, move |api, name| {
        let service = service(&name, &spec);
        async move { api.create(&PostParams::default(), &service).await }
    })
    .await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, MANY - 1));
    for answer in refused {
        assert_eq!(refusal(answer), "422 Invalid");
    }
    assert_eq!(held(&server).await, (1, 1));
}

#[tokio::test]
async fn a_network_that_is_full_says_so() {
    let server = builder().start().await.unwrap();
    let api = services(&server);
    let spec = json!({"ports": [{"port": 80}]});
    // All but the network's own address, its last one and that of the API.
    for number in 0..253 {
        api.create(&PostParams::default(), &service(&format!("s{number}"), &spec)).await.unwrap();
    }
    let full = api.create(&PostParams::default(), &service("more", &spec)).await;
    assert!(support::message(full).ends_with("failed to allocate a serviceIP: range is full"));
    api.delete("s7", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &service("more", &spec)).await.unwrap();
}

#[tokio::test]
async fn what_services_of_older_programs_hold_is_found() {
    let store = Engine::memory().store("test");
    let old = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "old", "namespace": "default"},
        "spec": {
            "type": "NodePort", "clusterIP": "10.0.0.40", "clusterIPs": ["10.0.0.40"],
            "ports": [{"port": 80, "nodePort": 30_100}],
        },
    });
    let put = Txn::new().put("/registry/services/specs/default/old", old.to_string(), Expect::Absent);
    store.commit(put).await.unwrap();
    let server = over(store).start().await.unwrap();
    assert_eq!(held(&server).await, (1, 2));
    let api = services(&server);
    for spec in [
        json!({"clusterIP": "10.0.0.40", "ports": [{"port": 80}]}),
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_100}]}),
    ] {
        assert_eq!(refusal(api.create(&PostParams::default(), &service("new", &spec)).await), "422 Invalid");
    }
}
