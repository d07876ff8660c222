//! KubeadmConfig: the bootstrap data of one host.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster_configuration::ClusterConfiguration;
use super::disks::{DiskSetup, mounts};
use super::files::{File, Format, Ignition, Ntp, User};
use super::node_configuration::{InitConfiguration, JoinConfiguration};
use crate::core::{Deprecated, V1Beta1Condition};
use crate::schema::{self, is_default};

/// What kubeadm and the host are told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "bootstrap.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "KubeadmConfig",
    namespaced,
    status = "KubeadmConfigStatus",
    category = "cluster-api",
    derive = "PartialEq",
    derive = "Default",
    doc = "Makes the bootstrap data of one host, with kubeadm.",
    crates(kube_core = "::kube_core")
)]
#[serde(rename_all = "camelCase", default, remote = "Self")]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmConfigSpec {
    /// What is the same for the whole cluster; used by the first control plane host.
    #[serde(skip_serializing_if = "is_default")]
    pub cluster_configuration: ClusterConfiguration,
    /// How the first control plane host starts the cluster.
    #[serde(skip_serializing_if = "is_default")]
    pub init_configuration: InitConfiguration,
    /// How every other host joins the cluster.
    #[serde(skip_serializing_if = "is_default")]
    pub join_configuration: JoinConfiguration,
    /// Files to write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::atomic_list::<File, 200>")]
    pub files: Vec<File>,
    /// Disks to partition and format.
    #[serde(skip_serializing_if = "is_default")]
    pub disk_setup: DiskSetup,
    /// File systems to mount, each as the fields of a line of fstab.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "mounts")]
    pub mounts: Vec<Vec<String>>,
    /// Commands to run early in the boot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<1000, 10240>")]
    pub boot_commands: Vec<String>,
    /// Commands to run before kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<1000, 10240>")]
    pub pre_kubeadm_commands: Vec<String>,
    /// Commands to run after kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<1000, 10240>")]
    pub post_kubeadm_commands: Vec<String>,
    /// Users to create.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::atomic_list::<User, 100>")]
    pub users: Vec<User>,
    /// Time servers.
    #[serde(skip_serializing_if = "is_default")]
    pub ntp: Ntp,
    /// The format of the bootstrap data; cloud-config if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// How much kubeadm says, 0 to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<i32>,
    /// What is special about Ignition.
    #[serde(skip_serializing_if = "is_default")]
    pub ignition: Ignition,
}

schema::absent_when_empty!(KubeadmConfigSpec);

/// What became of the bootstrap data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmConfigStatus {
    /// What is known about the bootstrap data, aspect by aspect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The steps that are done. They never go back.
    #[serde(skip_serializing_if = "is_default")]
    pub initialization: KubeadmConfigInitialization,
    /// The Secret with the bootstrap data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub data_secret_name: Option<String>,
    /// The generation that the status speaks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// What v1beta1 clients still read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated<KubeadmConfigV1Beta1Status>>,
}

/// The steps of making bootstrap data that are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeadmConfigInitialization {
    /// The Secret with the bootstrap data is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_secret_created: Option<bool>,
}

/// What v1beta1 had in the status of a KubeadmConfig.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeadmConfigV1Beta1Status {
    /// The conditions of v1beta1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<V1Beta1Condition>,
    /// Why it failed for good, as one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub failure_reason: Option<String>,
    /// Why it failed for good, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10240))]
    pub failure_message: Option<String>,
}
