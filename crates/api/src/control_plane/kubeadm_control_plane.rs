//! KubeadmControlPlane: the control plane Machines of a cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bootstrap::KubeadmConfigSpec;
use crate::core::{
    ConditionGate, ContractRef, DeletionTimeouts, Deprecated, MachineNaming, MachineTaint, Metadata,
    V1Beta1Condition, VersionCount, gates, taints, version_counts,
};
use crate::schema::{self, is_default};

/// What the control plane shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "controlplane.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "KubeadmControlPlane",
    namespaced,
    status = "KubeadmControlPlaneStatus",
    shortname = "kcp",
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "The control plane of a cluster: Machines that run it, made with kubeadm.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmControlPlaneSpec {
    /// How many Machines; odd unless etcd runs elsewhere. Defaulted to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// The Kubernetes version.
    #[schemars(length(min = 1, max = 256))]
    pub version: String,
    /// What each Machine is made from.
    pub machine_template: KubeadmControlPlaneMachineTemplate,
    /// What kubeadm and the hosts are told.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kubeadm_config_spec: KubeadmConfigSpec,
    /// When and how Machines are replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollout: KubeadmControlPlaneRollout,
    /// How unhealthy Machines are replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub remediation: KubeadmControlPlaneRemediation,
    /// How Machines are named.
    #[serde(default, skip_serializing_if = "is_default")]
    pub machine_naming: MachineNaming,
}

/// What the Machines of a control plane are made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmControlPlaneMachineTemplate {
    /// Labels and annotations of the Machines.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: Metadata,
    /// What each Machine shall be.
    pub spec: KubeadmControlPlaneMachineSpec,
}

/// What the Machines of a control plane shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmControlPlaneMachineSpec {
    /// The template of the object that provides the host.
    pub infrastructure_ref: ContractRef,
    /// Further conditions that must hold before a Machine counts as ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "gates")]
    pub readiness_gates: Vec<ConditionGate>,
    /// How long the deletion of a Machine may take.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion: DeletionTimeouts,
    /// Taints for the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "taints")]
    pub taints: Vec<MachineTaint>,
}

/// When and how the Machines of a control plane are replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneRollout {
    /// What makes a Machine due for replacement before anyone asks.
    #[serde(skip_serializing_if = "is_default")]
    pub before: KubeadmControlPlaneRolloutBefore,
    /// Machines older than this are replaced, once this time has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub after: Option<Time>,
    /// How they are replaced; defaulted to a rolling update with one Machine more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<KubeadmControlPlaneRolloutStrategy>,
}

/// What makes a control plane Machine due for replacement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneRolloutBefore {
    /// Days before its certificates expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 7))]
    pub certificates_expiry_days: Option<i32>,
}

/// How the Machines of a control plane are replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneRolloutStrategy {
    /// Who starts each replacement.
    #[serde(rename = "type")]
    pub type_: KubeadmControlPlaneRolloutStrategyType,
    /// The bounds of a rolling update.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rolling_update: KubeadmControlPlaneRollingUpdate,
}

/// Who starts the replacement of a control plane Machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KubeadmControlPlaneRolloutStrategyType {
    /// The controller, within the bounds given.
    #[default]
    RollingUpdate,
}

/// The bounds of a control plane's rolling update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneRollingUpdate {
    /// How many Machines may be too many: 1, or 0 with three Machines or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_string")]
    pub max_surge: Option<IntOrString>,
}

/// How unhealthy Machines of a control plane are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneRemediation {
    /// How often a replacement that fails is tried again; without limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retry: Option<i32>,
    /// Seconds between two tries; 0 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub retry_period_seconds: Option<i32>,
    /// Seconds after which a failure is no longer a retry of the one before; 3600 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_healthy_period_seconds: Option<i32>,
}

/// What the control plane is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneStatus {
    /// What is known about the control plane, aspect by aspect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The steps of the control plane's creation that are done. They never go back.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: KubeadmControlPlaneInitialization,
    /// The selector as text, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub selector: Option<String>,
    /// How many Machines there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How many of them are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// How many of them are available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// How many of them are up to date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to_date_replicas: Option<i32>,
    /// The lowest version that a Machine runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub version: Option<String>,
    /// Which versions the Machines run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "version_counts")]
    pub versions: Vec<VersionCount>,
    /// The generation that the status speaks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// The last replacement of an unhealthy Machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_remediation: Option<LastRemediation>,
    /// What v1beta1 clients still read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated<KubeadmControlPlaneV1Beta1Status>>,
}

/// The steps of a control plane's creation that are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmControlPlaneInitialization {
    /// The API server was reachable once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane_initialized: Option<bool>,
}

/// The last replacement of an unhealthy Machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRemediation {
    /// The Machine that was replaced.
    #[schemars(length(min = 1, max = 253))]
    pub machine: String,
    /// When.
    #[schemars(schema_with = "schema::time")]
    pub time: Time,
    /// How many replacements in a row failed before it.
    #[schemars(range(min = 0))]
    pub retry_count: i32,
}

/// What v1beta1 had in the status of a KubeadmControlPlane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeadmControlPlaneV1Beta1Status {
    /// The conditions of v1beta1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<V1Beta1Condition>,
    /// Why the control plane failed for good, as one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Why the control plane failed for good, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10240))]
    pub failure_message: Option<String>,
    /// How many Machines have the present spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_replicas: Option<i32>,
    /// How many Machines have a ready Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// How many Machines are still missing until all are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable_replicas: Option<i32>,
}
