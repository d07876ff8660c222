//! Machine: one host of a cluster, from its infrastructure to its Node.

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{
    ConditionGate, ContractRef, DeletionTimeouts, Deprecated, MachineAddress, MachineTaint, V1Beta1Failure,
    gates, taints,
};
use crate::schema::{self, is_default};

/// What the machine shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Machine",
    namespaced,
    status = "MachineStatus",
    shortname = "ma",
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "One host of a cluster.",
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct MachineSpec {
    /// The name of the cluster the machine belongs to. Cannot change.
    #[schemars(length(min = 1, max = 63))]
    pub cluster_name: String,
    /// How the host becomes a node.
    pub bootstrap: Bootstrap,
    /// The object that provides the host.
    pub infrastructure_ref: ContractRef,
    /// The Kubernetes version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub version: Option<String>,
    /// The provider's id of the host, the same as on the Node; filled from the infrastructure.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub provider_id: Option<String>,
    /// Where the host is placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub failure_domain: Option<String>,
    /// Seconds the machine must be ready before it is available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_ready_seconds: Option<i32>,
    /// Further conditions that must hold before the machine counts as ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "gates")]
    pub readiness_gates: Vec<ConditionGate>,
    /// How long the deletion may take.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion: DeletionTimeouts,
    /// Taints for the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "taints")]
    pub taints: Vec<MachineTaint>,
}

/// How a host becomes a node: an object that makes the bootstrap data, or the data itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Bootstrap {
    /// The object that makes the bootstrap data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_ref: Option<ContractRef>,
    /// The Secret with the bootstrap data; filled from the object, or given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 0, max = 253))]
    pub data_secret_name: Option<String>,
}

/// What the machine is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct MachineStatus {
    /// What is known about the machine, aspect by aspect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The steps of the machine's creation that are done. They never go back.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: MachineInitialization,
    /// The Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_ref: Option<NodeRef>,
    /// What the Node says about its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::node_info")]
    pub node_info: Option<NodeSystemInfo>,
    /// When the phase last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_updated: Option<Time>,
    /// The addresses of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub addresses: Vec<MachineAddress>,
    /// Where the host was placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub failure_domain: Option<String>,
    /// Where in its life the machine is, for people only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<MachinePhase>,
    /// When the certificates on the host expire; control plane only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub certificates_expiry_date: Option<Time>,
    /// The generation that the status speaks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// When each step of the deletion began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion: Option<MachineDeletionStatus>,
    /// What v1beta1 clients still read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated<V1Beta1Failure>>,
}

/// The steps of a machine's creation that are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct MachineInitialization {
    /// The host is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infrastructure_provisioned: Option<bool>,
    /// The bootstrap data is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_data_secret_created: Option<bool>,
}

/// A reference to a Node of the workload cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRef {
    /// The Node's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::DNS_SUBDOMAIN))]
    pub name: String,
}

/// When each step of a machine's deletion began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineDeletionStatus {
    /// When the wait for the pre-drain hooks began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub wait_for_pre_drain_hook_start_time: Option<Time>,
    /// When the drain began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub node_drain_start_time: Option<Time>,
    /// When the wait for the volumes began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub wait_for_node_volume_detach_start_time: Option<Time>,
    /// When the wait for the pre-terminate hooks began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub wait_for_pre_terminate_hook_start_time: Option<Time>,
}

/// Where in its life a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MachinePhase {
    /// Nothing was done yet.
    Pending,
    /// The host is being made.
    Provisioning,
    /// The host is there, its Node is not.
    Provisioned,
    /// The Node is there.
    Running,
    /// The machine is changed in place.
    Updating,
    /// The machine goes away.
    Deleting,
    /// The host is gone.
    Deleted,
    /// The machine cannot be helped without a person.
    Failed,
    /// Nobody knows.
    Unknown,
}
