//! Reaching clusters through the ports that the host publishes: container addresses cannot be routed to from
//! everywhere (Docker Desktop keeps them in a virtual machine).

use std::sync::Arc;

use async_trait::async_trait;
use kube::Client;
use windlass_model::Key;
use windlass_pki::Kubeconfig;
use windlass_workload::{ConnectError, Connector};

use crate::Docker;
use crate::clusters;
use crate::engine::{Container, State};
use crate::names::{self, Role};

/// Connects to clusters behind load balancers of an engine where these are published, and to all others as they
/// are.
#[derive(Clone)]
pub struct Published {
    docker: Docker,
    dial: Arc<dyn Connector>,
}

impl Published {
    /// Dials by `dial`, with the published address in place of a load balancer's own.
    pub fn new(docker: Docker, dial: Arc<dyn Connector>) -> Self {
        Self { docker, dial }
    }
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").field("docker", &self.docker).finish_non_exhaustive()
    }
}

#[async_trait]
impl Connector for Published {
    async fn connect(&self, cluster: &Key, kubeconfig: &Kubeconfig) -> Result<Client, ConnectError> {
        let shared = &self.docker.0;
        let server: Option<http::Uri> = kubeconfig.server.parse().ok();
        let host = server.as_ref().and_then(http::Uri::host).map(|host| host.trim_matches(['[', ']']));
        let Some(host) = host else { return self.dial.connect(cluster, kubeconfig).await };
        let filters = [
            names::is(names::ROLE, Role::LoadBalancer.as_str()),
            names::is(names::CLUSTER, &cluster.name),
            names::is(names::NAMESPACE, &cluster.namespace),
        ];
        // An engine that does not answer has nothing to say about clusters elsewhere.
        let balancers = shared.engine.containers(&filters).await.unwrap_or_default();
        let network = shared.networks.name();
        let port = server.as_ref().and_then(http::Uri::port_u16);
        let behind = |it: &&Container| serves(it, host, port, network);
        let at =
            balancers.iter().find(behind).and_then(|it| clusters::published(it, shared.engine.remote_host()));
        match at {
            Some(at) => {
                let named = kubeconfig.tls_server_name.clone();
                let changed = Kubeconfig {
                    server: format!("https://{at}"),
                    tls_server_name: named.or_else(|| Some(host.to_owned())),
                    ..kubeconfig.clone()
                };
                self.dial.connect(cluster, &changed).await
            }
            None => self.dial.connect(cluster, kubeconfig).await,
        }
    }
}

/// Whether a load balancer is what answers at an address.
fn serves(balancer: &Container, host: &str, port: Option<u16>, network: &str) -> bool {
    balancer.state == State::Running
        && !balancer.label(names::TOKEN).is_empty()
        && port == Some(clusters::port(balancer))
        && balancer.addresses(network).contains(&host)
}
