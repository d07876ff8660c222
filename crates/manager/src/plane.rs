//! The plane: an embedded API server, the simulated cloud and the controllers, in one process.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use windlass_apiserver::{Access, Announced, KindSet, Server, StartError, UserInfo};
use windlass_memory::{World, WorldError, WorldOptions};
use windlass_model::Time;
use windlass_pki::SystemKeys;
use windlass_runtime::{Clock, Metrics, RuntimeOptions, Tasks};
use windlass_store::{Engine, OpenError, Options};

use crate::assembly::{self, Assembly, Parts, Seams};
use crate::backends::DockerSettings;
use crate::credentials::{self, Credentials, CredentialsError};
use crate::data_dir::{DataDir, DataDirError, Lock, Running};
use crate::writes::WriteCounter;
use crate::{KUBERNETES_VERSION, VERSION, admission, backup, entropy};

/// User agent of requests that no controller makes.
const AGENT: &str = concat!("windlass/", env!("CARGO_PKG_VERSION"));

/// Name of the management API's store.
const STORE: &str = "management";

/// Ports of simulated clusters unless told otherwise; upstream's in-memory provider uses the same.
pub(crate) const WORKLOAD_PORTS: RangeInclusive<u16> = 20000..=30000;

/// How long Events are kept (kube-apiserver's default).
const EVENT_TTL: Duration = Duration::from_hours(1);

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
    /// How to reach the container engine, once a cluster wants containers.
    pub docker: DockerSettings,
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
            docker: DockerSettings::default(),
            runtime: RuntimeOptions::default(),
        }
    }

    /// Looks for what would keep a plane from starting: an address that others reach, a folder or a port in
    /// use. Changes nothing.
    pub fn check(&self) -> Result<(), PlaneError> {
        check_address(self)?;
        let Some(dir) = &self.data else { return Ok(()) };
        dir.refuse_if_in_use()?;
        let address = self.listen;
        let bound = std::net::TcpListener::bind(address);
        bound.map(drop).map_err(|source| PlaneError::Listen { address, source })
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
    /// A restore cannot be finished.
    #[error(transparent)]
    Restore(#[from] crate::backup::UnpackError),
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
            | Self::Restore(_)
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
        // Looked at and bound before anything is made: a folder or a port in use must change nothing.
        let (listener, mut lock) = match &options.data {
            Some(dir) => {
                dir.refuse_if_in_use()?;
                (Some(bind(options.listen).await?), Some(dir.lock(VERSION)?))
            }
            None => (None, None),
        };
        let ground = Ground::open(options.data.as_ref()).await?;
        let server = serve_store(&ground, options.data.as_ref()).await?;
        let address = match (listener, &options.data) {
            (Some(listener), Some(dir)) => Some(listen(&server, listener, dir, &ground).await?),
            (Some(_) | None, _) => None,
        };
        let assembly = assemble(&options, &server, &ground).await?;
        if let Some(lock) = &mut lock {
            lock.describe(&Running { pid: std::process::id(), address, version: VERSION.to_owned() })?;
        }
        tracing::info!(version = VERSION, address = ?address, "the plane runs");
        let Ground { engine, tasks, .. } = ground;
        Ok(Self { server, engine, assembly, tasks, address, data: options.data, _lock: lock })
    }

    /// An administrator's client of the management API, in process.
    pub fn client(&self) -> Client {
        self.server.client(UserInfo::admin("kubernetes-admin"), AGENT)
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
                tokio::time::sleep(Duration::from_secs(1)).await;
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
    let engine = blocking(move || Engine::open(&file, Options::default()).map_err(PlaneError::from)).await?;
    crate::backup::unpack(&engine, dir).await?;
    Ok(engine)
}

/// What everything else stands on.
struct Ground {
    engine: Engine,
    /// Compiled once; every API server of the process shares them.
    kinds: Arc<KindSet>,
    clock: Clock,
    metrics: Metrics,
    tasks: Tasks,
}

impl Ground {
    async fn open(data: Option<&DataDir>) -> Result<Self, PlaneError> {
        Ok(Self {
            engine: open(data).await?,
            kinds: KindSet::builtin(),
            clock: Clock::system(),
            metrics: Metrics::new(),
            tasks: Tasks::new(),
        })
    }
}

/// The management API over its store, with our definitions installed.
async fn serve_store(ground: &Ground, dir: Option<&DataDir>) -> Result<Server, PlaneError> {
    let (now, text) = (ground.clock.clone(), ground.metrics.clone());
    let mut builder = Server::builder(ground.engine.store(STORE));
    if let Some(dir) = dir.cloned() {
        let engine = ground.engine.clone();
        builder = builder.backup(Arc::new(move |out| backup::export(&engine, &dir, out)));
    }
    let server = builder
        .admission(Arc::new(admission::ClusterApi))
        .audit(Arc::new(WriteCounter::new(&ground.metrics)))
        .clock(Arc::new(move || timestamp(now.now())))
        .random(entropy::system())
        .kinds(ground.kinds.clone())
        .event_ttl(EVENT_TTL)
        .version(KUBERNETES_VERSION)
        .access(Access::default())
        .metrics(Arc::new(move || text.text().unwrap_or_default()))
        .start()
        .await?;
    server.install_crds(&windlass_api::crd::crds()).await?;
    Ok(server)
}

/// Serves TLS on `listener` with the data directory's credentials.
async fn listen(
    server: &Server,
    listener: TcpListener,
    dir: &DataDir,
    ground: &Ground,
) -> Result<SocketAddr, PlaneError> {
    let address = listener
        .local_addr()
        .map_err(|source| PlaneError::Listen { address: SocketAddr::from(([0; 4], 0)), source })?;
    let (dir, now) = (dir.clone(), ground.clock.now());
    let Credentials { ca, certificate, key } =
        blocking(move || credentials::prepare(&dir, address, now).map_err(PlaneError::from)).await?;
    let tls = windlass_apiserver::tls(&certificate, key.expose(), &ca)
        .map_err(|error| PlaneError::Tls(error.into()))?;
    server.announce(Announced { ca, address }).await;
    let (server, stop) = (server.clone(), CancellationToken::new());
    ground.tasks.spawn("management api", async move { server.serve(listener, tls, stop).await });
    Ok(address)
}

async fn assemble(options: &PlaneOptions, server: &Server, ground: &Ground) -> Result<Assembly, PlaneError> {
    let keys = Arc::new(SystemKeys::default());
    assembly::count_keys(&ground.metrics, &keys);
    let world = WorldOptions {
        ports: options.workload_ports.clone(),
        listen: options.data.is_some(),
        clock: ground.clock.clone(),
        keys: keys.clone(),
        random: entropy::system(),
        kinds: ground.kinds.clone(),
        spawner: ground.tasks.spawner(),
    };
    let world = World::open(ground.engine.clone(), world).await?;
    let client = server.client(UserInfo::admin("system:windlass"), AGENT);
    let tasks = ground.tasks.child();
    let seams = Seams::all(&world, &options.docker, &ground.clock, &tasks, &ground.metrics);
    Ok(assembly::start(Parts {
        client,
        clock: ground.clock.clone(),
        tasks,
        metrics: ground.metrics.clone(),
        keys,
        options: options.runtime.clone(),
        seams,
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
