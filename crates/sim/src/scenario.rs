//! What people do, and what must have become of it.

use kube::Client;
use serde_json::{Value, json};
use windlass_store::Engine;

use crate::ledger::{self, MANAGEMENT, condition, number, text};

/// The namespace of every scenario.
pub const NAMESPACE: &str = "default";
/// The name of the one cluster.
pub const CLUSTER: &str = "prod";
/// The label that all objects of a cluster carry.
pub const LABEL: &str = "cluster.x-k8s.io/cluster-name";
const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2";
const CONTROL_PLANE: &str = "/apis/controlplane.cluster.x-k8s.io/v1beta2";
const BOOTSTRAP: &str = "/apis/bootstrap.cluster.x-k8s.io/v1beta2";
const INFRASTRUCTURE: &str = "/apis/infrastructure.cluster.x-k8s.io/v1beta2";

/// One thing that a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Creates a cluster of this many machines.
    Create(Size),
    /// Sets the replicas of the MachineDeployment.
    ScaleWorkers(usize),
    /// Sets the replicas of the control plane.
    ScaleControlPlane(usize),
    /// Deletes the Cluster.
    Delete,
}

/// How many machines a cluster has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Of the control plane.
    pub control_plane: usize,
    /// Others.
    pub workers: usize,
}

/// Things that a person does one after the other, each when the one before has had its effect.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is done.
    pub acts: Vec<Act>,
    /// The first act of interest: those before are another scenario's.
    pub from: usize,
}

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    let create = |control_plane, workers| Act::Create(Size { control_plane, workers });
    vec![
        Scenario { name: "create", acts: vec![create(1, 2)], from: 0 },
        Scenario {
            name: "workers",
            acts: vec![create(1, 2), Act::ScaleWorkers(4), Act::ScaleWorkers(1)],
            from: 1,
        },
        Scenario {
            name: "control-plane",
            acts: vec![create(1, 0), Act::ScaleControlPlane(3), Act::ScaleControlPlane(1)],
            from: 1,
        },
        Scenario { name: "delete", acts: vec![create(1, 2), Act::Delete], from: 1 },
    ]
}

/// The scenario of a name.
pub fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// What there should be after an act; `None` after the deletion, and before the first.
    pub fn wanted(&self, act: usize) -> Option<Size> {
        let mut size = None;
        for act in self.acts.iter().take(act + 1) {
            size = match (*act, size) {
                (Act::Create(size), _) => Some(size),
                (Act::ScaleWorkers(workers), Some(size)) => Some(Size { workers, ..size }),
                (Act::ScaleControlPlane(control_plane), Some(size)) => Some(Size { control_plane, ..size }),
                (Act::Delete | Act::ScaleWorkers(_) | Act::ScaleControlPlane(_), _) => None,
            };
        }
        size
    }

    /// How many machines there may be at most from an act until it has had its effect: no scenario replaces
    /// machines, so the surge that a rollout may use is never due.
    pub fn ceiling(&self, act: usize) -> Size {
        let after = self.wanted(act).unwrap_or_default();
        let before = act.checked_sub(1).and_then(|act| self.wanted(act)).unwrap_or_default();
        Size {
            control_plane: before.control_plane.max(after.control_plane),
            workers: before.workers.max(after.workers),
        }
    }
}

impl Act {
    /// Does it, or does it again after a crash: then it changes nothing.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn perform(self, client: &Client) -> Result<(), kube::Error> {
        match self {
            Self::Create(size) => {
                for (collection, object) in manifests(size) {
                    let answer = send(client, "POST", &collection, Some(&object)).await;
                    match answer {
                        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                        answer => answer?,
                    }
                }
                Ok(())
            }
            Self::ScaleWorkers(replicas) => {
                let path = at(CORE, "machinedeployments", &format!("{CLUSTER}-md-0"));
                send(client, "PATCH", &path, Some(&json!({"spec": {"replicas": replicas}}))).await
            }
            Self::ScaleControlPlane(replicas) => {
                let path = at(CONTROL_PLANE, "kubeadmcontrolplanes", &format!("{CLUSTER}-control-plane"));
                send(client, "PATCH", &path, Some(&json!({"spec": {"replicas": replicas}}))).await
            }
            Self::Delete => match send(client, "DELETE", &at(CORE, "clusters", CLUSTER), None).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                answer => answer,
            },
        }
    }
}

