//! The plane: an embedded API server, the simulated cloud and the controllers, in one process.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use windlass_apiserver::{KindSet, Server, StartError, UserInfo};
use windlass_memory::{World, WorldError, WorldOptions};
use windlass_model::Time;
use windlass_pki::SystemKeys;
use windlass_runtime::{Clock, Metrics, RuntimeOptions, Tasks};
use windlass_store::{Engine, OpenError, Options};

use crate::assembly::{self, Assembly, Parts};
use crate::credentials::{self, Credentials, CredentialsError};
use crate::data_dir::{DataDir, DataDirError, Lock, Running};
use crate::writes::WriteCounter;
use crate::{KUBERNETES_VERSION, VERSION, admission, entropy};

/// Name of the management API's store.
const STORE: &str = "management";

/// Ports of simulated clusters unless told otherwise; upstream's in-memory provider uses the same.
pub(crate) const WORKLOAD_PORTS: RangeInclusive<u16> = 20000..=30000;

/// What a plane is made of.
#[derive(Clone, Debug)]
pub struct PlaneOptions {
    /// Where everything is kept; `None` keeps it in memory and opens no port.
    pub data: Option<DataDir>,
    /// Where the management API listens.
    pub listen: SocketAddr,
    /// Whether `listen` may be reachable from other machines.
    pub allow_remote: bool,
    /// Ports from which simulated clusters get theirs.
    pub workload_ports: RangeInclusive<u16>,
    /// How the controllers' loop behaves.
    pub runtime: RuntimeOptions,
}

impl PlaneOptions {
    /// A durable plane in `data` that listens on `listen`.
    pub fn new(data: DataDir, listen: SocketAddr) -> Self {
        Self { data: Some(data), ..Self { listen, ..Self::in_memory() } }
    }

    /// A plane that leaves nothing behind and opens no port.
    pub fn in_memory() -> Self {
        Self {
            data: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            allow_remote: false,
            workload_ports: WORKLOAD_PORTS,
            runtime: RuntimeOptions::default(),
        }
    }
}

/// A plane that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database cannot be opened.
    #[error("cannot open the plane's database")]
    Database(#[from] OpenError),
    /// Keys or certificates cannot be made or read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Another program listens there.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Other machines could reach the address.
    #[error("{address} can be reached from other machines")]
    Remote {
        /// The address.
        address: SocketAddr,
    },
    /// The API server cannot start.
    #[error("cannot start the management API")]
    Server(#[from] StartError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The simulated cloud cannot be opened.
    #[error("cannot open the simulated infrastructure")]
    World(#[from] WorldError),
    /// The plane runs no more.
    #[error("{0}")]
    Ended(String),
}

impl PlaneError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DataDir(error) | Self::Credentials(CredentialsError::File(error)) => Some(error.hint().to_owned()),
            Self::Listen { address, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some(format!("another program listens on port {}; choose another one with --listen 127.0.0.1:PORT", address.port()))
            }
            Self::Listen { .. } => Some("choose an address of this machine with --listen 127.0.0.1:PORT".to_owned()),
            Self::Remote { .. } => Some("listen on 127.0.0.1, or say --allow-remote if that is meant".to_owned()),
            Self::Credentials(CredentialsError::Unusable { .. }) => {
                Some("put the file back from a backup; without it, remove the `pki` folder: every kubeconfig of the plane is made anew".to_owned())
            }
            Self::Database(OpenError::Corrupt { file, .. }) => Some(format!(
                "nothing was changed; keep {} and start with a backup of it, or with another --data-dir",
                file.display()
            )),
            Self::Database(_)
            | Self::Credentials(_)
            | Self::Server(_)
            | Self::Tls(_)
            | Self::World(_)
            | Self::Ended(_) => None,
        }
    }
}

/// A running plane. Dropping it stops everything at once; [`Plane::shutdown`] does so in order.
pub struct Plane {
    server: Server,
    engine: Engine,
    assembly: Assembly,
    tasks: Tasks,
    address: Option<SocketAddr>,
    data: Option<DataDir>,
    /// Dropped last: until then nobody else may use the folder.
    _lock: Option<Lock>,
}

impl Plane {
    /// Starts a plane with everything that is in its data directory.
    pub async fn start(options: PlaneOptions) -> Result<Self, PlaneError> {
        check_address(&options)?;
        let mut lock = match &options.data {
            Some(dir) => Some(dir.lock(VERSION)?),
            None => None,
        };
        // Bound before anything is opened: a port in use must change nothing.
        let listener = match &options.data {
            Some(_) => Some(bind(options.listen).await?),
            None => None,
        };
        let (clock, tasks, metrics) = (Clock::system(), Tasks::new(), Metrics::new());
        let engine = open(options.data.as_ref()).await?;
        let server = serve_store(&engine, &clock, &metrics).await?;
        let address = match (listener, &options.data) {
            (Some(listener), Some(dir)) => Some(listen(&server, listener, dir, &clock, &tasks).await?),
            (Some(_) | None, _) => None,
        };
        let assembly = assemble(&options, &server, &engine, &clock, &metrics, &tasks).await?;
        if let Some(lock) = &mut lock {
            lock.describe(&Running { pid: std::process::id(), address, version: VERSION.to_owned() })?;
        }
        tracing::info!(version = VERSION, address = ?address, "the plane runs");
        Ok(Self { server, engine, assembly, tasks, address, data: options.data, _lock: lock })
    }

