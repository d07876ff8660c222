//! `cargo xtask webhooks`: our webhooks beside a real kube-apiserver.
//!
//! It must refuse what breaks our rules, in our words, fill in our defaults, and lose no write while authority
//! over the webhooks changes hands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;
use windlass_differential::real::{Programs, Real, VERSION};
use windlass_differential::target::USERS;
use windlass_manager::webhooks::{Address, Options, Policy, SECRET, Webhooks};
use windlass_pki::SystemKeys;
use windlass_runtime::{Clock, Tasks};

use crate::command::say;
use crate::node_image;

/// Authorities that last a minute; the next one is made after fifteen seconds.
const POLICY: Policy = Policy {
    lifetime: Duration::from_mins(1),
    overlap: Duration::from_secs(45),
    settle: Duration::from_secs(5),
    poll: Duration::from_millis(500),
};
/// How long a whole rotation may take: until the previous authority has expired and is forgotten.
const ROTATION: Duration = Duration::from_secs(100);

/// Starts a real server and tries the webhooks on it.
pub fn run() -> Result<()> {
    let kubernetes = node_image::programs(VERSION)?;
    let etcd = kubernetes.with_file_name("etcd");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(tried(&Programs { kubernetes, etcd }))
}

async fn tried(programs: &Programs) -> Result<()> {
    let real = Real::start(programs).await?;
    let client = client(real.target.address, real.target.trust.ca()).await?;
    install(&client).await?;
    let tasks = Tasks::new();
    let options = Options {
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        address: Address::Url { host: "127.0.0.1".to_owned(), port: 0 },
        namespace: "kube-system".to_owned(),
        policy: POLICY,
    };
    let keys = Arc::new(SystemKeys::default());
    let webhooks = Webhooks::serve(client.clone(), options, Clock::system(), keys, &tasks.spawner()).await?;
    webhooks.lead(&tasks);
    let machines = machines(&client);
    refused(&machines).await?;
    defaulted(&machines).await?;
    let written = rotated(&client, &machines).await?;
    tasks.shutdown().await;
    say(&format!("a real API server refuses, fills in, and lost none of {written} writes during a rotation"));
    Ok(())
}

async fn client(address: SocketAddr, ca: &str) -> Result<Client> {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "real",
        "clusters": [{"name": "real", "cluster": {
            "server": format!("https://{address}"), "certificate-authority-data": base64(ca),
        }}],
        "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
        "users": [{"name": "admin", "user": {"token": USERS[0].0}}],
    });
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn base64(text: &str) -> String {
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec()))
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Installs our definitions and waits until their kinds are served.
async fn install(client: &Client) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("windlass").force();
    for definition in windlass_api::crd::crds() {
        let name = definition.name_any();
        definitions.patch(&name, &params, &Patch::Apply(&definition)).await.with_context(|| name.clone())?;
        kube::runtime::wait::await_condition(
            definitions.clone(),
            &name,
            kube::runtime::conditions::is_crd_established(),
        )
        .await
        .with_context(|| format!("{name} is not established"))?;
    }
    Ok(())
}

fn machines(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "Machine");
    Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk_with_plural(&kind, "machines"))
}

fn machine(name: &str, version: &str) -> Result<DynamicObject> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "metadata": {"name": name},
        "spec": {"clusterName": "c", "version": version, "bootstrap": {"dataSecretName": "s"},
                 "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevMachine", "name": "n"}},
    }))?)
}

/// What breaks a rule is refused, as soon as the server has noticed the registration.
async fn refused(machines: &Api<DynamicObject>) -> Result<()> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    for _ in 0..100 {
        match machines.create(&params, &machine("bad", "nonsense")?).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(kube::Error::Api(status)) => {
                let expected = "admission webhook \"validate.windlass.cluster.x-k8s.io\" denied the request: \
                                Machine.cluster.x-k8s.io \"bad\" is invalid: spec.version: Invalid value:";
                ensure!(status.message.starts_with(expected), "refused otherwise: {}", status.message);
                ensure!((status.code, status.reason.as_str()) == (422, "Invalid"), "{status:?}");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the server took an invalid Machine for ten seconds");
}

async fn defaulted(machines: &Api<DynamicObject>) -> Result<()> {
    // One registration may be noticed before the other.
    for _ in 0..100 {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let made = machines.create(&params, &machine("good", "1.35.0")?).await?;
        if made.data["spec"]["version"] == "v1.35.0" {
            let cluster = made.labels().get("cluster.x-k8s.io/cluster-name");
            ensure!(cluster.is_some_and(|cluster| cluster == "c"), "{:?}", made.labels());
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the server filled in nothing for ten seconds");
}

/// Writes until authority has changed hands and the previous one is forgotten; returns how often.
async fn rotated(client: &Client, machines: &Api<DynamicObject>) -> Result<usize> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let first = secrets.get(SECRET).await?.data.unwrap_or_default();
    let mut written = 0;
    let writing = async {
        loop {
            let name = format!("m-{written}");
            machines
                .create(&PostParams::default(), &machine(&name, "1.35.0")?)
                .await
                .with_context(|| format!("write {written} was lost"))?;
            machines.delete(&name, &DeleteParams::default()).await?;
            written += 1;
            let now = secrets.get(SECRET).await?.data.unwrap_or_default();
            if now.get("ca.crt") != first.get("ca.crt") && !now.contains_key("previous-ca.crt") {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(ROTATION, writing).await.context("authority did not change hands in time")??;
    Ok(written)
}
