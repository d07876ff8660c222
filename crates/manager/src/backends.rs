//! The backends that this build has: where machines come from, by the name of their field in `spec.backend`.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::mpsc::UnboundedReceiver;
use windlass_memory::{Memory, World};
use windlass_model::{Key, Time};
use windlass_provider::{Call, ClusterInfrastructure, ErrorKind, Machines, Meter};
use windlass_runtime::{Clock, Metrics};

#[cfg(feature = "docker")]
use windlass_docker::Docker;
#[cfg(feature = "docker")]
use windlass_provider::{Layers, Limits};

/// The simulated cloud.
pub const IN_MEMORY: &str = "inMemory";
/// Containers.
#[cfg(feature = "docker")]
pub const DOCKER: &str = "docker";

/// One place that machines come from.
pub struct Backend {
    /// The name of its field in `spec.backend`.
    pub name: &'static str,
    /// Makes machines.
    pub machines: Arc<dyn Machines>,
    /// Makes what clusters need.
    pub clusters: Arc<dyn ClusterInfrastructure>,
    /// DevMachines whose machines have changed by themselves.
    pub news: UnboundedReceiver<Key>,
    /// DevClusters whose infrastructure has changed by itself, where it can.
    pub cluster_news: Option<UnboundedReceiver<Key>>,
}

impl Backend {
    /// The simulated cloud. Nothing stands before it: its calls cost nothing and never leave the process.
    pub fn memory(world: &World) -> Self {
        let memory = Arc::new(Memory::new(world.clone()));
        Self {
            name: IN_MEMORY,
            machines: memory.clone(),
            clusters: memory,
            news: world.machine_news(),
            cluster_news: None,
        }
    }

    /// Containers, behind the usual layers: traced, throttled and measured.
    #[cfg(feature = "docker")]
    pub fn docker(docker: &Docker, clock: &Clock, calls: &Calls) -> Self {
        let now = clock.clone();
        let layers = Layers::new(DOCKER)
            .throttled(Limits::default(), Arc::new(move || now.now()))
            .metered(calls.of(DOCKER, clock.clone()));
        Self {
            name: DOCKER,
            machines: layers.machines(Arc::new(docker.clone())),
            clusters: layers.clusters(Arc::new(docker.clone())),
            news: docker.news(),
            cluster_news: Some(docker.cluster_news()),
        }
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How to reach the container engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerSettings {
    /// Its address, as `DOCKER_HOST` has it; `None` for where the `docker` command finds it.
    pub host: Option<String>,
    /// The network of nodes; `None` for `DOCKER_NETWORK`, else kind's.
    pub network: Option<String>,
}

#[cfg(feature = "docker")]
impl DockerSettings {
    /// The provider of these settings. Dials nothing yet.
    pub fn provider(&self, clock: Clock, tasks: windlass_runtime::Spawner) -> Docker {
        let mut options = windlass_docker::Options::from_environment(clock, tasks);
        if self.host.is_some() {
            options.host.clone_from(&self.host);
        }
        if let Some(network) = &self.network {
            options.network.clone_from(network);
        }
        Docker::new(options)
    }
}

/// What calls to providers take: `windlass_provider_call_seconds`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Calls(Family<Labels, Histogram, fn() -> Histogram>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    backend: &'static str,
    operation: &'static str,
    result: &'static str,
}

/// 1 ms to 16 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Calls {
    /// Registers the family.
    pub fn new(metrics: &Metrics) -> Self {
        let family = Family::new_with_constructor(histogram as fn() -> Histogram);
        let (name, help) =
            ("windlass_provider_call_seconds", "Duration of calls to infrastructure providers");
        metrics.register(|registry| registry.register(name, help, family.clone()));
        Self(family)
    }

    /// The meter of one backend.
    pub fn of(&self, backend: &'static str, clock: Clock) -> Arc<dyn Meter> {
        Arc::new(BackendMeter { calls: self.clone(), backend, clock })
    }
}

struct BackendMeter {
    calls: Calls,
    backend: &'static str,
    clock: Clock,
}

impl Meter for BackendMeter {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn record(&self, call: Call) {
        let Call { operation, failed, took } = call;
        let labels = Labels {
            backend: self.backend,
            operation: operation.as_str(),
            result: failed.map_or("ok", ErrorKind::as_str),
        };
        self.calls.0.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