    /// An administrator's client of the management API, in process.
    pub fn client(&self) -> Client {
        self.server
            .client(UserInfo::admin("kubernetes-admin"), concat!("windlass/", env!("CARGO_PKG_VERSION")))
    }

    /// Where the management API listens; `None` for a plane in memory.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The plane's data directory; `None` for a plane in memory.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data.as_ref().map(DataDir::path)
    }

    /// Resolves when the plane cannot go on: a task panicked, or the disk takes no more writes.
    pub async fn ended(&self) -> PlaneError {
        let failed = self.assembly.runtime().failed();
        let broken = async {
            loop {
                if let Some(failure) = self.engine.failure() {
                    return failure;
                }
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            failure = failed => PlaneError::Ended(format!("{failure}")),
            failure = broken => PlaneError::Ended(failure.to_string()),
        }
    }

    /// Stops controllers, connections and the server, then closes the database.
    pub async fn shutdown(self) {
        let Self { server, engine, assembly, tasks, address: _, data: _, _lock } = self;
        assembly.shutdown().await;
        server.stop().await;
        tasks.shutdown().await;
        if let Err(error) = engine.close().await {
            tracing::warn!(%error, "cannot close the database; everything acknowledged is in it");
        }
    }
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane")
            .field("address", &self.address)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

fn check_address(options: &PlaneOptions) -> Result<(), PlaneError> {
    if options.data.is_some() && !options.listen.ip().is_loopback() && !options.allow_remote {
        return Err(PlaneError::Remote { address: options.listen });
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, PlaneError> {
    TcpListener::bind(address).await.map_err(|source| PlaneError::Listen { address, source })
}

/// The database of the data directory, or memory. Loading blocks.
async fn open(dir: Option<&DataDir>) -> Result<Engine, PlaneError> {
    let Some(dir) = dir else { return Ok(Engine::memory()) };
    let file = dir.database();
    blocking(move || Engine::open(&file, Options::default()).map_err(PlaneError::from)).await
}

/// The management API over its store, with our definitions installed.
async fn serve_store(engine: &Engine, clock: &Clock, metrics: &Metrics) -> Result<Server, PlaneError> {
    let now = clock.clone();
    let text = metrics.clone();
    let server = Server::builder(engine.store(STORE))
        .admission(Arc::new(admission::ClusterApi))
        .audit(Arc::new(WriteCounter::new(metrics)))
        .clock(Arc::new(move || timestamp(now.now())))
        .random(entropy::system())
        .version(KUBERNETES_VERSION)
        .metrics(Arc::new(move || text.text().unwrap_or_default()))
        .start()
        .await?;
    let definitions = windlass_api::crd::crds();
    server.install_crds(&definitions).await?;
    Ok(server)
}

/// Serves TLS on `listener` with the data directory's credentials.
async fn listen(
    server: &Server,
    listener: TcpListener,
    dir: &DataDir,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<SocketAddr, PlaneError> {
    let address = listener
        .local_addr()
        .map_err(|source| PlaneError::Listen { address: SocketAddr::from(([0; 4], 0)), source })?;
    let (dir, now) = (dir.clone(), clock.now());
    let Credentials { ca_pem, certificate_pem, key_pem } =
        blocking(move || credentials::prepare(&dir, address, now).map_err(PlaneError::from)).await?;
    let tls = windlass_apiserver::tls(&certificate_pem, key_pem.expose(), &ca_pem)
        .map_err(|error| PlaneError::Tls(error.into()))?;
    let (server, stop) = (server.clone(), CancellationToken::new());
    tasks.spawn("management api", async move { server.serve(listener, tls, stop).await });
    Ok(address)
}

async fn assemble(
    options: &PlaneOptions,
    server: &Server,
    engine: &Engine,
    clock: &Clock,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Assembly, PlaneError> {
    let keys = Arc::new(SystemKeys::default());
    assembly::count_keys(metrics, &keys);
    let world = World::open(
        engine.clone(),
        WorldOptions {
            ports: options.workload_ports.clone(),
            listen: options.data.is_some(),
            clock: clock.clone(),
            keys: keys.clone(),
            random: entropy::system(),
            kinds: KindSet::builtin(),
            spawner: tasks.spawner(),
        },
    )
    .await?;
    let client =
        server.client(UserInfo::admin("system:windlass"), concat!("windlass/", env!("CARGO_PKG_VERSION")));
    Ok(assembly::start(Parts {
        client,
        clock: clock.clone(),
        tasks: tasks.child(),
        metrics: metrics.clone(),
        keys,
        options: options.runtime.clone(),
        seams: assembly::Seams::of(&world),
    }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PlaneError> + Send + 'static,
) -> Result<T, PlaneError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(PlaneError::Ended(format!("a start-up task ended early: {error}"))),
    }
}

/// The server's own type of time.
fn timestamp(time: Time) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(time.0).unwrap_or(jiff::Timestamp::MAX)
}
