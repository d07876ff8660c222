//! The real binary: its streams, its watch, what it keeps over a restart.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{Home, Process};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::DeleteParams;
use serde_json::Value;

#[test]
fn data_goes_to_one_stream_and_words_to_the_other() {
    let home = Home::new();
    let started = home.run(&["quickstart", "--detach"]).done();
    assert_eq!(started.out, "");
    assert!(!started.err.contains('\x1b'), "no colours without a terminal: {}", started.err);

    let json = home.run(&["describe", "cluster", "quickstart", "--output", "json"]).done();
    let yaml = home.run(&["describe", "cluster", "quickstart", "--output", "yaml"]).done();
    assert_eq!((json.err.as_str(), yaml.err.as_str()), ("", ""));
    let (json, yaml): (Value, Value) =
        (serde_json::from_str(&json.out).unwrap(), serde_saphyr::from_str(&yaml.out).unwrap());
    assert_eq!(json, yaml);
    assert_eq!(json["name"], "Cluster/quickstart");
    assert_eq!(json["children"][2]["children"][0]["replicas"]["available"], 2);

    let plain = home.run(&["describe", "cluster", "quickstart"]).done().out;
    let painted = home.run(&["describe", "cluster", "quickstart", "--color", "always"]).done().out;
    assert!(!plain.contains('\x1b') && painted.contains("\x1b[32mTrue\x1b[0m"));

    let kubeconfig = home.run(&["get", "kubeconfig", "quickstart"]).done();
    assert!(
        kubeconfig.out.starts_with("apiVersion: v1\n") && kubeconfig.err.is_empty(),
        "{}",
        kubeconfig.err
    );
    let wrong = home.run(&["describe", "clutser"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(2), ""));
    assert!(wrong.err.contains("cluster"), "{}", wrong.err);
}

#[test]
fn a_watch_ends_with_the_cluster() {
    let home = Home::new();
    home.run(&["quickstart", "--detach", "--worker-machine-count", "1"]).done();
    let mut command = home.windlass(&["describe", "cluster", "quickstart", "--watch"]);
    let watch = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let file = home.data().management_kubeconfig();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = common::client(&file).await;
        let clusters: kube::Api<windlass_api::core::Cluster> = kube::Api::namespaced(client, "default");
        clusters.delete("quickstart", &DeleteParams::default()).await.unwrap();
    });
    let said = watch.output();
    assert_eq!((said.code, said.err.as_str()), (Some(0), "cluster `quickstart` is gone\n"));
    assert!(said.out.contains("!! DELETED !! Cluster/quickstart"), "{}", said.out);
}

/// What is installed in a new cluster is what a manifest says, cluster-scoped objects included; a second time
/// changes nothing. Then nothing is left of any cluster.
#[test]
fn a_manifest_is_installed_and_every_cluster_deleted() {
    let home = Home::new();
    let cni = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/cni/pod-routes.yaml");
    let quickstart = ["quickstart", "--detach", "--worker-machine-count", "0", "--cni", cni];
    let versions = |home: &Home| {
        let file = home.data().workload_kubeconfig("default", "quickstart");
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let client = common::client(&file).await;
            let roles: kube::Api<ClusterRole> = kube::Api::all(client.clone());
            let sets: kube::Api<DaemonSet> = kube::Api::namespaced(client, "kube-system");
            let role = roles.get_metadata("pod-routes").await.unwrap();
            let set = sets.get_metadata("pod-routes").await.unwrap();
            (role.metadata.resource_version, set.metadata.resource_version)
        })
    };
    let said = home.run(&quickstart).done().err;
    assert!(said.contains(&format!("the network plugin {cni} is installed\n")), "{said}");
    let once = versions(&home);
    home.run(&quickstart).done();
    assert_eq!(versions(&home), once);

    let down = home.run(&["down", "--delete-clusters"]).done().err;
    assert!(down.starts_with("deleting cluster quickstart\n"), "{down}");
    home.run(&["up", "--detach"]).done();
    let gone = home.run(&["describe", "cluster", "quickstart"]);
    assert!(gone.err.contains("cluster `quickstart` not found"), "{}", gone.err);
}

/// Kubeconfigs that people copied stay valid.
#[test]
fn a_plane_comes_back_where_it_was() {
    let home = Home::new();
    home.run(&["up", "--detach"]).done();
    let before = fs::read_to_string(home.data().management_kubeconfig()).unwrap();
    home.run(&["down"]).done();
    let up = home.windlass(&["up", "--detach"]).env_remove("WINDLASS_LISTEN").status().unwrap();
    assert!(up.success());
    assert_eq!(fs::read_to_string(home.data().management_kubeconfig()).unwrap(), before);
    home.run(&["down"]).done();
    let idle = home.run(&["down"]).done();
    assert!(idle.err.starts_with("no plane runs in "), "{}", idle.err);
}
