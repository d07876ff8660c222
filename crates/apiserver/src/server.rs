//! The server: its parts, and how it is built and started.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use windlass_store::Store;

use crate::admission::{Admission, AdmitAll, WriteObserver, WriteRecord};
use crate::authn::Tokens;
use crate::backup::BackupSource;
use crate::conversion::{Converter, Converters};
use crate::fanout::Fanout;
use crate::kinds::KindSet;
use crate::pods::PodPorts;
use crate::webhooks;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// Fills a buffer with random bytes.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// A Kubernetes API over one store. Cheap to clone; the clones are one server.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
}

/// Writes down what the process has counted, in the OpenMetrics text format.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) kinds: RwLock<Arc<KindSet>>,
    /// Held while a definition is written and the kinds are changed after it.
    pub(crate) definitions: tokio::sync::Mutex<()>,
    /// Held while the names of definitions are accepted.
    pub(crate) naming: tokio::sync::Mutex<()>,
    /// Held shared while an object is created in a namespace, and exclusively
    /// while an empty one is removed.
    pub(crate) namespaces: tokio::sync::RwLock<()>,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) observer: Option<Arc<dyn WriteObserver>>,
    pub(crate) tokens: Tokens,
    pub(crate) rights: crate::access::Rights,
    pub(crate) flow: crate::flow::Flow,
    pub(crate) bodies: crate::limits::Bodies,
    pub(crate) unread: Arc<crate::outgoing::Unread>,
    /// How long a client may leave what it was sent.
    pub(crate) patience: Duration,
    pub(crate) version: String,
    pub(crate) event_ttl: Option<Duration>,
    pub(crate) metrics: Option<MetricsText>,
    pub(crate) backup: Option<BackupSource>,
    pub(crate) pods: Option<Arc<dyn PodPorts>>,
    pub(crate) webhooks: webhooks::Caller,
    pub(crate) hooks: webhooks::Index,
    pub(crate) fanout: Fanout,
    pub(crate) converters: Converters,
    pub(crate) stop: CancellationToken,
    clock: Clock,
    random: Random,
    tasks: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({:?})", self.inner.store)
    }
}

/// What a [`Server`] is made of.
#[must_use]
pub struct ServerBuilder {
    store: Store,
    kinds: Option<Arc<KindSet>>,
    admission: Arc<dyn Admission>,
    observer: Option<Arc<dyn WriteObserver>>,
    clock: Option<Clock>,
    random: Option<Random>,
    tokens: Tokens,
    access: Option<crate::access::Access>,
    version: String,
    metrics: Option<MetricsText>,
    backup: Option<BackupSource>,
    pods: Option<Arc<dyn PodPorts>>,
    event_ttl: Option<Duration>,
    patience: Duration,
    services: BTreeMap<(String, String), SocketAddr>,
    converters: Converters,
}

/// A server that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No clock or no source of randomness was given.
    #[error("cannot start the API server: no {0} was given; call ServerBuilder::{0}")]
    Missing(&'static str),
    /// A first object was refused.
    #[error("cannot start the API server: object {name} was refused")]
    Bootstrap {
        /// Which object.
        name: String,
        /// Why.
        source: crate::status::ApiError,
    },
}

impl ServerBuilder {
    /// Rules beyond the schemas. Default: none.
    pub fn admission(mut self, admission: Arc<dyn Admission>) -> Self {
        self.admission = admission;
        self
    }

    /// Tells the time. Required.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Source of UIDs and generated names. Required.
    pub fn random(mut self, random: Random) -> Self {
        self.random = Some(random);
        self
    }

    /// The clock and the randomness of the operating system.
    #[expect(clippy::disallowed_methods, reason = "whoever calls this wants the system's clock")]
    pub fn system(self) -> Self {
        self.clock(Arc::new(Timestamp::now)).random(Arc::new(|buffer| {
            aws_lc_rs::rand::fill(buffer)
                .expect("the system's random source must work: nothing can be made without it");
        }))
    }

    /// The compiled-in kinds; servers of one process share one set.
    /// Default: a set of this server's own.
    pub fn kinds(mut self, kinds: Arc<KindSet>) -> Self {
        self.kinds = Some(kinds);
        self
    }

    /// Keeps the roles and bindings of the system in the store, where clients
    /// see and change them. Default: the same roles are compiled in, shared by
    /// all servers of the process.
    pub fn access(mut self, access: crate::access::Access) -> Self {
        self.access = Some(access);
        self
    }

    /// The version the server says it is, e.g. `v1.35.0+windlass`.
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Sees every mutating request.
    pub fn audit(mut self, observer: Arc<dyn WriteObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Serves `/metrics` to administrators. Default: there is no such path.
    pub fn metrics(mut self, text: MetricsText) -> Self {
        self.metrics = Some(text);
        self
    }

    /// Serves `/backup` to administrators. Default: there is no such path.
    pub fn backup(mut self, source: BackupSource) -> Self {
        self.backup = Some(source);
        self
    }

    /// Lets clients through to the ports of pods. Default: pods have no
    /// `portforward`.
    pub fn pods(mut self, ports: Arc<dyn PodPorts>) -> Self {
        self.pods = Some(ports);
        self
    }

    /// Removes Events this long after they were last written (an hour in
    /// kube-apiserver). Default: they stay.
    pub fn event_ttl(mut self, ttl: Duration) -> Self {
        self.event_ttl = Some(ttl);
        self
    }

    /// How long a client over a socket may leave a piece of an answer untaken
    /// before its stream is ended. Default: 30 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience.max(Duration::from_millis(4));
        self
    }

