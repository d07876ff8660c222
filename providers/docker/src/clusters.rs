//! What a cluster needs beside machines: the network and the load balancer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{ContainerCreateBody, HostConfig};
use windlass_api::infrastructure::DockerClusterBackend;
use windlass_model::{Condition, Status};
use windlass_provider::{
    ClusterInfrastructure, ClusterInstance, ClusterRequest, Endpoint, Error, InstanceState, Result, Token,
};

use crate::balancer;
use crate::container::{self, API_SERVER};
use crate::engine::{Container, EngineError, State};
use crate::names::{self, Role};
use crate::shared::{Made, Making, Shared};
use crate::{Docker, image};

/// Says whether the load balancer can be used.
const AVAILABLE: &str = "LoadBalancerAvailable";
/// The fields that name the load balancer's image.
const IMAGE_FIELD: &str = "spec.backend.docker.loadBalancer.imageRepository and imageTag";
/// How soon to ask again for what comes by itself.
const SOON: Duration = Duration::from_secs(1);

#[async_trait]
impl ClusterInfrastructure for Docker {
    async fn create(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterInstance> {
        let shared = &self.0;
        shared.watch();
        let name = names::load_balancer(&request.cluster.name);
        let found = shared.look(token, &format!("look up the container {name}")).await?;
        match found {
            Some(found) if found.state != State::Created => {}
            Some(never_started) => {
                shared.discard(&never_started.id).await;
                if !shared.run_balancer(token, &name, request).await? {
                    return Ok(pulling(&spec(request)?));
                }
            }
            None => {
                if !shared.run_balancer(token, &name, request).await? {
                    return Ok(pulling(&spec(request)?));
                }
            }
        }
        let made = self.follow(token, request).await?;
        made.ok_or_else(|| {
            Error::transient(format!("the container {name} vanished as soon as it was started"))
        })
    }

    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>> {
        let found = self.0.look(token, "look up the load balancer").await?;
        Ok(found.map(|found| describe(&found, self.0.networks.name(), self.0.engine.remote_host())))
    }

    async fn follow(&self, token: &Token, request: &ClusterRequest) -> Result<Option<ClusterInstance>> {
        let shared = &self.0;
        shared.watch();
        let Some(mut found) = shared.look(token, "look up the load balancer").await? else { return Ok(None) };
        if found.state == State::Created {
            return Ok(None);
        }
        if found.state == State::Stopped
            && shared.balancers.may_restart(found.label(names::CLUSTER_UID), shared.now())
        {
            let what = format!("start the load balancer {}", found.name);
            shared.engine.start(&found.id).await.map_err(|error| error.during(&what))?;
            let again = shared.look(token, &what).await?;
            let Some(again) = again else { return Ok(None) };
            found = again;
        }
        shared.balance_if_stale(found.label(names::CLUSTER_UID)).await?;
        let mut instance = describe(&found, shared.networks.name(), shared.engine.remote_host());
        instance.failure_domains = failure_domains(&spec(request)?);
        if let Some(moved) = moved(&found, &instance, request) {
            instance.conditions = vec![moved];
        }
        Ok(Some(instance))
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        let shared = &self.0;
        let found = shared.look(token, "look up the load balancer").await?;
        // The network first: as long as the load balancer is found, this is tried again.
        let last = found.as_ref().map(|found| found.id.as_str());
        let network = shared.networks.leave(&shared.engine, last).await;
        network.map_err(|error| error.during(&format!("remove the network {}", shared.networks.name())))?;
        let Some(found) = found else { return Ok(()) };
        let what = format!("remove the container {}", found.name);
        shared.engine.remove(&found.id).await.map_err(|error| error.during(&what))?;
        shared.balancers.forget(found.label(names::CLUSTER_UID));
        Ok(())
    }
}

fn spec(request: &ClusterRequest) -> Result<DockerClusterBackend> {
    serde_json::from_value(request.spec.clone())
        .map_err(|error| Error::rejected(format!("cannot read spec.backend.docker: {error}; correct it")))
}

fn failure_domains(spec: &DockerClusterBackend) -> BTreeMap<String, bool> {
    let domain =
        |it: &windlass_api::core::FailureDomain| (it.name.clone(), it.control_plane.unwrap_or_default());
    spec.failure_domains.iter().map(domain).collect()
}

/// The load balancer's image is being pulled.
fn pulling(spec: &DockerClusterBackend) -> ClusterInstance {
    let message = format!("pulling the image {}", image_of(spec));
    ClusterInstance {
        state: InstanceState::Pending,
        endpoint: None,
        failure_domains: BTreeMap::new(),
        conditions: vec![Condition::new(AVAILABLE, Status::False, "WaitingForImage").because(message)],
        annotations: BTreeMap::new(),
        next_change: Some(SOON),
    }
}

fn image_of(spec: &DockerClusterBackend) -> String {
    let balancer = &spec.load_balancer;
    image::load_balancer(balancer.image_repository.as_deref(), balancer.image_tag.as_deref())
}

impl Shared {
    /// Makes and starts the load balancer; `false` where its image is being pulled.
    async fn run_balancer(
        self: &Arc<Self>,
        token: &Token,
        name: &str,
        request: &ClusterRequest,
    ) -> Result<bool> {
        let spec = spec(request)?;
        if spec.load_balancer.custom_ha_proxy_config_template_ref.is_some() {
            return Err(Error::rejected(
                "cannot create the load balancer: \
                 spec.backend.docker.loadBalancer.customHAProxyConfigTemplateRef is not supported; remove it",
            ));
        }
        let what = format!("create the container {name}");
        let failed = |error: EngineError| error.during(&what);
        let network = self.networks.ensure(&self.engine).await.map_err(failed)?;
        let body = body(name, token, request, &image_of(&spec), &network.id, self.engine.publish_at());
        let Made::There(id) = self.make(Making { name, token, body }, IMAGE_FIELD).await? else {
            return Ok(false);
        };
        let port = request.endpoint.as_ref().map_or(API_SERVER, |endpoint| endpoint.port);
        let layout = balancer::Layout { port, ipv6: network.ipv6, members: vec![] };
        let archive = balancer::first(&layout.render()).map_err(failed)?;
        let started = async {
            self.engine.upload(&id, archive).await?;
            self.engine.start(&id).await
        };
        if let Err(error) = started.await {
            self.discard(&id).await;
            if error.is_missing_network() {
                self.networks.forget().await;
                return Err(Error::transient(format!("cannot {what}: {error}; it is made again")));
            }
            return Err(failed(error));
        }
        Ok(true)
    }
}

fn body(
    name: &str,
    token: &Token,
    request: &ClusterRequest,
    image: &str,
    network: &str,
    publish_at: &str,
) -> ContainerCreateBody {
    let mut labels = names::labels(token, &request.cluster, &request.cluster_uid.0, Role::LoadBalancer);
    let port = request.endpoint.as_ref().map_or(API_SERVER, |endpoint| endpoint.port);
    labels.insert(names::PORT.to_owned(), port.to_string());
    labels.insert(names::OBJECT.to_owned(), request.name.clone());
    if request.prefers_ipv6 {
        labels.insert(names::FAMILY.to_owned(), names::IPV6.to_owned());
    }
    if let Some(endpoint) = &request.endpoint {
        labels.insert(names::HOST.to_owned(), endpoint.host.clone());
    }
    let ports = [port, balancer::STATISTICS];
    ContainerCreateBody {
        hostname: Some(name.to_owned()),
        image: Some(image.to_owned()),
        labels: Some(labels.into_iter().collect()),
        exposed_ports: Some(container::exposed(&ports)),
        host_config: Some(HostConfig {
            network_mode: Some(network.to_owned()),
            port_bindings: Some(container::bindings(&ports, publish_at)),
            restart_policy: Some(container::restart()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The port of a load balancer's endpoint.
pub(crate) fn port(balancer: &Container) -> u16 {
    balancer.label(names::PORT).parse().unwrap_or(API_SERVER)
}

/// Where clients on this host or, for an engine elsewhere, on any host reach the API server.
pub(crate) fn published(balancer: &Container, remote: Option<&str>) -> Option<Endpoint> {
    let (at, port) = balancer.published(port(balancer))?;
    let at = if matches!(at, "0.0.0.0" | "::" | "") { "127.0.0.1" } else { at };
    Some(Endpoint { host: remote.unwrap_or(at).to_owned(), port })
}

/// A cluster's infrastructure from its load balancer.
fn describe(balancer: &Container, network: &str, remote: Option<&str>) -> ClusterInstance {
    let host = Some(balancer.label(names::HOST)).filter(|host| !host.is_empty());
    let addresses = balancer.addresses(network);
    let prefers_v6 = balancer.label(names::FAMILY) == names::IPV6;
    let own =
        addresses.iter().find(|it| it.contains(':') == prefers_v6).or_else(|| addresses.first()).copied();
    let endpoint = host.or(own).map(|host| Endpoint { host: host.to_owned(), port: port(balancer) });
    let state = match balancer.state {
        State::Running if endpoint.is_some() => InstanceState::Running,
        State::Removing => InstanceState::Deleting,
        _ => InstanceState::Pending,
    };
    let running = state == InstanceState::Running;
    let condition = if running {
        Condition::new(AVAILABLE, Status::True, "Available")
    } else {
        let name = &balancer.name;
        let why = format!("the container {name} does not run; `docker logs {name}` may say why");
        Condition::new(AVAILABLE, Status::False, "NotRunning").because(why)
    };
    let published = published(balancer, remote).filter(|_| running);
    let annotation = |endpoint: Endpoint| (names::PUBLISHED.to_owned(), endpoint.to_string());
    ClusterInstance {
        next_change: (!running).then_some(SOON),
        state,
        endpoint,
        failure_domains: BTreeMap::new(),
        conditions: vec![condition],
        annotations: published.map(annotation).into_iter().collect(),
    }
}

/// That the load balancer has another address than the one that everybody knows.
fn moved(balancer: &Container, instance: &ClusterInstance, request: &ClusterRequest) -> Option<Condition> {
    let (known, now) = (request.endpoint.as_ref()?, instance.endpoint.as_ref()?);
    if known.host == now.host || instance.state != InstanceState::Running {
        return None;
    }
    let name = &balancer.name;
    let message = format!(
        "the load balancer {name} has the address {} now, while nodes and clients know {}; find who has that address \
         (`docker network inspect`), stop it, and restart {name}",
        now.host, known.host
    );
    Some(Condition::new(AVAILABLE, Status::False, "AddressChanged").because(message))
}
