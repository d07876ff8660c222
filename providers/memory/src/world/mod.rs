//! The simulated world: machines, their ledger, and the clusters they form.
//!
//! Everything that exists is in the ledger and in one store per workload cluster, both in the engine the
//! world was opened on: what was acknowledged is there after a `kill -9`. What happens by itself happens
//! at times that were written down beforehand, also where the world was closed in between.
//!
//! One `Site` per cluster owns its machines; it changes only under its own lock, one
//! commit per change.

mod admit;
mod boot;
mod delays;
mod error;
mod etcd;
mod gate;
mod ledger;
mod objects;
mod pods;
mod ports;
mod rows;
mod site;
mod stages;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use windlass_apiserver::{KindSet, Random};
use windlass_model::{Key, Time, Uid};
use windlass_pki::KeySource;
use windlass_provider::{ClusterRequest, Error, Instance, MachineRequest, Result, Token};
use windlass_runtime::{Clock, Spawner};
use windlass_store::{Engine, History};

pub use error::WorldError;
pub use etcd::{EtcdMember, EtcdRefusal, Membership, member_id};
pub(crate) use objects::CAPACITY;
pub use rows::{ClusterRow, Initialized, MachineRow, NodeRef};
pub use stages::{API_SERVER, ETCD, NODE, VM, of as stages_of, provider_id};

use ledger::{Changes, Ledger};
use ports::Ports;
use site::Site;

pub(crate) use rows::Serving;
pub(crate) use site::Site as WorldSite;

/// Name of the store that holds the ledger.
const LEDGER: &str = "world";
/// Outside of simulations nobody watches the ledger or reads its past.
const LEDGER_HISTORY: History = History { events: 1, bytes: 0 };
/// Prefix of the names of the workload clusters' stores.
const WORKLOAD: &str = "workload/";

/// What a world is given: nothing in it is global.
#[derive(Clone)]
pub struct WorldOptions {
    /// The ports from which clusters get theirs.
    pub ports: RangeInclusive<u16>,
    /// Whether clusters listen on them. A simulation reaches its clusters in process only; there the stores
    /// also keep their whole history, which its oracle reads.
    pub listen: bool,
    /// Tells the time.
    pub clock: Clock,
    /// Makes the keys of the API servers' certificates.
    pub keys: Arc<dyn KeySource>,
    /// Makes the UIDs of workload objects.
    pub random: Random,
    /// The compiled-in kinds, shared by all API servers of the process.
    pub kinds: Arc<KindSet>,
    /// Where the world's tasks run.
    pub spawner: Spawner,
}

impl fmt::Debug for WorldOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ports, listen, .. } = self;
        f.debug_struct("WorldOptions").field("ports", ports).field("listen", listen).finish_non_exhaustive()
    }
}

/// What the sites of a world share.
struct Shared {
    options: WorldOptions,
    engine: Engine,
    ledger: Ledger,
    ports: Mutex<Ports>,
    machine_news: Mutex<Vec<mpsc::UnboundedSender<Key>>>,
}

impl Shared {
    fn now(&self) -> Time {
        self.options.clock.now()
    }

    /// Tells whoever listens that something happened to the machine of this object.
    fn wake(&self, owner: &Key) {
        self.machine_news.lock().retain(|news| news.send(owner.clone()).is_ok());
    }
}

/// Which sites there are, and where each living machine is.
#[derive(Default)]
struct Index {
    by_token: BTreeMap<Token, Arc<Site>>,
    by_cluster: BTreeMap<Uid, Arc<Site>>,
    machines: BTreeMap<Token, Arc<Site>>,
}

/// The world. Cheap to clone; the clones are one world.
#[derive(Clone)]
pub struct World {
    shared: Arc<Shared>,
    index: Arc<Mutex<Index>>,
    /// Clusters come and go one at a time.
    founding: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// One line of the ledger: an oracle's view of what was ever made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerLine {
    /// The token it was made for.
    pub token: Token,
    /// The object that wanted it.
    pub owner: Key,
    /// UID of its cluster.
    pub cluster: Uid,
    /// When it was made.
    pub created: Time,
    /// When it was deleted.
    pub deleted: Option<Time>,
}

