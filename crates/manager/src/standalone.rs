//! The controllers against any Kubernetes API server: definitions, leadership, health, metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use windlass_apiserver::KindSet;
use windlass_memory::{World, WorldError, WorldOptions};
use windlass_model::Key;
use windlass_pki::SystemKeys;
use windlass_runtime::{Clock, LeaseOptions, Metrics, RuntimeOptions, Tasks};
use windlass_store::{Engine, OpenError};

use crate::assembly::{self, Assembly, Parts, Seams};
use crate::backends::DockerSettings;
use crate::data_dir::{DataDir, DataDirError, Lock};
use crate::webhooks::{self, Webhooks};
use crate::{VERSION, entropy, health};

/// Name of the leader election Lease.
const LEASE: &str = "windlass-manager";

/// How the manager runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where health and metrics are served.
    pub health_address: SocketAddr,
    /// Namespace of the Lease; `None` runs without leader election.
    pub lease_namespace: Option<String>,
    /// Whether to install or update the CRDs.
    pub install_crds: bool,
    /// Where the simulated infrastructure is kept.
    pub world: DataDir,
    /// How to reach the container engine, once a cluster wants containers.
    pub docker: DockerSettings,
    /// Serves our defaults and rules as webhooks, and registers them.
    pub webhooks: Option<webhooks::Options>,
}

/// The manager cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// The folder of the simulated infrastructure cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Its database cannot be opened.
    #[error("cannot open the simulated infrastructure's database")]
    Database(#[from] OpenError),
    /// It cannot be restored.
    #[error("cannot open the simulated infrastructure")]
    World(#[from] WorldError),
    /// A definition was refused.
    #[error("cannot install the definition {name}")]
    Definition {
        /// Name of the CRD.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// Another program listens there.
    #[error("cannot serve health and metrics on {address}")]
    Health {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Another program listens there.
    #[error("cannot serve webhooks on {address}")]
    Webhooks {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A task panicked.
    #[error("{0}")]
    Ended(String),
}

impl StandaloneError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DataDir(error) => Some(error.hint().to_owned()),
            Self::Definition { .. } => Some("the manager needs the right to create and update CustomResourceDefinitions; --skip-crds leaves them as they are".to_owned()),
            Self::Health { .. } => Some("choose another address with --health-address".to_owned()),
            Self::Webhooks { .. } => Some("choose another port with --webhook-port".to_owned()),
            Self::Database(_) | Self::World(_) | Self::Ended(_) => None,
        }
    }
}

/// A running manager.
#[derive(Debug)]
pub struct Standalone {
    assembly: Assembly,
    tasks: Tasks,
    engine: Engine,
    _lock: Lock,
}

impl Standalone {
    /// Installs the definitions and starts the controllers.
    pub async fn start(client: Client, options: Options) -> Result<Self, StandaloneError> {
        let lock = options.world.lock(VERSION)?;
        if options.install_crds {
            install(&client).await?;
        }
        let (clock, tasks, metrics) = (Clock::system(), Tasks::new(), Metrics::new());
        let ready = Arc::new(AtomicBool::new(false));
        let webhooks = serve_webhooks(&client, &options, &clock, &tasks).await?;
        let (is_ready, serving) = (ready.clone(), webhooks.clone());
        let (address, spawner) = (options.health_address, tasks.spawner());
        let is_ready = Arc::new(move || {
            is_ready.load(Ordering::Relaxed) && serving.as_ref().is_none_or(Webhooks::is_ready)
        });
        let served = health::serve(address, metrics.clone(), is_ready, &spawner).await;
        let served = served.map_err(|source| StandaloneError::Health { address, source })?;
        tracing::info!("health and metrics are served on {served}");
        let engine = open(&options.world).await?;
        let machine = (&engine, &clock, &metrics, &tasks);
        let assembly = assemble(client, &options, machine, webhooks).await?;
        ready.store(true, Ordering::Relaxed);
        tracing::info!(version = VERSION, "the manager runs");
        Ok(Self { assembly, tasks, engine, _lock: lock })
    }

    /// Waits for Ctrl-C or SIGTERM, then stops in order; an error if the manager ends by itself.
    pub async fn until_stopped(self) -> Result<(), StandaloneError> {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|error| StandaloneError::Ended(format!("cannot listen for signals: {error}")))?;
        let failure = tokio::select! {
            _ = tokio::signal::ctrl_c() => None,
            _ = terminate.recv() => None,
            failure = self.assembly.runtime().failed() => Some(failure.to_string()),
        };
        let Self { assembly, tasks, engine, _lock } = self;
        assembly.shutdown().await;
        tasks.shutdown().await;
        if let Err(error) = engine.close().await {
            tracing::warn!(%error, "cannot close the database; everything acknowledged is in it");
        }
        failure.map_or(Ok(()), |failure| Err(StandaloneError::Ended(failure)))
    }
}

