//! One cluster and its machines.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use windlass_apiserver::{Server, UserInfo};
use windlass_model::{Key, Time, Uid};
use windlass_provider::{Error, Instance, MachineRequest, Result, Token};
use windlass_runtime::{Clock, Tasks, time};
use windlass_store::History;

use super::delays::Delays;
use super::etcd::{EtcdRefusal, Membership};
use super::gate;
use super::ledger::Changes;
use super::ports::Held;
use super::rows::{ClusterRow, MachineRow, ServingPki};
use super::workload::Workload;
use super::{Shared, WORKLOAD, WorldError, objects, stages};
use crate::node::Kubelets;

/// How long a site waits before it tries a failed step again.
const RETRY: Duration = Duration::from_secs(1);
/// There may be a thousand clusters in one process, each with a few watches that are never far behind.
const WORKLOAD_HISTORY: History = History { events: 500, bytes: 128 << 10 };

/// One cluster of the world.
pub struct Site {
    pub(super) shared: Arc<Shared>,
    /// Held for every change, across its commit.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Something is due sooner than the driver thinks.
    sooner: Notify,
    /// Whether an API server answers.
    gate: watch::Sender<bool>,
    /// Something has changed.
    moved: watch::Sender<()>,
    /// The way to the pods of its nodes.
    kubelets: Arc<Kubelets>,
    /// The driver and the listener.
    tasks: Tasks,
}

/// What is known of a cluster; as committed.
#[derive(Clone)]
pub(super) struct State {
    pub(super) cluster: ClusterRow,
    /// The machines that exist.
    pub(super) machines: BTreeMap<Token, Arc<MachineRow>>,
    /// The certificates of control plane machines; of the last one also when it is gone.
    pub(super) pki: BTreeMap<Token, Arc<ServingPki>>,
    pub(super) running: Option<Running>,
}

/// The API server of a cluster and our own way into it.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) server: Server,
    pub(super) workload: Workload,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({})", self.cluster())
    }
}

impl State {
    /// Whether the etcd member on a machine runs.
    pub(super) fn etcd_runs(&self, machine: &Token) -> bool {
        self.machines.get(machine).is_some_and(|row| row.etcd.is_some())
    }

    /// The certificates that were made last.
    pub(super) fn newest_pki(&self) -> Option<&Arc<ServingPki>> {
        let joined = |machine: &Token| self.machines.get(machine).map(|row| row.joined);
        self.pki.iter().max_by_key(|(machine, _)| joined(machine)).map(|(_, pki)| pki)
    }

    /// Whether an API server answers: one runs, and its etcd has a quorum.
    pub(super) fn is_open(&self) -> bool {
        let Some(initialized) = &self.cluster.initialized else { return false };
        let etcd = &self.cluster.etcd;
        let member = |machine: &Token| etcd.members.values().any(|member| member.machine == *machine);
        let serves = |row: &Arc<MachineRow>| {
            row.api_server.is_some() && (initialized.external_etcd || member(&row.token))
        };
        let quorum = initialized.external_etcd || etcd.has_quorum(&|machine| self.etcd_runs(machine));
        quorum && self.machines.values().any(serves)
    }
}

impl Site {
    /// The site of a cluster that is in the ledger: an initialized one answers again.
    pub(super) async fn reopen(
        shared: &Arc<Shared>,
        cluster: ClusterRow,
        machines: Vec<MachineRow>,
        held: Held,
    ) -> std::result::Result<Arc<Self>, WorldError> {
        let pki = shared.ledger.pki(&cluster.uid)?.into_iter();
        let pki = pki.map(|(machine, pki)| (machine, Arc::new(pki))).collect();
        let kubelets = Arc::new(Kubelets::default());
        let running = match &cluster.initialized {
            Some(initialized) => {
                let newest = machines.iter().filter(|machine| machine.api_server.is_some());
                let newest = newest.max_by_key(|machine| machine.api_server);
                let version = newest.map_or(&initialized.version, |machine| &machine.version);
                Some(start(shared, &cluster, version, &kubelets).await?)
            }
            None => None,
        };
        let machines =
            machines.into_iter().map(|machine| (machine.token.clone(), Arc::new(machine))).collect();
        let state = State { cluster, machines, pki, running };
        let site = Arc::new(Self {
            shared: shared.clone(),
            turn: tokio::sync::Mutex::default(),
            gate: watch::Sender::new(state.is_open()),
            moved: watch::Sender::new(()),
            kubelets,
            state: Mutex::new(state),
            sooner: Notify::new(),
            tasks: shared.options.spawner.child(),
        });
        site.kubelets.belong_to(&site);
        let name = site.cluster();
        site.tasks.spawn(format!("site {name}"), drive(Arc::downgrade(&site)));
        if shared.options.listen {
            let gate = gate::listen(Arc::downgrade(&site), held, site.gate.subscribe());
            site.tasks.spawn(format!("listener of {name}"), gate);
        }
        Ok(site)
    }

    /// A copy of all that is known.
    pub(super) fn state(&self) -> State {
        self.state.lock().clone()
    }

