//! The topology of a Cluster: the whole cluster in one description. Read and kept, but not served yet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::machine_deployment::MachineDeploymentRollout;
use super::shared::{ConditionGate, DeletionOrder, DeletionTimeouts, MachineTaint, Metadata, gates, taints};
use crate::schema::{self, is_default};

/// The whole cluster, described on top of a ClusterClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// The class the cluster is made from.
    pub class_ref: ClassRef,
    /// The Kubernetes version of the whole cluster.
    #[schemars(length(min = 1, max = 256))]
    pub version: String,
    /// The control plane.
    #[serde(default, skip_serializing_if = "is_default")]
    pub control_plane: ControlPlaneTopology,
    /// The workers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub workers: WorkersTopology,
    /// Values for the class's variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::named_list::<Variable, 1000>")]
    pub variables: Vec<Variable>,
}

/// A reference to a ClusterClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassRef {
    /// The name of the class.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::DNS_SUBDOMAIN))]
    pub name: String,
    /// The namespace of the class; the cluster's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::DNS_LABEL))]
    pub namespace: Option<String>,
}

/// The value of a variable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// The variable's name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Any JSON that the variable's schema allows.
    #[schemars(schema_with = "schema::any_value")]
    pub value: serde_json::Value,
}

/// Variables that differ for one part of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct VariableOverrides {
    /// The values that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::named_list::<Variable, 1000>")]
    pub overrides: Vec<Variable>,
}

/// The control plane of a topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ControlPlaneTopology {
    /// Labels and annotations of the control plane and its machines.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: Metadata,
    /// How many machines; left to others if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// When machines are replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub rollout: ControlPlaneTopologyRollout,
    /// When machines count as unhealthy, and what is done then.
    #[serde(skip_serializing_if = "is_default")]
    pub health_check: ControlPlaneHealthCheck,
    /// How long the deletion of a machine may take.
    #[serde(skip_serializing_if = "is_default")]
    pub deletion: DeletionTimeouts,
    /// Further conditions of machines before they count as ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "gates")]
    pub readiness_gates: Vec<ConditionGate>,
    /// Taints for the nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "taints")]
    pub taints: Vec<MachineTaint>,
    /// Variables that differ for the control plane.
    #[serde(skip_serializing_if = "is_default")]
    pub variables: VariableOverrides,
}

/// When the machines of a topology's control plane are replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ControlPlaneTopologyRollout {
    /// Machines older than this are replaced, once this time has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub after: Option<Time>,
}

/// The health check of a topology's control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ControlPlaneHealthCheck {
    /// On or off; as the class says if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// When a machine counts as unhealthy.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: HealthChecks,
    /// What is done about unhealthy machines.
    #[serde(skip_serializing_if = "is_default")]
    pub remediation: ControlPlaneRemediation,
}

/// When a machine counts as unhealthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct HealthChecks {
    /// Seconds in which a new machine must have become a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node_startup_timeout_seconds: Option<i32>,
    /// Conditions of the Node; one that holds too long is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::atomic_list::<UnhealthyNodeCondition, 100>")]
    pub unhealthy_node_conditions: Vec<UnhealthyNodeCondition>,
    /// Conditions of the Machine; one that holds too long is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::atomic_list::<UnhealthyMachineCondition, 100>")]
    pub unhealthy_machine_conditions: Vec<UnhealthyMachineCondition>,
}

/// A condition of a Node that shows bad health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyNodeCondition {
    /// The condition's type.
    #[serde(rename = "type")]
    #[schemars(length(min = 1))]
    pub type_: String,
    /// The status that shows bad health.
    #[schemars(length(min = 1))]
    pub status: String,
    /// Seconds the status must last.
    #[schemars(range(min = 0))]
    pub timeout_seconds: i32,
}

/// A condition of a Machine that shows bad health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyMachineCondition {
    /// The condition's type; not one that health checks themselves set or depend on.
    #[serde(rename = "type")]
    #[schemars(
        length(min = 1, max = 316),
        regex(pattern = schema::CONDITION_TYPE),
        extend("x-kubernetes-validations" = [{
            "rule": "!(self in ['Ready','Available','HealthCheckSucceeded','OwnerRemediated','ExternallyRemediated'])",
            "message": "type must not be one of: Ready, Available, HealthCheckSucceeded, OwnerRemediated, ExternallyRemediated",
        }])
    )]
    pub type_: String,
    /// The status that shows bad health.
    pub status: ConditionStatus,
    /// Seconds the status must last.
    #[schemars(range(min = 0))]
    pub timeout_seconds: i32,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell.
    #[default]
    Unknown,
}

