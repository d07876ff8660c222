//! What a pass over a KubeadmConfig looks at.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use windlass_api::bootstrap::{self, KubeadmConfig};
use windlass_api::core::{Cluster, Machine};
use windlass_api::names::{ANNOTATION_PAUSED, LABEL_CONTROL_PLANE};
use windlass_model::{Key, Version};
use windlass_plan::kubeadm_config::{Format, Observed, Owner, Progress};
use windlass_runtime::{Pass, key_of, uid_of};

use super::Halt;
use crate::kubeadm::ClusterFacts;

/// A KubeadmConfig, its Machine and their Cluster.
pub(super) struct Scene {
    /// As it is by now: the pass writes to it.
    pub(super) config: KubeadmConfig,
    pub(super) machine: Arc<Machine>,
    pub(super) cluster: Arc<Cluster>,
    /// `host:port` of the API server; empty while unknown.
    endpoint: String,
    /// The Secret with the data.
    pub(super) secret: Option<String>,
}

impl Scene {
    /// None while nobody owns the config: then nobody needs it.
    pub(super) fn observe(config: Arc<KubeadmConfig>, pass: &Pass) -> Option<Self> {
        let is_machine = |owner: &&OwnerReference| {
            owner.kind == "Machine" && owner.api_version.starts_with("cluster.x-k8s.io/")
        };
        let owner = config.metadata.owner_references.iter().flatten().find(is_machine)?;
        let machine = pass.cache.get::<Machine>(&pass.key.sibling(owner.name.clone()))?;
        if uid_of(machine.as_ref()).0 != owner.uid {
            return None;
        }
        let cluster = pass.cache.get::<Cluster>(&pass.key.sibling(machine.spec.cluster_name.clone()))?;
        let endpoint = cluster.spec.control_plane_endpoint.complete().map(|(host, port)| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        });
        let secret = config.status.as_ref().and_then(|status| status.data_secret_name.clone());
        let config = Arc::unwrap_or_clone(config);
        Some(Self { config, machine, cluster, endpoint: endpoint.unwrap_or_default(), secret })
    }

    /// Why nothing may be done, if so.
    pub(super) fn paused(&self) -> Option<&'static str> {
        let annotated = |annotations: Option<&std::collections::BTreeMap<String, String>>| {
            annotations.is_some_and(|annotations| annotations.contains_key(ANNOTATION_PAUSED))
        };
        if self.cluster.spec.paused == Some(true) {
            Some("Cluster spec.paused is set to true")
        } else if annotated(self.config.metadata.annotations.as_ref()) {
            Some("KubeadmConfig has the cluster.x-k8s.io/paused annotation")
        } else {
            None
        }
    }

    pub(super) fn observed(&self) -> Observed {
        let spec = &self.machine.spec;
        let cluster = self.cluster.status.clone().unwrap_or_default().initialization;
        let created = self.config.status.as_ref().and_then(|s| s.initialization.data_secret_created);
        Observed {
            owner: Some(Owner {
                control_plane: self.is_control_plane(),
                data_secret: spec.bootstrap.data_secret_name.clone().filter(|name| !name.is_empty()),
                has_node: self.machine.status.as_ref().is_some_and(|status| status.node_ref.is_some()),
                deleting: self.machine.metadata.deletion_timestamp.is_some(),
            }),
            infrastructure_provisioned: cluster.infrastructure_provisioned == Some(true),
            control_plane_initialized: cluster.control_plane_initialized == Some(true),
            endpoint_known: !self.endpoint.is_empty(),
            joins: self.has_control_plane() && self.config.spec.join_configuration.control_plane.is_some(),
            created: created == Some(true),
            format: match self.config.spec.format {
                Some(bootstrap::Format::Ignition) => Format::Ignition,
                Some(bootstrap::Format::CloudConfig) | None => Format::CloudConfig,
            },
        }
    }

    pub(super) fn is_control_plane(&self) -> bool {
        self.machine.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL_CONTROL_PLANE))
    }

    /// Whether the machine belongs to a control plane object.
    pub(super) fn has_control_plane(&self) -> bool {
        let mut owners = self.machine.metadata.owner_references.iter().flatten();
        owners.any(|owner| owner.controller == Some(true) && owner.api_version.starts_with("controlplane."))
    }

    pub(super) fn key(&self) -> Key {
        key_of(&self.config)
    }

    pub(super) fn cluster_key(&self) -> Key {
        key_of(self.cluster.as_ref())
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn facts(&self) -> ClusterFacts<'_> {
        ClusterFacts {
            name: self.cluster.metadata.name.as_deref().unwrap_or_default(),
            endpoint: &self.endpoint,
            network: &self.cluster.spec.cluster_network,
        }
    }

    /// The Kubernetes version of the machine.
    pub(super) fn version(&self) -> Result<Version, Halt> {
        let name = key_of(self.machine.as_ref());
        let failed = |message: String| Halt::Report(Progress::Failed(message));
        let text = self.machine.spec.version.as_deref().ok_or_else(|| {
            failed(format!(
                "Machine {name} has no spec.version: set the Kubernetes version that kubeadm installs"
            ))
        })?;
        text.parse().map_err(|error| failed(format!("Machine {name} spec.version: {error}")))
    }

    /// An owner reference to the config, as on its Secret.
    pub(super) fn as_owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: KubeadmConfig::api_version(&()).into_owned(),
            kind: KubeadmConfig::kind(&()).into_owned(),
            name: self.key().name,
            uid: uid_of(&self.config).0,
            controller: Some(true),
            block_owner_deletion: None,
        }
    }
}
