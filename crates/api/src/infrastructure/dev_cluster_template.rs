//! DevClusterTemplate: what a topology makes DevClusters from.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dev_cluster::DevClusterSpec;
use crate::core::Metadata;
use crate::schema::{self, is_default};

/// The template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "DevClusterTemplate",
    namespaced,
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "What a topology makes DevClusters from.",
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct DevClusterTemplateSpec {
    /// What each DevCluster is made from.
    pub template: DevClusterTemplateResource,
}

schema::absent_when_empty!(DevClusterTemplateSpec);

/// What each DevCluster is made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevClusterTemplateResource {
    /// Labels and annotations of the DevClusters.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: Metadata,
    /// What each DevCluster shall be.
    pub spec: DevClusterSpec,
}
