//! Cluster: one Kubernetes cluster, its network, its endpoint and what provides its parts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{
    ApiEndpoint, ConditionGate, ContractRef, Deprecated, FailureDomain, V1Beta1Failure, VersionCount, gates,
};
use super::topology::Topology;
use crate::schema::{self, is_default};

/// What the cluster shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Cluster",
    namespaced,
    status = "ClusterStatus",
    shortname = "cl",
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "A Kubernetes cluster.",
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ClusterSpec {
    /// Stops all controllers from touching the cluster and what belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// The network inside the cluster.
    #[serde(skip_serializing_if = "is_default")]
    pub cluster_network: ClusterNetwork,
    /// Where the API server is reached; filled from the infrastructure or the control plane.
    #[serde(skip_serializing_if = "is_default")]
    pub control_plane_endpoint: ApiEndpoint,
    /// The object that provides the control plane. Cannot be taken away once set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane_ref: Option<ContractRef>,
    /// The object that provides the infrastructure. Cannot be taken away once set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infrastructure_ref: Option<ContractRef>,
    /// A description of the whole cluster from which its objects are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// Further conditions of the cluster that must hold before it counts as available.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "gates")]
    pub availability_gates: Vec<ConditionGate>,
}

/// The network inside a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ClusterNetwork {
    /// The port the API server listens on; 6443 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub api_server_port: Option<i32>,
    /// The addresses of services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<NetworkRanges>,
    /// The addresses of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<NetworkRanges>,
    /// The DNS domain of services; cluster.local if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_domain: Option<String>,
}

/// Ranges of IP addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkRanges {
    /// The ranges in CIDR notation.
    #[schemars(schema_with = "schema::strings::<100, 43>")]
    pub cidr_blocks: Vec<String>,
}

/// What the cluster is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ClusterStatus {
    /// What is known about the cluster, aspect by aspect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The steps of the cluster's creation that are done. They never go back.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: ClusterInitialization,
    /// The numbers of the control plane's machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ClusterReplicas>,
    /// The numbers of all worker machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<ClusterReplicas>,
    /// The failure domains the infrastructure offers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::named_list::<FailureDomain, 100>")]
    pub failure_domains: Vec<FailureDomain>,
    /// Where in its life the cluster is, for people only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<ClusterPhase>,
    /// The generation that the status speaks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// What v1beta1 clients still read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated<V1Beta1Failure>>,
}

/// The steps of a cluster's creation that are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ClusterInitialization {
    /// The infrastructure is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infrastructure_provisioned: Option<bool>,
    /// The API server was reachable once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane_initialized: Option<bool>,
}

/// The numbers of a group of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterReplicas {
    /// How many there shall be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How many of them are up to date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to_date_replicas: Option<i32>,
    /// How many of them are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// How many of them are available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// Which versions they run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::atomic_list::<VersionCount, 32>")]
    pub versions: Vec<VersionCount>,
    /// The versions still to come, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::atomic_list::<UpgradeStep, 32>")]
    pub upgrade_plan: Vec<UpgradeStep>,
}

/// One step of an upgrade over several versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeStep {
    /// The Kubernetes version.
    #[schemars(length(min = 1, max = 256))]
    pub version: String,
}

/// Where in its life a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterPhase {
    /// Nothing was done yet.
    Pending,
    /// The infrastructure is being made.
    Provisioning,
    /// The infrastructure is there and the endpoint is known.
    Provisioned,
    /// The cluster goes away.
    Deleting,
    /// The cluster cannot be helped without a person.
    Failed,
    /// Nobody knows.
    Unknown,
}
