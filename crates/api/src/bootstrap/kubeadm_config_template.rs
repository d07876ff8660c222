//! KubeadmConfigTemplate: what KubeadmConfigs are made from.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kubeadm_config::KubeadmConfigSpec;
use crate::core::Metadata;
use crate::schema::{self, is_default};

/// The template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "bootstrap.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "KubeadmConfigTemplate",
    namespaced,
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "What KubeadmConfigs are made from.",
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct KubeadmConfigTemplateSpec {
    /// What each KubeadmConfig is made from.
    pub template: KubeadmConfigTemplateResource,
}

schema::absent_when_empty!(KubeadmConfigTemplateSpec);

/// What each KubeadmConfig is made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmConfigTemplateResource {
    /// Labels and annotations of the KubeadmConfigs.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: Metadata,
    /// What kubeadm and the hosts are told.
    #[serde(skip_serializing_if = "is_default")]
    pub spec: KubeadmConfigSpec,
}
