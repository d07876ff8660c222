//! The controller dies at each of its effects and starts again; and it loses the answer to each of them.

use serde_json::json;

use crate::plane::{Fate, Plane, a_while};

/// A control plane machine starts a cluster that nobody else makes anything for, another one and a worker
/// join. Answers how many effects that took.
async fn live(fate: Fate) -> usize {
    let mut plane = Plane::start_with(fate).await;
    let cheap = json!({ "encryptionAlgorithm": "ECDSA-P256" });
    plane.machine("cp-a", json!({ "clusterConfiguration": cheap })).await;
    plane.machine("cp-b", json!({ "clusterConfiguration": cheap, "format": "ignition" })).await;
    plane.machine("w-a", json!({ "files": [{ "path": "/x", "content": "y" }] })).await;
    a_while().await;
    let died = matches!(fate, Fate::Dies(at) if at < plane.effects());
    if died {
        plane.restart().await;
        a_while().await;
    }
    let started = [plane.said("cp-a").await, plane.said("cp-b").await];
    assert_eq!(started.iter().filter(|said| *said == "True").count(), 1, "{fate:?}: {started:?}");
    plane.cluster_is(json!({ "controlPlaneInitialized": true })).await;
    a_while().await;
    let effects = plane.effects();
    if !died && matches!(fate, Fate::Dies(_)) {
        plane.restart().await;
        a_while().await;
    }
    check(&plane, fate).await;
    plane.stop().await;
    effects
}

async fn check(plane: &Plane, fate: Fate) {
    let mut init = 0;
    let mut tokens = Vec::new();
    for name in ["cp-a", "cp-b", "w-a"] {
        assert_eq!(plane.said(name).await, "True", "{fate:?} {name}");
        let data = plane.secret(name, "value").await.unwrap_or_default();
        if data.contains("kubeadm init") || data.contains("kubeadm%20init") {
            init += 1;
            continue;
        }
        let id = plane.token_of(name).await.unwrap_or_default();
        assert!(data.contains(&id), "{fate:?} {name}: the data has another token than the spec");
        tokens.push(id);
    }
    assert_eq!(init, 1, "{fate:?}: machines that initialize the cluster");
    tokens.sort();
    let there: Vec<String> = plane.tokens().await.into_keys().collect();
    assert_eq!(there, tokens, "{fate:?}: tokens in the workload cluster");
    assert!(plane.locked().await.is_none(), "{fate:?}: the lock is left over");
    // One authority: its key is what the control plane machines were given.
    let key = plane.secret("prod-ca", "tls.key").await.unwrap_or_default();
    let line = key.lines().nth(1).unwrap_or_default();
    let data = [plane.secret("cp-a", "value").await, plane.secret("cp-b", "value").await];
    let escaped = line.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let holds = |data: &&Option<String>| {
        data.as_ref().is_some_and(|data| data.contains(line) || data.contains(&escaped))
    };
    assert_eq!(data.iter().filter(holds).count(), 2, "{fate:?}: the machines have different authorities");
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_each_effect_is_survived() {
    let effects = live(Fate::Fine).await;
    assert!((18..60).contains(&effects), "{effects} effects");
    for at in 0..effects {
        live(Fate::Dies(at)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_each_effect_is_survived() {
    let effects = live(Fate::Fine).await;
    for at in 0..effects {
        live(Fate::Unanswered(at)).await;
    }
}
