//! The world from outside: what boots, what joins, what stays after a restart.

#![expect(clippy::unwrap_used, reason = "helpers stand outside of test functions")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, Place, get, names, post, token, told};
use serde_json::{Value, json};
use windlass_memory::InProcess;
use windlass_provider::{ErrorKind, InstanceState};
use windlass_workload::{ConnectError, Connector, EtcdConnector, PortForward};

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const TOKEN: &str = "abcdef.0123456789abcdef";

/// A cluster with one control plane machine `cp-0` and the bootstrap token of these tests.
async fn one(place: &Place) -> Fixture {
    let cluster = Fixture::new("c");
    place.found(&cluster).await;
    let first = place.boot(&cluster, "cp-0", true, cluster.init()).await;
    assert_eq!(told(&first), "+ + + +", "without delays all has happened when the call returns");
    let secret = Fixture::token_secret("abcdef", "0123456789abcdef", place.clock.now(), 600);
    post(&place.admin(&cluster).await, SECRETS, &secret).await;
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_machine_boots_in_stages_at_their_times() {
    let (place, cluster) = (Place::new().await, Fixture::new("c"));
    place.found(&cluster).await;
    let two = json!({"provisioning": {"startupDuration": "2s"}});
    let spec = json!({"vm": two, "node": two, "apiServer": two, "etcd": {"provisioning": {"startupDuration": "1s"}}});
    let request = cluster.machine("cp-0", true, cluster.init(), &spec);
    let mut news = place.world.machine_news();
    let made = place.machines().create(&token("cp-0"), &request).await.unwrap();
    assert_eq!((made.state, made.next_change), (InstanceState::Pending, Some(Duration::from_secs(2))));
    assert_eq!(made.provider_id, "in-memory://cp-0");
    for (second, expected) in [
        (
            1,
            "WaitingForStartupTimeout WaitingForVMProvisioned WaitingForVMProvisioned WaitingForVMProvisioned",
        ),
        (3, "+ WaitingForStartupTimeout WaitingForNodeProvisioned WaitingForNodeProvisioned"),
        (4, "+ + WaitingForStartupTimeout WaitingForStartupTimeout"),
        (5, "+ + + WaitingForStartupTimeout"),
        (6, "+ + + +"),
    ] {
        let at = common::dawn().after(Duration::from_secs(second));
        tokio::time::sleep(at.until(place.clock.now()) + Duration::from_millis(1)).await;
        assert_eq!(told(&place.find("cp-0").await), expected, "after {second} s");
    }
    let mut heard = 0;
    while let Ok(owner) = news.try_recv() {
        assert_eq!(owner, cluster.key.sibling("cp-0"));
        heard += 1;
    }
    assert_eq!(heard, 4, "one wake-up for each stage");
}

#[tokio::test(start_paused = true)]
async fn kubeadm_init_leaves_what_controllers_look_for() {
    let place = Place::new().await;
    let cluster = one(&place).await;
    let client = place.admin(&cluster).await;
    let node = get(&client, "/api/v1/nodes/cp-0").await.unwrap();
    assert_eq!(node["spec"]["providerID"], "in-memory://cp-0");
    assert_eq!(node["spec"]["taints"][0]["key"], "node-role.kubernetes.io/control-plane");
    assert_eq!(node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"], "");
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.35.0");
    assert_eq!(node["status"]["addresses"][0]["address"], "10.0.0.1");
    let pods = names(&client, "/api/v1/namespaces/kube-system/pods").await;
    assert_eq!(
        pods,
        ["etcd-cp-0", "kube-apiserver-cp-0", "kube-controller-manager-cp-0", "kube-scheduler-cp-0"]
    );
    for pod in pods {
        let pod = get(&client, &format!("/api/v1/namespaces/kube-system/pods/{pod}")).await.unwrap();
        let ready = pod["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready");
        assert_eq!((&pod["status"]["phase"], &ready.unwrap()["status"]), (&json!("Running"), &json!("True")));
        assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);
    }
    for path in [
        "/api/v1/namespaces/kube-system/configmaps/kubelet-config",
        "/api/v1/namespaces/kube-system/configmaps/coredns",
        "/api/v1/namespaces/kube-public/configmaps/cluster-info",
        "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy",
        "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/kubeadm:get-nodes",
    ] {
        assert!(get(&client, path).await.is_some(), "{path} is missing");
    }
    let config = get(&client, "/api/v1/namespaces/kube-system/configmaps/kubeadm-config").await.unwrap();
    let config = config["data"]["ClusterConfiguration"].as_str().unwrap().to_owned();
    assert!(config.contains("kind: ClusterConfiguration") && config.contains("kubernetesVersion: v1.35.0"));
}

#[tokio::test(start_paused = true)]
async fn machines_join_only_with_what_a_real_one_would_need() {
    let place = Place::new().await;
    let cluster = one(&place).await;
    let expired = Fixture::token_secret("expire", "0123456789abcdef", place.clock.now(), 0);
    post(&place.admin(&cluster).await, SECRETS, &expired).await;
    let hash = cluster.hash();
    let foreign = Fixture::new("another cluster");
    for (name, control_plane, data, expected) in [
        ("good", false, Fixture::join(TOKEN, &hash), "+ +"),
        ("unknown", false, Fixture::join("zzzzzz.0123456789abcdef", &hash), "+ BootstrapTokenUnknown"),
        ("foreign", false, Fixture::join("abcdef.fedcba9876543210", &hash), "+ BootstrapTokenUnknown"),
        ("expired", false, Fixture::join("expire.0123456789abcdef", &hash), "+ BootstrapTokenExpired"),
        ("hash", false, Fixture::join(TOKEN, &foreign.hash()), "+ CACertHashMismatch"),
        ("cp-1", true, cluster.join_control_plane(TOKEN), "+ + + +"),
        (
            "cp-2",
            true,
            foreign.join_control_plane(TOKEN).replace(&foreign.hash(), &hash),
            "+ CertificatesMismatch WaitingForNodeProvisioned WaitingForNodeProvisioned",
        ),
        (
            "second-init",
            true,
            cluster.init(),
            "+ AlreadyInitialized WaitingForNodeProvisioned WaitingForNodeProvisioned",
        ),
        (
            "bare",
            true,
            cluster.init_without("sa.key"),
            "+ CertificatesMissing WaitingForNodeProvisioned WaitingForNodeProvisioned",
        ),
        (
            "same-name",
            false,
            Fixture::join(TOKEN, &hash).replace("  kubeletExtra", "  name: good\n        kubeletExtra"),
            "+ NodeNameTaken",
        ),
        ("ignition", false, "{}".to_owned(), "+ BootstrapDataInvalid"),
    ] {
        let made = place.boot(&cluster, name, control_plane, data).await;
        assert_eq!(told(&made), expected, "{name}");
        let message = &made.conditions[1].message;
        assert_eq!(message.is_empty(), made.conditions[1].is_true(), "{name}: {message}");
        assert!(!message.contains("0123456789abcdef"), "{name}: {message}");
    }
    assert_eq!(names(&place.admin(&cluster).await, "/api/v1/nodes").await, ["cp-0", "cp-1", "good"]);
    let good = get(&place.admin(&cluster).await, "/api/v1/nodes/good").await.unwrap();
    assert_eq!(good["metadata"]["labels"]["a"], "b");
}

#[tokio::test(start_paused = true)]
async fn a_join_before_the_control_plane_waits_for_it() {
    let (place, cluster) = (Place::new().await, Fixture::new("c"));
    place.found(&cluster).await;
    let early = place.boot(&cluster, "early", false, Fixture::join(TOKEN, &cluster.hash())).await;
    assert_eq!(told(&early), "+ NotInitialized");
    // With its token in the InitConfiguration the machine may join as soon as an API server answers.
    let tokens = format!("      kind: InitConfiguration\n      bootstrapTokens: [{{token: {TOKEN}}}]\n");
    let init = cluster.init().replace("      kind: InitConfiguration\n", &tokens);
    place.boot(&cluster, "cp-0", true, init).await;
    assert_eq!(told(&place.find("early").await), "+ +");
}

#[tokio::test(start_paused = true)]
async fn everything_is_there_after_a_restart() {
    let place = Place::new().await;
    let cluster = one(&place).await;
    place.boot(&cluster, "cp-1", true, cluster.join_control_plane(TOKEN)).await;
    let slow = json!({"vm": {"provisioning": {"startupDuration": "10s"}}});
    let data = Fixture::join(TOKEN, &cluster.hash());
    let request = cluster.machine("slow", false, data, &slow);
    place.machines().create(&token("slow"), &request).await.unwrap();

    let before = picture(&place, &cluster).await;
    let place = place.restart().await;
    assert_eq!(picture(&place, &cluster).await, before);
    assert_eq!(told(&place.find("slow").await), "WaitingForStartupTimeout WaitingForVMProvisioned");
    let place = place.restart().await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(told(&place.find("slow").await), "+ +", "it went on booting where it was");
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_moment_of_a_boot_changes_nothing_in_the_end() {
    let (place, cluster) = (Place::new().await, Fixture::new("c"));
    place.found(&cluster).await;
    let two = json!({"provisioning": {"startupDuration": "2s"}});
    let spec = json!({"vm": two, "node": two, "apiServer": two, "etcd": two});
    let request = cluster.machine("cp-0", true, cluster.init(), &spec);
    place.machines().create(&token("cp-0"), &request).await.unwrap();
    let mut forks = vec![place.engine.fork()];
    for _ in 0..7 {
        tokio::time::sleep(Duration::from_millis(999)).await;
        forks.push(place.engine.fork());
    }
    // The worst moment: kubeadm has written into the cluster, and the ledger does not know of it.
    let torn = forks[3].fork();
    copy(&forks[7], &torn, "workload/c-uid").await;
    forks.push(torn);
    for (moment, engine) in forks.into_iter().enumerate() {
        let place = Place::on(engine, place.clock.clone(), false).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(told(&place.find("cp-0").await), "+ + + +", "moment {moment}");
        let client = place.admin(&cluster).await;
        assert_eq!(names(&client, "/api/v1/nodes").await, ["cp-0"], "moment {moment}");
        assert_eq!(names(&client, "/api/v1/namespaces/kube-system/pods").await.len(), 4, "moment {moment}");
        let members = etcd(&place, &cluster, &["cp-0"]).await.unwrap().members().await.unwrap();
        assert_eq!(members.len(), 1, "moment {moment}");
        assert_eq!(place.world.machine_history().unwrap().len(), 1, "moment {moment}");
    }
}

/// Copies a store from one engine to another.
async fn copy(from: &windlass_store::Engine, to: &windlass_store::Engine, name: &str) {
    let mut txn = windlass_store::Txn::new();
    for entry in from.store(name).range("", None, None, None).unwrap().entries {
        txn = txn.put(entry.key.clone(), entry.value.clone(), windlass_store::Expect::Any);
    }
    to.store(name).commit(txn).await.unwrap();
}

#[tokio::test]
async fn a_world_on_disk_is_there_again_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("world.redb");
    let open = || windlass_store::Engine::open(&file, windlass_store::Options::default()).unwrap();
    let clock = windlass_runtime::Clock::tokio(common::dawn());
    let place = Place::on(open(), clock.clone(), false).await;
    let cluster = one(&place).await;
    let before = picture(&place, &cluster).await;
    place.tasks.shutdown().await;
    place.world.shutdown().await;
    place.engine.close().await.unwrap();
    drop(place);
    let place = Place::on(open(), clock, false).await;
    assert_eq!(picture(&place, &cluster).await, before);
}

/// Node UIDs, port and etcd members.
async fn picture(place: &Place, cluster: &Fixture) -> Value {
    let list = get(&place.admin(cluster).await, "/api/v1/nodes").await.unwrap();
    let uids: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|node| node["metadata"]["uid"].clone()).collect();
    let etcd = etcd(place, cluster, &["cp-0"]).await.unwrap();
    let members: Vec<_> =
        etcd.members().await.unwrap().into_iter().map(|member| (member.id, member.name)).collect();
    json!({
        "uids": uids, "port": place.port(cluster).await, "members": members, "leader": etcd.leader().await.unwrap(),
        "machines": place.world.machine_history().unwrap().len(),
    })
}

