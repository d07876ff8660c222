//! The init lock as a ConfigMap `<cluster>-lock` beside the Cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use windlass_api::bootstrap::JoinConfiguration;
use windlass_api::core::Machine;
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

/// Whether this machine may initialize the cluster, as far as can be told without taking the lock.
///
/// A machine of a control plane object needs no lock: that object makes one machine that may initialize,
/// and says of all others that they join.
pub(super) async fn is_open(scene: &Scene, pass: &Pass) -> Result<bool, KubeadmConfigError> {
    let Some(machine) = needed_by(scene) else { return Ok(true) };
    let (decided, _) = look(scene, pass, &machine).await?;
    Ok(decided != Lock::Held)
}

/// Takes the lock if it is free; whether this machine has it now. Only who has everything else asks: it
/// publishes its data next, so that the lock is not in others' way meanwhile.
pub(super) async fn take(scene: &Scene, pass: &Pass) -> Result<bool, KubeadmConfigError> {
    let Some(machine) = needed_by(scene) else { return Ok(true) };
    let failed = KubeadmConfigError::InitLock;
    // A lock that is broken is taken at once: two rounds.
    for _ in 0..2 {
        let (decided, found) = look(scene, pass, &machine).await?;
        match decided {
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

/// Gives the lock back: this machine has certainly not published anything, and may not be able to.
pub(super) async fn give_back(scene: &Scene, pass: &Pass) -> Result<(), KubeadmConfigError> {
    let Some(machine) = needed_by(scene) else { return Ok(()) };
    match look(scene, pass, &machine).await? {
        (Lock::Mine, found) => remove(pass, found.as_ref()).await.map_err(KubeadmConfigError::InitLock),
        (Lock::Take | Lock::Break | Lock::Held, _) => Ok(()),
    }
}

/// Removes the lock once the control plane is up. The configs of control plane machines look after that: the
/// one that made the init data, or, if that one is gone, whoever joins next.
pub(super) async fn release(
    scene: &Scene,
    observed: &Observed,
    pass: &Pass,
) -> Result<(), KubeadmConfigError> {
    let may_be_left = observed.control_plane_initialized
        && needed_by(scene).is_some()
        && (!observed.created || scene.config.spec.join_configuration == JoinConfiguration::default());
    if !may_be_left {
        return Ok(());
    }
    let failed = KubeadmConfigError::InitLock;
    let found = pass.management.get::<ConfigMap>(&key(scene)).await.map_err(failed)?;
    remove(pass, found.as_ref()).await.map_err(failed)
}

/// The machine that needs the lock to initialize the cluster.
fn needed_by(scene: &Scene) -> Option<String> {
    let machine = scene.owner.machine()?;
    (scene.owner.is_control_plane() && !scene.owner.has_control_plane()).then(|| key_of(machine).name)
}

async fn look(
    scene: &Scene,
    pass: &Pass,
    machine: &str,
) -> Result<(Lock, Option<ConfigMap>), KubeadmConfigError> {
    let found = pass.management.get::<ConfigMap>(&key(scene)).await.map_err(KubeadmConfigError::InitLock)?;
    let holder = found.as_ref().map(holder_of);
    let exists = |name: &str| pass.cache.get::<Machine>(&pass.key.sibling(name)).is_some();
    Ok((lock(holder.as_ref().map(Option::as_deref), machine, exists), found))
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
    let information = serde_json::json!(Information { machine_name: machine.to_owned() });
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            labels: Some(BTreeMap::from([(LABEL_CLUSTER_NAME.to_owned(), scene.cluster_key().name)])),
            owner_references: Some(vec![scene.cluster_as_owner()]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(INFORMATION.to_owned(), information.to_string())])),
        ..ConfigMap::default()
    }
}
