//! KubeadmControlPlaneTemplate: what a topology makes KubeadmControlPlanes from.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kubeadm_control_plane::{KubeadmControlPlaneRemediation, KubeadmControlPlaneRollout};
use crate::bootstrap::KubeadmConfigSpec;
use crate::core::{DeletionTimeouts, MachineNaming, MachineTaint, Metadata, taints};
use crate::schema::{self, is_default};

/// The template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "controlplane.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "KubeadmControlPlaneTemplate",
    namespaced,
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "What a topology makes KubeadmControlPlanes from.",
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct KubeadmControlPlaneTemplateSpec {
    /// What each KubeadmControlPlane is made from.
    pub template: KubeadmControlPlaneTemplateResource,
}

schema::absent_when_empty!(KubeadmControlPlaneTemplateSpec);

/// What each KubeadmControlPlane is made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneTemplateResource {
    /// Labels and annotations of the KubeadmControlPlanes.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: Metadata,
    /// What each KubeadmControlPlane shall be. Cannot change.
    #[serde(skip_serializing_if = "is_default")]
    pub spec: KubeadmControlPlaneTemplateResourceSpec,
}

/// A KubeadmControlPlane without what the topology fills: replicas, version and infrastructure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneTemplateResourceSpec {
    /// What each Machine is made from.
    #[serde(skip_serializing_if = "is_default")]
    pub machine_template: KubeadmControlPlaneTemplateMachineTemplate,
    /// What kubeadm and the hosts are told.
    #[serde(skip_serializing_if = "is_default")]
    pub kubeadm_config_spec: KubeadmConfigSpec,
    /// When and how Machines are replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub rollout: KubeadmControlPlaneRollout,
    /// How unhealthy Machines are replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub remediation: KubeadmControlPlaneRemediation,
    /// How Machines are named.
    #[serde(skip_serializing_if = "is_default")]
    pub machine_naming: MachineNaming,
}

/// What the Machines of a control plane are made from, without their infrastructure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneTemplateMachineTemplate {
    /// Labels and annotations of the Machines.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: Metadata,
    /// What each Machine shall be.
    #[serde(skip_serializing_if = "is_default")]
    pub spec: KubeadmControlPlaneTemplateMachineSpec,
}

/// What the Machines of a control plane shall be, without their infrastructure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneTemplateMachineSpec {
    /// How long the deletion of a Machine may take.
    #[serde(skip_serializing_if = "is_default")]
    pub deletion: DeletionTimeouts,
    /// Taints for the nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "taints")]
    pub taints: Vec<MachineTaint>,
}
