//! DevCluster: the infrastructure of a cluster that is simulated or made of containers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::{ApiEndpoint, Deprecated, FailureDomain, V1Beta1Conditions};
use crate::schema::{self, is_default};

/// What the infrastructure shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "DevCluster",
    namespaced,
    status = "DevClusterStatus",
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "The infrastructure of a cluster that is simulated or made of containers.",
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct DevClusterSpec {
    /// Where the API server is reached; filled by the provider if absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub control_plane_endpoint: ApiEndpoint,
    /// What stands in for a cloud.
    pub backend: DevClusterBackend,
}

schema::absent_when_empty!(DevClusterSpec);

/// What stands in for a cloud: exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DevClusterBackend {
    /// Containers of Docker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerClusterBackend>,
    /// Nothing but memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<InMemoryClusterBackend>,
}

/// A cluster in memory; there is nothing to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InMemoryClusterBackend {}

/// A cluster of containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerClusterBackend {
    /// Failure domains to pretend.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::named_list::<FailureDomain, 100>")]
    pub failure_domains: Vec<FailureDomain>,
    /// The load balancer in front of the API servers.
    #[serde(skip_serializing_if = "is_default")]
    pub load_balancer: DockerLoadBalancer,
}

/// The load balancer in front of the API servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerLoadBalancer {
    /// The registry of its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_repository: Option<String>,
    /// The tag of its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<String>,
    /// A ConfigMap with a template of its configuration, under the key `value`.
    #[serde(rename = "customHAProxyConfigTemplateRef", skip_serializing_if = "Option::is_none")]
    pub custom_ha_proxy_config_template_ref: Option<LocalObjectRef>,
}

/// An object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct LocalObjectRef {
    /// The object's name.
    #[serde(default)]
    pub name: String,
}

/// What the infrastructure is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DevClusterStatus {
    /// What is known about the infrastructure, aspect by aspect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The steps of the creation that are done. They never go back.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: DevInitialization,
    /// The failure domains there are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::named_list::<FailureDomain, 100>")]
    pub failure_domains: Vec<FailureDomain>,
    /// What v1beta1 clients still read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated<V1Beta1Conditions>>,
}

/// The steps of the creation that are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct DevInitialization {
    /// It is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<bool>,
}
