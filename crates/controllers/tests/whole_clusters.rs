//! Whole clusters on a plane in memory, seen from outside: what comes, what goes, and in which order.
#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a failure is a panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use windlass_manager::plane::{Plane, PlaneOptions};

const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io";
const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";
const CORE: &str = "cluster.x-k8s.io";
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";

/// Kinds of a cluster, with their groups.
const KINDS: [(&str, &str); 8] = [
    (CORE, "Cluster"),
    (CORE, "MachineDeployment"),
    (CORE, "MachineSet"),
    (CORE, "Machine"),
    (CONTROL_PLANE, "KubeadmControlPlane"),
    (BOOTSTRAP, "KubeadmConfig"),
    (INFRASTRUCTURE, "DevCluster"),
    (INFRASTRUCTURE, "DevMachine"),
];

/// How long anything may take here; a cluster takes one second.
const LONG: Duration = Duration::from_mins(1);

/// A plane with one cluster `c` on it.
struct World {
    plane: Plane,
    client: Client,
}

impl World {
    /// `c` with that many machines, available.
    async fn with(control_planes: i32, workers: i32) -> Self {
        let plane = Plane::start(PlaneOptions::in_memory()).await.unwrap();
        let world = Self { client: plane.client(), plane };
        for object in cluster(control_planes, workers) {
            world.create(object).await;
        }
        world.until("Cluster", "c", |object| condition(object, "Available") == "True Available").await;
        world.settled().await;
        world
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let more = [(BOOTSTRAP, "KubeadmConfigTemplate"), (INFRASTRUCTURE, "DevMachineTemplate")];
        let (group, _) = KINDS.into_iter().chain(more).find(|(_, one)| *one == kind).unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1beta2", kind));
        Api::namespaced_with(self.client.clone(), "default", &resource)
    }

    async fn create(&self, object: Value) {
        let kind = object["kind"].as_str().unwrap().to_owned();
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        self.api(&kind).create(&PostParams::default(), &object).await.unwrap();
    }

    async fn patch(&self, kind: &str, name: &str, patch: Value) {
        self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn delete(&self, kind: &str, name: &str) {
        self.api(kind).delete(name, &DeleteParams::default()).await.unwrap();
    }

    async fn get(&self, kind: &str, name: &str) -> DynamicObject {
        self.api(kind).get(name).await.unwrap()
    }

    async fn list(&self, kind: &str) -> Vec<DynamicObject> {
        self.api(kind).list(&ListParams::default()).await.unwrap().items
    }

    /// Names of the worker Machines that are not going.
    async fn workers(&self) -> Vec<String> {
        let machines = self.list("Machine").await.into_iter();
        let worker = |one: &DynamicObject| {
            !one.labels().contains_key("cluster.x-k8s.io/control-plane")
                && one.metadata.deletion_timestamp.is_none()
        };
        machines.filter(worker).map(|one| one.name_any()).collect()
    }

    async fn until(&self, kind: &str, name: &str, holds: impl Fn(&DynamicObject) -> bool) {
        let begun = tokio::time::Instant::now();
        let mut last = None;
        while begun.elapsed() < LONG {
            last = self.api(kind).get_opt(name).await.unwrap();
            if last.as_ref().is_some_and(&holds) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{kind} {name} does not get there: {}", serde_json::to_string_pretty(&last).unwrap());
    }

    /// Everything and its resource version.
    async fn versions(&self) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::new();
        for (_, kind) in KINDS {
            for object in self.list(kind).await {
                let version = object.resource_version().unwrap_or_default();
                versions.insert(format!("{kind} {}", object.name_any()), version);
            }
        }
        versions
    }

    /// Waits until nothing has been written for two seconds.
    async fn settled(&self) {
        let (begun, mut before) = (tokio::time::Instant::now(), self.versions().await);
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = self.versions().await;
            if now == before {
                return;
            }
            assert!(begun.elapsed() < LONG, "something is written again and again: {now:?}");
            before = now;
        }
    }

    async fn end(self) {
        self.plane.shutdown().await;
    }
}

/// `True Reason` of a condition.
fn condition(object: &DynamicObject, kind: &str) -> String {
    let all = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let one = all.into_iter().flatten().find(|one| one["type"] == kind);
    let text = |member: &str| one.and_then(|one| one[member].as_str()).unwrap_or_default();
    format!("{} {}", text("status"), text("reason"))
}

fn at<'a>(object: &'a DynamicObject, pointer: &str) -> &'a Value {
    object.data.pointer(pointer).unwrap_or(&Value::Null)
}

fn object(group: &str, kind: &str, name: &str, spec: &Value) -> Value {
    let metadata = json!({ "name": name, "namespace": "default" });
    json!({ "apiVersion": format!("{group}/v1beta2"), "kind": kind, "metadata": metadata, "spec": spec })
}

