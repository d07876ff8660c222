//! DevMachine: a host that is simulated or a container.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dev_cluster::DevInitialization;
use crate::core::{Deprecated, MachineAddress, V1Beta1Conditions};
use crate::schema::{self, is_default};

/// What the host shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "DevMachine",
    namespaced,
    status = "DevMachineStatus",
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "A host that is simulated or a container.",
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct DevMachineSpec {
    /// The provider's id of the host; filled by the provider.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub provider_id: Option<String>,
    /// What stands in for a host of a cloud.
    pub backend: DevMachineBackend,
}

schema::absent_when_empty!(DevMachineSpec);

/// What stands in for a host of a cloud: exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DevMachineBackend {
    /// A container of Docker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerMachineBackend>,
    /// Nothing but memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<InMemoryMachineBackend>,
}

/// A host that is a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerMachineBackend {
    /// The image of the container; chosen by version if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_image: Option<String>,
    /// Images to load into the container before bootstrap.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_load_images: Vec<String>,
    /// Paths of the Docker host to mount into the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_mounts: Vec<DockerMount>,
    /// How long bootstrap may take, as a Go duration; `5m` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_timeout: Option<String>,
}

/// A path of the Docker host mounted into a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerMount {
    /// The path in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_path: Option<String>,
    /// The path on the Docker host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Whether the container may only read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// A host in memory: how long each of its parts takes to come up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InMemoryMachineBackend {
    /// The virtual machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<InMemoryPart>,
    /// The Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<InMemoryPart>,
    /// The API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_server: Option<InMemoryPart>,
    /// The etcd member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<InMemoryPart>,
}

/// A part of a host in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InMemoryPart {
    /// How long it takes to come up; no time if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioning: Option<InMemoryProvisioning>,
}

/// How long a part takes to come up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InMemoryProvisioning {
    /// The least it takes, as a Go duration, `2s`.
    pub startup_duration: String,
    /// Added at random, as a share of the duration: `0.2` is up to a fifth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup_jitter: Option<String>,
}

/// What the host is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DevMachineStatus {
    /// What is known about the host, aspect by aspect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The steps of the creation that are done. They never go back.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: DevInitialization,
    /// The addresses of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<MachineAddress>,
    /// Where the host was placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub failure_domain: Option<String>,
    /// What v1beta1 clients still read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated<V1Beta1Conditions>>,
}
