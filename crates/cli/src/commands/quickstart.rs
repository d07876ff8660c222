//! `windlass quickstart`: a management plane and a first cluster with one command.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::{Api, Client};
use windlass_api::core::Cluster;
use windlass_manager::data_dir::DataDir;
use windlass_manager::plane::Plane;
use windlass_manager::templates;

use super::generate::{DEFAULT_INFRASTRUCTURE, GenerateCluster};
use super::get;
use super::up::{self, PlaneArgs};
use crate::failure::{Failure, api};
use crate::live::{self, Changes, Screen};
use crate::management::{ManagementArgs, again};
use crate::network::{self, Manifest};
use crate::output::{self, Color, Paint};
use crate::tree::gather::Gatherer;
use crate::tree::{Branch, build, render};

const NAMESPACE: &str = "default";

/// The longest time between two looks at the cluster.
const LOOK: Duration = Duration::from_secs(1);

/// Start a management plane on this machine and create a first cluster
///
/// Shows what happens until the cluster is available, then keeps running until Ctrl-C. Run again, it
/// continues with what is there.
#[derive(Args, Debug)]
pub struct Quickstart {
    /// Name of the cluster
    #[arg(default_value = "quickstart")]
    name: String,
    #[command(flatten)]
    plane: PlaneArgs,
    /// Leave the plane running in the background and return; `windlass down` stops it
    #[arg(short, long)]
    detach: bool,
    /// Infrastructure of the cluster
    #[arg(short, long, value_name = "PROVIDER", default_value = DEFAULT_INFRASTRUCTURE)]
    infrastructure: String,
    /// Kubernetes version of the cluster
    #[arg(long, value_name = "VERSION", default_value = templates::DEFAULT_KUBERNETES_VERSION)]
    kubernetes_version: String,
    /// Number of control plane machines
    #[arg(long, value_name = "N", default_value_t = 1)]
    control_plane_machine_count: u32,
    /// Number of worker machines
    #[arg(long, value_name = "N", default_value_t = 2)]
    worker_machine_count: u32,
    /// Image of the machines, for --infrastructure docker [default: NODE_IMAGE, else kindest/node of the
    /// Kubernetes version]
    #[arg(long, value_name = "IMAGE")]
    node_image: Option<String>,
    /// Network plugin to install in the cluster: a manifest, as for `kubectl apply -f`
    #[arg(long, value_name = "FILE")]
    cni: Option<PathBuf>,
    /// How long to wait for the cluster, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// When to colour
    #[arg(short, long, value_enum, default_value_t)]
    color: Color,
}

