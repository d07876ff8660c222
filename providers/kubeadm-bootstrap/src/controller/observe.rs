//! What a pass over a KubeadmConfig looks at.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use windlass_api::bootstrap::{
    ClusterConfiguration, InitConfiguration, JoinConfiguration, KubeadmConfig, KubeadmConfigSpec,
};
use windlass_api::core::Cluster;
use windlass_api::names::ANNOTATION_PAUSED;
use windlass_model::{Key, Version};
use windlass_plan::kubeadm_config::{Observed, Progress};
use windlass_runtime::{Pass, key_of, uid_of};

use super::owner::ConfigOwner;
use super::{Halt, KubeadmConfigError};
use crate::kubeadm::ClusterFacts;

/// A KubeadmConfig, who it makes data for, and their Cluster.
pub(super) struct Scene {
    /// As it is by now: the pass writes to it.
    pub(super) config: KubeadmConfig,
    pub(super) owner: ConfigOwner,
    pub(super) cluster: Arc<Cluster>,
    /// `host:port` of the API server; empty while unknown.
    endpoint: String,
    /// The Secret with the data.
    pub(super) secret: Option<String>,
}

impl Scene {
    /// None while nobody owns the config: then nobody needs it.
    pub(super) async fn observe(
        config: Arc<KubeadmConfig>,
        pass: &Pass,
    ) -> Result<Option<Self>, KubeadmConfigError> {
        let owner = ConfigOwner::find(&config, pass).await.map_err(KubeadmConfigError::Owner)?;
        let Some(owner) = owner else { return Ok(None) };
        let Some(cluster) = pass.cache.get::<Cluster>(&pass.key.sibling(owner.cluster_name())) else {
            return Ok(None);
        };
        let endpoint = cluster.spec.control_plane_endpoint.complete().map(|(host, port)| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        });
        let secret = config.status.as_ref().and_then(|status| status.data_secret_name.clone());
        let config = Arc::unwrap_or_clone(config);
        Ok(Some(Self { config, owner, cluster, endpoint: endpoint.unwrap_or_default(), secret }))
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
        let cluster = self.cluster.status.clone().unwrap_or_default().initialization;
        let status = self.config.status.as_ref();
        let created = status.and_then(|status| status.initialization.data_secret_created);
        Observed {
            owner: Some(self.owner.observed()),
            infrastructure_provisioned: cluster.infrastructure_provisioned == Some(true),
            control_plane_initialized: cluster.control_plane_initialized == Some(true),
            endpoint_known: !self.endpoint.is_empty(),
            joins: self.joins(),
            created: created == Some(true) && self.secret.is_some(),
        }
    }

    /// Whether the config is only good for joining: a control plane object says so of all its machines but
    /// one; who makes machines by hand says it by giving nothing but a `joinConfiguration`.
    fn joins(&self) -> bool {
        let KubeadmConfigSpec { cluster_configuration, init_configuration, join_configuration, .. } =
            &self.config.spec;
        if self.owner.has_control_plane() {
            return join_configuration.control_plane.is_some();
        }
        *cluster_configuration == ClusterConfiguration::default()
            && *init_configuration == InitConfiguration::default()
            && *join_configuration != JoinConfiguration::default()
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

    /// The Kubernetes version of the host.
    pub(super) fn version(&self) -> Result<Version, Halt> {
        let field = self.owner.described();
        let failed = |message: String| Halt::Report(Progress::Failed(message));
        let text = self.owner.version().ok_or_else(|| {
            failed(format!("{field} is not set: set the Kubernetes version that kubeadm installs"))
        })?;
        text.parse().map_err(|error| failed(format!("{field}: {error}")))
    }

    /// An owner reference to the Cluster, as on what outlives its machines.
    pub(super) fn cluster_as_owner(&self) -> OwnerReference {
        let cluster = self.cluster.as_ref();
        OwnerReference {
            api_version: Cluster::api_version(&()).into_owned(),
            kind: Cluster::kind(&()).into_owned(),
            name: key_of(cluster).name,
            uid: uid_of(cluster).0,
            ..OwnerReference::default()
        }
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