fn at(group: &str, resource: &str, name: &str) -> String {
    format!("{group}/namespaces/{NAMESPACE}/{resource}/{name}")
}

async fn send(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Result<(), kube::Error> {
    let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{path}?fieldManager=person"))
        .header(http::header::CONTENT_TYPE, content)
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request::<Value>(request).await.map(drop)
}

/// The objects of a cluster, each with the collection it goes into.
fn manifests(size: Size) -> Vec<(String, Value)> {
    let collection = |group: &str, resource: &str| format!("{group}/namespaces/{NAMESPACE}/{resource}");
    let control_plane = format!("{CLUSTER}-control-plane");
    let mut objects = vec![
        (collection(INFRASTRUCTURE, "devclusters"), dev_cluster()),
        (collection(INFRASTRUCTURE, "devmachinetemplates"), machine_template(&control_plane, true)),
        (collection(CONTROL_PLANE, "kubeadmcontrolplanes"), kubeadm_control_plane(&control_plane, size)),
        (collection(CORE, "clusters"), cluster(&control_plane)),
    ];
    if size.workers > 0 {
        let workers = format!("{CLUSTER}-md-0");
        objects.extend([
            (collection(INFRASTRUCTURE, "devmachinetemplates"), machine_template(&workers, false)),
            (collection(BOOTSTRAP, "kubeadmconfigtemplates"), config_template(&workers)),
            (collection(CORE, "machinedeployments"), machine_deployment(&workers, size)),
        ]);
    }
    objects
}

fn object(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{api_version}/v1beta2"), "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    })
}

fn dev_cluster() -> Value {
    object("infrastructure.cluster.x-k8s.io", "DevCluster", CLUSTER, &json!({"backend": {"inMemory": {}}}))
}

fn cluster(control_plane: &str) -> Value {
    let spec = json!({
        "clusterNetwork": {"pods": {"cidrBlocks": ["192.168.0.0/16"]}, "services": {"cidrBlocks": ["10.128.0.0/12"]}},
        "controlPlaneRef": {
            "apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KubeadmControlPlane", "name": control_plane,
        },
        "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevCluster", "name": CLUSTER},
    });
    object("cluster.x-k8s.io", "Cluster", CLUSTER, &spec)
}

/// Machines whose stages take different times, none of them zero: every state in between can be seen.
fn machine_template(name: &str, control_plane: bool) -> Value {
    let stage = |seconds: &str| json!({"provisioning": {"startupDuration": seconds}});
    let mut backend = json!({"vm": stage("2s"), "node": stage("1s")});
    if control_plane {
        backend["apiServer"] = stage("700ms");
        backend["etcd"] = stage("300ms");
    }
    let spec = json!({"template": {"spec": {"backend": {"inMemory": backend}}}});
    object("infrastructure.cluster.x-k8s.io", "DevMachineTemplate", name, &spec)
}

fn registration() -> Value {
    json!({"nodeRegistration": {"criSocket": "unix:///run/containerd/containerd.sock"}})
}

fn config_template(name: &str) -> Value {
    let spec = json!({"template": {"spec": {"joinConfiguration": registration()}}});
    object("bootstrap.cluster.x-k8s.io", "KubeadmConfigTemplate", name, &spec)
}

fn kubeadm_control_plane(name: &str, size: Size) -> Value {
    let template =
        json!({"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevMachineTemplate", "name": name});
    let spec = json!({
        "replicas": size.control_plane, "version": "v1.35.0",
        "machineTemplate": {"spec": {"infrastructureRef": template}},
        "kubeadmConfigSpec": {
            "initConfiguration": registration(), "joinConfiguration": registration(),
        },
    });
    object("controlplane.cluster.x-k8s.io", "KubeadmControlPlane", name, &spec)
}