impl World {
    /// Opens the world that is in `engine`, or begins one: machines go on booting where they were, and
    /// initialized clusters answer again on their ports.
    ///
    /// # Errors
    /// [`WorldError`] where the ledger cannot be read or a cluster's server does not start.
    pub async fn open(engine: Engine, options: WorldOptions) -> std::result::Result<Self, WorldError> {
        let ledger = engine.store(LEDGER);
        if options.listen {
            ledger.limit_history(LEDGER_HISTORY);
        }
        let shared = Arc::new(Shared {
            ledger: Ledger::new(ledger),
            ports: Mutex::new(Ports::new(options.ports.clone(), options.listen)),
            machine_news: Mutex::default(),
            engine,
            options,
        });
        let world = Self { shared, index: Arc::default(), founding: Arc::default() };
        world.restore().await?;
        Ok(world)
    }

    async fn restore(&self) -> std::result::Result<(), WorldError> {
        let ledger = &self.shared.ledger;
        let mut machines: BTreeMap<Uid, Vec<MachineRow>> = BTreeMap::new();
        for machine in ledger.machines()?.into_iter().filter(MachineRow::is_alive) {
            machines.entry(machine.cluster.clone()).or_default().push(machine);
        }
        let clusters: Vec<_> = ledger.clusters()?.into_iter().filter(|row| row.deleted.is_none()).collect();
        self.sweep(&clusters).await?;
        for cluster in clusters {
            let held = self.shared.ports.lock().restore(cluster.port);
            let machines = machines.remove(&cluster.uid).unwrap_or_default();
            let tokens: Vec<_> = machines.iter().map(|machine| machine.token.clone()).collect();
            let site = Site::reopen(&self.shared, cluster, machines, held).await?;
            self.enter(&site, &tokens);
        }
        Ok(())
    }

    /// Removes the stores of clusters that were deleted, where a crash left them.
    async fn sweep(&self, clusters: &[ClusterRow]) -> std::result::Result<(), WorldError> {
        for name in self.shared.engine.names() {
            let left = name.strip_prefix(WORKLOAD);
            if left.is_some_and(|uid| !clusters.iter().any(|cluster| cluster.uid.0 == uid)) {
                self.shared.engine.remove(&name).await?;
            }
        }
        Ok(())
    }

    fn enter(&self, site: &Arc<Site>, machines: &[Token]) {
        let mut index = self.index.lock();
        let (token, uid) = site.identity();
        index.by_token.insert(token, site.clone());
        index.by_cluster.insert(uid, site.clone());
        for machine in machines {
            index.machines.insert(machine.clone(), site.clone());
        }
    }

    /// Closes the doors and stops the clocks of all clusters. The engine keeps everything.
    pub async fn shutdown(&self) {
        let sites: Vec<_> = self.index.lock().by_token.values().cloned().collect();
        for site in sites {
            site.shutdown().await;
        }
    }

