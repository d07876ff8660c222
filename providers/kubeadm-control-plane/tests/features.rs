//! What a control plane can do beside coming up and going away, one feature a test.
#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod common;

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::control_plane::KubeadmControlPlane;
use windlass_api::core::{Cluster, Machine};
use windlass_api::infrastructure::DevMachine;
use windlass_pki::{
    Algorithm, Authority, FixtureKeys, Identity, KeySource, Kubeconfig, Leaf, certificate_times,
};

use common::{NAME, NOT_AFTER, Plane};

#[tokio::test(start_paused = true)]
async fn machines_are_named_by_the_template() {
    let plane = Plane::start().await;
    let template = "{{ .cluster.name }}-cp-{{ .kubeadmControlPlane.name }}-{{ .random }}-x";
    plane.raise_with(1, json!({ "machineNaming": { "template": template } })).await;
    plane.until("a machine is healthy", async |plane| whole(plane, 1).await).await;
    let [name] = &plane.names::<Machine>().await[..] else { panic!("not one machine") };
    let random = name.strip_prefix("prod-cp-prod-").and_then(|rest| rest.strip_suffix("-x"));
    assert!(random.is_some_and(|random| random.len() == 5), "{name}");
    assert_eq!(plane.names::<KubeadmConfig>().await, [name.as_str()]);
    assert_eq!(plane.names::<DevMachine>().await, [name.as_str()]);
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn machines_are_spread_over_failure_domains() {
    let plane = Plane::start().await;
    plane.raise_with(1, json!({})).await;
    let domain = |name: &str, holds: bool| json!({ "name": name, "controlPlane": holds });
    let domains = json!({ "failureDomains": [domain("a", true), domain("b", false), domain("c", true), domain("d", true)] });
    plane.merge_status::<Cluster>(NAME, domains).await;
    plane.merge::<KubeadmControlPlane>(NAME, json!({ "spec": { "replicas": 3 } })).await;
    plane.until("three machines are healthy", async |plane| whole(plane, 3).await).await;
    let machines = plane.machines().await;
    let mut found: Vec<_> =
        machines.iter().filter_map(|machine| machine.spec.failure_domain.clone()).collect();
    found.sort();
    // The first machine may have been made before there were any.
    assert!(found.len() >= 2, "{found:?}");
    assert!(found.windows(2).all(|two| two[0] != two[1]) && !found.contains(&"b".to_owned()), "{found:?}");
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn five_machines_and_back_keep_etcds_members_right() {
    let plane = Plane::start().await;
    plane.raise(1).await;
    for count in [1, 3, 5, 3, 1] {
        plane.merge::<KubeadmControlPlane>(NAME, json!({ "spec": { "replicas": count } })).await;
        let count = usize::try_from(count).unwrap();
        plane.until(&format!("{count} machines are healthy"), async |plane| whole(plane, count).await).await;
        let mut names = plane.names::<Machine>().await;
        names.sort();
        assert_eq!(plane.members().await, names);
    }
    plane.stop().await;
}

/// etcd elsewhere: its certificates are the user's to give, its members nobody's here, and any number of
/// machines will do.
#[tokio::test(start_paused = true)]
async fn external_etcd_is_left_to_its_owner() {
    let plane = Plane::start().await;
    let files = ["caFile", "certFile", "keyFile"];
    let paths = ["etcd/ca.crt", "apiserver-etcd-client.crt", "apiserver-etcd-client.key"];
    let mut external = json!({ "endpoints": ["https://10.0.0.9:2379"] });
    for (member, path) in files.into_iter().zip(paths) {
        external[member] = json!(format!("/etc/kubernetes/pki/{path}"));
    }
    let configuration = json!({ "clusterConfiguration": { "etcd": { "external": external } } });
    plane.raise_with(2, json!({ "kubeadmConfigSpec": configuration })).await;
    let missing = "False NotAvailable";
    plane
        .until("it says what is missing", async |plane| {
            plane.conditions().await.get("CertificatesAvailable").is_some_and(|said| said == missing)
        })
        .await;
    assert!(plane.machines().await.is_empty(), "no machine could reach etcd");

    let key = FixtureKeys.generate(Algorithm::EcdsaP256, "external etcd").unwrap();
    let authority = Authority::self_signed(&key, "etcd-ca", 10, plane.now()).unwrap();
    let leaf = Leaf::client("kube-apiserver-etcd-client", &[], Duration::from_hours(24));
    let client = authority.issue(&key, &leaf, plane.now()).unwrap();
    let private = key.to_pem().unwrap().into_exposed();
    let give = async |purpose: &str, data: Value| {
        let _: Secret = plane
            .create(json!({ "metadata": { "name": format!("{NAME}-{purpose}") }, "stringData": data }))
            .await;
    };
    give("etcd", json!({ "tls.crt": authority.certificate_pem() })).await;
    give("apiserver-etcd-client", json!({ "tls.crt": client, "tls.key": private })).await;
    plane
        .until("two machines are healthy", async |plane| {
            let conditions = plane.conditions().await;
            let says = |kind: &str, expected: &str| conditions.get(kind).is_some_and(|said| said == expected);
            plane.machines().await.len() == 2
                && says("Available", "True Available")
                && says("ControlPlaneComponentsHealthy", "True Healthy")
                && says("ScalingUp", "False NotScalingUp")
        })
        .await;
    for machine in plane.machines().await {
        let gates = machine.spec.readiness_gates.iter();
        assert!(
            gates.clone().count() == 4 && gates.clone().all(|gate| !gate.condition_type.starts_with("Etcd"))
        );
    }
    let theirs = plane.api::<Secret>().get(&format!("{NAME}-etcd")).await.unwrap();
    assert!(theirs.owner_references().is_empty(), "it is the user's");
    plane.merge::<KubeadmControlPlane>(NAME, json!({ "spec": { "replicas": 1 } })).await;
    plane.until("one machine is left", async |plane| plane.machines().await.len() == 1).await;
    plane.stop().await;
}

/// A changed spec replaces the machines, once kubeadm's notes in the cluster say the same.
#[tokio::test(start_paused = true)]
async fn a_changed_kubeadm_config_replaces_every_machine() {
    let plane = Plane::start().await;
    plane.raise(1).await;
    plane.until("a machine is healthy", async |plane| whole(plane, 1).await).await;
    let [old] = &plane.names::<Machine>().await[..] else { panic!("not one machine") };
    let change = json!({ "spec": { "kubeadmConfigSpec": {
        "preKubeadmCommands": ["true"],
        "clusterConfiguration": { "apiServer": { "extraArgs": [{ "name": "v", "value": "4" }] } },
    } } });
    plane.merge::<KubeadmControlPlane>(NAME, change).await;
    plane.until("the machine is replaced", async |plane| replaced(plane, old).await).await;

    let client = plane.workload().await.unwrap();
    let notes =
        Api::<ConfigMap>::namespaced(client.clone(), "kube-system").get("kubeadm-config").await.unwrap();
    let notes: Value = serde_saphyr::from_str(&notes.data.unwrap()["ClusterConfiguration"]).unwrap();
    assert_eq!(notes["apiServer"]["extraArgs"], json!([{ "name": "v", "value": "4" }]));
    assert_eq!(notes["clusterName"], NAME, "{notes:#}");
    let binding =
        Api::<ClusterRoleBinding>::all(client).get("kubeadm:apiserver-kubelet-client").await.unwrap();
    assert_eq!(binding.role_ref.name, "system:kubelet-api-admin");
    assert_eq!(plane.conditions().await["MachinesUpToDate"], "True UpToDate");

    // What follows in place replaces nothing.
    let [name] = &plane.names::<Machine>().await[..] else { panic!("not one machine") };
    let change = json!({ "spec": {
        "machineTemplate": { "metadata": { "labels": { "team": "a" } } },
        "kubeadmConfigSpec": { "joinConfiguration": { "timeouts": { "controlPlaneComponentHealthCheckSeconds": 60 } },
            "initConfiguration": { "timeouts": { "controlPlaneComponentHealthCheckSeconds": 60 } } },
    } });
    plane.merge::<KubeadmControlPlane>(NAME, change).await;
    plane.settle().await;
    let [machine] = &plane.machines().await[..] else { panic!("not one machine") };
    assert_eq!((&machine.name_any(), machine.labels()["team"].as_str()), (name, "a"));
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn kube_proxy_and_coredns_follow() {
    let plane = Plane::start().await;
    plane.raise(1).await;
    plane.until("a machine is healthy", async |plane| whole(plane, 1).await).await;
    let corefile = async |plane: &Plane| {
        let client = plane.workload().await.unwrap();
        Api::<ConfigMap>::namespaced(client, "kube-system").get("coredns").await.unwrap().data
    };
    let before = corefile(&plane).await;
    let dns = json!({ "spec": { "kubeadmConfigSpec": { "clusterConfiguration": { "dns": { "imageTag": "v1.99.0" } } } } });
    plane.merge::<KubeadmControlPlane>(NAME, dns).await;
    plane
        .until("CoreDNS is another", async |plane| images(plane).await.1.ends_with("/coredns:v1.99.0"))
        .await;
    assert_eq!(corefile(&plane).await, before, "its configuration is the user's");
    assert_eq!(plane.machines().await.len(), 1, "CoreDNS is no reason to replace a machine");
    plane
        .until("an event tells of it", async |plane| events(plane, "CoreDNSUpgraded").await.len() == 1)
        .await;

    let [old] = &plane.names::<Machine>().await[..] else { panic!("not one machine") };
    assert!(images(&plane).await.0.ends_with("/kube-proxy:v1.35.0"));
    plane.merge::<KubeadmControlPlane>(NAME, json!({ "spec": { "version": "v1.35.1" } })).await;
    plane.until("the machine is replaced", async |plane| replaced(plane, old).await).await;
    plane
        .until("kube-proxy is another", async |plane| images(plane).await.0.ends_with("/kube-proxy:v1.35.1"))
        .await;

    // Whoever says so looks after them alone.
    let skip = json!({ "metadata": { "annotations": {
        "controlplane.cluster.x-k8s.io/skip-coredns": "", "controlplane.cluster.x-k8s.io/skip-kube-proxy": "",
    } }, "spec": { "kubeadmConfigSpec": { "clusterConfiguration": { "dns": { "imageTag": "v1.99.1" } } } } });
    plane.merge::<KubeadmControlPlane>(NAME, skip).await;
    plane.settle().await;
    assert!(images(&plane).await.1.ends_with(":v1.99.0"));
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_expiry_of_certificates_is_noted_once_a_machine() {
    let plane = Plane::start().await;
    plane.raise(3).await;
    plane.until("three machines are healthy", async |plane| whole(plane, 3).await).await;
    plane
        .until("all are noted", async |plane| {
            let configs = plane.api::<KubeadmConfig>().list(&ListParams::default()).await.unwrap();
            let noted = |config: &KubeadmConfig| {
                config.annotations().get("machine.cluster.x-k8s.io/certificates-expiry").cloned()
            };
            configs.iter().all(|config| noted(config).as_deref() == Some(NOT_AFTER))
        })
        .await;
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn machines_and_secrets_of_nobody_are_adopted() {
    let plane = Plane::start().await;
    plane.raise(1).await;
    plane.until("a machine is healthy", async |plane| whole(plane, 1).await).await;
    let [name] = &plane.names::<Machine>().await[..] else { panic!("not one machine") };
    let orphan = json!({ "metadata": { "ownerReferences": null, "labels": { "cluster.x-k8s.io/control-plane-name": null } } });
    // As they are left by somebody who has made the cluster without a control plane object.
    let config = plane.api::<KubeadmConfig>().get(name).await.unwrap();
    let owner = json!({ "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfig", "name": name, "uid": config.uid().unwrap(), "controller": true });
    plane.merge::<Secret>(&format!("{NAME}-ca"), json!({ "metadata": { "ownerReferences": [owner] } })).await;
    let cluster = plane.api::<Cluster>().get(NAME).await.unwrap();
    let owner = json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": NAME, "uid": cluster.uid().unwrap() });
    plane
        .merge::<Secret>(&format!("{NAME}-kubeconfig"), json!({ "metadata": { "ownerReferences": [owner] } }))
        .await;
    // The user's own, of another type, stays the user's.
    plane.merge::<Secret>(&format!("{NAME}-proxy"), json!({ "metadata": { "ownerReferences": null } })).await;
    plane.merge::<Machine>(name, orphan).await;
    let plane = plane.restart().await;
    plane
        .until("all are owned again", async |plane| {
            let control_plane = plane.control_plane().await.uid();
            let owners = |found: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
                let controllers = found.iter().filter(|owner| owner.controller == Some(true));
                controllers.map(|owner| Some(owner.uid.clone())).collect::<Vec<_>>()
                    == [control_plane.clone()]
            };
            let machine = plane.api::<Machine>().get(name).await.unwrap();
            let mut all = owners(machine.owner_references())
                && machine.labels().contains_key("cluster.x-k8s.io/control-plane-name");
            for secret in ["ca", "kubeconfig", "proxy"] {
                let secret = plane.api::<Secret>().get(&format!("{NAME}-{secret}")).await.unwrap();
                all &= owners(secret.owner_references()) && secret.owner_references().len() == 1;
            }
            all
        })
        .await;
    assert_eq!(plane.machines().await.len(), 1);

    // What new machines get unasked is no reason to replace one that was made without.
    let gate = json!({ "spec": { "clusterConfiguration": { "featureGates": null } } });
    plane.merge::<KubeadmConfig>(name, gate).await;
    plane.settle().await;
    assert_eq!(plane.machines().await.len(), 1);
    assert_eq!(plane.conditions().await["MachinesUpToDate"], "True UpToDate");

    // A machine of somebody else's stops everything.
    let other = json!({ "apiVersion": "x.io/v1", "kind": "X", "name": "x", "uid": "x", "controller": true });
    plane.merge::<Machine>(name, json!({ "metadata": { "ownerReferences": [other] } })).await;
    plane.merge::<KubeadmControlPlane>(NAME, json!({ "spec": { "replicas": 3 } })).await;
    plane.settle().await;
    assert_eq!(plane.machines().await.len(), 1, "mixed management");
    plane.until("an event says so", async |plane| !events(plane, "MixedManagement").await.is_empty()).await;
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_tells_what_blocks_for_long() {
    let plane = Plane::start().await;
    plane.raise(1).await;
    plane.until("a machine is healthy", async |plane| whole(plane, 1).await).await;
    plane.merge::<KubeadmControlPlane>(NAME, json!({ "spec": { "replicas": 3 } })).await;
    // Nobody brings the second machine up.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(plane.machines().await.len(), 2);
    assert!(events(&plane, "ControlPlaneUnhealthy").await.is_empty(), "machines take their time");
    tokio::time::sleep(Duration::from_mins(1)).await;
    let [event] = &events(&plane, "ControlPlaneUnhealthy").await[..] else { panic!("not one event") };
    let message = event.message.as_deref().unwrap_or_default();
    assert!(
        message.ends_with("does not have a corresponding Node yet (Machine.status.nodeRef not set)"),
        "{message}"
    );
    plane.stop().await;
}

/// A kubeconfig whose certificate has less than half a year left is made again, for the same server.
#[tokio::test(start_paused = true)]
async fn the_kubeconfig_is_rotated_in_time() {
    let plane = Plane::start().await;
    plane.raise(1).await;
    plane.until("a machine is healthy", async |plane| whole(plane, 1).await).await;
    let secrets: Api<Secret> = plane.api();
    let name = format!("{NAME}-kubeconfig");
    let server = "https://kept.example:6443";
    let old = expiring(&plane, server, 180).await;
    let put = |yaml: &str| {
        let value = serde_json::to_value(ByteString(yaml.as_bytes().to_vec())).unwrap();
        json!({ "data": { "value": value } })
    };
    plane.merge::<Secret>(&name, put(&old)).await;
    let poke = async |plane: &Plane, at: u32| {
        // Secrets do not wake us, and a complete set counts as complete for a while.
        tokio::time::sleep(Duration::from_mins(6)).await;
        let note = json!({ "metadata": { "annotations": { "poke": at.to_string() } } });
        plane.merge::<KubeadmControlPlane>(NAME, note).await;
        plane.settle().await;
    };
    let read = async || {
        let secret = secrets.get(&name).await.unwrap();
        String::from_utf8(secret.data.unwrap()["value"].0.clone()).unwrap()
    };
    poke(&plane, 1).await;
    let renewed = Kubeconfig::parse(&read().await).unwrap();
    assert_eq!(renewed.server, server);
    let Identity::Certificate { certificate_pem, .. } = &renewed.identity else { panic!("no certificate") };
    let (from, until) = certificate_times(certificate_pem).unwrap();
    assert!(until.since(from) > Duration::from_hours(364 * 24), "{from:?} {until:?}");

    // One with more left stays, and one that is not ours is left alone.
    let long = expiring(&plane, server, 200).await;
    plane.merge::<Secret>(&name, put(&long)).await;
    poke(&plane, 2).await;
    assert_eq!(read().await, long);
    let [machine] = &plane.machines().await[..] else { panic!("not one machine") };
    let (name_of_it, uid) = (machine.name_any(), machine.uid().unwrap());
    let theirs = json!([{ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": name_of_it, "uid": uid, "controller": true }]);
    plane.merge::<Secret>(&name, json!({ "metadata": { "ownerReferences": theirs } })).await;
    plane.merge::<Secret>(&name, put(&old)).await;
    poke(&plane, 3).await;
    assert_eq!(read().await, old);
    plane.stop().await;
}

/// A kubeconfig of the administrator whose certificate ends in some days.
async fn expiring(plane: &Plane, server: &str, days: u64) -> String {
    let secret = plane.api::<Secret>().get(&format!("{NAME}-ca")).await.unwrap().data.unwrap();
    let [ca, key] = ["tls.crt", "tls.key"].map(|name| String::from_utf8(secret[name].0.clone()).unwrap());
    let leaf = Leaf::client("kubernetes-admin", &["system:masters"], Duration::from_hours(days * 24));
    let private = FixtureKeys.generate(Algorithm::Rsa2048, "old").unwrap();
    let certificate = Authority::from_pem(&ca, &key).unwrap().issue(&private, &leaf, plane.now()).unwrap();
    let config = Kubeconfig::with_certificate(server.to_owned(), ca, certificate, &private).unwrap();
    config.to_yaml(NAME, "prod-admin").unwrap().into_exposed()
}

/// Tags of kube-proxy and CoreDNS.
async fn images(plane: &Plane) -> (String, String) {
    let client = plane.workload().await.unwrap();
    let image = |spec: Option<k8s_openapi::api::core::v1::PodSpec>| {
        spec.unwrap().containers[0].image.clone().unwrap()
    };
    let proxy = Api::<DaemonSet>::namespaced(client.clone(), "kube-system").get("kube-proxy").await.unwrap();
    let dns = Api::<Deployment>::namespaced(client, "kube-system").get("coredns").await.unwrap();
    (image(proxy.spec.unwrap().template.spec), image(dns.spec.unwrap().template.spec))
}

async fn events(plane: &Plane, reason: &str) -> Vec<Event> {
    let all = plane.api::<Event>().list(&ListParams::default()).await.unwrap();
    all.items.into_iter().filter(|event| event.reason.as_deref() == Some(reason)).collect()
}

/// One machine, and not `old`.
async fn replaced(plane: &Plane, old: &str) -> bool {
    let names = plane.names::<Machine>().await;
    names.len() == 1 && names[0] != old && whole(plane, 1).await
}

/// As many machines as members, all healthy, and nothing on its way.
async fn whole(plane: &Plane, count: usize) -> bool {
    let expected = [
        ("EtcdClusterHealthy", "True Healthy"),
        ("ControlPlaneComponentsHealthy", "True Healthy"),
        ("ScalingUp", "False NotScalingUp"),
        ("ScalingDown", "False NotScalingDown"),
        ("RollingOut", "False NotRollingOut"),
    ];
    let conditions = plane.conditions().await;
    plane.machines().await.len() == count
        && expected.iter().all(|(kind, says)| conditions.get(*kind).is_some_and(|found| found == says))
        && plane.members().await.len() == count
}
