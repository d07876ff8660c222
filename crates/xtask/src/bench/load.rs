//! The loader: a client like any other, in a process of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Discovery, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_api::core::{Cluster, Machine};

use crate::command::now;

/// The loader's own command line
#[derive(Args)]
pub struct LoadArgs {
    phase: LoadPhase,
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    binary: PathBuf,
    #[arg(long)]
    n: usize,
    #[arg(long)]
    workers: usize,
    #[arg(long)]
    algorithm: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum LoadPhase {
    Create,
    Delete,
}

/// Seconds.
#[derive(Serialize, Deserialize)]
pub struct Created {
    pub wall: f64,
    pub median: f64,
    pub slowest: f64,
}

/// Seconds.
#[derive(Serialize, Deserialize)]
pub struct Deleted {
    pub wall: f64,
}

/// A phase that takes longer than this has failed.
const LONGEST: Duration = Duration::from_mins(5);

impl LoadArgs {
    /// Runs one phase and prints its figures as JSON.
    pub fn run(&self) -> Result<()> {
        block_on(async {
            let client = client(Kubeconfig::read_from(&self.kubeconfig)?).await?;
            let figures = tokio::time::timeout(LONGEST, async {
                match self.phase {
                    LoadPhase::Create => {
                        Ok::<_, anyhow::Error>(serde_json::to_string(&self.create(&client).await?)?)
                    }
                    LoadPhase::Delete => Ok(serde_json::to_string(&self.delete(&client).await?)?),
                }
            });
            let figures =
                figures.await.with_context(|| format!("not done within {} s", LONGEST.as_secs()))??;
            crate::command::print(&figures);
            Ok(())
        })
    }

    fn names(&self) -> impl Iterator<Item = String> {
        (0..self.n).map(|n| format!("bench-{n:04}"))
    }

    async fn create(&self, client: &Client) -> Result<Created> {
        let template = self.manifest()?;
        let discovery = Discovery::new(client.clone()).run().await?;
        let mut objects = Vec::new();
        for name in self.names() {
            let manifest = template.replace("bench-name", &name);
            objects.push((name, documents(&manifest, &self.algorithm, &discovery)?));
        }
        let start = now();
        let mut pending: FuturesUnordered<_> = objects
            .into_iter()
            .map(|(name, objects)| {
                let client = client.clone();
                async move {
                    for (resource, object) in objects {
                        let api: Api<DynamicObject> =
                            Api::namespaced_with(client.clone(), "default", &resource);
                        api.create(&PostParams::default(), &object)
                            .await
                            .with_context(|| format!("cannot create {} {name}", resource.kind))?;
                    }
                    until_usable(&client, &name, self.workers).await?;
                    Ok::<_, anyhow::Error>(start.elapsed().as_secs_f64())
                }
            })
            .collect();
        let mut times = Vec::new();
        while let Some(time) = pending.next().await {
            times.push(time?);
        }
        times.sort_by(f64::total_cmp);
        ensure!(times.len() == self.n, "{} clusters of {}", times.len(), self.n);
        let slowest = times.last().copied().unwrap_or_default();
        Ok(Created { wall: slowest, slowest, median: times[times.len() / 2] })
    }

    async fn delete(&self, client: &Client) -> Result<Deleted> {
        let clusters: Api<Cluster> = Api::namespaced(client.clone(), "default");
        let start = now();
        for name in self.names() {
            clusters.delete(&name, &DeleteParams::default()).await?;
        }
        let mut events = watcher(clusters.clone(), watcher::Config::default()).default_backoff().boxed();
        loop {
            let left = clusters.list_metadata(&ListParams::default()).await?.items.len();
            if left == 0 {
                break;
            }
            events.next().await;
        }
        let wall = start.elapsed().as_secs_f64();
        let machines: Api<Machine> = Api::namespaced(client.clone(), "default");
        let left = machines.list_metadata(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} machines are left of deleted clusters");
        Ok(Deleted { wall })
    }