fn machine_deployment(name: &str, size: Size) -> Value {
    let config =
        json!({"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfigTemplate", "name": name});
    let template =
        json!({"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevMachineTemplate", "name": name});
    let spec = json!({
        "clusterName": CLUSTER, "replicas": size.workers, "selector": {"matchLabels": {}},
        "template": {"spec": {
            "clusterName": CLUSTER, "version": "v1.35.0",
            "bootstrap": {"configRef": config}, "infrastructureRef": template,
        }},
    });
    object("cluster.x-k8s.io", "MachineDeployment", name, &spec)
}

/// What is still missing until a cluster has this size and works, or is gone. Empty when nothing is.
pub fn missing(engine: &Engine, wanted: Option<Size>) -> Vec<String> {
    let objects = ledger::objects(engine, MANAGEMENT);
    match wanted {
        Some(size) => missing_for(&objects, size),
        None => remains(&objects),
    }
}

/// What of the cluster is still there.
fn remains(objects: &[Value]) -> Vec<String> {
    let label = format!("/metadata/labels/{}", LABEL.replace('/', "~1"));
    let remains = objects.iter().filter(|object| {
        let is_cluster = text(object, "/kind") == "Cluster" && text(object, "/metadata/name") == CLUSTER;
        is_cluster || text(object, &label) == CLUSTER
    });
    remains.map(|object| format!("{} is still there", ledger::name(object))).collect()
}

fn missing_for(objects: &[Value], size: Size) -> Vec<String> {
    let of = |kind: &'static str| objects.iter().filter(move |object| text(object, "/kind") == kind);
    let mut missing = Vec::new();
    if !of("Cluster").any(|cluster| condition(cluster, "Available") == "True") {
        missing.push("the Cluster is not Available".to_owned());
    }
    let (mut control_plane, mut workers) = (0, 0);
    for machine in of("Machine") {
        let labels = machine.pointer("/metadata/labels").and_then(Value::as_object);
        let is_control_plane =
            labels.is_some_and(|labels| labels.contains_key("cluster.x-k8s.io/control-plane"));
        *(if is_control_plane { &mut control_plane } else { &mut workers }) += 1;
        if condition(machine, "Ready") != "True" || text(machine, "/status/nodeRef/name").is_empty() {
            missing.push(format!("{} is not Ready", ledger::name(machine)));
        }
    }
    for (what, is, should) in
        [("control plane", control_plane, size.control_plane), ("worker", workers, size.workers)]
    {
        if is != should {
            missing.push(format!("{is} {what} machines instead of {should}"));
        }
    }
    for (kind, should) in [("KubeadmControlPlane", size.control_plane), ("MachineDeployment", size.workers)] {
        for object in of(kind) {
            missing.extend(unsettled(object, should));
        }
    }
    missing
}

/// What the status of an object with replicas does not say yet.
fn unsettled(object: &Value, should: usize) -> Option<String> {
    let should = i64::try_from(should).ok();
    let seen = number(object, "/status/observedGeneration") == number(object, "/metadata/generation");
    let counts = ["replicas", "readyReplicas", "availableReplicas", "upToDateReplicas"];
    let wrong = counts.iter().find(|count| number(object, &format!("/status/{count}")) != should);
    match (seen, wrong) {
        (true, None) => None,
        (false, _) => Some(format!("{} is not observed", ledger::name(object))),
        (true, Some(count)) => Some(format!("{} has wrong status.{count}", ledger::name(object))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_the_acts() {
        let scenario = named("control-plane").unwrap();
        let sizes: Vec<_> = (0..3).map(|act| scenario.wanted(act).unwrap().control_plane).collect();
        assert_eq!(sizes, [1, 3, 1]);
        assert_eq!(scenario.ceiling(2).control_plane, 3);
        assert_eq!(named("delete").unwrap().wanted(1), None);
        assert_eq!(named("delete").unwrap().ceiling(1).workers, 2);
    }
}
