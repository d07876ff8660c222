//! DevCluster and DevMachine from end to end: the controllers over this provider, on a real API server.
//! The test plays Cluster API's core.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers stand outside of test functions")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, Place, get, post};
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use windlass_apiserver::{Server, UserInfo, WriteObserver, WriteRecord};
use windlass_controllers::infrastructure::{
    ClusterController, DevClusters, DevMachineTemplates, DevMachines, MachineController, Registry,
    TemplateController,
};
use windlass_memory::Memory;
use windlass_provider::{
    ClusterInfrastructure, Error, ErrorKind, Fault, Faulty, Machines, Operation, Script,
};
use windlass_runtime::{Runtime, Tasks};
use windlass_store::Engine;

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
const INFRA: &str = "/apis/infrastructure.cluster.x-k8s.io/v1beta2/namespaces/default";

/// Counts the writes of the controllers, by resource and part.
#[derive(Default)]
struct Writes(Mutex<BTreeMap<String, usize>>);

impl WriteObserver for Writes {
    fn wrote(&self, record: &WriteRecord<'_>) {
        if record.user == "windlass" {
            let part = [record.resource, record.subresource].join("/");
            *self.0.lock().entry(part.trim_end_matches('/').to_owned()).or_default() += 1;
        }
    }
}

impl Writes {
    /// What was written since the last call.
    fn take(&self) -> String {
        let taken = std::mem::take(&mut *self.0.lock());
        taken.into_iter().map(|(part, count)| format!("{part} {count}")).collect::<Vec<_>>().join(", ")
    }
}

struct Management {
    place: Place,
    script: Arc<Script>,
    writes: Arc<Writes>,
    server: Server,
    core: Client,
    cluster: Fixture,
    runtime: Runtime,
}

impl Management {
    async fn new() -> Self {
        let (place, cluster) = (Place::new().await, Fixture::new("c"));
        let (writes, script) = (Arc::new(Writes::default()), Arc::new(Script::default()));
        let clock = place.clock.clone();
        let server = Server::builder(Engine::memory().store("management"))
            .clock(Arc::new(move || jiff::Timestamp::from_microsecond(clock.now().0).unwrap()))
            .random(common::random(7))
            .audit(writes.clone())
            .start()
            .await
            .unwrap();
        let core = server.client(UserInfo::admin("core"), "core");
        for crd in windlass_api::crd::crds() {
            let crd = serde_json::to_value(crd).unwrap();
            post(&core, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await;
        }
        let runtime = start(&place, &server, &script);
        Self { place, script, writes, server, core, cluster, runtime }
    }

    /// Ends the controllers and starts them with empty caches.
    async fn restart(self) -> Self {
        self.runtime.shutdown().await;
        let runtime = start(&self.place, &self.server, &self.script);
        let next = Self { runtime, ..self };
        next.settle().await;
        next
    }

    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    async fn read(&self, path: &str) -> Option<Value> {
        get(&self.core, path).await
    }

    async fn merge(&self, path: &str, patch: Value) -> Value {
        let request = http::Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(&patch).unwrap())
            .unwrap();
        self.core.request::<Value>(request).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn delete(&self, path: &str) {
        let request = http::Request::delete(path).body(vec![]).unwrap();
        self.core.request::<Value>(request).await.unwrap();
    }

    /// A Cluster with its DevCluster, as core leaves them before the infrastructure is there.
    async fn cluster(&self, backend: &Value) -> String {
        let reference =
            json!({"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevCluster", "name": "c"});
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "c"},
            "spec": {"infrastructureRef": reference},
        });
        post(&self.core, &format!("{CORE}/clusters"), &cluster).await;
        let uid = self.uid(&format!("{CORE}/clusters/c")).await;
        let dev = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "kind": "DevCluster",
            "metadata": {
                "name": "c", "labels": {"cluster.x-k8s.io/cluster-name": "c"},
                "ownerReferences": [
                    {"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c", "uid": uid},
                ],
            },
            "spec": {"backend": backend},
        });
        post(&self.core, &format!("{INFRA}/devclusters"), &dev).await;
        uid
    }

    async fn uid(&self, path: &str) -> String {
        self.read(path).await.unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// A Machine with its DevMachine; its bootstrap data is still to come.
    async fn machine(&self, name: &str, control_plane: bool, backend: &Value) {
        let mut labels = json!({"cluster.x-k8s.io/cluster-name": "c"});
        if control_plane {
            labels["cluster.x-k8s.io/control-plane"] = json!("");
        }
        let reference = |group: &str, kind: &str| json!({"apiGroup": format!("{group}.cluster.x-k8s.io"), "kind": kind, "name": name});
        let machine = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "clusterName": "c", "version": "v1.35.0",
                "bootstrap": {"configRef": reference("bootstrap", "KubeadmConfig")},
                "infrastructureRef": reference("infrastructure", "DevMachine"),
            },
        });
        post(&self.core, &format!("{CORE}/machines"), &machine).await;
        let uid = self.uid(&format!("{CORE}/machines/{name}")).await;
        let dev = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "kind": "DevMachine",
            "metadata": {
                "name": name, "labels": labels,
                "ownerReferences": [{
                    "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": name, "uid": uid,
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {"backend": backend},
        });
        post(&self.core, &format!("{INFRA}/devmachines"), &dev).await;
    }

    /// The bootstrap data arrives.
    async fn bootstrap(&self, name: &str, data: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"value": data},
        });
        post(&self.core, "/api/v1/namespaces/default/secrets", &secret).await;
        self.merge(
            &format!("{CORE}/machines/{name}"),
            json!({"spec": {"bootstrap": {"dataSecretName": name}}}),
        )
        .await;
    }

    async fn infrastructure_is_ready(&self) {
        let patch = json!({"status": {"initialization": {"infrastructureProvisioned": true}}});
        self.merge(&format!("{CORE}/clusters/c/status"), patch).await;
    }

    /// A cluster whose infrastructure is there, and one control plane machine waiting for its data.
    async fn ready_for_data(backend: &Value) -> Self {
        let world = Self::new().await;
        world.cluster(&json!({"inMemory": {}})).await;
        world.settle().await;
        world.infrastructure_is_ready().await;
        world.machine("cp-0", true, backend).await;
        world.settle().await;
        world.writes.take();
        world
    }

    async fn dev_machine(&self) -> Value {
        self.read(&format!("{INFRA}/devmachines/cp-0")).await.unwrap()
    }
}

