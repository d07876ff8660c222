//! The init lock as a ConfigMap `<cluster>-lock` beside the Cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::{Deserialize, Serialize};
use windlass_api::bootstrap::JoinConfiguration;
use windlass_api::core::{Cluster, Machine};
use windlass_api::names::LABEL_CLUSTER_NAME;
use windlass_model::Key;
use windlass_plan::kubeadm_config::Observed;
use windlass_plan::kubeadm_config::lock::{Lock, lock};
use windlass_runtime::{Created, ManagementError, Pass, Propagation, key_of, uid_of};

use super::KubeadmConfigError;
use super::observe::Scene;

/// The one member of the lock's data.
const INFORMATION: &str = "lock-information";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Information {
    machine_name: String,
}

fn key(scene: &Scene) -> Key {
    let cluster = scene.cluster_key();
    cluster.sibling(format!("{}-lock", cluster.name))
}

/// Whether this machine may initialize the cluster: takes the lock if it is free.
///
/// A machine of a control plane object needs no lock: that object makes one machine that may initialize,
/// and says of all others that they join.
pub(super) async fn take(scene: &Scene, pass: &Pass) -> Result<bool, KubeadmConfigError> {
    if scene.has_control_plane() {
        return Ok(true);
    }
    let failed = KubeadmConfigError::InitLock;
    let machine = key_of(scene.machine.as_ref()).name;
    // A lock that is broken is taken at once: two rounds.
    for _ in 0..2 {
        let found = pass.management.get::<ConfigMap>(&key(scene)).await.map_err(failed)?;
        let holder = found.as_ref().map(holder_of);
        let exists = |name: &str| pass.cache.get::<Machine>(&pass.key.sibling(name)).is_some();
        match lock(holder.as_ref().map(Option::as_deref), &machine, exists) {
            Lock::Mine => return Ok(true),
            Lock::Held => return Ok(false),
            Lock::Take => {
                let created = pass.management.create(&config_map(scene, &machine)).await.map_err(failed)?;
                return Ok(matches!(created, Created::Made(_)));
            }
            Lock::Break => remove(pass, found.as_ref()).await.map_err(failed)?,
        }
    }
    Ok(false)
}

/// Removes the lock once the control plane is up. The config that made the init data looks after that.
pub(super) async fn release(
    scene: &Scene,
    observed: &Observed,
    pass: &Pass,
) -> Result<(), KubeadmConfigError> {
    let may_hold = !scene.has_control_plane()
        && observed.created
        && observed.control_plane_initialized
        && scene.is_control_plane()
        && scene.config.spec.join_configuration == JoinConfiguration::default();
    if !may_hold {
        return Ok(());
    }
    let failed = KubeadmConfigError::InitLock;
    let found = pass.management.get::<ConfigMap>(&key(scene)).await.map_err(failed)?;
    remove(pass, found.as_ref()).await.map_err(failed)
}

async fn remove(pass: &Pass, lock: Option<&ConfigMap>) -> Result<(), ManagementError> {
    let Some(lock) = lock else { return Ok(()) };
    pass.management.delete::<ConfigMap>(&key_of(lock), &uid_of(lock), Propagation::Background).await.map(drop)
}

fn holder_of(lock: &ConfigMap) -> Option<String> {
    let text = lock.data.as_ref()?.get(INFORMATION)?;
    serde_json::from_str::<Information>(text).ok().map(|information| information.machine_name)
}

fn config_map(scene: &Scene, machine: &str) -> ConfigMap {
    let Key { namespace, name } = key(scene);
    let cluster = scene.cluster.as_ref();
    let information = serde_json::json!(Information { machine_name: machine.to_owned() });
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            labels: Some(BTreeMap::from([(LABEL_CLUSTER_NAME.to_owned(), key_of(cluster).name)])),
            owner_references: Some(vec![OwnerReference {
                api_version: Cluster::api_version(&()).into_owned(),
                kind: Cluster::kind(&()).into_owned(),
                name: key_of(cluster).name,
                uid: uid_of(cluster).0,
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(INFORMATION.to_owned(), information.to_string())])),
        ..ConfigMap::default()
    }
}
