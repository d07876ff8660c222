//! Machines that no control plane object owns: the init lock, certificates, and what is said about what is
//! missing.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;
use windlass_api::core::Machine;
use windlass_pki::{Algorithm, FixtureKeys, KeyPair, KeySource, Kubeconfig, Purpose, public_key_hash};

use crate::plane::{Plane, a_while};

const WAITING: &str = "Waiting for another Machine to initialize the Cluster control plane";

#[tokio::test(start_paused = true)]
async fn one_of_two_machines_initializes_the_cluster() {
    let plane = Plane::start().await;
    plane.machine("cp-a", json!({})).await;
    plane.machine("cp-b", json!({})).await;
    a_while().await;
    let mut said = [plane.said("cp-a").await, plane.said("cp-b").await];
    said.sort();
    assert_eq!(said, ["True", WAITING]);
    let (holder, other) =
        if plane.said("cp-a").await == "True" { ("cp-a", "cp-b") } else { ("cp-b", "cp-a") };
    let lock = plane.locked().await.unwrap();
    assert_eq!(lock.data.unwrap()["lock-information"], format!("{{\"machineName\":\"{holder}\"}}"));

    plane.cluster_is(json!({ "controlPlaneInitialized": true })).await;
    a_while().await;
    assert!(plane.locked().await.is_none(), "the lock is still there");
    assert_eq!(plane.said(other).await, "True");
    assert!(plane.secret(other, "value").await.unwrap().contains("kubeadm join"));
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_machine_is_gone_is_broken() {
    let plane = Plane::start().await;
    let information = json!({ "lock-information": "{\"machineName\":\"gone\"}" });
    plane.create::<ConfigMap>(json!({ "metadata": { "name": "prod-lock" }, "data": information })).await;
    plane.machine("cp-a", json!({})).await;
    a_while().await;
    assert_eq!(plane.said("cp-a").await, "True");
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_left_over_goes_with_the_next_machine_that_joins() {
    let plane = Plane::start().await;
    plane.machine("cp-a", json!({})).await;
    a_while().await;
    assert!(plane.locked().await.is_some());
    plane.api::<Machine>().delete("cp-a", &DeleteParams::default()).await.unwrap();
    plane.cluster_is(json!({ "controlPlaneInitialized": true })).await;
    a_while().await;
    assert!(plane.locked().await.is_some(), "nobody looks after it");
    plane.machine("cp-b", json!({})).await;
    a_while().await;
    assert!(plane.locked().await.is_none());
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn says_what_is_missing_and_goes_on_when_it_is_there() {
    let plane = Plane::start().await;
    let file = json!({ "path": "/x", "contentFrom": { "secret": { "name": "s", "key": "k" } } });
    plane.machine("cp-a", json!({ "files": [file] })).await;
    a_while().await;
    assert_eq!(plane.said("cp-a").await, "Waiting for key k of Secret default/s: create it");

    plane.create::<Secret>(json!({ "metadata": { "name": "s" }, "stringData": { "k": "hidden" } })).await;
    a_while().await;
    assert_eq!(plane.said("cp-a").await, "True");
    assert!(plane.secret("cp-a", "value").await.unwrap().contains("hidden"));
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_data_cannot_be_made_keeps_nobody_waiting() {
    let plane = Plane::start().await;
    let large = json!({ "path": "/x", "contentFrom": { "secret": { "name": "large", "key": "k" } } });
    let content = "x".repeat(900_000);
    plane.create::<Secret>(json!({ "metadata": { "name": "large" }, "stringData": { "k": content } })).await;
    let twice = json!({ "path": "/y", "contentFrom": { "secret": { "name": "large", "key": "k" } } });
    plane.machine("cp-a", json!({ "files": [large, twice] })).await;
    a_while().await;
    let said = plane.said("cp-a").await;
    assert!(said.contains("the largest files are /y (900000 bytes), /x (900000 bytes)"), "{said}");
    assert!(plane.locked().await.is_none(), "the lock is held by a machine that cannot start");
    plane.machine("cp-b", json!({})).await;
    a_while().await;
    assert_eq!(plane.said("cp-b").await, "True");
    assert_eq!(plane.said("cp-a").await, WAITING);
    plane.stop().await;
}

/// The data is complete, but its Secret is somebody else's: the lock goes to who can use it.
#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_publish_gives_the_lock_back() {
    let plane = Plane::start().await;
    plane.create::<Secret>(json!({ "metadata": { "name": "cp-a" }, "stringData": { "mine": "x" } })).await;
    plane.machine("cp-a", json!({})).await;
    a_while().await;
    let said = plane.said("cp-a").await;
    assert_eq!(said, "Secret default/cp-a exists and belongs to something else: delete or rename it");
    assert!(plane.locked().await.is_none());
    assert_eq!(plane.secret("cp-a", "mine").await.as_deref(), Some("x"));
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_says_only_how_to_join_never_initializes() {
    let plane = Plane::start().await;
    plane.machine("cp-a", json!({ "joinConfiguration": { "nodeRegistration": { "name": "n" } } })).await;
    a_while().await;
    assert_eq!(plane.said("cp-a").await, "Waiting for Cluster control plane to be initialized");
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn certificates_and_kubeconfig_are_made_once_and_belong_to_the_cluster() {
    let plane = Plane::start().await;
    let algorithm = json!({ "encryptionAlgorithm": "ECDSA-P256", "caCertificateValidityPeriodDays": 100 });
    plane.machine("cp-a", json!({ "clusterConfiguration": algorithm })).await;
    a_while().await;
    let data = plane.secret("cp-a", "value").await.unwrap();
    for purpose in Purpose::ALL {
        let name = format!("prod-{}", purpose.suffix());
        let secret = plane.api::<Secret>().get(&name).await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some("cluster.x-k8s.io/secret"), "{name}");
        assert_eq!(secret.labels()["cluster.x-k8s.io/cluster-name"], "prod", "{name}");
        let owners: Vec<_> = secret.owner_references().iter().map(|owner| owner.kind.clone()).collect();
        assert_eq!(owners, ["Cluster"], "{name}");
        let key = plane.secret(&name, "tls.key").await.unwrap();
        let line = key.lines().nth(1).unwrap();
        assert!(data.contains(line), "{name} is not in the data");
    }
    let (_, until) =
        windlass_pki::certificate_times(&plane.secret("prod-ca", "tls.crt").await.unwrap()).unwrap();
    assert_eq!(windlass_runtime::time::format(until), "2027-03-01T12:00:00Z");
    let kubeconfig = plane.secret("prod-kubeconfig", "value").await.unwrap();
    assert_eq!(Kubeconfig::parse(&kubeconfig).unwrap().server, "https://10.0.0.1:6443");
    plane.stop().await;
}

/// As the documentation says of a user's own authority: an ordinary Secret under the cluster's name.
#[tokio::test(start_paused = true)]
async fn an_authority_of_the_users_is_used_and_stays_theirs() {
    let plane = Plane::start().await;
    let key = FixtureKeys.generate(Algorithm::EcdsaP256, "mine").unwrap();
    let now = windlass_runtime::time::parse("2026-11-21T12:00:00Z").unwrap();
    let pair = KeyPair::make(Purpose::Cluster, &key, 3650, now).unwrap();
    let data = json!({ "tls.crt": pair.certificate, "tls.key": pair.key.unwrap().expose() });
    let before: Secret = plane
        .create(json!({ "metadata": { "name": "prod-ca" }, "type": "kubernetes.io/tls", "stringData": data }))
        .await;
    plane.machine("cp-a", json!({})).await;
    a_while().await;
    let after = plane.api::<Secret>().get("prod-ca").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version(), "it was written");
    assert!(plane.secret("prod-etcd", "tls.key").await.is_some());

    plane.cluster_is(json!({ "controlPlaneInitialized": true })).await;
    plane.machine("w-a", json!({})).await;
    a_while().await;
    let hash = public_key_hash(&pair.certificate).unwrap();
    assert!(plane.secret("w-a", "value").await.unwrap().contains(&hash), "the worker trusts another one");
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn half_an_authority_is_not_replaced() {
    let plane = Plane::start().await;
    plane
        .create::<Secret>(json!({ "metadata": { "name": "prod-sa" }, "stringData": { "tls.crt": "x" } }))
        .await;
    plane.machine("cp-a", json!({})).await;
    a_while().await;
    let said = certificates_said(&plane, "cp-a").await;
    assert_eq!(
        said,
        "Unknown InternalError Waiting for tls.key of Secret default/prod-sa: it is yours to give: create it, or restore it from a backup"
    );
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_certificates_of_an_external_etcd_are_the_users() {
    let plane = Plane::start().await;
    let files = json!({ "endpoints": ["https://e:2379"], "caFile": "/e/ca", "certFile": "/e/crt", "keyFile": "/e/key" });
    plane.machine("cp-a", json!({ "clusterConfiguration": { "etcd": { "external": files } } })).await;
    a_while().await;
    assert!(
        certificates_said(&plane, "cp-a").await.contains("tls.crt of Secret default/prod-etcd: it is yours")
    );
    let certificate = json!({ "tls.crt": "ETCD CA" });
    plane.create::<Secret>(json!({ "metadata": { "name": "prod-etcd" }, "stringData": certificate })).await;
    a_while().await;
    let said = certificates_said(&plane, "cp-a").await;
    assert!(said.contains("tls.crt of Secret default/prod-apiserver-etcd-client"), "{said}");
    let client = json!({ "tls.crt": "CLIENT", "tls.key": "CLIENT KEY" });
    plane
        .create::<Secret>(
            json!({ "metadata": { "name": "prod-apiserver-etcd-client" }, "stringData": client }),
        )
        .await;
    a_while().await;
    assert_eq!(plane.said("cp-a").await, "True");
    let data = plane.secret("cp-a", "value").await.unwrap();
    for part in ["path: /e/ca", "path: /e/crt", "path: /e/key", "ETCD CA", "CLIENT KEY"] {
        assert!(data.contains(part), "{part} is not in the data");
    }
    plane.stop().await;
}

/// Status, reason and message of `CertificatesAvailable`.
async fn certificates_said(plane: &Plane, name: &str) -> String {
    let config = plane.api::<windlass_api::bootstrap::KubeadmConfig>().get(name).await.ok();
    let conditions = config.and_then(|config| config.status).unwrap_or_default().conditions;
    let found = conditions.iter().find(|condition| condition.type_ == "CertificatesAvailable");
    found.map(|c| format!("{} {} {}", c.status, c.reason, c.message)).unwrap_or_default()
}
