//! `windlass down`: stops the plane of a data directory.

use std::time::Duration;

use clap::Args;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use rustix::process::{Pid, Signal, kill_process};
use windlass_api::core::Cluster;
use windlass_api::infrastructure::DevCluster;

use super::quickstart::sentence;
use super::up::running;
use crate::failure::{Failure, api};
use crate::live::Screen;
use crate::management::{ManagementArgs, again};
use crate::output;

/// How long an orderly stop may take.
const STOP: Duration = Duration::from_secs(20);

/// Stop the management plane; everything stays in the data directory
///
/// Machines that are containers keep running, and the plane finds them again when it is started.
#[derive(Args, Debug)]
pub struct Down {
    /// Delete every cluster first, and wait until nothing is left of them
    #[arg(long)]
    delete_clusters: bool,
    /// How long to wait for clusters to be gone, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "delete_clusters")]
    timeout: u64,
}

impl Down {
    /// Asks the plane to stop and waits until it has.
    pub async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        let dir = args.data_dir()?;
        let Some(plane) = running(&dir)? else {
            if self.delete_clusters {
                return Err(Failure::new(format!(
                    "no plane runs in {} that could delete clusters",
                    dir.path().display()
                ))
                .hint(format!("start it with: {}", again(args, "up --detach"))));
            }
            output::note(&format!("no plane runs in {}", dir.path().display()));
            return Ok(());
        };
        let local = args.local();
        if self.delete_clusters {
            self.delete_clusters(&local.client().await?.client).await?;
        }
        // Looked at while somebody can still tell.
        let left = containers_of(&local).await;
        let pid = i32::try_from(plane.pid).ok().and_then(Pid::from_raw);
        let pid = pid
            .ok_or_else(|| Failure::new(format!("the lock of {} names no process", dir.path().display())))?;
        kill_process(pid, Signal::TERM).map_err(|error| {
            Failure::caused(format!("cannot stop process {}", plane.pid), std::io::Error::from(error))
        })?;
        let pause = Duration::from_millis(25);
        let mut waited = Duration::ZERO;
        while running(&dir)?.is_some_and(|now| now.pid == plane.pid) {
            if waited >= STOP {
                return Err(Failure::new(format!(
                    "process {} did not stop within {} s",
                    plane.pid,
                    STOP.as_secs()
                ))
                .hint(format!(
                    "its log is {}; `kill -9 {}` is safe, nothing acknowledged is lost",
                    dir.log().display(),
                    plane.pid
                )));
            }
            tokio::time::sleep(pause).await;
            waited += pause;
        }
        if !left.is_empty() {
            output::note(&format!("the containers of {} keep running", left.join(", ")));
        }
        output::note(&format!("the plane is stopped; start it again with: {}", again(args, "up")));
        Ok(())
    }
    /// Deletes every cluster and shows what is left until nothing is: an object is gone when what it stands for
    /// is.
    async fn delete_clusters(&self, client: &Client) -> Result<(), Failure> {
        let all: Api<Cluster> = Api::all(client.clone());
        let mut screen = Screen::stderr();
        let gone = async {
            loop {
                let listed = all.list(&ListParams::default()).await;
                let clusters = listed.map_err(|error| api("cannot list the clusters", error))?.items;
                if clusters.is_empty() {
                    return Ok(());
                }
                for cluster in clusters.iter().filter(|it| it.metadata.deletion_timestamp.is_none()) {
                    delete(client, cluster).await?;
                }
                screen.show(&waits(&clusters))?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(self.timeout), gone).await.unwrap_or_else(|_| {
            Err(Failure::new(format!(
                "clusters are not gone after {} s; the plane keeps running",
                self.timeout
            ))
            .hint("`windlass describe cluster NAME` says what its deletion waits for"))
        })
    }
}

async fn delete(client: &Client, cluster: &Cluster) -> Result<(), Failure> {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), &namespace);
    match clusters.delete(&name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(api(format!("cannot delete cluster `{name}`"), error)),
    }
}

/// A line for each cluster that is being deleted.
fn waits(clusters: &[Cluster]) -> String {
    let line = |cluster: &Cluster| {
        let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
        let deleting = conditions.into_iter().find(|condition| condition.type_ == "Deleting");
        let what =
            deleting.map(|condition| sentence(&condition.message)).filter(|message| !message.is_empty());
        let what = what.map(|message| format!(": {message}")).unwrap_or_default();
        format!("deleting cluster {}{what}\n", cluster.name_any())
    };
    clusters.iter().map(line).collect()
}

/// The clusters whose machines are containers; none where nobody answers soon.
async fn containers_of(local: &ManagementArgs) -> Vec<String> {
    let listed = async {
        let client = local.client().await.ok()?.client;
        let infrastructure: Api<DevCluster> = Api::all(client);
        infrastructure.list(&ListParams::default()).await.ok()
    };
    let listed = tokio::time::timeout(Duration::from_secs(2), listed).await.ok().flatten();
    let containers =
        |it: &DevCluster| it.spec.backend.docker.is_some() && it.spec.control_plane_endpoint.host.is_some();
    let clusters = listed.into_iter().flatten();
    clusters.filter(containers).map(|it| it.name_any()).collect()
}
