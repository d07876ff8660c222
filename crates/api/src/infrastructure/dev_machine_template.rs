//! DevMachineTemplate: what DevMachines are made from.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dev_machine::DevMachineSpec;
use crate::core::Metadata;
use crate::schema::{self, is_default};

/// The template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "DevMachineTemplate",
    namespaced,
    status = "DevMachineTemplateStatus",
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "What DevMachines are made from.",
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct DevMachineTemplateSpec {
    /// What each DevMachine is made from.
    pub template: DevMachineTemplateResource,
}

schema::absent_when_empty!(DevMachineTemplateSpec);

/// What each DevMachine is made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevMachineTemplateResource {
    /// Labels and annotations of the DevMachines.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: Metadata,
    /// What each DevMachine shall be. Cannot change.
    pub spec: DevMachineSpec,
}

/// What is known about hosts made from the template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DevMachineTemplateStatus {
    /// The resources of such a host, for scaling up from zero.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub capacity: BTreeMap<String, Quantity>,
}
