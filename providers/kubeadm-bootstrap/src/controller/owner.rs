//! Who a KubeadmConfig makes data for: a Machine, or the hosts of a MachinePool.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;
use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::core::Machine;
use windlass_api::names::LABEL_CONTROL_PLANE;
use windlass_model::Key;
use windlass_plan::kubeadm_config::{Hosts, Owner};
use windlass_runtime::{GroupKind, ManagementError, Pass, uid_of};

/// The group of Machines and MachinePools.
const GROUP: &str = windlass_api::core::GROUP;
const POOL: &str = "MachinePool";

/// The owner of a KubeadmConfig.
pub(super) enum ConfigOwner {
    Machine(Arc<Machine>),
    Pool(Box<Pool>),
}

/// What is read of a MachinePool. Its kind is not ours: whoever serves it has defined it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Pool {
    metadata: PoolMetadata,
    spec: PoolSpec,
    status: PoolStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PoolMetadata {
    name: String,
    uid: String,
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PoolSpec {
    cluster_name: String,
    /// One if absent, as the API server would say.
    replicas: Option<usize>,
    template: PoolTemplate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolTemplate {
    spec: PoolMachine,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolMachine {
    version: Option<String>,
    bootstrap: PoolBootstrap,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PoolBootstrap {
    data_secret_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PoolStatus {
    node_refs: Vec<serde::de::IgnoredAny>,
}

impl ConfigOwner {
    /// The owner that the config names. None while it names none, or one that is not there (any more).
    pub(super) async fn find(config: &KubeadmConfig, pass: &Pass) -> Result<Option<Self>, ManagementError> {
        let named = |owner: &&OwnerReference| {
            let group = owner.api_version.split_once('/').map(|(group, _)| group);
            group == Some(GROUP) && (owner.kind == "Machine" || owner.kind == POOL)
        };
        let Some(owner) = config.metadata.owner_references.iter().flatten().find(named) else {
            return Ok(None);
        };
        let key = pass.key.sibling(owner.name.clone());
        if owner.kind == POOL {
            return Ok(pool(&key, pass).await?.filter(|pool| pool.metadata.uid == owner.uid).map(Self::Pool));
        }
        let machine = pass.cache.get::<Machine>(&key);
        Ok(machine.filter(|machine| uid_of(machine.as_ref()).0 == owner.uid).map(Self::Machine))
    }

    pub(super) fn cluster_name(&self) -> &str {
        match self {
            Self::Machine(machine) => &machine.spec.cluster_name,
            Self::Pool(pool) => &pool.spec.cluster_name,
        }
    }

    /// For people.
    pub(super) fn described(&self) -> String {
        match self {
            Self::Machine(machine) => {
                format!("Machine {} spec.version", windlass_runtime::key_of(machine.as_ref()).name)
            }
            Self::Pool(pool) => format!("MachinePool {} spec.template.spec.version", pool.metadata.name),
        }
    }

    pub(super) fn version(&self) -> Option<&str> {
        match self {
            Self::Machine(machine) => machine.spec.version.as_deref(),
            Self::Pool(pool) => pool.spec.template.spec.version.as_deref(),
        }
    }

    pub(super) fn machine(&self) -> Option<&Machine> {
        match self {
            Self::Machine(machine) => Some(machine),
            Self::Pool(_) => None,
        }
    }

    /// Only Machines can be of the control plane.
    pub(super) fn is_control_plane(&self) -> bool {
        self.machine()
            .and_then(|machine| machine.metadata.labels.as_ref())
            .is_some_and(|labels| labels.contains_key(LABEL_CONTROL_PLANE))
    }

    /// Whether it is a Machine of a control plane object.
    pub(super) fn has_control_plane(&self) -> bool {
        let owners = self.machine().and_then(|machine| machine.metadata.owner_references.as_ref());
        owners.is_some_and(|owners| {
            owners
                .iter()
                .any(|owner| owner.controller == Some(true) && owner.api_version.starts_with("controlplane."))
        })
    }

    pub(super) fn observed(&self) -> Owner {
        let (hosts, secret, deleting) = match self {
            Self::Machine(machine) => (
                Hosts::Machine {
                    joined: machine.status.as_ref().is_some_and(|status| status.node_ref.is_some()),
                },
                &machine.spec.bootstrap.data_secret_name,
                machine.metadata.deletion_timestamp.is_some(),
            ),
            Self::Pool(pool) => (
                Hosts::Pool { complete: pool.status.node_refs.len() == pool.spec.replicas.unwrap_or(1) },
                &pool.spec.template.spec.bootstrap.data_secret_name,
                pool.metadata.deletion_timestamp.is_some(),
            ),
        };
        Owner {
            hosts,
            control_plane: self.is_control_plane(),
            data_secret: secret.clone().filter(|name| !name.is_empty()),
            deleting,
        }
    }
}

/// A MachinePool, read live: the cache has only what the contracts say of such objects. It wakes us.
async fn pool(key: &Key, pass: &Pass) -> Result<Option<Box<Pool>>, ManagementError> {
    let kind = GroupKind::new(GROUP, POOL);
    if pass.cache.external(&kind, key).found().is_none() {
        return Ok(None);
    }
    let found = pass.management.get_external(&kind, key).await?;
    Ok(found.and_then(|value| serde_json::from_value(value).ok()))
}