async fn etcd(
    place: &Place,
    cluster: &Fixture,
    nodes: &[&str],
) -> Result<Box<dyn windlass_workload::Etcd>, windlass_workload::EtcdError> {
    let nodes: Vec<_> = nodes.iter().map(|node| (*node).to_owned()).collect();
    let tunnel = Arc::new(place.admin(cluster).await);
    let forward = PortForward::new(tunnel, place.clock.clone(), place.tasks.spawner());
    forward.connect(&cluster.key, &nodes, &cluster.etcd_identity()).await
}

#[tokio::test(start_paused = true)]
async fn a_member_stays_until_it_is_removed_and_quorum_counts() {
    let place = Place::new().await;
    let cluster = one(&place).await;
    for name in ["cp-1", "cp-2"] {
        place.boot(&cluster, name, true, cluster.join_control_plane(TOKEN)).await;
    }
    let provider = place.machines();
    let client = place.admin(&cluster).await;
    provider.delete(&token("cp-0")).await.unwrap();
    let node = get(&client, "/api/v1/nodes/cp-0").await.expect("the Node stays until somebody deletes it");
    let ready = node["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready");
    assert_eq!(ready.unwrap()["status"], "Unknown");
    assert!(get(&client, "/api/v1/namespaces/kube-system/pods/etcd-cp-0").await.is_none());

    assert!(etcd(&place, &cluster, &["cp-0"]).await.is_err(), "its own etcd is gone");
    let connection = etcd(&place, &cluster, &["cp-1", "cp-2"]).await.unwrap();
    let members = connection.members().await.unwrap();
    assert_eq!(members.len(), 3, "the member is still one");
    let gone = members.iter().find(|member| member.name == "cp-0").unwrap().id;
    let leader = connection.leader().await.unwrap();
    assert_ne!(leader, gone, "another one leads");
    connection.remove_member(gone).await.unwrap();
    let next = members.iter().find(|member| member.id != gone && member.id != leader).unwrap().id;
    connection.move_leader(next).await.unwrap();
    assert_eq!(connection.leader().await.unwrap(), next);

    provider.delete(&token("cp-1")).await.unwrap();
    let refused = InProcess::new(place.world.clone());
    let refused = refused.connect(&cluster.key, &cluster.kubeconfig(20_000)).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable(_))), "one of two members is no quorum");
    let request = http::Request::get("/api/v1/nodes").body(vec![]).unwrap();
    assert!(client.request::<Value>(request).await.is_err(), "nor does anybody answer an old client");
}

