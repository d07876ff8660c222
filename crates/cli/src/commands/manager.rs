//! `windlass manager`: the controllers against any Kubernetes API server.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;
use windlass_manager::standalone::{Options, Standalone};
use windlass_manager::webhooks::{self, Address, Policy};

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
    // Last: its heading holds for all that follows.
    #[command(flatten)]
    webhooks: WebhookArgs,
}

/// Our defaults and rules as admission webhooks of the API server.
#[derive(Args, Debug)]
#[expect(clippy::struct_field_names, reason = "the options have this prefix")]
#[command(next_help_heading = "Webhooks")]
struct WebhookArgs {
    /// Serve webhooks on this port and register them: the API server refuses invalid objects
    #[arg(long, value_name = "PORT")]
    webhook_port: Option<u16>,
    /// Host name or IP address at which the API server reaches this process
    #[arg(long, value_name = "HOST", requires = "webhook_port", default_value = "127.0.0.1")]
    webhook_host: String,
    /// Service through which the API server reaches all replicas, instead of a host
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "webhook_port", conflicts_with = "webhook_host")]
    webhook_service: Option<String>,
    /// IP address to listen on
    #[arg(long, value_name = "ADDRESS", requires = "webhook_port", default_value = "0.0.0.0")]
    webhook_bind: IpAddr,
    /// Namespace of the Secret with the webhooks' certificate authority
    #[arg(long, value_name = "NAMESPACE", requires = "webhook_port", default_value = "kube-system")]
    webhook_namespace: String,
    /// How many hours the certificate authority is valid; its successor is made in the last third
    #[arg(long, value_name = "HOURS", requires = "webhook_port", default_value = "2160",
          value_parser = clap::value_parser!(u64).range(1..=87_600))]
    webhook_authority_hours: u64,
}

impl WebhookArgs {
    fn options(&self) -> Result<Option<webhooks::Options>, Failure> {
        let Some(port) = self.webhook_port else { return Ok(None) };
        let address = match &self.webhook_service {
            None => Address::Url { host: self.webhook_host.clone(), port },
            Some(service) => {
                let (namespace, name) = service
                    .split_once('/')
                    .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
                    .ok_or_else(|| {
                        let text = format!("cannot use --webhook-service {service:?}");
                        Failure::new(text)
                            .hint("give a namespace and a name: kube-system/windlass".to_owned())
                    })?;
                Address::Service { namespace: namespace.to_owned(), name: name.to_owned(), port: 443 }
            }
        };
        Ok(Some(webhooks::Options {
            bind: SocketAddr::new(self.webhook_bind, port),
            address,
            namespace: self.webhook_namespace.clone(),
            policy: Policy::of(Duration::from_hours(self.webhook_authority_hours)),
        }))
    }
}

impl Manager {
    /// Runs the manager.
    pub async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        logs::start(None, "info").map_err(|error| Failure::caused("cannot start the log", error))?;
        let webhooks = self.webhooks.options()?;
        let management = args.client().await?;
        let options = Options {
            health_address: self.health_address,
            lease_namespace: (!self.no_leader_election).then(|| self.leader_election_namespace.clone()),
            install_crds: !self.skip_crds,
            world: args.data_dir()?,
            docker: self.docker.settings(),
            webhooks,
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
