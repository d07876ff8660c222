//! The Secret with the data: what is in it, whose it is, and how long its token lives.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::core::Machine;

use crate::plane::{Plane, a_while};

/// A plane whose control plane is up.
async fn up() -> Plane {
    let plane = Plane::start().await;
    plane.machine("cp-a", json!({})).await;
    a_while().await;
    plane.cluster_is(json!({ "controlPlaneInitialized": true })).await;
    plane
}

fn minutes(count: u64) -> Duration {
    Duration::from_mins(count)
}

async fn conditions(plane: &Plane, name: &str) -> Vec<String> {
    let config = plane.api::<KubeadmConfig>().get(name).await.ok();
    let conditions = config.and_then(|config| config.status).unwrap_or_default().conditions;
    conditions.iter().map(|c| format!("{} {} {}", c.type_, c.status, c.reason)).collect()
}

#[tokio::test(start_paused = true)]
async fn both_formats_are_published_as_the_contract_says() {
    let plane = up().await;
    for (name, spec, begins) in [
        ("w-cloud", json!({}), "## template: jinja\n#cloud-config\n"),
        ("w-ignition", json!({ "format": "ignition" }), "{\"ignition\":"),
    ] {
        plane.machine(name, spec.clone()).await;
        a_while().await;
        let secret = plane.api::<Secret>().get(name).await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some("cluster.x-k8s.io/secret"));
        assert_eq!(secret.labels()["cluster.x-k8s.io/cluster-name"], "prod");
        let [owner] = secret.owner_references() else { panic!("{:?}", secret.owner_references()) };
        assert_eq!(
            (owner.kind.as_str(), owner.name.as_str(), owner.controller),
            ("KubeadmConfig", name, Some(true))
        );
        let format = spec["format"].as_str().unwrap_or("cloud-config");
        assert_eq!(plane.secret(name, "format").await.as_deref(), Some(format));
        assert!(plane.secret(name, "value").await.unwrap().starts_with(begins));
        let status = plane.api::<KubeadmConfig>().get(name).await.unwrap().status.unwrap();
        assert_eq!(status.data_secret_name.as_deref(), Some(name));
        assert_eq!(status.initialization.data_secret_created, Some(true));
        let expected = [
            "Ready True Ready",
            "CertificatesAvailable True Available",
            "DataSecretAvailable True Available",
            "Paused False NotPaused",
        ];
        assert_eq!(conditions(&plane, name).await, expected);
    }
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn templates_passwords_and_secret_files_are_put_in() {
    let plane = up().await;
    plane
        .create::<Secret>(
            json!({ "metadata": { "name": "s" }, "stringData": { "hash": "$6$salt\n", "file": "content" } }),
        )
        .await;
    let from = |key: &str| json!({ "secret": { "name": "s", "key": key } });
    let template = |content: &str| json!({ "files": [{ "path": "/t", "content": content, "contentFormat": "Template" }] });
    plane
        .machine("w-a", json!({
            "users": [{ "name": "u", "passwdFrom": from("hash") }],
            "files": [{ "path": "/f", "contentFrom": from("file"), "append": true, "owner": "u:u", "permissions": "0600" }],
        }))
        .await;
    plane.machine("w-b", template("{{/* no version without a control plane object */}}plain")).await;
    plane.machine("w-c", template("{{ .controlPlane.version }}")).await;
    plane.machine("w-d", template("{{ range .files }}")).await;
    a_while().await;
    let data = plane.secret("w-a", "value").await.unwrap();
    assert!(data.contains("passwd: \"$6$salt\"\n"), "{data}");
    let file =
        "  - append: true\n    content: content\n    owner: u:u\n    path: /f\n    permissions: \"0600\"\n";
    assert!(data.contains(file), "{data}");
    assert!(plane.secret("w-b", "value").await.unwrap().contains("content: plain\n"));
    let said = plane.said("w-c").await;
    assert!(
        said.starts_with("cannot render the template of file /t: it uses .controlPlane.version"),
        "{said}"
    );
    let said = plane.said("w-d").await;
    assert!(
        said.starts_with(
            "cannot render the template of file /t: the action {{ range .files }} is not served"
        ),
        "{said}"
    );
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn discovery_by_kubeconfig_needs_no_token() {
    let plane = up().await;
    let file =
        json!({ "kubeConfigPath": "/k", "kubeConfig": { "user": { "exec": { "command": "login" } } } });
    plane.machine("w-a", json!({ "joinConfiguration": { "discovery": { "file": file } } })).await;
    a_while().await;
    let data = plane.secret("w-a", "value").await.unwrap();
    for part in ["server: https://10.0.0.1:6443", "certificate-authority-data:", "command: login", "path: /k"]
    {
        assert!(data.contains(part), "{part} is not in {data}");
    }
    assert_eq!(plane.token_of("w-a").await, None);
    assert!(plane.tokens().await.is_empty());
    plane.stop().await;
}

/// In the middle of a rotation a cluster has two authorities; hosts trust either. And the key of the
/// authority may be elsewhere: workers do not need it.
#[tokio::test(start_paused = true)]
async fn every_certificate_of_the_authority_is_trusted() {
    let plane = up().await;
    let old = plane.secret("prod-ca", "tls.crt").await.unwrap();
    let new = plane.secret("prod-etcd", "tls.crt").await.unwrap();
    let both = json!({ "data": null, "stringData": { "tls.crt": format!("{old}{new}") } });
    plane.merge::<Secret>("prod-ca", both).await;
    assert_eq!(plane.secret("prod-ca", "tls.key").await, None);
    plane.machine("w-a", json!({})).await;
    a_while().await;
    let spec = plane.api::<KubeadmConfig>().get("w-a").await.unwrap().spec;
    let hashes = spec.join_configuration.discovery.bootstrap_token.ca_cert_hashes;
    let expected = [&old, &new].map(|pem| windlass_pki::public_key_hash(pem).unwrap());
    assert_eq!(hashes, expected);
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_user_says_about_discovery_stays() {
    let plane = up().await;
    let token = json!({ "token": "abcdef.0123456789abcdef", "apiServerEndpoint": "lb:6443", "unsafeSkipCAVerification": true });
    plane.machine("w-a", json!({ "joinConfiguration": { "discovery": { "bootstrapToken": token } } })).await;
    a_while().await;
    let spec = plane.api::<KubeadmConfig>().get("w-a").await.unwrap().spec;
    let found = serde_json::to_value(&spec.join_configuration.discovery.bootstrap_token).unwrap();
    assert_eq!(found, token);
    assert_eq!(plane.tokens().await.keys().collect::<Vec<_>>(), ["abcdef"]);
    plane.stop().await;
}

/// A token that a user has made with a life of its own keeps it: neither shorter nor cut.
#[tokio::test(start_paused = true)]
async fn a_token_of_the_users_is_not_shortened() {
    let plane = up().await;
    let tokens: Api<Secret> = Api::namespaced(plane.workload.clone(), "kube-system");
    for (id, expiration) in [("abcdef", Some("2026-12-31T00:00:00Z")), ("fedcba", None)] {
        let mut data = json!({ "token-id": id, "token-secret": "0123456789abcdef" });
        if let Some(expiration) = expiration {
            data["expiration"] = json!(expiration);
        }
        let object = json!({ "metadata": { "name": format!("bootstrap-token-{id}") }, "stringData": data });
        tokens.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        let token = json!({ "token": format!("{id}.0123456789abcdef") });
        let spec = json!({ "joinConfiguration": { "discovery": { "bootstrapToken": token } } });
        plane.machine(&format!("w-{id}"), spec).await;
        tokio::time::sleep(minutes(60)).await;
        let found = tokens.get(&format!("bootstrap-token-{id}")).await.unwrap().data.unwrap();
        let found = found.get("expiration").map(|text| String::from_utf8(text.0.clone()).unwrap());
        assert_eq!(found.as_deref(), expiration, "{id}");
    }
    plane.stop().await;
}

/// What is missing for longer than a token lives costs the host nothing of it.
#[tokio::test(start_paused = true)]
async fn the_life_of_a_token_begins_when_the_data_is_complete() {
    let plane = up().await;
    let file = json!({ "path": "/x", "contentFrom": { "secret": { "name": "s", "key": "k" } } });
    plane.machine("w-a", json!({ "files": [file] })).await;
    tokio::time::sleep(minutes(20)).await;
    assert!(plane.tokens().await.is_empty());
    plane.create::<Secret>(json!({ "metadata": { "name": "s" }, "stringData": { "k": "x" } })).await;
    a_while().await;
    assert_eq!(plane.said("w-a").await, "True");
    let id = plane.token_of("w-a").await.unwrap();
    let least = windlass_runtime::time::format(plane.now().after(minutes(14)));
    assert!(plane.tokens().await[&id] > least);
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_lives_until_its_machine_has_joined() {
    let plane = up().await;
    plane.machine("w-a", json!({})).await;
    a_while().await;
    let id = plane.token_of("w-a").await.unwrap();
    assert_eq!(plane.tokens().await.keys().collect::<Vec<_>>(), [&id]);
    let alive = async |plane: &Plane| plane.tokens().await.remove(&id).filter(|until| *until > now(plane));
    for _ in 0..12 {
        tokio::time::sleep(minutes(10)).await;
        assert!(alive(&plane).await.is_some(), "the token has expired");
    }
    // Somebody deletes it: it comes back, the same, for the host has no other.
    let tokens: Api<Secret> = Api::namespaced(plane.workload.clone(), "kube-system");
    tokens.delete(&format!("bootstrap-token-{id}"), &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(minutes(6)).await;
    assert!(alive(&plane).await.is_some(), "the token is gone");

    plane.merge_status::<Machine>("w-a", json!({ "nodeRef": { "name": "w-a" } })).await;
    a_while().await;
    let last = plane.tokens().await;
    tokio::time::sleep(minutes(60)).await;
    assert_eq!(plane.tokens().await, last, "nobody needs the token any more");
    plane.stop().await;
}

fn now(plane: &Plane) -> String {
    windlass_runtime::time::format(plane.now())
}

/// Data that has not been handed out yet is what the spec makes of it now, whoever wrote it.
#[tokio::test(start_paused = true)]
async fn a_secret_of_ours_is_completed_and_an_orphan_adopted() {
    let plane = up().await;
    let orphan = json!({
        "metadata": { "name": "w-a", "labels": { "cluster.x-k8s.io/cluster-name": "prod" } },
        "type": "cluster.x-k8s.io/secret", "stringData": { "value": "stale", "format": "ignition" },
    });
    plane.create::<Secret>(orphan).await;
    plane.machine("w-a", json!({})).await;
    a_while().await;
    assert_eq!(plane.said("w-a").await, "True");
    assert!(plane.secret("w-a", "value").await.unwrap().contains("kubeadm join"));
    assert_eq!(plane.secret("w-a", "format").await.as_deref(), Some("cloud-config"));
    assert_eq!(plane.api::<Secret>().get("w-a").await.unwrap().owner_references().len(), 1);
    plane.stop().await;
}

/// As after `clusterctl move` or a restored backup: the Machine knows its Secret, the status knows nothing.
#[tokio::test(start_paused = true)]
async fn a_status_that_was_lost_comes_back() {
    let plane = up().await;
    let restored = json!({
        "metadata": { "name": "w-a", "labels": { "cluster.x-k8s.io/cluster-name": "prod" } },
        "type": "cluster.x-k8s.io/secret", "stringData": { "value": "used", "format": "cloud-config" },
    });
    plane.create::<Secret>(restored).await;
    plane
        .create::<Secret>(json!({ "metadata": { "name": "mine" }, "stringData": { "value": "mine" } }))
        .await;
    for (name, secret) in [("w-a", "w-a"), ("w-b", "mine")] {
        plane.machine_with_data(name, secret).await;
        a_while().await;
        let status = plane.api::<KubeadmConfig>().get(name).await.unwrap().status.unwrap();
        assert_eq!(status.data_secret_name.as_deref(), Some(secret));
        assert_eq!(status.initialization.data_secret_created, Some(true));
        assert_eq!(plane.said(name).await, "True");
    }
    assert_eq!(plane.secret("w-a", "value").await.as_deref(), Some("used"));
    let owner = &plane.api::<Secret>().get("w-a").await.unwrap().owner_references()[0].clone();
    assert_eq!(owner.uid, plane.api::<KubeadmConfig>().get("w-a").await.unwrap().uid().unwrap());
    assert!(
        plane.api::<Secret>().get("mine").await.unwrap().owner_references().is_empty(),
        "it is the user's"
    );
    plane.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_paused_makes_nothing() {
    let plane = up().await;
    plane.merge::<windlass_api::core::Cluster>("prod", json!({ "spec": { "paused": true } })).await;
    plane.machine("w-a", json!({})).await;
    a_while().await;
    assert_eq!(conditions(&plane, "w-a").await, ["Paused True Paused"]);
    assert_eq!(plane.secret("w-a", "value").await, None);
    plane.merge::<windlass_api::core::Cluster>("prod", json!({ "spec": { "paused": null } })).await;
    a_while().await;
    assert_eq!(plane.said("w-a").await, "True");
    assert!(conditions(&plane, "w-a").await.contains(&"Paused False NotPaused".to_owned()));
    plane.stop().await;
}
