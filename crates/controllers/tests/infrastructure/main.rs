//! What the infrastructure controllers make of a provider's answers, on an API server, with a provider that
//! does as it is told.
#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a failure is a panic")]

mod engine;
mod plane;

use std::time::Duration;

use engine::Leaving;
use plane::{CLUSTER, CONFIG_MAPS, MACHINE, Plane, wait};
use serde_json::json;
use windlass_model::Key;
use windlass_provider::Error;

/// How long anybody waits after the outside world was repaired.
const REPAIRED: u64 = 30;

fn unreachable() -> Error {
    Error::transient("cannot reach the engine at unix:///var/run/docker.sock; start it")
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_is_named_and_needs_no_edit_afterwards() {
    let plane = Plane::new().await;
    plane.data(None).await;
    plane.engine.state().trouble = Some(unreachable());
    plane.machine().await;
    for (object, stage) in [(MACHINE, "ContainerProvisioned"), (CLUSTER, "LoadBalancerAvailable")] {
        assert!(plane.says(object).await.contains(&format!("{stage}=False(Transient)")), "{object}");
        let message = plane.message(object, "Ready").await;
        assert!(
            message.contains("cannot reach the engine at unix:///var/run/docker.sock; start it"),
            "{message}"
        );
    }
    wait(600).await;
    plane.engine.state().trouble = None;
    wait(REPAIRED).await;
    for object in [MACHINE, CLUSTER] {
        assert!(plane.says(object).await.starts_with("Ready=True(Ready)"), "{}", plane.says(object).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_runs_is_unknown_only_when_its_engine_stays_away() {
    let plane = Plane::running().await;
    let before = plane.says(MACHINE).await;
    plane.engine.state().trouble = Some(unreachable());
    plane.news.send(Key::new("default", "m")).unwrap();
    wait(4).await;
    assert_eq!(plane.says(MACHINE).await, before, "a moment of trouble is not worth a word");
    wait(40).await;
    let told = plane.says(MACHINE).await;
    assert!(
        told.starts_with("Ready=Unknown(ReadyUnknown) BootstrapCompleted=True(Completed) ContainerProvisioned=Unknown(Transient)"),
        "{told}"
    );
    plane.engine.state().trouble = None;
    wait(REPAIRED).await;
    assert_eq!(plane.says(MACHINE).await, before);
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_or_refused_is_tried_again_without_an_edit() {
    for (error, reason) in [
        (Error::rejected("image windlass/node:v9 does not exist; pull it"), "Rejected"),
        (Error::not_found("network kind does not exist; create it"), "NotFound"),
    ] {
        let plane = Plane::new().await;
        plane.engine.state().half_made = Some(error.clone());
        plane.data(None).await;
        plane.machine().await;
        let told = plane.says(MACHINE).await;
        assert!(told.contains(&format!("ContainerProvisioned=False({reason})")), "{told}");
        assert_eq!(
            plane.message(MACHINE, "Ready").await,
            format!("* ContainerProvisioned: {error}\n* BootstrapCompleted: WaitingForContainerProvisioned")
        );
        wait(REPAIRED).await;
        assert!(plane.says(MACHINE).await.starts_with("Ready=True"), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn news_come_at_once_and_a_failed_bootstrap_in_its_own_words() {
    let plane = Plane::running().await;
    let why =
        "`kubeadm init` ended with exit code 1 after 7 s\n[preflight] port 6443 is in use\nfree the port";
    plane.engine.bootstrap(Some(why));
    wait(60).await;
    assert!(plane.says(MACHINE).await.starts_with("Ready=True"), "nobody has said anything yet");
    plane.news.send(Key::new("default", "m")).unwrap();
    wait(1).await;
    assert!(plane.says(MACHINE).await.contains("BootstrapCompleted=False(BootstrapFailed)"));
    assert_eq!(plane.message(MACHINE, "BootstrapCompleted").await, why);
    let sum = "* BootstrapCompleted:\n  `kubeadm init` ended with exit code 1 after 7 s\n  [preflight] port 6443 is in use\n  free the port";
    assert_eq!(plane.message(MACHINE, "Ready").await, sum);
    plane.engine.bootstrap(None);
    plane.news.send(Key::new("default", "m")).unwrap();
    wait(1).await;
    assert!(plane.says(MACHINE).await.starts_with("Ready=True"));
}

#[tokio::test(start_paused = true)]
async fn the_provider_is_told_the_format_and_what_the_object_says() {
    for (format, expected) in [(None, "cloud-config"), (Some("ignition"), "ignition")] {
        let plane = Plane::new().await;
        plane.data(format).await;
        plane.machine().await;
        assert_eq!(plane.engine.state().machine.as_ref().unwrap().bootstrap_format, expected);
        plane.merge(MACHINE, json!({"metadata": {"annotations": {"weight": "0"}}})).await;
        wait(1).await;
        assert_eq!(plane.engine.state().weight.as_deref(), Some("0"), "a change reaches what exists");
    }
}

#[tokio::test(start_paused = true)]
async fn bootstrap_data_that_is_not_there_is_waited_for_by_name() {
    let plane = Plane::new().await;
    plane.machine().await;
    assert!(plane.says(MACHINE).await.contains("ContainerProvisioned=False(BootstrapDataNotFound)"));
    let message = plane.message(MACHINE, "ContainerProvisioned").await;
    assert!(message.contains("Secret default/m with the key `value` does not exist"), "{message}");
    plane.data(None).await;
    wait(10).await;
    assert!(plane.says(MACHINE).await.starts_with("Ready=True"));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_waits_for_the_provider_and_says_what_is_in_the_way() {
    let plane = Plane::running().await;
    plane.engine.state().trouble = Some(unreachable());
    plane.delete(MACHINE).await;
    wait(60).await;
    assert!(plane.message(MACHINE, "ContainerProvisioned").await.starts_with("cannot reach the engine"));
    plane.engine.state().trouble = None;
    plane.engine.state().leaving = Leaving::In(Duration::from_secs(40));
    wait(REPAIRED).await;
    assert!(plane.says(MACHINE).await.contains("ContainerProvisioned=False(Deleting)"));
    plane.engine.state().leaving = Leaving::Sometime;
    wait(41).await;
    assert!(plane.get(MACHINE).await.is_some(), "it is still found");
    plane.engine.state().leaving = Leaving::AtOnce;
    wait(16).await;
    assert!(plane.get(MACHINE).await.is_none());
    assert!(plane.engine.state().machines.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_create_made_is_deleted_though_nothing_is_found() {
    let plane = Plane::new().await;
    plane.engine.state().half_made = Some(Error::rejected("port 6443 is taken; free it"));
    plane.data(None).await;
    plane.machine().await;
    assert_eq!(plane.engine.state().halves.len(), 1);
    plane.delete(MACHINE).await;
    wait(1).await;
    assert!(plane.get(MACHINE).await.is_none(), "the refused create does not hold up the deletion");
    assert!(plane.engine.state().halves.is_empty());
    assert_eq!(plane.engine.state().calls, ["create cluster", "create", "delete"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_goes_before_anything_was_wanted_leaves_the_provider_alone() {
    let plane = Plane::new().await;
    plane.machine().await;
    plane.engine.state().trouble = Some(unreachable());
    plane.merge(MACHINE, json!({"metadata": {"labels": {"look": "again"}}})).await;
    wait(3).await;
    assert!(plane.says(MACHINE).await.contains("(BootstrapDataNotFound)"), "the engine is not asked yet");
    plane.delete(MACHINE).await;
    assert!(plane.get(MACHINE).await.is_none(), "nothing holds it");
    wait(60).await;
    assert_eq!(plane.engine.state().calls, ["create cluster"]);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_says_what_its_load_balancer_says_and_where_it_is_published() {
    let plane = Plane::new().await;
    plane.cluster(json!({})).await;
    assert_eq!(
        plane.says(CLUSTER).await,
        "Ready=True(Ready) LoadBalancerAvailable=True(Available) Paused=False(NotPaused)"
    );
    let object = plane.get(CLUSTER).await.unwrap();
    assert_eq!(object["metadata"]["annotations"]["published"], "127.0.0.1:32768");
    assert_eq!(object["spec"]["controlPlaneEndpoint"], json!({"host": "172.18.0.2", "port": 6443}));
    assert_eq!(
        object["status"]["failureDomains"],
        json!([{"name": "fd-1", "controlPlane": true}, {"name": "fd-2", "controlPlane": false}])
    );
    plane.merge(CLUSTER, json!({"metadata": {"annotations": {"published": "elsewhere"}}})).await;
    wait(1).await;
    let object = plane.get(CLUSTER).await.unwrap();
    assert_eq!(object["metadata"]["annotations"]["published"], "127.0.0.1:32768", "it is kept true");
    plane.delete(CLUSTER).await;
    wait(1).await;
    assert!(plane.get(CLUSTER).await.is_none());
    assert!(plane.engine.state().clusters.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_template_of_the_load_balancer_comes_from_a_config_map() {
    let plane = Plane::new().await;
    let reference = json!({"loadBalancer": {"customHAProxyConfigTemplateRef": {"name": "haproxy"}}});
    plane.cluster(reference).await;
    assert!(plane.says(CLUSTER).await.starts_with("Ready=False(ConfigMapNotFound)"));
    let message = plane.message(CLUSTER, "Ready").await;
    assert!(
        message.contains("loadBalancer.customHAProxyConfigTemplateRef refers to ConfigMap default/haproxy"),
        "{message}"
    );
    assert_eq!(plane.engine.state().calls.len(), 0, "nothing is made without it");
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "haproxy"}, "data": {"value": "frontend"},
    });
    plane.post(CONFIG_MAPS, &map).await;
    wait(10).await;
    assert!(plane.says(CLUSTER).await.starts_with("Ready=True"), "{}", plane.says(CLUSTER).await);
    let told = plane.engine.state().cluster.as_ref().unwrap().config.clone();
    assert_eq!(told["loadBalancer.customHAProxyConfigTemplateRef"], "frontend");
}