fn start(place: &Place, server: &Server, script: &Arc<Script>) -> Runtime {
    let provider = Memory::new(place.world.clone());
    let machines: Arc<dyn Machines> = Arc::new(Faulty::new(provider.clone(), script.clone()));
    let clusters: Arc<dyn ClusterInfrastructure> = Arc::new(Faulty::new(provider, script.clone()));
    let news = Some(place.world.machine_news());
    let templates = Registry::default().with("inMemory", machines.clone());
    let templates = TemplateController::<DevMachineTemplates>::new(templates);
    let machines =
        MachineController::<DevMachines>::new(Registry::default().with("inMemory", machines), news);
    let clusters = ClusterController::<DevClusters>::new(Registry::default().with("inMemory", clusters));
    let client = server.client(UserInfo::admin("windlass"), "windlass");
    Runtime::builder(client, place.clock.clone(), Tasks::new())
        .add(machines)
        .add(clusters)
        .add(templates)
        .start()
}

/// Conditions as `Type=Status(Reason)`, in their order; only the type where all is well.
fn conditions(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let told = conditions.iter().map(|condition| {
        let text = |field: &str| condition[field].as_str().unwrap().to_owned();
        if text("status") == "True" { text("type") } else { format!("{}={}", text("type"), text("reason")) }
    });
    told.collect::<Vec<_>>().join(" ")
}

const DEV_CLUSTER: &str = "/apis/infrastructure.cluster.x-k8s.io/v1beta2/namespaces/default/devclusters/c";

