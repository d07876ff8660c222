//! A control plane from its first machine to its end, against real bootstrap data: the simulated hosts
//! parse what the bootstrap provider rendered, and check certificates, tokens and hashes.

mod common;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use windlass_api::bootstrap::{JoinConfiguration, KubeadmConfig};
use windlass_api::control_plane::KubeadmControlPlane;
use windlass_api::infrastructure::DevMachine;

use common::{Fault, NAME, Plane};

#[tokio::test(start_paused = true)]
async fn one_machine_comes_up_and_then_nothing_is_written() {
    let plane = Plane::start().await;
    plane.raise(1).await;
    plane
        .until("the control plane is available", async |plane| is(plane, "Available", "True Available").await)
        .await;
    let conditions = plane.conditions().await;
    for (kind, expected) in [
        ("Available", "True Available"),
        ("CertificatesAvailable", "True Available"),
        ("Initialized", "True Initialized"),
        ("EtcdClusterHealthy", "True Healthy"),
        ("ControlPlaneComponentsHealthy", "True Healthy"),
        ("RollingOut", "False NotRollingOut"),
        ("Remediating", "False NotRemediating"),
        ("ScalingDown", "False NotScalingDown"),
        ("ScalingUp", "False NotScalingUp"),
        ("MachinesUpToDate", "True UpToDate"),
        ("Paused", "False NotPaused"),
        ("Deleting", "False NotDeleting"),
    ] {
        assert_eq!(conditions.get(kind).map(String::as_str), Some(expected), "{kind}");
    }
    let [machine] = &plane.machines().await[..] else { panic!("not one machine") };
    assert_eq!(plane.members().await, [machine.name_any()]);
    plane.settle().await;

    // Settled: a later look changes nothing.
    let before = plane.writes();
    tokio::time::sleep(std::time::Duration::from_mins(2)).await;
    assert_eq!(plane.writes(), before, "writes in a settled world");
    assert!(before.len() <= 17, "{} mutating requests for one machine:\n{}", before.len(), before.join("\n"));

    // Nor does a new process, which knows nothing at first.
    let plane = plane.restart().await;
    tokio::time::sleep(std::time::Duration::from_mins(2)).await;
    assert_eq!(plane.writes(), before, "writes after a restart");
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn secrets_and_machines_look_as_upstreams() {
    let plane = Plane::start().await;
    plane.raise(1).await;
    plane
        .until("the control plane is available", async |plane| is(plane, "Available", "True Available").await)
        .await;
    let secrets: Api<Secret> = plane.api();
    for name in ["ca", "sa", "proxy", "etcd", "kubeconfig"] {
        let secret = secrets.get(&format!("{NAME}-{name}")).await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some("cluster.x-k8s.io/secret"), "{name}");
        assert_eq!(secret.labels()["cluster.x-k8s.io/cluster-name"], NAME);
        let [owner] = secret.owner_references() else { panic!("{name}: not one owner") };
        assert_eq!((owner.kind.as_str(), owner.controller), ("KubeadmControlPlane", Some(true)), "{name}");
        assert_eq!(managers(secret.managed_fields()), ["manager:Update"], "{name}");
    }
    let [machine] = &plane.machines().await[..] else { panic!("not one machine") };
    let config = plane.api::<KubeadmConfig>().get(&machine.name_any()).await.unwrap();
    assert_eq!(machine.finalizers(), ["machine.cluster.x-k8s.io"]);
    assert_eq!(
        machine.annotations().keys().collect::<Vec<_>>(),
        ["pre-terminate.delete.hook.machine.cluster.x-k8s.io/kcp-cleanup"]
    );
    for labels in [machine.labels(), config.labels()] {
        let expected = json!({
            "cluster.x-k8s.io/cluster-name": NAME,
            "cluster.x-k8s.io/control-plane": "",
            "cluster.x-k8s.io/control-plane-name": NAME,
        });
        assert_eq!(json!(labels), expected);
    }
    let [owner] = config.owner_references() else { panic!("not one owner") };
    assert_eq!((owner.kind.as_str(), &owner.uid), ("Machine", machine.metadata.uid.as_ref().unwrap()));
    let found = managers(config.managed_fields());
    assert_eq!(found, ["capi-kubeadmcontrolplane:Apply", "manager:Update", "manager:Update:status"]);
    let data = secrets.get(&machine.name_any()).await.unwrap();
    assert_eq!(data.data.unwrap()["format"].0, b"cloud-config");
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn three_machines_join_one_by_one_and_leave_one_by_one() {
    let plane = Plane::start().await;
    plane.raise(3).await;
    plane.until("three machines are healthy", async |plane| whole(plane, 3).await).await;
    let mut names: Vec<_> = plane.machines().await.iter().map(ResourceExt::name_any).collect();
    names.sort();
    assert_eq!(plane.members().await, names);
    let configs = plane.api::<KubeadmConfig>().list(&ListParams::default()).await.unwrap();
    let first =
        configs.iter().filter(|config| config.spec.join_configuration == JoinConfiguration::default());
    assert_eq!(first.count(), 1, "one machine initializes, the others join");

    plane.merge::<KubeadmControlPlane>(NAME, json!({ "spec": { "replicas": 1 } })).await;
    plane
        .until("one machine is left", async |plane| {
            // At no time is there a machine without a member beside one that is not on its way out.
            whole(plane, 1).await
        })
        .await;
    let left: Vec<_> = plane.machines().await.iter().map(ResourceExt::name_any).collect();
    assert_eq!(plane.members().await, left);
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_version_replaces_every_machine() {
    let plane = Plane::start().await;
    plane.raise(1).await;
    plane.until("one machine is healthy", async |plane| whole(plane, 1).await).await;
    let old = plane.machines().await[0].name_any();
    plane.merge::<KubeadmControlPlane>(NAME, json!({ "spec": { "version": "v1.35.1" } })).await;
    plane
        .until("the machine is replaced", async |plane| {
            let machines = plane.machines().await;
            machines.iter().all(|machine| machine.spec.version.as_deref() == Some("v1.35.1"))
                && whole(plane, 1).await
                && is(plane, "RollingOut", "False NotRollingOut").await
        })
        .await;
    let [machine] = &plane.machines().await[..] else { panic!("not one machine") };
    assert_ne!(machine.name_any(), old);
    assert_eq!(plane.members().await, [machine.name_any()]);
    plane.stop().await;
}

/// One request after the other is lost, or its answer is: the same control plane comes up, with one
/// machine, one member and one machine's worth of objects.
async fn meets(fault: impl Fn(usize) -> Fault) {
    for fault in (0..18).map(fault) {
        let plane = Plane::start_with(fault).await;
        plane.raise(1).await;
        plane.until(&format!("{fault:?}: it is whole"), async |plane| whole(plane, 1).await).await;
        let machine = plane.machines().await[0].name_any();
        let (configs, hosts) = (plane.names::<KubeadmConfig>().await, plane.names::<DevMachine>().await);
        for found in [configs, hosts, plane.members().await] {
            assert_eq!(found, [machine.as_str()], "{fault:?}");
        }
        plane.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_lost_request_leaves_a_trace() {
    meets(Fault::Before).await;
}

#[tokio::test(start_paused = true)]
async fn no_lost_answer_leaves_a_trace() {
    meets(Fault::After).await;
}

#[tokio::test(start_paused = true)]
async fn deletion_takes_everything() {
    let plane = Plane::start().await;
    plane.raise(3).await;
    plane.until("three machines are healthy", async |plane| whole(plane, 3).await).await;
    plane.api::<KubeadmControlPlane>().delete(NAME, &DeleteParams::default()).await.unwrap();
    plane
        .until("the control plane is gone", async |plane| {
            plane.api::<KubeadmControlPlane>().get_opt(NAME).await.unwrap().is_none()
        })
        .await;
    assert!(plane.machines().await.is_empty());
    plane.stop().await;
}

async fn is(plane: &Plane, kind: &str, expected: &str) -> bool {
    plane.conditions().await.get(kind).is_some_and(|found| found == expected)
}

/// As many machines as members, all healthy, and nothing on its way.
async fn whole(plane: &Plane, count: usize) -> bool {
    plane.machines().await.len() == count
        && is(plane, "EtcdClusterHealthy", "True Healthy").await
        && is(plane, "ControlPlaneComponentsHealthy", "True Healthy").await
        && is(plane, "ScalingUp", "False NotScalingUp").await
        && is(plane, "ScalingDown", "False NotScalingDown").await
        && plane.members().await.len() == count
}

fn managers(fields: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry]) -> Vec<String> {
    let mut names: Vec<_> = fields
        .iter()
        .map(|entry| {
            let part = entry.subresource.as_deref().map(|part| format!(":{part}")).unwrap_or_default();
            format!(
                "{}:{}{part}",
                entry.manager.as_deref().unwrap_or_default(),
                entry.operation.as_deref().unwrap_or_default()
            )
        })
        .collect();
    names.sort();
    names
}
