//! The example under the manager: a Machine and its DevMachine on an API server, until they are gone.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a failure is a panic")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use windlass_apiserver::{Server, UserInfo};
use windlass_example_provider::{Shelf, local};
use windlass_manager::assembly::{self, Assembly, Parts, Seams};
use windlass_manager::backends::{Backend, Calls};
use windlass_pki::SystemKeys;
use windlass_provider::{Layers, Limits};
use windlass_runtime::{Clock, Metrics, RuntimeOptions, Tasks, time};
use windlass_store::Engine;
use windlass_workload::Dial;

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
const INFRA: &str = "/apis/infrastructure.cluster.x-k8s.io/v1beta2/namespaces/default";

/// The manager with the shelf in the place of Docker, and nothing else.
fn start(client: Client, clock: &Clock, metrics: &Metrics, root: &Path) -> Assembly {
    let shelf = Arc::new(Shelf { root: root.to_owned(), backend: Arc::new(local) });
    let now = clock.clone();
    let layers = Layers::new("docker")
        .throttled(Limits::default(), Arc::new(move || now.now()))
        .metered(Calls::new(metrics).of("docker", clock.clone()));
    let backend = Backend {
        name: "docker",
        machines: layers.machines(shelf.clone()),
        clusters: layers.clusters(shelf),
        news: unbounded_channel().1,
        cluster_news: None,
    };
    assembly::start(Parts {
        client,
        clock: clock.clone(),
        tasks: Tasks::new(),
        metrics: metrics.clone(),
        keys: Arc::new(SystemKeys::default()),
        options: RuntimeOptions::default(),
        seams: Seams { connector: Arc::new(Dial), etcd: Box::new(|etcd| etcd), backends: vec![backend] },
    })
}

async fn server(clock: &Clock) -> Server {
    let (clock, counter) = (clock.clone(), AtomicU64::new(1));
    Server::builder(Engine::memory().store("management"))
        .clock(Arc::new(move || jiff::Timestamp::from_microsecond(clock.now().0).unwrap()))
        .random(Arc::new(move |bytes: &mut [u8]| {
            let next = counter.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            bytes.iter_mut().zip(next.iter().cycle()).for_each(|(byte, next)| *byte = *next);
        }))
        .start()
        .await
        .unwrap()
}

async fn post(client: &Client, path: &str, object: &Value) {
    let request = http::Request::post(path).header("content-type", "application/json");
    let request = request.body(serde_json::to_vec(object).unwrap()).unwrap();
    client.request::<Value>(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
}

async fn get(client: &Client, path: &str) -> Option<Value> {
    match client.request::<Value>(http::Request::get(path).body(vec![]).unwrap()).await {
        Ok(value) => Some(value),
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Status, reason and message of a condition.
async fn condition(client: &Client, path: &str, kind: &str) -> String {
    let object = get(client, path).await.unwrap();
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let Some(found) = conditions.iter().find(|condition| condition["type"] == kind) else {
        return String::new();
    };
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    format!("{} {} {}", text("status"), text("reason"), text("message"))
}

fn reference(group: &str, kind: &str, name: &str) -> Value {
    json!({"apiGroup": format!("{group}.cluster.x-k8s.io"), "kind": kind, "name": name})
}

fn object(group: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{group}cluster.x-k8s.io/v1beta2"), "kind": kind,
        "metadata": {"name": name, "labels": {"cluster.x-k8s.io/cluster-name": "c"}}, "spec": spec,
    })
}

/// A cluster with one machine, whose bootstrap data somebody else has written.
async fn declare(client: &Client) {
    let data = "#cloud-config\nruncmd:\n- kubeadm join --config /run/join.yaml\n";
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "m"}, "stringData": {"value": data},
    });
    post(client, "/api/v1/namespaces/default/secrets", &secret).await;
    let docker = json!({"backend": {"docker": {}}});
    let cluster = json!({"infrastructureRef": reference("infrastructure", "DevCluster", "c")});
    let machine = json!({
        "clusterName": "c", "version": "v1.35.0", "failureDomain": "bottom",
        "bootstrap": {"dataSecretName": "m"}, "infrastructureRef": reference("infrastructure", "DevMachine", "m"),
    });
    for (path, object) in [
        (format!("{INFRA}/devclusters"), object("infrastructure.", "DevCluster", "c", &docker)),
        (format!("{INFRA}/devmachines"), object("infrastructure.", "DevMachine", "m", &docker)),
        (format!("{CORE}/clusters"), object("", "Cluster", "c", &cluster)),
        (format!("{CORE}/machines"), object("", "Machine", "m", &machine)),
    ] {
        post(client, &path, &object).await;
    }
}

async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_shelved_watched_and_thrown_away() {
    let (root, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
    let clock = Clock::tokio(time::parse("2026-11-21T12:00:00Z").unwrap());
    let server = server(&clock).await;
    let client = server.client(UserInfo::admin("test"), "test");
    for crd in windlass_api::crd::crds() {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        post(&client, path, &serde_json::to_value(crd).unwrap()).await;
    }
    let manager =
        start(server.client(UserInfo::admin("windlass"), "windlass"), &clock, &metrics, root.path());
    declare(&client).await;
    let machine = format!("{CORE}/machines/m");

    wait(30).await;
    let told = condition(&client, &format!("{CORE}/clusters/c"), "InfrastructureReady").await;
    assert!(told.contains("see that the shelf is mounted"), "{told}");
    for board in ["machines", "clusters"] {
        fs::create_dir(root.path().join(board)).unwrap();
    }
    wait(30).await;
    assert_eq!(condition(&client, &machine, "InfrastructureReady").await, "True Ready ");
    let read = get(&client, &machine).await.unwrap();
    assert_eq!(read["spec"]["providerID"], "shelf:////default_c_m");
    assert_eq!(read["status"]["failureDomain"], "bottom");
    let place = root.path().join("machines/default_c_m");
    assert_eq!(fs::read_to_string(place.join("steps")).unwrap(), "kubeadm join --config /run/join.yaml");

    fs::write(place.join("switch"), "off").unwrap();
    wait(30).await;
    let told = condition(&client, &machine, "InfrastructureReady").await;
    assert!(told.starts_with("False NotReady * SwitchedOn: somebody turned it off; write `on` to"), "{told}");
    fs::write(place.join("switch"), "on").unwrap();
    wait(30).await;
    assert_eq!(condition(&client, &machine, "InfrastructureReady").await, "True Ready ");

    let request = http::Request::delete(format!("{CORE}/clusters/c")).body(vec![]).unwrap();
    client.request::<Value>(request).await.unwrap();
    wait(120).await;
    assert_eq!(get(&client, &format!("{CORE}/clusters/c")).await, None);
    for board in ["machines", "clusters"] {
        assert_eq!(fs::read_dir(root.path().join(board)).unwrap().count(), 0, "{board}");
    }
    let measured = metrics.text().unwrap();
    assert!(
        measured
            .contains(r#"windlass_provider_call_seconds_count{backend="docker",operation="create_machine""#)
    );
    manager.shutdown().await;
}