    pub(crate) fn identity(&self) -> (Token, Uid) {
        let state = self.state.lock();
        (state.cluster.token.clone(), state.cluster.uid.clone())
    }

    pub(crate) fn cluster(&self) -> Key {
        self.state.lock().cluster.cluster.clone()
    }

    pub(crate) fn port(&self) -> u16 {
        self.state.lock().cluster.port
    }

    /// The API server, while one answers.
    pub(crate) fn open_server(&self) -> Option<Server> {
        let state = self.state.lock();
        state.running.as_ref().filter(|_| state.is_open()).map(|running| running.server.clone())
    }

    /// Whether an API server answers.
    pub(crate) fn is_open(&self) -> bool {
        *self.gate.borrow()
    }

    /// The certificates of the newest API server.
    pub(crate) fn pki(&self) -> Option<Arc<ServingPki>> {
        self.state.lock().newest_pki().cloned()
    }

    /// Tells of every change.
    pub(super) fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Runs something for as long as the cluster exists.
    pub(crate) fn spawn(&self, name: String, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, task);
    }

    /// The time, as machines of this cluster tell it.
    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.options.clock
    }

    pub(super) fn instance(&self, token: &Token) -> Option<Instance> {
        let now = self.shared.now();
        self.state.lock().machines.get(token).map(|row| stages::instance(row, now))
    }

    pub(super) async fn create_machine(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        let _turn = self.turn.lock().await;
        if let Some(instance) = self.instance(token) {
            return Ok(instance);
        }
        let delays = Delays::of(&request.spec, token)?;
        let mut cluster = self.state.lock().cluster.clone();
        if cluster.deleted.is_some() {
            return Err(Error::not_found(format!(
                "cluster {} has no infrastructure any more",
                cluster.cluster
            )));
        }
        cluster.machines += 1;
        let [_, _, third, fourth] = cluster.machines.to_be_bytes();
        let machine = MachineRow {
            token: token.clone(),
            owner: request.cluster.sibling(&request.name),
            cluster: request.cluster_uid.clone(),
            name: request.name.clone(),
            version: request.version.clone(),
            control_plane: request.control_plane,
            failure_domain: request.failure_domain.clone(),
            address: format!("10.0.{third}.{fourth}"),
            created: self.shared.now(),
            delays,
            joined: None,
            node: None,
            etcd: None,
            api_server: None,
            refusal: None,
            deleted: None,
        };
        let changes = Changes::default().machine(&machine)?.cluster(&cluster)?;
        self.shared.ledger.write(changes.disk(token, &request.bootstrap_data)).await?;
        {
            let mut state = self.state.lock();
            state.cluster = cluster;
            state.machines.insert(token.clone(), Arc::new(machine));
        }
        // What takes no time has happened when the call returns.
        if let Err(error) = self.advance(self.shared.now()).await {
            tracing::warn!(cluster = %self.cluster(), %error, "a machine does not boot yet");
        }
        self.sooner.notify_one();
        self.instance(token).ok_or_else(|| Error::transient("the machine vanished while it was made"))
    }

    pub(super) async fn delete_machine(&self, token: &Token) -> Result<()> {
        let _turn = self.turn.lock().await;
        let mut state = self.state();
        let Some(machine) = state.machines.remove(token) else { return Ok(()) };
        let mut machine = (*machine).clone();
        let now = self.shared.now();
        if let Some(running) = &state.running {
            vanish(running, &machine, now).await?;
        }
        machine.deleted = Some(now);
        elect(&mut state);
        let mut changes = Changes::default().machine(&machine)?.cluster(&state.cluster)?;
        if self.shared.ledger.disk(token).is_some() {
            changes = changes.wipe(token);
        }
        if state.pki.len() > 1 && state.pki.remove(token).is_some() {
            changes = changes.forget_pki(&state.cluster.uid, token);
        }
        self.shared.ledger.write(changes).await?;
        self.publish(state);
        Ok(())
    }

    /// Deletes the cluster with its store. Its machines must be gone.
    pub(super) async fn delete(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let mut state = self.state();
        if let Some(machine) = state.machines.values().next() {
            let (count, name) = (state.machines.len(), &machine.name);
            return Err(Error::transient(format!(
                "{count} machines still use the cluster's infrastructure, {name} among them; it goes when they are gone"
            )));
        }
        state.cluster.deleted = Some(self.shared.now());
        let mut changes = Changes::default().cluster(&state.cluster)?;
        for machine in std::mem::take(&mut state.pki).into_keys() {
            changes = changes.forget_pki(&state.cluster.uid, &machine);
        }
        self.shared.ledger.write(changes).await?;
        let (port, uid) = (state.cluster.port, state.cluster.uid.clone());
        self.shutdown().await;
        state.running = None;
        self.publish(state);
        self.shared.engine.remove(&format!("{WORKLOAD}{uid}")).await.map_err(WorldError::from)?;
        self.shared.ports.lock().free(port);
        Ok(())
    }

    /// Ends what runs for this cluster: its clock, its listener, its API server.
    pub(super) async fn shutdown(&self) {
        self.tasks.shutdown().await;
        let running = self.state.lock().running.clone();
        if let Some(running) = running {
            running.server.stop().await;
        }
    }

    /// Makes a committed state the known one, and opens or closes the API server accordingly.
    pub(super) fn publish(&self, state: State) {
        let open = state.is_open();
        *self.state.lock() = state;
        self.gate.send_if_modified(|was| std::mem::replace(was, open) != open);
        self.moved.send_replace(());
    }

    /// Starts the cluster's API server, closed for now.
    pub(super) async fn start_server(&self, version: &str) -> std::result::Result<Running, WorldError> {
        let cluster = self.state.lock().cluster.clone();
        start(&self.shared, &cluster, version, &self.kubelets).await
    }

    /// Changes the etcd membership.
    pub(crate) async fn change_etcd(
        &self,
        change: impl FnOnce(&mut Membership, &dyn Fn(&Token) -> bool) -> std::result::Result<(), EtcdRefusal>
        + Send,
    ) -> std::result::Result<std::result::Result<(), EtcdRefusal>, WorldError> {
        let _turn = self.turn.lock().await;
        let mut state = self.state();
        let mut etcd = state.cluster.etcd.clone();
        if let Err(refusal) = change(&mut etcd, &|machine| state.etcd_runs(machine)) {
            return Ok(Err(refusal));
        }
        if etcd != state.cluster.etcd {
            state.cluster.etcd = etcd;
            self.shared.ledger.write(Changes::default().cluster(&state.cluster)?).await?;
            self.publish(state);
        }
        Ok(Ok(()))
    }

    /// Does everything that is due, and says when something is due next.
    async fn step(&self, last: Time) -> Option<Duration> {
        let _turn = self.turn.lock().await;
        let now = self.shared.now();
        for machine in self.state().machines.values() {
            // That a machine runs follows from the time alone; only its owner must hear of it.
            if machine.vm_due() > last && machine.vm_due() <= now {
                self.shared.wake(&machine.owner);
            }
        }
        if let Err(error) = self.advance(now).await {
            tracing::warn!(cluster = %self.cluster(), %error, "a machine does not boot yet");
            return Some(RETRY);
        }
        let next = self.state.lock().machines.values().filter_map(|machine| machine.next_due(now)).min();
        next.map(|due| due.until(now))
    }
}

