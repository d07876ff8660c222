//! Kubeconfig Secrets that change: one watch for all clusters, of nothing but their metadata.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::core::PartialObjectMeta;
use windlass_model::Key;
use windlass_runtime::management::resource_of;
use windlass_runtime::watch::{Scope, Sink, run};

/// Label of everything that belongs to a cluster (Cluster API, `ClusterNameLabel`). Who brings a kubeconfig of
/// their own sets it, too; without it a change shows when the old credentials are refused.
const OF_A_CLUSTER: &str = "cluster.x-k8s.io/cluster-name";
/// How the Secret's name follows from its cluster's.
const SUFFIX: &str = "-kubeconfig";

/// Tells `changed` the cluster and the Secret's version, for each Secret that is there, is made, or changes.
pub(crate) async fn follow(management: Client, changed: impl Fn(&Key, Option<&str>) + Send + Sync) {
    let scope = Scope::all(resource_of::<Secret>()).labelled(OF_A_CLUSTER);
    run(&management, &scope, &Changes(changed)).await;
}

struct Changes<F>(F);

impl<F: Fn(&Key, Option<&str>)> Sink<PartialObjectMeta<Secret>> for Changes<F> {
    fn replace(&self, secrets: Vec<PartialObjectMeta<Secret>>, _: u64) {
        for secret in secrets {
            self.apply(secret);
        }
    }

    fn apply(&self, secret: PartialObjectMeta<Secret>) {
        let meta = secret.metadata;
        let (Some(namespace), Some(name)) = (meta.namespace, meta.name) else { return };
        if let Some(cluster) = name.strip_suffix(SUFFIX) {
            (self.0)(&Key::new(namespace, cluster), meta.resource_version.as_deref());
        }
    }

    /// What stands, stands.
    fn delete(&self, _: PartialObjectMeta<Secret>) {}

    fn reached(&self, _: u64) {}
}