impl Quickstart {
    /// Plane, cluster, live tree, and what to try next.
    pub async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        let dir = args.data_dir()?;
        let manifest = self.manifest()?;
        let network = self.cni.as_deref().map(Manifest::read).transpose()?;
        let plane = self.plane(&dir).await?;
        let client = match &plane {
            Some(plane) => plane.client(),
            None => args.local().client().await?.client,
        };
        let clusters: Api<Cluster> = Api::namespaced(client.clone(), NAMESPACE);
        let reading = |error| api(format!("cannot read cluster `{}`", self.name), error);
        if clusters.get_metadata_opt(&self.name).await.map_err(reading)?.is_some() {
            output::note(&format!("cluster `{}` exists; continuing with it as it is", self.name));
        }
        templates::create_missing(&client, &manifest)
            .await
            .map_err(|error| Failure::caused(format!("cannot create cluster `{}`", self.name), error))?;
        let workload = self.until_available(&client, &dir, network.as_ref()).await?;
        self.say_what_next(args, &dir, &workload);
        match plane {
            Some(plane) => up::run_until_stopped(plane).await,
            None => Ok(()),
        }
    }

    /// The plane in this process, or `None` for one in another process.
    async fn plane(&self, dir: &DataDir) -> Result<Option<Plane>, Failure> {
        let running = up::running(dir)?.is_some_and(|running| running.address.is_some());
        if self.detach || running {
            up::detach(dir, &self.plane).await?;
            return Ok(None);
        }
        up::start(self.plane.options(dir.clone()), true).await.map(Some)
    }

    fn manifest(&self) -> Result<String, Failure> {
        if self.node_image.is_some() && self.infrastructure != "docker" {
            return Err(Failure::new(format!(
                "--node-image is for machines that are containers, not for infrastructure `{}`",
                self.infrastructure
            ))
            .hint("add --infrastructure docker, or leave --node-image out"));
        }
        GenerateCluster {
            name: Some(self.name.clone()),
            infrastructure: self.infrastructure.clone(),
            flavor: String::new(),
            from: None,
            target_namespace: NAMESPACE.to_owned(),
            kubernetes_version: self.kubernetes_version.clone(),
            control_plane_machine_count: self.control_plane_machine_count,
            worker_machine_count: self.worker_machine_count,
            list_variables: false,
            write_to: None,
            node_image: self.node_image.clone(),
        }
        .render()
    }

    /// Shows the tree until the cluster is available, and sees to its network meanwhile. Returns where the
    /// cluster's kubeconfig was put.
    async fn until_available(
        &self,
        client: &Client,
        dir: &DataDir,
        network: Option<&Manifest>,
    ) -> Result<PathBuf, Failure> {
        let (status, told) = (RefCell::<String>::default(), RefCell::<String>::default());
        let access = async {
            loop {
                // Anew each time: where the API server is published may be found later.
                if let Some(kubeconfig) = self.write_kubeconfig(client, dir).await? {
                    let installed = match network {
                        Some(network) => network.install(&kubeconfig).await,
                        None => return Ok(()),
                    };
                    let done = installed.is_ok();
                    status.replace(installed.unwrap_or_else(|why| why));
                    if done {
                        return Ok(());
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let workload = dir.workload_kubeconfig(NAMESPACE, &self.name);
        let advice = network.is_none().then(|| network::how_to_install(&workload));
        let both = async { tokio::try_join!(access, self.follow(client, advice.as_deref(), &status, &told)) };
        match tokio::time::timeout(Duration::from_secs(self.timeout), both).await {
            Ok(result) => {
                result?;
                // The network may have been the last, when nobody followed any more.
                if !told.borrow().contains(status.borrow().as_str()) {
                    output::note(&status.borrow());
                }
                self.write_kubeconfig(client, dir).await?.ok_or_else(|| {
                    Failure::new(format!("cluster `{}` is available but has no kubeconfig", self.name))
                        .hint(format!("look for Secret `{}-kubeconfig`", self.name))
                })?;
                Ok(workload)
            }
            Err(_) => Err(Failure::new(format!(
                "cluster `{}` is not available after {} s",
                self.name, self.timeout
            ))
            .hint(format!(
                "`windlass describe cluster {} --show-conditions` says what it waits for",
                self.name
            ))),
        }
    }

    /// Shows the tree until the cluster is available: below it how far its network is, or `advice` on it where
    /// that is missing.
    async fn follow(
        &self,
        client: &Client,
        advice: Option<&str>,
        status: &RefCell<String>,
        told: &RefCell<String>,
    ) -> Result<(), Failure> {
        let mut gatherer = Gatherer::new(client.clone(), NAMESPACE, &self.name);
        let mut changes = Changes::of_cluster(client, NAMESPACE, &self.name);
        let mut screen = Screen::stderr();
        let paint = Paint(self.color.enabled(true));
        loop {
            let objects = gatherer.gather().await?;
            if let Some(cluster) = &objects.cluster {
                let tree = build::build(cluster, &objects, build::Options::default());
                let mut text = if screen.redraws() {
                    let (now, width) = (live::now(), screen.columns());
                    render::text(&tree, render::Style { paint, now, conditions: false, width })
                } else {
                    one_line(&tree)
                };
                let advised = advice.filter(|_| network::is_missing(&tree)).unwrap_or_default();
                let below = [status.borrow().as_str(), advised]
                    .map(str::lines)
                    .into_iter()
                    .flatten()
                    .fold(String::new(), |below, line| below + line + "\n");
                // What cannot be drawn over need not be said again.
                if screen.redraws() || below != *told.borrow() {
                    text.push_str(&below);
                    told.replace(below);
                }
                screen.show(&text)?;
                if available(&tree) {
                    return Ok(());
                }
            }
            changes.next(LOOK).await;
        }
    }

    /// Puts the cluster's kubeconfig where a person finds it; `None` as long as there is none.
    async fn write_kubeconfig(&self, client: &Client, dir: &DataDir) -> Result<Option<String>, Failure> {
        let Some(kubeconfig) = get::kubeconfig(client, NAMESPACE, &self.name).await? else {
            return Ok(None);
        };
        let path = dir.workload_kubeconfig(NAMESPACE, &self.name);
        dir.write_private(&path, kubeconfig.as_bytes()).map_err(|error| {
            let hint = error.hint();
            Failure::caused("cannot keep the cluster's kubeconfig", error).hint(hint)
        })?;
        Ok(Some(kubeconfig))
    }

    fn say_what_next(&self, args: &ManagementArgs, dir: &DataDir, workload: &std::path::Path) {
        let (name, management) = (&self.name, dir.management_kubeconfig());
        let (management, workload) = (management.display(), workload.display());
        output::note(&format!(
            "\nCluster `{name}` is available.\n\n  management kubeconfig: {management}\n  workload kubeconfig:   {workload}\n\n\
             Try next:\n  kubectl --kubeconfig {workload} get nodes\n  \
             kubectl --kubeconfig {management} scale machinedeployment {name}-md-0 --replicas 5\n  {}\n",
            again(args, &format!("describe cluster {name}"))
        ));
        if self.detach {
            output::note(&format!("The plane runs in the background; stop it with: {}", again(args, "down")));
        } else {
            output::note("Ctrl-C stops the plane; everything stays in the data directory");
        }
    }
}

fn available(tree: &Branch) -> bool {
    tree.main.as_ref().is_some_and(|main| main.r#type == "Available" && main.status == "True")
        && !tree.deleting
}

/// A condition's bulleted message as one line.
pub fn sentence(message: &str) -> String {
    let mut line = String::new();
    for part in message.lines() {
        let part = part.trim_start_matches([' ', '*']);
        if !line.is_empty() {
            line.push_str(if line.ends_with(':') { " " } else { "; " });
        }
        line.push_str(part);
    }
    line
}

/// Where nothing can be redrawn: what the cluster waits for, in one line.
fn one_line(tree: &Branch) -> String {
    let waits = match &tree.main {
        None => "waiting for the first look".to_owned(),
        Some(main) if main.status == "True" => "available".to_owned(),
        Some(main) if main.message.is_empty() => main.reason.clone(),
        Some(main) => sentence(&main.message),
    };
    format!("{}: {waits}\n", tree.name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn bullets_become_a_sentence() {
        let message =
            "* RemoteConnectionProbe: not established yet\n* WorkersAvailable:\n  * md-0: 0 available";
        let line = "RemoteConnectionProbe: not established yet; WorkersAvailable: md-0: 0 available";
        assert_eq!(super::sentence(message), line);
    }
}