    /// The built-in template with zero delays, rendered by the binary under measurement.
    fn manifest(&self) -> Result<String> {
        let output = Command::new(&self.binary)
            .args(["generate", "cluster", "bench-name", "--worker-machine-count", &self.workers.to_string()])
            .envs(
                ["VM", "NODE", "API_SERVER", "ETCD"].map(|stage| (format!("{stage}_STARTUP_DURATION"), "0s")),
            )
            .output()
            .context("cannot run the binary")?;
        ensure!(
            output.status.success(),
            "cannot render the template: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The objects of a manifest with the kinds they are served as; the control plane gets the key algorithm.
fn documents(
    manifest: &str,
    algorithm: &str,
    discovery: &Discovery,
) -> Result<Vec<(kube::api::ApiResource, DynamicObject)>> {
    let mut found = Vec::new();
    for document in manifest.split("\n---\n") {
        let mut object: DynamicObject = serde_saphyr::from_str(document)?;
        if let Some(configuration) = object.data.pointer_mut("/spec/kubeadmConfigSpec/clusterConfiguration") {
            configuration["encryptionAlgorithm"] = algorithm.into();
        }
        let types = object.types.clone().context("an object without kind")?;
        let gvk = kube::core::GroupVersionKind::try_from(&types)?;
        let (resource, _) =
            discovery.resolve_gvk(&gvk).with_context(|| format!("{} is not served", types.kind))?;
        found.push((resource, object));
    }
    Ok(found)
}

/// Available, Machines Ready, Nodes read with the workload kubeconfig.
async fn until_usable(client: &Client, name: &str, workers: usize) -> Result<()> {
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), "default");
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(clusters, config).default_backoff().applied_objects().boxed();
    while let Some(cluster) = events.next().await {
        let cluster = cluster?;
        if is_true(&serde_json::to_value(&cluster)?, "Available") {
            break;
        }
    }
    // A control plane stays Available for ten seconds while one of its machines is in trouble.
    let machines: Api<Machine> = Api::namespaced(client.clone(), "default");
    let config = watcher::Config::default().labels(&format!("cluster.x-k8s.io/cluster-name={name}"));
    let mut events = watcher(machines, config).default_backoff().applied_objects().boxed();
    let mut ready = BTreeSet::new();
    while ready.len() < workers + 1 {
        let machine = events.next().await.context("the watch of machines has ended")??;
        let key = machine.name_any();
        let value = serde_json::to_value(&machine)?;
        if is_true(&value, "Ready") {
            ready.insert(key);
        } else {
            ready.remove(&key);
        }
    }
    let secret =
        Api::<Secret>::namespaced(client.clone(), "default").get(&format!("{name}-kubeconfig")).await?;
    let value =
        secret.data.and_then(|mut data| data.remove("value")).context("a kubeconfig Secret without value")?;
    let workload = self::client(serde_saphyr::from_str(std::str::from_utf8(&value.0)?)?).await?;
    let nodes = Api::<Node>::all(workload).list(&ListParams::default()).await?.items;
    let ready =
        nodes.iter().filter(|node| serde_json::to_value(node).is_ok_and(|value| is_true(&value, "Ready")));
    let ready = ready.count();
    ensure!(
        ready == workers + 1,
        "{name} has {ready} Ready nodes: {:?}",
        nodes.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
    );
    Ok(())
}

fn is_true(object: &Value, condition: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == condition && one["status"] == "True"))
}

async fn client(kubeconfig: Kubeconfig) -> Result<Client> {
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// The plane's metrics, read with the administrator's credentials.
pub fn fetch_metrics(kubeconfig: &Path) -> Result<String> {
    block_on(async {
        let client = client(Kubeconfig::read_from(kubeconfig)?).await?;
        Ok(client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?)
    })
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(Box::pin(future)) {
        Ok(value) => Ok(value),
        Err(error) => bail!(error),
    }
}