#[tokio::test(start_paused = true)]
async fn a_cluster_gets_its_infrastructure_in_two_writes() {
    let management = Management::new().await;
    management.cluster(&json!({"inMemory": {}})).await;
    management.settle().await;
    let dev = management.read(DEV_CLUSTER).await.unwrap();
    assert_eq!(dev["spec"]["controlPlaneEndpoint"], json!({"host": "127.0.0.1", "port": 20000}));
    assert_eq!(dev["metadata"]["finalizers"], json!(["dockercluster.infrastructure.cluster.x-k8s.io"]));
    let listener =
        &dev["metadata"]["annotations"]["inmemorycluster.infrastructure.cluster.x-k8s.io/listener"];
    assert_eq!(listener, "default/c");
    assert_eq!(dev["status"]["initialization"]["provisioned"], true);
    assert_eq!(conditions(&dev), "Paused=NotPaused");
    assert_eq!(management.writes.take(), "devclusters 1, devclusters/status 1");
    let management = management.restart().await;
    assert_eq!(management.writes.take(), "", "a second look writes nothing");

    management.delete(DEV_CLUSTER).await;
    management.settle().await;
    assert_eq!(management.read(DEV_CLUSTER).await, None);
    assert_eq!(management.place.engine.names(), ["world"]);
    assert!(management.place.world.cluster_history().unwrap()[0].deleted.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_machine_waits_boots_and_goes() {
    let management = Management::ready_for_data(&json!({"inMemory": {}})).await;
    let waiting = management.dev_machine().await;
    assert_eq!(
        conditions(&waiting),
        "Ready=NotReady APIServerProvisioned=WaitingForVMProvisioned EtcdProvisioned=WaitingForVMProvisioned \
         NodeProvisioned=WaitingForVMProvisioned VMProvisioned=WaitingForBootstrapData Paused=NotPaused"
    );
    assert_eq!(
        waiting["status"]["conditions"][0]["message"],
        "* VMProvisioned: WaitingForBootstrapData\n* NodeProvisioned: WaitingForVMProvisioned\n\
         * EtcdProvisioned: WaitingForVMProvisioned\n* APIServerProvisioned: WaitingForVMProvisioned",
        "as upstream says it"
    );
    management.bootstrap("cp-0", &management.cluster.init()).await;
    management.settle().await;
    let ready = management.dev_machine().await;
    assert_eq!(
        conditions(&ready),
        "Ready APIServerProvisioned EtcdProvisioned NodeProvisioned VMProvisioned Paused=NotPaused"
    );
    assert_eq!(ready["spec"]["providerID"], "in-memory://cp-0");
    assert_eq!(ready["metadata"]["finalizers"], json!(["dockermachine.infrastructure.cluster.x-k8s.io"]));
    assert_eq!(ready["status"]["initialization"]["provisioned"], true);
    assert_eq!(ready["status"]["addresses"][1], json!({"type": "InternalIP", "address": "10.0.0.1"}));
    let generation = &ready["metadata"]["generation"];
    assert!(
        ready["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .all(|c| c["observedGeneration"] == *generation)
    );
    assert_eq!(management.writes.take(), "devmachines 1, devmachines/status 1");
    let management = management.restart().await;
    assert_eq!(management.writes.take(), "", "a second look writes nothing");

    management.delete(&format!("{INFRA}/devmachines/cp-0")).await;
    management.settle().await;
    assert_eq!(management.read(&format!("{INFRA}/devmachines/cp-0")).await, None);
    let history = management.place.world.machine_history().unwrap();
    assert_eq!(history.len(), 1);
    assert!(history[0].deleted.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_slow_machine_is_followed_stage_by_stage() {
    let ten = json!({"provisioning": {"startupDuration": "10s"}});
    let management = Management::ready_for_data(&json!({"inMemory": {"vm": ten, "node": ten}})).await;
    management.bootstrap("cp-0", &management.cluster.init()).await;
    for (seconds, expected, provisioned) in [
        (5, "VMProvisioned=WaitingForStartupTimeout", Value::Null),
        (10, "NodeProvisioned=WaitingForStartupTimeout VMProvisioned ", json!(true)),
        (10, "Ready APIServerProvisioned EtcdProvisioned NodeProvisioned VMProvisioned", json!(true)),
    ] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let dev = management.dev_machine().await;
        assert!(conditions(&dev).contains(expected), "{}", conditions(&dev));
        assert_eq!(dev["status"]["initialization"]["provisioned"], provisioned);
    }
    assert_eq!(management.writes.take(), "devmachines 1, devmachines/status 3");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_join_says_why() {
    let management = Management::ready_for_data(&json!({"inMemory": {}})).await;
    management.bootstrap("cp-0", &management.cluster.init_without("sa.key")).await;
    management.settle().await;
    let dev = management.dev_machine().await;
    let node = &dev["status"]["conditions"][3];
    assert_eq!((&node["type"], &node["reason"]), (&json!("NodeProvisioned"), &json!("CertificatesMissing")));
    assert!(node["message"].as_str().unwrap().contains("/etc/kubernetes/pki/sa.key"), "{node}");
    assert!(
        dev["status"]["conditions"][0]["message"].as_str().unwrap().contains("sa.key"),
        "Ready says so, too"
    );
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_error_has_its_answer_and_a_lost_answer_makes_no_second_machine() {
    for (fault, reason, recovers) in [
        (
            Fault::Before(Error::new(
                ErrorKind::Throttled { retry_after: Duration::from_secs(20) },
                "slow down",
            )),
            "Throttled",
            20,
        ),
        (Fault::Before(Error::new(ErrorKind::OutOfCapacity, "no room")), "OutOfCapacity", 20),
        (Fault::Before(Error::rejected("no such image")), "Rejected", 20),
        (Fault::Before(Error::not_found("no network")), "NotFound", 5),
        (Fault::After(Error::transient("connection reset")), "", 3),
    ] {
        let management = Management::ready_for_data(&json!({"inMemory": {}})).await;
        management.script.push(Operation::CreateMachine, fault);
        management.bootstrap("cp-0", &management.cluster.init()).await;
        tokio::time::sleep(Duration::from_secs(recovers - 1)).await;
        let dev = management.dev_machine().await;
        if reason.is_empty() {
            management.settle().await;
        } else {
            let expected = format!("VMProvisioned={reason}");
            assert!(conditions(&dev).contains(&expected), "{} lacks {expected}", conditions(&dev));
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        let dev = management.dev_machine().await;
        assert!(conditions(&dev).starts_with("Ready "), "after {reason}: {}", conditions(&dev));
        assert_eq!(management.place.world.machine_history().unwrap().len(), 1, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_cluster_is_left_alone() {
    let management = Management::ready_for_data(&json!({"inMemory": {}})).await;
    management.merge(&format!("{CORE}/clusters/c"), json!({"spec": {"paused": true}})).await;
    management.settle().await;
    assert_eq!(management.writes.take(), "devclusters/status 1, devmachines/status 1");
    let paused = &management.dev_machine().await["status"]["conditions"][5];
    assert_eq!(
        (&paused["status"], &paused["message"]),
        (&json!("True"), &json!("Cluster spec.paused is set to true"))
    );
    management.bootstrap("cp-0", &management.cluster.init()).await;
    management.settle().await;
    assert_eq!(management.place.world.machine_history().unwrap(), []);
    assert_eq!(management.writes.take(), "");
    management.merge(&format!("{CORE}/clusters/c"), json!({"spec": {"paused": false}})).await;
    management.settle().await;
    assert!(conditions(&management.dev_machine().await).starts_with("Ready "));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_not_built_in_says_what_to_do() {
    let management = Management::new().await;
    management.cluster(&json!({"docker": {}})).await;
    management.settle().await;
    let ready = management.read(DEV_CLUSTER).await.unwrap()["status"]["conditions"][0].clone();
    assert_eq!((&ready["type"], &ready["reason"]), (&json!("Ready"), &json!("BackendNotAvailable")));
    assert_eq!(
        ready["message"],
        "this build has no docker backend; use spec.backend.inMemory, or a build that has it"
    );
    management.delete(DEV_CLUSTER).await;
    assert_eq!(management.read(DEV_CLUSTER).await, None, "nothing holds it");
}

#[tokio::test(start_paused = true)]
async fn a_template_says_what_its_machines_offer() {
    let management = Management::new().await;
    let template = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2", "kind": "DevMachineTemplate",
        "metadata": {"name": "t"}, "spec": {"template": {"spec": {"backend": {"inMemory": {}}}}},
    });
    post(&management.core, &format!("{INFRA}/devmachinetemplates"), &template).await;
    management.settle().await;
    let read = management.read(&format!("{INFRA}/devmachinetemplates/t")).await.unwrap();
    assert_eq!(read["status"]["capacity"], json!({"cpu": "2", "memory": "4Gi"}));
    assert_eq!(management.writes.take(), "devmachinetemplates/status 1");
    assert_eq!(management.restart().await.writes.take(), "");
}