/// Chooses the leader anew where machines have come or gone.
pub(super) fn elect(state: &mut State) {
    let mut etcd = std::mem::take(&mut state.cluster.etcd);
    etcd.elect(&|machine| state.etcd_runs(machine));
    state.cluster.etcd = etcd;
}

/// Lets what is due happen, for as long as the site exists.
async fn drive(site: std::sync::Weak<Site>) {
    let mut last = Time(i64::MIN);
    loop {
        let Some(strong) = site.upgrade() else { return };
        let now = strong.shared.now();
        let wait = strong.step(last).await;
        last = now;
        let sooner = strong.sooner.notified();
        match wait {
            Some(wait) => {
                let _ = tokio::time::timeout(wait, sooner).await;
            }
            None => sooner.await,
        }
    }
}

/// Starts the API server of a cluster over its store.
async fn start(
    shared: &Shared,
    cluster: &ClusterRow,
    version: &str,
    kubelets: &Arc<Kubelets>,
) -> std::result::Result<Running, WorldError> {
    let clock = shared.options.clock.clone();
    let now = move || jiff::Timestamp::from_microsecond(clock.now().0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let store = shared.engine.store(&format!("{WORKLOAD}{}", cluster.uid));
    if shared.options.listen {
        store.limit_history(WORKLOAD_HISTORY);
    }
    let server = Server::builder(store)
        .clock(Arc::new(now))
        .random(shared.options.random.clone())
        .kinds(shared.options.kinds.clone())
        .version(version)
        .pods(kubelets.clone())
        .start()
        .await
        .map_err(|source| WorldError::Server {
            cluster: cluster.cluster.clone(),
            source: Box::new(source),
        })?;
    let client = server.client(UserInfo::admin("kubernetes-admin"), "kubeadm");
    Ok(Running { server, workload: Workload::new(client) })
}

/// What a cluster sees of a machine that is gone: its static pods end, its node is lost.
async fn vanish(running: &Running, machine: &MachineRow, now: Time) -> std::result::Result<(), WorldError> {
    let Some(node) = &machine.node else { return Ok(()) };
    if machine.control_plane {
        for component in super::boot::COMPONENTS {
            let pod = format!("/api/v1/namespaces/kube-system/pods/{component}-{}", node.name);
            running.workload.delete(&pod).await?;
        }
    }
    if let Some(mut object) = running.workload.get(&format!("/api/v1/nodes/{}", node.name)).await?
        && object["metadata"]["uid"] == node.uid.as_str()
    {
        objects::lost(&mut object, &time::format(now));
        running.workload.replace_status(&object).await?;
    }
    Ok(())
}