fn reference(group: &str, kind: &str, name: &str) -> Value {
    json!({ "apiGroup": group, "kind": kind, "name": name })
}

/// The objects of a cluster `c`, as a person writes them.
fn cluster(control_planes: i32, workers: i32) -> Vec<Value> {
    let host = json!({ "template": { "spec": { "backend": { "inMemory": {} } } } });
    let node = json!({ "nodeRegistration": { "criSocket": "unix:///var/run/containerd/containerd.sock" } });
    let hosts = reference(INFRASTRUCTURE, "DevMachineTemplate", "c");
    vec![
        object(
            CORE,
            "Cluster",
            "c",
            &json!({
                "controlPlaneRef": reference(CONTROL_PLANE, "KubeadmControlPlane", "c"),
                "infrastructureRef": reference(INFRASTRUCTURE, "DevCluster", "c"),
            }),
        ),
        object(INFRASTRUCTURE, "DevCluster", "c", &json!({ "backend": { "inMemory": {} } })),
        object(
            CONTROL_PLANE,
            "KubeadmControlPlane",
            "c",
            &json!({
                "replicas": control_planes,
                "version": "v1.35.0",
                "machineTemplate": { "spec": { "infrastructureRef": hosts } },
                "kubeadmConfigSpec": { "clusterConfiguration": { "encryptionAlgorithm": "ECDSA-P256" } },
            }),
        ),
        object(INFRASTRUCTURE, "DevMachineTemplate", "c", &host),
        object(
            BOOTSTRAP,
            "KubeadmConfigTemplate",
            "c",
            &json!({ "template": { "spec": { "joinConfiguration": node } } }),
        ),
        object(
            CORE,
            "MachineDeployment",
            "c",
            &json!({
                "clusterName": "c",
                "replicas": workers,
                "selector": {},
                "template": { "spec": {
                    "clusterName": "c",
                    "version": "v1.35.0",
                    "bootstrap": { "configRef": reference(BOOTSTRAP, "KubeadmConfigTemplate", "c") },
                    "infrastructureRef": hosts,
                } },
            }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_come_and_go_and_deletion_leaves_nothing() {
    let world = World::with(1, 2).await;
    let first = world.workers().await;
    assert_eq!(first.len(), 2);

    world.patch("MachineDeployment", "c", json!({ "spec": { "replicas": 4 } })).await;
    world.until("Cluster", "c", |object| at(object, "/status/workers/availableReplicas") == 4).await;
    let more = world.workers().await;
    assert!(first.iter().all(|name| more.contains(name)), "{first:?} {more:?}");

    world.patch("MachineDeployment", "c", json!({ "spec": { "replicas": 1 } })).await;
    world.until("Cluster", "c", |object| at(object, "/status/workers/replicas") == 1).await;
    world.settled().await;
    assert_eq!(world.list("Machine").await.len(), 2);
    assert_eq!(world.list("DevMachine").await.len(), 2);
    assert_eq!(world.list("KubeadmConfig").await.len(), 2);

    world.delete("Cluster", "c").await;
    let begun = tokio::time::Instant::now();
    while !world.versions().await.is_empty() {
        assert!(begun.elapsed() < LONG, "left: {:?}", world.versions().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_somebody_deletes_is_replaced() {
    let world = World::with(1, 2).await;
    let before = world.list("Machine").await;
    let lost = world.workers().await.remove(0);
    world.delete("Machine", &lost).await;
    world.until("Cluster", "c", |object| condition(object, "Available") != "True Available").await;
    world.until("Cluster", "c", |object| condition(object, "Available") == "True Available").await;
    world.settled().await;
    let uids =
        |machines: &[DynamicObject]| -> Vec<_> { machines.iter().filter_map(ResourceExt::uid).collect() };
    let after = world.list("Machine").await;
    let kept = uids(&after).into_iter().filter(|uid| uids(&before).contains(uid)).count();
    assert_eq!((after.len(), kept), (3, 2));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_template_replaces_the_machines_within_surge() {
    let world = World::with(1, 2).await;
    let old = world.list("MachineSet").await.remove(0).name_any();
    let host = json!({ "template": { "spec": { "backend": { "inMemory": {} } } } });
    world.create(object(INFRASTRUCTURE, "DevMachineTemplate", "larger", &host)).await;
    let template = json!({ "infrastructureRef": { "name": "larger" } });
    world.patch("MachineDeployment", "c", json!({ "spec": { "template": { "spec": template } } })).await;

    let (mut most, begun) = (0, tokio::time::Instant::now());
    loop {
        most = most.max(world.list("Machine").await.len());
        let sets = world.list("MachineSet").await;
        let names: Vec<_> = sets.iter().map(ResourceExt::name_any).collect();
        if !names.contains(&old) && !names.is_empty() {
            break;
        }
        assert!(begun.elapsed() < LONG, "the old set stays: {names:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(most <= 1 + 2 + 1, "{most} machines at once");
    world.settled().await;
    let deployment = world.get("MachineDeployment", "c").await;
    assert_eq!(condition(&deployment, "RollingOut"), "False NotRollingOut");
    assert_eq!(deployment.annotations()["machinedeployment.clusters.x-k8s.io/revision"], "2");
    for host in world.list("DevMachine").await {
        let worker = !host.labels().contains_key("cluster.x-k8s.io/control-plane");
        let from = &host.annotations()["cluster.x-k8s.io/cloned-from-name"];
        assert_eq!(from, if worker { "larger" } else { "c" });
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_delete_waits_for_people() {
    let world = World::with(1, 2).await;
    let strategy = json!({ "rollout": { "strategy": { "type": "OnDelete", "rollingUpdate": null } } });
    world.patch("MachineDeployment", "c", json!({ "spec": strategy })).await;
    let host = json!({ "template": { "spec": { "backend": { "inMemory": {} } } } });
    world.create(object(INFRASTRUCTURE, "DevMachineTemplate", "larger", &host)).await;
    let template = json!({ "infrastructureRef": { "name": "larger" } });
    world.patch("MachineDeployment", "c", json!({ "spec": { "template": { "spec": template } } })).await;
    world.settled().await;
    let before = world.workers().await;
    assert_eq!(world.list("MachineSet").await.len(), 2);

    world.delete("Machine", &before[0]).await;
    world.until("MachineDeployment", "c", |object| at(object, "/status/upToDateReplicas") == 1).await;
    world.settled().await;
    let after = world.workers().await;
    assert_eq!(after.len(), 2);
    assert!(after.contains(&before[1]) && !after.contains(&before[0]), "{before:?} {after:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_cluster_is_left_alone() {
    let world = World::with(1, 1).await;
    world.patch("Cluster", "c", json!({ "spec": { "paused": true } })).await;
    for (_, kind) in KINDS {
        for one in world.list(kind).await {
            let name = one.name_any();
            world.until(kind, &name, |object| condition(object, "Paused") == "True Paused").await;
        }
    }
    world.settled().await;
    let mut before = world.versions().await;
    world.patch("MachineDeployment", "c", json!({ "spec": { "replicas": 3 } })).await;
    world.settled().await;
    let mut after = world.versions().await;
    // Its own condition says that it has seen the change.
    assert_ne!(before.remove("MachineDeployment c"), after.remove("MachineDeployment c"));
    assert_eq!(before, after);

    world.patch("Cluster", "c", json!({ "spec": { "paused": false } })).await;
    world.until("Cluster", "c", |object| at(object, "/status/workers/availableReplicas") == 3).await;
    world.until("Cluster", "c", |object| condition(object, "Paused") == "False NotPaused").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_follow_the_template_in_place() {
    let world = World::with(1, 1).await;
    let before = world.workers().await;
    let set = |labels: Value| json!({ "spec": { "template": { "metadata": { "labels": labels } } } });
    let kinds = ["Machine", "DevMachine", "KubeadmConfig"];
    for (labels, expected) in [
        (json!({ "team": "a", "tier": "x" }), [Some("a"), Some("x")]),
        (json!({ "team": "b", "tier": null }), [Some("b"), None]),
        (json!({ "team": null }), [None, None]),
    ] {
        world.patch("MachineDeployment", "c", set(labels)).await;
        for kind in kinds {
            let has = |object: &DynamicObject| {
                ["team", "tier"].map(|key| object.labels().get(key).cloned())
                    == expected.map(|value| value.map(str::to_owned))
            };
            world.until(kind, &before[0], has).await;
        }
        world.settled().await;
    }
    assert_eq!(world.workers().await, before);
    assert_eq!(world.list("MachineSet").await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_lost_their_set_are_adopted_again() {
    let world = World::with(1, 1).await;
    let name = world.workers().await.remove(0);
    world.patch("Machine", &name, json!({ "metadata": { "ownerReferences": null } })).await;
    world.until("Machine", &name, |object| !object.owner_references().is_empty()).await;
    world.settled().await;
    let machine = world.get("Machine", &name).await;
    assert_eq!(machine.owner_references()[0].kind, "MachineSet");
    assert_eq!(world.workers().await, [name]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_planes_grow_and_shrink() {
    let world = World::with(1, 1).await;
    let replicas = |count: i32| json!({ "spec": { "replicas": count } });
    world.patch("KubeadmControlPlane", "c", replicas(3)).await;
    world.until("Cluster", "c", |object| at(object, "/status/controlPlane/availableReplicas") == 3).await;
    world.patch("KubeadmControlPlane", "c", replicas(1)).await;
    world.until("Cluster", "c", |object| at(object, "/status/controlPlane/replicas") == 1).await;
    world.settled().await;
    assert_eq!(world.list("Machine").await.len(), 2);
    assert_eq!(condition(&world.get("Cluster", "c").await, "Available"), "True Available");
    world.end().await;
}
