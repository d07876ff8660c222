//! MachineDeployment: replaces the Machines of a set when their template changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::machine_set::{MachineSetDeletion, MachineTemplateSpec};
use super::shared::{Deprecated, MachineNaming, V1Beta1Condition, VersionCount, version_counts};
use crate::schema::{self, is_default};

/// Which Machines there shall be, and how they are replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "MachineDeployment",
    namespaced,
    status = "MachineDeploymentStatus",
    shortname = "md",
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "A number of equal Machines that are replaced step by step when their template changes.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct MachineDeploymentSpec {
    /// The name of the cluster the machines belong to. Cannot change.
    #[schemars(length(min = 1, max = 63))]
    pub cluster_name: String,
    /// How many; defaulted to 1, or from the autoscaler's annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// When and how Machines are replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollout: MachineDeploymentRollout,
    /// Which Machines count; must match the labels of the template.
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: LabelSelector,
    /// What each Machine is made from.
    pub template: MachineTemplateSpec,
    /// How Machines are named.
    #[serde(default, skip_serializing_if = "is_default")]
    pub machine_naming: MachineNaming,
    /// What is done about unhealthy Machines.
    #[serde(default, skip_serializing_if = "is_default")]
    pub remediation: MachineDeploymentRemediation,
    /// Which Machines go first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion: MachineSetDeletion,
    /// Stops this MachineDeployment only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// When and how the Machines of a MachineDeployment are replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct MachineDeploymentRollout {
    /// Machines older than this are replaced, once this time has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub after: Option<Time>,
    /// How they are replaced; defaulted to a rolling update with one Machine more and none less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<RolloutStrategy>,
}

/// How Machines are replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct RolloutStrategy {
    /// Who starts each replacement.
    #[serde(rename = "type")]
    pub type_: RolloutStrategyType,
    /// The bounds of a rolling update.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rolling_update: RollingUpdate,
}

/// Who starts the replacement of a Machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutStrategyType {
    /// The controller, within the bounds given.
    #[default]
    RollingUpdate,
    /// Whoever deletes an old Machine.
    OnDelete,
}

/// The bounds of a rolling update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct RollingUpdate {
    /// How many Machines, or percent of them, may be unavailable; percentages are rounded down.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_string")]
    pub max_unavailable: Option<IntOrString>,
    /// How many Machines, or percent of them, may be too many; percentages are rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_string")]
    pub max_surge: Option<IntOrString>,
}

/// What a MachineDeployment does about unhealthy Machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct MachineDeploymentRemediation {
    /// How many Machines, or percent of them, may be remediated at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_string")]
    pub max_in_flight: Option<IntOrString>,
}

/// Which Machines there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct MachineDeploymentStatus {
    /// What is known about the MachineDeployment, aspect by aspect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The generation that the status speaks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
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
    /// Which versions they run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "version_counts")]
    pub versions: Vec<VersionCount>,
    /// What the MachineDeployment is doing, for people only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<MachineDeploymentPhase>,
    /// What v1beta1 clients still read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated<MachineDeploymentV1Beta1Status>>,
}

/// What a MachineDeployment is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MachineDeploymentPhase {
    /// Machines are being added.
    ScalingUp,
    /// Machines are being removed.
    ScalingDown,
    /// All is as it shall be.
    Running,
    /// It cannot be helped without a person.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// What v1beta1 had in the status of a MachineDeployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeploymentV1Beta1Status {
    /// The conditions of v1beta1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<V1Beta1Condition>,
    /// How many Machines have the present template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_replicas: Option<i32>,
    /// How many Machines have a ready Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// How many Machines have had a ready Node long enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// How many Machines are still missing until all are available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable_replicas: Option<i32>,
}
