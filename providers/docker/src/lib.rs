//! Machines that are containers of a Docker engine, and the load balancer in front of them.
//!
//! A node bootstraps itself: what it shall do is put into its container before that starts, and Windlass only
//! follows. So a crash of Windlass neither stops a boot nor repeats one. Everything is found again by labels;
//! what does not carry ours is never touched.

mod balancer;
mod bootstrap;
mod clusters;
mod container;
mod engine;
mod follow;
mod image;
mod machines;
mod names;
mod network;
mod preload;
mod progress;
mod published;
mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use windlass_model::Key;
use windlass_runtime::{Clock, Spawner};

pub use published::Published;

use crate::shared::Shared;

/// The network that nodes share unless something else is said: kind's own.
const NETWORK: &str = "kind";
/// Variables that matter to nodes.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

/// How the provider behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the engine is, as `DOCKER_HOST` has it; `None` for where the `docker` command finds it.
    pub host: Option<String>,
    /// The network of nodes and load balancers; made where it is not there.
    pub network: String,
    /// Variables of the environment that nodes inherit: proxies.
    pub environment: BTreeMap<String, String>,
    /// Tells the time.
    pub clock: Clock,
    /// Where boots are followed and images are pulled.
    pub tasks: Spawner,
}

impl Options {
    /// What the environment says: `DOCKER_HOST`, `DOCKER_CONTEXT`, `DOCKER_NETWORK` and the proxy variables.
    pub fn from_environment(clock: Clock, tasks: Spawner) -> Self {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let network = given("DOCKER_NETWORK").unwrap_or_else(|| NETWORK.to_owned());
        let proxy = |name: &str| Some((name.to_owned(), given(name)?));
        let environment = PROXIES.into_iter().filter_map(proxy).collect();
        Self { host: None, network, environment, clock, tasks }
    }
}

/// The provider. Cheap to clone; the engine is dialled at the first call.
#[derive(Clone, Debug)]
pub struct Docker(Arc<Shared>);

impl Docker {
    /// A provider in front of an engine, which need not run yet.
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Shared::new(options)))
    }

    /// Names the DevMachines whose containers have changed by themselves.
    pub fn news(&self) -> UnboundedReceiver<Key> {
        self.0.subscribe()
    }

    /// Names the DevClusters whose load balancers have changed by themselves.
    pub fn cluster_news(&self) -> UnboundedReceiver<Key> {
        self.0.subscribe_to_clusters()
    }
}