/// What is done about unhealthy machines of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ControlPlaneRemediation {
    /// When anything is done at all.
    #[serde(skip_serializing_if = "is_default")]
    pub trigger_if: RemediationTrigger,
    /// A template for an object that hands the machine to someone else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<TemplateRef>,
}

/// How many machines may be unhealthy before remediation stops.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct RemediationTrigger {
    /// Remediate only if at most so many, or so many percent, are unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_string")]
    pub unhealthy_less_than_or_equal_to: Option<IntOrString>,
    /// Remediate only if the number of unhealthy machines is in this range, `[3-5]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = schema::INT_RANGE))]
    pub unhealthy_in_range: Option<String>,
}

/// A reference to a template, with its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRef {
    /// Group and version of the template.
    #[schemars(length(min = 1, max = 317), regex(pattern = schema::API_VERSION))]
    pub api_version: String,
    /// Kind of the template.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::KIND))]
    pub kind: String,
    /// Name of the template.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::DNS_SUBDOMAIN))]
    pub name: String,
}

/// The workers of a topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct WorkersTopology {
    /// Groups of machines that are managed one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::named_list::<MachineDeploymentTopology, 2000>")]
    pub machine_deployments: Vec<MachineDeploymentTopology>,
    /// Groups of machines that the infrastructure manages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::named_list::<MachinePoolTopology, 2000>")]
    pub machine_pools: Vec<MachinePoolTopology>,
}

/// A MachineDeployment of a topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineDeploymentTopology {
    /// Labels and annotations of the MachineDeployment and its machines.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: Metadata,
    /// The class of workers this is made from.
    #[schemars(length(min = 1, max = 256))]
    pub class: String,
    /// The name within the topology.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::DNS_SUBDOMAIN))]
    pub name: String,
    /// Where the machines are placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub failure_domain: Option<String>,
    /// How many machines; left to others if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// When machines count as unhealthy, and what is done then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub health_check: WorkerHealthCheck,
    /// How machines are deleted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion: WorkerDeletion,
    /// Seconds a machine must be ready before it is available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_ready_seconds: Option<i32>,
    /// Further conditions of machines before they count as ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "gates")]
    pub readiness_gates: Vec<ConditionGate>,
    /// Taints for the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "taints")]
    pub taints: Vec<MachineTaint>,
    /// How machines are replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollout: MachineDeploymentRollout,
    /// Variables that differ for these workers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub variables: VariableOverrides,
}

/// The health check of a topology's workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct WorkerHealthCheck {
    /// On or off; as the class says if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// When a machine counts as unhealthy.
    #[serde(skip_serializing_if = "is_default")]
    pub checks: HealthChecks,
    /// What is done about unhealthy machines.
    #[serde(skip_serializing_if = "is_default")]
    pub remediation: WorkerRemediation,
}

/// What is done about unhealthy workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct WorkerRemediation {
    /// How many, or how many percent, may be remediated at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::int_or_string")]
    pub max_in_flight: Option<IntOrString>,
    /// When anything is done at all.
    #[serde(skip_serializing_if = "is_default")]
    pub trigger_if: RemediationTrigger,
    /// A template for an object that hands the machine to someone else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<TemplateRef>,
}

/// How the machines of a topology's MachineDeployment are deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct WorkerDeletion {
    /// Which machines go first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<DeletionOrder>,
    /// Seconds to drain the node. 0 means without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node_drain_timeout_seconds: Option<i32>,
    /// Seconds to wait until all volumes are detached. 0 means without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node_volume_detach_timeout_seconds: Option<i32>,
    /// Seconds to try to delete the Node object. 0 means without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node_deletion_timeout_seconds: Option<i32>,
}

/// A MachinePool of a topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachinePoolTopology {
    /// Labels and annotations of the MachinePool.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: Metadata,
    /// The class of workers this is made from.
    #[schemars(length(min = 1, max = 256))]
    pub class: String,
    /// The name within the topology.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::DNS_SUBDOMAIN))]
    pub name: String,
    /// Where machines may be placed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<100, 256>")]
    pub failure_domains: Vec<String>,
    /// How long the deletion of a machine may take.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion: DeletionTimeouts,
    /// Seconds a machine must be ready before it is available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_ready_seconds: Option<i32>,
    /// Taints for the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "taints")]
    pub taints: Vec<MachineTaint>,
    /// How many machines; left to others if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Variables that differ for these workers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub variables: VariableOverrides,
}
