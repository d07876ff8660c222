//! The connections to all workload clusters.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use parking_lot::Mutex;
use windlass_model::Key;
use windlass_runtime::{Clock, Management, Metrics, Tasks};

use crate::connector::Connector;
use crate::health::{Health, NotConnected, Reason};
use crate::kubeconfigs;
use crate::link::{Link, LinkMetrics, Surroundings};
use crate::nodes::NodeStore;
use crate::subscription::{Subscribers, Subscription};

/// One connection per wanted cluster, kept in the background; cheap to clone. No method waits.
#[derive(Clone)]
pub struct Workloads(Arc<Inner>);

struct Inner {
    around: Arc<Surroundings>,
    links: Mutex<BTreeMap<Key, Link>>,
    tasks: Tasks,
}

/// A cluster within reach: its nodes have been listed, and its API server answered lately.
#[derive(Clone)]
pub struct Connected {
    /// Speaks to the cluster. It may fail at any time, like every remote call.
    pub client: Client,
    nodes: NodeStore,
}

impl Workloads {
    /// Connections made by `connector`, in `tasks`; kubeconfig Secrets are read live through `management`.
    pub fn new(
        management: Client,
        connector: Arc<dyn Connector>,
        clock: Clock,
        tasks: Tasks,
        metrics: &Metrics,
    ) -> Self {
        let watched = management.clone();
        let around = Surroundings {
            management: Management::new(management),
            connector,
            clock,
            subscribers: Subscribers::default(),
            metrics: LinkMetrics::new(metrics),
        };
        let inner = Arc::new(Inner { around: Arc::new(around), links: Mutex::default(), tasks });
        let this = Arc::downgrade(&inner);
        inner.tasks.spawn(
            "kubeconfigs",
            kubeconfigs::follow(watched, move |cluster, version| {
                let Some(inner) = this.upgrade() else { return };
                if let Some(link) = inner.links.lock().get(cluster) {
                    link.kubeconfig_is(version);
                }
            }),
        );
        Self(inner)
    }

    /// The cluster's infrastructure is provisioned: connect, and stay connected. Passes call it again and
    /// again; until the first connection each call is taken as a hint that it may work now.
    pub fn want(&self, cluster: &Key) {
        let mut links = self.0.links.lock();
        if let Some(link) = links.get(cluster) {
            link.wanted(self.0.around.clock.now());
        } else {
            let link = Link::start(cluster, self.0.around.clone(), self.0.tasks.child());
            links.insert(cluster.clone(), link);
        }
    }

    /// Something about the cluster has changed for the better (its kubeconfig was written, its control plane
    /// came up): try now what is waiting for its turn.
    pub fn nudge(&self, cluster: &Key) {
        if let Some(link) = self.0.links.lock().get(cluster) {
            link.nudge();
        }
    }

    /// The cluster is being deleted: disconnect for good.
    pub fn forget(&self, cluster: &Key) {
        // Dropped outside the lock: it ends the link's tasks.
        let link = self.0.links.lock().remove(cluster);
        if link.is_some() {
            self.0.around.metrics.forget(cluster);
        }
    }

    /// The connection to a cluster, if it stands.
    pub fn get(&self, cluster: &Key) -> Result<Connected, NotConnected> {
        match self.0.links.lock().get(cluster) {
            Some(link) => link.get(),
            None => Err(NotConnected {
                reason: Reason::Unwanted,
                message: String::new(),
                since: self.0.around.clock.now(),
            }),
        }
    }

    /// What the probes of a cluster have shown.
    pub fn health(&self, cluster: &Key) -> Health {
        self.0.links.lock().get(cluster).map(Link::health).unwrap_or_default()
    }

    /// Whether every wanted cluster is connected.
    pub fn all_connected(&self) -> bool {
        self.0.links.lock().values().all(|link| link.get().is_ok())
    }

    /// Everything that happens in workload clusters from now on.
    pub fn subscribe(&self) -> Subscription {
        self.0.around.subscribers.add()
    }
}

impl fmt::Debug for Workloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workloads").field("clusters", &self.0.links.lock().keys()).finish_non_exhaustive()
    }
}

impl Connected {
    pub(crate) fn new(client: Client, nodes: NodeStore) -> Self {
        Self { client, nodes }
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.nodes.get(name)
    }

    /// The nodes with this provider id: at most one in a world in order.
    pub fn node_by_provider_id(&self, id: &str) -> Vec<Arc<Node>> {
        self.nodes.by_provider_id(id)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.all()
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").field("nodes", &self.nodes().len()).finish_non_exhaustive()
    }
}