    /// Reaches the Service `name` in `namespace` at an address when it is that of a webhook.
    /// Default: at its ready endpoints, since nothing routes the addresses of Services.
    pub fn service(mut self, namespace: &str, name: &str, address: SocketAddr) -> Self {
        self.services.insert((namespace.to_owned(), name.to_owned()), address);
        self
    }

    /// Accepts a bearer token as a user.
    pub fn token(mut self, token: &str, user: crate::user::UserInfo) -> Self {
        self.tokens.add(token, user);
        self
    }

    /// Converts objects of a custom kind between its versions in this
    /// process, whatever its definition says. Default: as the definition says.
    pub fn converter(mut self, group: &str, kind: &str, converter: Arc<dyn Converter>) -> Self {
        self.converters.insert((group.to_owned(), kind.to_owned()), converter);
        self
    }

    /// Builds the server, writes the objects clients assume, serves what the
    /// stored definitions define and starts the garbage collector.
    ///
    /// # Errors
    /// When a required part is missing or the store takes no writes.
    pub async fn start(self) -> Result<Server, StartError> {
        // As one type: callers' own futures need not be proved `Send` through all of this.
        let started: BoxFuture<'static, _> = Box::pin(self.build());
        started.await
    }

    async fn build(self) -> Result<Server, StartError> {
        let services = webhooks::Services::new(self.store.clone(), self.services);
        let hooks = webhooks::Index::new(self.store.clone());
        let inner = Inner {
            store: self.store,
            kinds: RwLock::new(self.kinds.unwrap_or_else(KindSet::builtin)),
            definitions: tokio::sync::Mutex::new(()),
            naming: tokio::sync::Mutex::new(()),
            namespaces: tokio::sync::RwLock::new(()),
            admission: self.admission,
            observer: self.observer,
            tokens: self.tokens,
            rights: crate::access::Rights::new(self.access),
            flow: crate::flow::Flow::new(std::thread::available_parallelism().map_or(2, usize::from)),
            bodies: crate::limits::Bodies::default(),
            unread: Arc::default(),
            patience: self.patience,
            version: self.version,
            event_ttl: self.event_ttl,
            metrics: self.metrics,
            backup: self.backup,
            pods: self.pods,
            webhooks: webhooks::Caller::new(services),
            converters: self.converters,
            hooks,
            fanout: Fanout::default(),
            stop: CancellationToken::new(),
            clock: self.clock.ok_or(StartError::Missing("clock"))?,
            random: self.random.ok_or(StartError::Missing("random"))?,
            tasks: Mutex::default(),
        };
        let server = Server { inner: Arc::new(inner) };
        server.load_definitions();
        crate::allocate::recover(&server).await;
        crate::bootstrap::namespaces(&server).await?;
        crate::access::start(&server).await?;
        crate::gc::start(&server);
        Ok(server)
    }
}

impl Server {
    /// A server over a store, to be completed.
    pub fn builder(store: Store) -> ServerBuilder {
        ServerBuilder {
            store,
            kinds: None,
            admission: Arc::new(AdmitAll),
            observer: None,
            clock: None,
            random: None,
            tokens: Tokens::default(),
            access: None,
            version: "v1.35.0+windlass".to_owned(),
            event_ttl: None,
            patience: crate::outgoing::PATIENCE,
            metrics: None,
            backup: None,
            pods: None,
            services: BTreeMap::new(),
            converters: Converters::new(),
        }
    }

    /// The store behind the server.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The kinds served now.
    pub fn kinds(&self) -> Arc<KindSet> {
        Arc::clone(&self.inner.kinds.read())
    }

    /// Ends watches, listeners and the garbage collector. Requests under way
    /// are finished by their callers.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.inner.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    pub(crate) fn clock(&self) -> Clock {
        Arc::clone(&self.inner.clock)
    }

    pub(crate) fn random(&self, bytes: &mut [u8]) {
        (self.inner.random)(bytes);
    }

    pub(crate) fn uid(&self) -> String {
        let mut bytes = [0; 16];
        self.random(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// Runs a task until it ends or the server stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.inner.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Runs a task that knows no end of its own until the server stops.
    pub(crate) fn spawn_until_stopped(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.inner.stop.clone();
        self.spawn(async move {
            let _ = stop.run_until_cancelled(task).await;
        });
    }

    pub(crate) fn observe(&self, record: &WriteRecord<'_>) {
        if let Some(observer) = &self.inner.observer {
            observer.wrote(record);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
