//! Configs that a MachinePool owns: hosts come and go, so that the token in the data is always a young one.
#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use windlass_api::bootstrap::KubeadmConfig;

use crate::plane::{Plane, a_while};

/// MachinePools as another manager would serve them.
fn definition() -> CustomResourceDefinition {
    let open = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    serde_json::from_value(json!({
        "metadata": {
            "name": "machinepools.cluster.x-k8s.io",
            "labels": { "cluster.x-k8s.io/v1beta2": "v1beta2" },
        },
        "spec": {
            "group": "cluster.x-k8s.io", "scope": "Namespaced",
            "names": { "kind": "MachinePool", "listKind": "MachinePoolList", "plural": "machinepools", "singular": "machinepool" },
            "versions": [{
                "name": "v1beta2", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": open, "status": open } } },
            }],
        },
    }))
    .unwrap()
}

fn pools(plane: &Plane) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "MachinePool");
    Api::namespaced_with(
        plane.client.clone(),
        "default",
        &ApiResource::from_gvk_with_plural(&kind, "machinepools"),
    )
}

async fn pool_is(plane: &Plane, status: Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    pools(plane).patch_status("pool", &PatchParams::default(), &patch).await.unwrap();
}

/// A plane with a pool of two hosts.
async fn start() -> Plane {
    let plane = Plane::start().await;
    plane.install(&definition()).await;
    plane.machine("cp-a", json!({})).await;
    a_while().await;
    plane.cluster_is(json!({ "controlPlaneInitialized": true })).await;
    let pool: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachinePool", "metadata": { "name": "pool" },
        "spec": { "clusterName": "prod", "replicas": 2, "template": { "spec": { "version": "v1.35.0" } } },
    }))
    .unwrap();
    let pool = pools(&plane).create(&PostParams::default(), &pool).await;
    let uid = pool.unwrap().metadata.uid.unwrap();
    let owner = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachinePool", "name": "pool", "uid": uid, "controller": true,
    });
    let labels = json!({ "cluster.x-k8s.io/cluster-name": "prod" });
    let metadata = json!({ "name": "pool", "labels": labels, "ownerReferences": [owner] });
    plane.create::<KubeadmConfig>(json!({ "metadata": metadata, "spec": {} })).await;
    a_while().await;
    plane
}

/// The token in the data, if the workload cluster takes it for at least so long.
async fn alive(plane: &Plane, left: Duration) -> String {
    let id = plane.token_of("pool").await.unwrap_or_default();
    let data = plane.secret("pool", "value").await.unwrap_or_default();
    assert!(
        data.contains(&format!("token: {id}.")) || data.contains(&format!("token: \"{id}.")),
        "{id} is not in the data"
    );
    let until = plane.tokens().await.remove(&id).unwrap_or_default();
    let least = windlass_runtime::time::format(plane.now().after(left));
    assert!(until > least, "the token in the data expires {until}");
    id
}

#[tokio::test(start_paused = true)]
async fn the_data_of_a_pool_always_has_a_token_that_lives() {
    let plane = start().await;
    assert_eq!(plane.said("pool").await, "True");
    // As long as hosts are on their way, they have this one.
    let first = alive(&plane, Duration::from_mins(5)).await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_mins(7)).await;
        assert_eq!(alive(&plane, Duration::from_mins(2)).await, first);
    }
    // All there: whoever knows the token has no use for it for long.
    pool_is(&plane, json!({ "nodeRefs": [{ "name": "a" }, { "name": "b" }] })).await;
    let mut seen = std::collections::BTreeSet::from([first]);
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_mins(7)).await;
        seen.insert(alive(&plane, Duration::from_mins(2)).await);
    }
    assert!((5..=10).contains(&seen.len()), "{} tokens in 84 minutes", seen.len());
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_token_of_a_pool_is_replaced() {
    let plane = start().await;
    let first = alive(&plane, Duration::from_mins(5)).await;
    plane.forget_tokens().await;
    tokio::time::sleep(Duration::from_mins(6)).await;
    assert_ne!(alive(&plane, Duration::from_mins(5)).await, first);
    plane.stop().await;
}

/// Wherever a rotation is cut short, the data has a living token after the next start.
#[tokio::test(start_paused = true)]
async fn a_rotation_survives_a_crash_at_each_effect() {
    use crate::plane::Fate;

    let mut unharmed = 0;
    for fate in (0..5).flat_map(|at| [Fate::Dies(at), Fate::Unanswered(at)]) {
        let mut plane = start().await;
        let first = alive(&plane, Duration::from_mins(5)).await;
        pool_is(&plane, json!({ "nodeRefs": [{ "name": "a" }, { "name": "b" }] })).await;
        plane.halt().await;
        plane.run(fate);
        tokio::time::sleep(Duration::from_mins(11)).await;
        unharmed += usize::from(plane.effects() == 0);
        plane.restart().await;
        a_while().await;
        assert_ne!(alive(&plane, Duration::from_mins(2)).await, first, "{fate:?}");
        plane.stop().await;
    }
    assert_eq!(unharmed, 0, "lives in which nothing was rotated");
}

/// Data that can no longer be made is not made: no tokens are heaped up meanwhile.
#[tokio::test(start_paused = true)]
async fn a_rotation_that_cannot_be_rendered_makes_no_tokens() {
    let plane = start().await;
    let first = alive(&plane, Duration::from_mins(5)).await;
    pool_is(&plane, json!({ "nodeRefs": [{ "name": "a" }, { "name": "b" }] })).await;
    let file = json!({ "path": "/x", "contentFrom": { "secret": { "name": "s", "key": "k" } } });
    plane.merge::<KubeadmConfig>("pool", json!({ "spec": { "files": [file] } })).await;
    tokio::time::sleep(Duration::from_mins(12)).await;
    assert_eq!(plane.said("pool").await, "Waiting for key k of Secret default/s: create it");
    assert_eq!(plane.tokens().await.into_keys().collect::<Vec<_>>(), [first.as_str()]);
    let content = json!({ "metadata": { "name": "s" }, "stringData": { "k": "x" } });
    plane.create::<k8s_openapi::api::core::v1::Secret>(content).await;
    a_while().await;
    assert_ne!(alive(&plane, Duration::from_mins(14)).await, first);
    assert_eq!(plane.said("pool").await, "True");
    plane.stop().await;
}