    /// The objects whose machines change by themselves, from now on.
    pub fn machine_news(&self) -> mpsc::UnboundedReceiver<Key> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared.machine_news.lock().push(sender);
        receiver
    }

    /// Every machine that was ever made.
    ///
    /// # Errors
    /// [`WorldError::Row`] where the ledger cannot be read.
    pub fn machine_history(&self) -> std::result::Result<Vec<LedgerLine>, WorldError> {
        let rows = self.shared.ledger.machines()?.into_iter();
        Ok(rows
            .map(|MachineRow { token, owner, cluster, created, deleted, .. }| LedgerLine {
                token,
                owner,
                cluster,
                created,
                deleted,
            })
            .collect())
    }

    /// Every cluster that was ever made.
    ///
    /// # Errors
    /// [`WorldError::Row`] where the ledger cannot be read.
    pub fn cluster_history(&self) -> std::result::Result<Vec<LedgerLine>, WorldError> {
        let rows = self.shared.ledger.clusters()?.into_iter();
        Ok(rows
            .map(|ClusterRow { token, owner, uid, created, deleted, .. }| LedgerLine {
                token,
                owner,
                cluster: uid,
                created,
                deleted,
            })
            .collect())
    }

    pub(crate) fn now(&self) -> Time {
        self.shared.now()
    }

    /// The site whose API server listens on this port.
    pub(crate) fn site_on_port(&self, port: u16) -> Option<Arc<Site>> {
        let index = self.index.lock();
        index.by_token.values().find(|site| site.port() == port).cloned()
    }

    fn site_of_machine(&self, token: &Token) -> Option<Arc<Site>> {
        self.index.lock().machines.get(token).cloned()
    }

    pub(crate) fn site_of_token(&self, token: &Token) -> Option<Arc<Site>> {
        self.index.lock().by_token.get(token).cloned()
    }

    pub(crate) async fn create_machine(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        if let Some(site) = self.site_of_machine(token)
            && let Some(instance) = site.instance(token)
        {
            return Ok(instance);
        }
        if self.shared.ledger.machine(token)?.is_some_and(|row| !row.is_alive()) {
            let name = &request.name;
            return Err(Error::rejected(format!(
                "the machine {name} was made and deleted before; delete the object so that a new one takes its place"
            )));
        }
        let site = self.index.lock().by_cluster.get(&request.cluster_uid).cloned();
        let site = site.ok_or_else(|| {
            let cluster = &request.cluster;
            Error::not_found(format!("cluster {cluster} has no infrastructure in this world yet"))
        })?;
        let instance = site.create_machine(token, request).await?;
        self.index.lock().machines.insert(token.clone(), site);
        Ok(instance)
    }

    pub(crate) fn find_machine(&self, token: &Token) -> Option<Instance> {
        self.site_of_machine(token)?.instance(token)
    }

    pub(crate) async fn delete_machine(&self, token: &Token) -> Result<()> {
        let Some(site) = self.site_of_machine(token) else { return Ok(()) };
        site.delete_machine(token).await?;
        self.index.lock().machines.remove(token);
        Ok(())
    }

    pub(crate) fn propose_port(&self, token: &Token) -> Result<u16> {
        if let Some(site) = self.site_of_token(token) {
            return Ok(site.port());
        }
        Ok(self.shared.ports.lock().propose(token)?)
    }

    pub(crate) async fn create_cluster(&self, token: &Token, request: &ClusterRequest) -> Result<Arc<Site>> {
        let _founding = self.founding.lock().await;
        if let Some(site) = self.site_of_token(token) {
            return Ok(site);
        }
        let cluster = &request.cluster;
        if self.shared.ledger.cluster(token)?.is_some() {
            return Err(Error::rejected(format!(
                "the infrastructure of cluster {cluster} was made and deleted before; delete the object and create it again"
            )));
        }
        if self.index.lock().by_cluster.contains_key(&request.cluster_uid) {
            return Err(Error::rejected(format!(
                "cluster {cluster} has its infrastructure from another object; delete this one"
            )));
        }
        let wish = request.endpoint.as_ref().map(|endpoint| endpoint.port);
        let held = self.shared.ports.lock().take(token, wish)?;
        let row = ClusterRow {
            token: token.clone(),
            owner: cluster.sibling(&request.name),
            cluster: cluster.clone(),
            uid: request.cluster_uid.clone(),
            port: held.port,
            created: self.now(),
            machines: 0,
            initialized: None,
            etcd: Membership::default(),
            deleted: None,
        };
        if let Err(error) = self.shared.ledger.write(Changes::default().cluster(&row)?).await {
            self.shared.ports.lock().free(row.port);
            return Err(error.into());
        }
        let site = Site::reopen(&self.shared, row, vec![], held).await?;
        self.enter(&site, &[]);
        Ok(site)
    }

    pub(crate) async fn delete_cluster(&self, token: &Token) -> Result<()> {
        let _founding = self.founding.lock().await;
        self.shared.ports.lock().withdraw(token);
        let Some(site) = self.site_of_token(token) else { return Ok(()) };
        site.delete().await?;
        let (token, uid) = site.identity();
        let mut index = self.index.lock();
        index.by_token.remove(&token);
        index.by_cluster.remove(&uid);
        Ok(())
    }
}
