//! What stands around an infrastructure object: its owner, its cluster, whether it is paused.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use windlass_api::core::{Cluster, Machine};
use windlass_api::names::{ANNOTATION_MANAGED_BY, LABEL_CLUSTER_NAME};
use windlass_model::{Condition, Key};
use windlass_runtime::{Cache, Cached, ManagementError, Pass, key_of, uid_of};

use crate::pausing;

/// The condition that says whether anybody looks after an object.
pub(super) const PAUSED: &str = "Paused";
/// The API group of Machine and Cluster.
const CORE: &str = "cluster.x-k8s.io/";

/// The Machine that owns the object.
pub(super) fn owner_machine<K: Cached>(object: &K, cache: &Cache) -> Option<Arc<Machine>> {
    let owner = owner(object, "Machine")?;
    cache.get::<Machine>(&key_of(object).sibling(owner.0)).filter(|machine| uid_of(&**machine).0 == owner.1)
}

/// The Cluster that owns the object.
pub(super) fn owner_cluster<K: Cached>(object: &K, cache: &Cache) -> Option<Arc<Cluster>> {
    let owner = owner(object, "Cluster")?;
    cache.get::<Cluster>(&key_of(object).sibling(owner.0)).filter(|cluster| uid_of(&**cluster).0 == owner.1)
}

/// Name and UID of the owner of a kind of Cluster API's core.
fn owner<K: Cached>(object: &K, kind: &str) -> Option<(String, String)> {
    let owners = object.meta().owner_references.iter().flatten();
    let mut owners = owners.filter(|owner| owner.kind == kind && owner.api_version.starts_with(CORE));
    owners.next().map(|owner| (owner.name.clone(), owner.uid.clone()))
}

/// The key of the cluster an object is labelled with.
pub(super) fn cluster_key<K: Cached>(object: &K) -> Option<Key> {
    object.labels().get(LABEL_CLUSTER_NAME).map(|name| key_of(object).sibling(name.clone()))
}

/// Whether somebody else fulfils the contract for this object.
pub(super) fn is_managed_elsewhere<K: Cached>(object: &K) -> bool {
    object.annotations().contains_key(ANNOTATION_MANAGED_BY)
}

/// The condition `Paused`, and whether it holds.
pub(super) fn paused<K: Cached>(object: &K, cluster: Option<&Cluster>) -> Condition {
    pausing::condition(cluster, &K::kind(&()), object.meta())
}

/// Puts a finalizer on, unless it is there.
pub(super) fn hold<K: Cached>(object: &mut K, finalizer: &str) {
    if !is_held(object, finalizer) {
        object.meta_mut().finalizers.get_or_insert_default().push(finalizer.to_owned());
    }
}

/// Whether this finalizer is on.
pub(super) fn is_held<K: Cached>(object: &K, finalizer: &str) -> bool {
    object.meta().finalizers.iter().flatten().any(|name| name == finalizer)
}

/// Whether an object is being deleted.
pub(super) fn is_deleting<K: Cached>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Whether a pass over this object could change anything because its cluster has changed: what is settled
/// is not woken by every heartbeat of its cluster.
pub(super) fn concerns<K: Cached>(
    object: &K,
    settled: bool,
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    cluster: &Cluster,
) -> bool {
    let now = paused(object, Some(cluster)).is_true();
    !settled || is_deleting(object) || windlass_runtime::conditions::is_true(conditions, PAUSED) != now
}

/// A text in a ConfigMap of an object's namespace, to which its spec refers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRef {
    /// Where the backend's part of the spec refers to it: `loadBalancer.customHAProxyConfigTemplateRef`.
    pub path: &'static str,
    /// Name of the ConfigMap, which has the text under [`TEXT`].
    pub name: String,
}

/// The key of a ConfigMap under which upstream looks for a text.
const TEXT: &str = "value";

/// Why a text that a spec refers to is not there.
pub(super) enum Untold {
    /// The management API does not say.
    Unread(ManagementError),
    /// It does not exist: what to tell people.
    Missing(String),
}

/// The texts that a spec refers to, by the paths of the references.
pub(super) async fn texts(references: Vec<TextRef>, pass: &Pass) -> Result<BTreeMap<String, String>, Untold> {
    let mut texts = BTreeMap::new();
    for TextRef { path, name } in references {
        let key = pass.key.sibling(name);
        let found = pass.management.get::<ConfigMap>(&key).await.map_err(Untold::Unread)?;
        let text = found.and_then(|found| found.data).and_then(|mut data| data.remove(TEXT));
        let text = text.ok_or_else(|| {
            let message = format!(
                "{path} refers to ConfigMap {key}, which does not exist or has no key `{TEXT}`; create it, or remove the reference"
            );
            Untold::Missing(message)
        })?;
        texts.insert(path.to_owned(), text);
    }
    Ok(texts)
}