async fn open(dir: &DataDir) -> Result<Engine, StandaloneError> {
    let file = dir.path().join("infrastructure.redb");
    let opened =
        tokio::task::spawn_blocking(move || Engine::open(&file, windlass_store::Options::default())).await;
    match opened {
        Ok(engine) => Ok(engine?),
        Err(error) => Err(StandaloneError::Ended(format!("a start-up task ended early: {error}"))),
    }
}

async fn assemble(
    client: Client,
    options: &Options,
    (engine, clock, metrics, tasks): (&Engine, &Clock, &Metrics, &Tasks),
    webhooks: Option<Webhooks>,
) -> Result<Assembly, StandaloneError> {
    let keys = Arc::new(SystemKeys::default());
    assembly::count_keys(metrics, &keys);
    let world = WorldOptions {
        ports: crate::plane::WORKLOAD_PORTS,
        listen: true,
        clock: clock.clone(),
        keys: keys.clone(),
        random: entropy::system(),
        kinds: KindSet::builtin(),
        spawner: tasks.spawner(),
    };
    let world = World::open(engine.clone(), world).await?;
    let lease = options
        .lease_namespace
        .as_ref()
        .map(|namespace| LeaseOptions::new(Key::new(namespace, LEASE), identity()));
    let tasks = tasks.child();
    let seams = Seams::all(&world, &options.docker, clock, &tasks, metrics);
    let parts = Parts {
        client,
        clock: clock.clone(),
        tasks,
        metrics: metrics.clone(),
        keys,
        options: RuntimeOptions { lease, ..RuntimeOptions::default() },
        seams,
    };
    let leading = move |tasks: &Tasks| {
        if let Some(webhooks) = &webhooks {
            webhooks.lead(tasks);
        }
    };
    Ok(assembly::start_leading(parts, Box::new(leading)))
}

async fn serve_webhooks(
    client: &Client,
    options: &Options,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<Option<Webhooks>, StandaloneError> {
    let Some(options) = options.webhooks.clone() else { return Ok(None) };
    let (address, keys) = (options.bind, Arc::new(SystemKeys::default()));
    let served = Webhooks::serve(client.clone(), options, clock.clone(), keys, &tasks.spawner()).await;
    let webhooks = served.map_err(|source| StandaloneError::Webhooks { address, source })?;
    tracing::info!("webhooks are served on {}", webhooks.listens);
    Ok(Some(webhooks))
}

/// Unique among all managers: host, process, and a random part for containers that share both.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut random = [0; 4];
    entropy::system()(&mut random);
    format!("{}_{}_{:08x}", host.trim(), std::process::id(), u32::from_ne_bytes(random))
}

/// Server-side apply of every definition.
async fn install(client: &Client) -> Result<(), StandaloneError> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("windlass").force();
    for definition in windlass_api::crd::crds() {
        let name = definition.name_any();
        definitions
            .patch(&name, &params, &Patch::Apply(&definition))
            .await
            .map_err(|source| StandaloneError::Definition { name, source })?;
    }
    Ok(())
}
