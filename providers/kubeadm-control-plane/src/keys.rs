//! Keys on a blocking pool, a few at a time, and what is worth remembering about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use windlass_model::{Time, Uid};
use windlass_pki::{Algorithm, KeySource, PkiError, PrivateKey};
use windlass_workload::EtcdIdentity;

/// Makes keys without holding up the loop.
pub(crate) struct Keys {
    source: Arc<dyn KeySource>,
    /// As many as there are processors: more would only slow each other down.
    permits: Arc<Semaphore>,
    /// By the UID of the Cluster.
    known: Mutex<BTreeMap<Uid, Known>>,
    /// Our own key for etcd, the same for all clusters.
    client: tokio::sync::OnceCell<PrivateKey>,
}

/// What is worth remembering about a cluster; all of it can be found again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// When all of them were found.
    pub(crate) complete: Option<Time>,
    /// Our certificate for its etcd, and when it was made.
    pub(crate) etcd: Option<(Time, Arc<EtcdIdentity>)>,
    /// What kube-proxy and CoreDNS follow, as it was when both were last found in line.
    pub(crate) addons: Option<String>,
    /// Machines whose API server was asked for its certificate, by UID, and when.
    pub(crate) asked: BTreeMap<Uid, Time>,
    /// What has kept the control plane from changing, since when, and whether an event has told of it.
    pub(crate) blocked: Option<(String, Time, bool)>,
}

impl Keys {
    pub(crate) fn new(source: Arc<dyn KeySource>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            source,
            permits: Arc::new(Semaphore::new(cores)),
            known: Mutex::default(),
            client: tokio::sync::OnceCell::new(),
        }
    }

    /// A key for `purpose`.
    pub(crate) async fn generate(
        &self,
        algorithm: Algorithm,
        purpose: String,
    ) -> Result<PrivateKey, PkiError> {
        let source = self.source.clone();
        self.blocking(move || source.generate(algorithm, &purpose)).await
    }

    /// Runs `work`, which takes its time, beside the loop; in place where keys cost nothing (the simulator
    /// has one thread).
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PkiError> + Send + 'static,
    ) -> Result<T, PkiError> {
        if self.source.is_instant() {
            return work();
        }
        // The semaphore is never closed, and a worker that panicked has said so.
        let _permit = self.permits.acquire().await.map_err(|_| PkiError::Worker)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| PkiError::Worker)?
    }

    /// The key of our own client certificates. ECDSA, whatever the cluster uses: it is cheap, and etcd does
    /// not mind.
    pub(crate) async fn client(&self) -> Result<PrivateKey, PkiError> {
        let make = || self.generate(Algorithm::EcdsaP256, "etcd-client".to_owned());
        self.client.get_or_try_init(make).await.cloned()
    }

    pub(crate) fn known(&self, cluster: &Uid) -> Known {
        self.known.lock().get(cluster).cloned().unwrap_or_default()
    }

    pub(crate) fn remember(&self, cluster: &Uid, change: impl FnOnce(&mut Known)) {
        change(self.known.lock().entry(cluster.clone()).or_default());
    }

    pub(crate) fn forget(&self, cluster: &Uid) {
        self.known.lock().remove(cluster);
    }
}
