//! `windlass manager`: the controllers against any Kubernetes API server.

use std::net::SocketAddr;

use clap::Args;
use windlass_manager::standalone::{Options, Standalone};

use super::up::DockerArgs;
use crate::failure::Failure;
use crate::logs;
use crate::management::ManagementArgs;

/// Run the controllers against a Kubernetes API server
///
/// Installs or updates the CRDs, elects a leader through a Lease, and runs until Ctrl-C.
#[derive(Args, Debug)]
pub struct Manager {
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9440")]
    health_address: SocketAddr,
    /// Namespace of the leader election Lease
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    leader_election_namespace: String,
    /// Run without leader election: only where no second manager can exist
    #[arg(long)]
    no_leader_election: bool,
    /// Leave the CRDs as they are
    #[arg(long)]
    skip_crds: bool,
    #[command(flatten)]
    docker: DockerArgs,
}

impl Manager {
    /// Runs the manager.
    pub async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        logs::start(None, "info").map_err(|error| Failure::caused("cannot start the log", error))?;
        let management = args.client().await?;
        let options = Options {
            health_address: self.health_address,
            lease_namespace: (!self.no_leader_election).then(|| self.leader_election_namespace.clone()),
            install_crds: !self.skip_crds,
            world: args.data_dir()?,
            docker: self.docker.settings(),
        };
        let running = Standalone::start(management.client, options).await.map_err(|error| {
            let hint = error.hint();
            let failure = Failure::caused("cannot start the manager", error);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })?;
        running.until_stopped().await.map_err(|error| Failure::caused("the manager stopped by itself", error))
    }
}