#[tokio::test(start_paused = true)]
async fn a_machine_takes_over_the_node_that_an_earlier_one_of_its_name_left() {
    let place = Place::new().await;
    let cluster = one(&place).await;
    let data = || Fixture::join(TOKEN, &cluster.hash());
    place.boot(&cluster, "worker", false, data()).await;
    place.machines().delete(&token("worker")).await.unwrap();
    let again = cluster.machine("worker", false, data(), &Value::Null);
    let again = place.machines().create(&token("another"), &again).await.unwrap();
    assert_eq!(told(&again), "+ +");
    let node = get(&place.admin(&cluster).await, "/api/v1/nodes/worker").await.unwrap();
    let ready = node["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready");
    assert_eq!(ready.unwrap()["status"], "True");
    assert_eq!(node["status"]["addresses"][0]["address"], "10.0.0.3", "it is where the new machine is");
}

#[tokio::test(start_paused = true)]
async fn only_the_clusters_own_certificates_open_the_door() {
    let place = Place::new().await;
    let cluster = one(&place).await;
    let connector = InProcess::new(place.world.clone());
    let good = cluster.kubeconfig_for(20_000, Duration::from_hours(24));
    let foreign = Fixture::new("foreign").kubeconfig(20_000);
    let mixed = windlass_pki::Kubeconfig { ca_pem: good.ca_pem.clone(), ..foreign.clone() };
    let elsewhere = cluster.kubeconfig(20_001);
    let kind = |answer: Result<kube::Client, ConnectError>| match answer {
        Ok(_) => "open",
        Err(ConnectError::Unauthorized) => "unauthorized",
        Err(ConnectError::Unreachable(_)) => "unreachable",
        Err(ConnectError::Kubeconfig(_)) => "kubeconfig",
    };
    for (kubeconfig, expected) in
        [(&good, "open"), (&foreign, "unreachable"), (&mixed, "unauthorized"), (&elsewhere, "unreachable")]
    {
        assert_eq!(kind(connector.connect(&cluster.key, kubeconfig).await), expected);
    }
    tokio::time::sleep(Duration::from_hours(25)).await;
    assert_eq!(kind(connector.connect(&cluster.key, &good).await), "unauthorized", "it has expired");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_cluster_leaves_its_rows_and_nothing_else() {
    let place = Place::new().await;
    let cluster = one(&place).await;
    let refused = place.clusters().delete(&cluster.token()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Transient, "{refused}");
    place.machines().delete(&token("cp-0")).await.unwrap();
    place.clusters().delete(&cluster.token()).await.unwrap();
    assert_eq!(place.engine.names(), ["world"]);
    let keys = place.engine.store("world").range("", None, None, None).unwrap();
    let keys: Vec<_> = keys.entries.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, ["cluster/infra-c-uid", "machine/cp-0-uid"]);
    assert!(place.world.machine_history().unwrap()[0].deleted.is_some());
    let next = Fixture::new("next");
    let made = place.found(&next).await;
    assert_eq!(made.endpoint.unwrap().port, 20_000, "the port is free again");
}

#[tokio::test]
async fn a_cluster_listens_on_its_port_with_certificates_of_its_own_ca() {
    let clock = windlass_runtime::Clock::tokio(windlass_runtime::Clock::system().now());
    let place = Place::on(windlass_store::Engine::memory(), clock, true).await;
    let cluster = one(&place).await;
    let port = place.port(&cluster).await;
    let client = windlass_workload::Dial.connect(&cluster.key, &cluster.kubeconfig(port)).await.unwrap();
    assert_eq!(names(&client, "/api/v1/nodes").await, ["cp-0"]);
    let place = place.restart().await;
    assert_eq!(place.port(&cluster).await, port);
    let client = windlass_workload::Dial.connect(&cluster.key, &cluster.kubeconfig(port)).await.unwrap();
    assert_eq!(names(&client, "/api/v1/nodes").await, ["cp-0"]);
    place.machines().delete(&token("cp-0")).await.unwrap();
    let request = http::Request::get("/api/v1/nodes").body(vec![]).unwrap();
    assert!(client.request::<Value>(request).await.is_err(), "no API server is left");
}
