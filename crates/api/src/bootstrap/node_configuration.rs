//! What kubeadm is told about one host: how it starts the cluster, or how it joins.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::cluster_configuration::{Arg, args};
use crate::Sensitive;
use crate::schema::{self, is_default};

/// How the first control plane host starts the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct InitConfiguration {
    /// Tokens that other hosts may join with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::atomic_list::<BootstrapToken, 100>")]
    pub bootstrap_tokens: Vec<BootstrapToken>,
    /// The host as a node.
    #[serde(skip_serializing_if = "is_default")]
    pub node_registration: NodeRegistration,
    /// Where this host's API server listens.
    #[serde(rename = "localAPIEndpoint", skip_serializing_if = "is_default")]
    pub local_api_endpoint: LocalApiEndpoint,
    /// Phases of kubeadm to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<50, 256>")]
    pub skip_phases: Vec<String>,
    /// Patches for what kubeadm writes.
    #[serde(skip_serializing_if = "is_default")]
    pub patches: Patches,
    /// How long kubeadm waits for what.
    #[serde(skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
}

/// How a host joins the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct JoinConfiguration {
    /// The host as a node.
    #[serde(skip_serializing_if = "is_default")]
    pub node_registration: NodeRegistration,
    /// The certificate authority of the cluster, a file on the host.
    #[serde(rename = "caCertPath", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub ca_cert_path: Option<String>,
    /// How the host finds the cluster and trusts it; filled if absent.
    #[serde(skip_serializing_if = "is_default")]
    pub discovery: Discovery,
    /// Present if the host joins as a control plane host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<JoinControlPlane>,
    /// Phases of kubeadm to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<50, 256>")]
    pub skip_phases: Vec<String>,
    /// Patches for what kubeadm writes.
    #[serde(skip_serializing_if = "is_default")]
    pub patches: Patches,
    /// How long kubeadm waits for what.
    #[serde(skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
}

/// A token that hosts may join with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapToken {
    /// The token, `id.secret`.
    #[schemars(length(min = 1, max = 23))]
    pub token: Sensitive,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub description: Option<String>,
    /// Seconds it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds: Option<i32>,
    /// When it ends; instead of `ttl_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub expires: Option<Time>,
    /// What it may be used for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<100, 256>")]
    pub usages: Vec<String>,
    /// The groups its user belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<100, 256>")]
    pub groups: Vec<String>,
}

/// A host as a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct NodeRegistration {
    /// The name of the Node; the host's own name if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// The socket of the container runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub cri_socket: Option<String>,
    /// The taints of the Node. Absent means kubeadm's own choice, the empty list means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::node_taints")]
    pub taints: Option<Vec<Taint>>,
    /// Arguments of the kubelet beyond those of kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "args")]
    pub kubelet_extra_args: Vec<Arg>,
    /// Checks of kubeadm whose failure does not matter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<50, 512>")]
    pub ignore_preflight_errors: Vec<String>,
    /// When kubeadm pulls images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Whether kubeadm pulls images one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_serial: Option<bool>,
}

/// When images are pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// Every time.
    Always,
    /// Only if the image is not there.
    #[default]
    IfNotPresent,
    /// Not at all.
    Never,
}

/// Where a host's API server listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct LocalApiEndpoint {
    /// The IP address it advertises.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 39))]
    pub advertise_address: Option<String>,
    /// The port it listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub bind_port: Option<i32>,
}

/// What is special about joining as a control plane host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JoinControlPlane {
    /// Where this host's API server listens.
    #[serde(rename = "localAPIEndpoint", skip_serializing_if = "is_default")]
    pub local_api_endpoint: LocalApiEndpoint,
}

/// Patches for what kubeadm writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct Patches {
    /// The directory with the patches on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub directory: Option<String>,
}

/// How long kubeadm waits for what, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct Timeouts {
    /// For a control plane component to become healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub control_plane_component_health_check_seconds: Option<i32>,
    /// For the kubelet to become healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub kubelet_health_check_seconds: Option<i32>,
    /// For a call to the API server.
    #[serde(rename = "kubernetesAPICallSeconds", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub kubernetes_api_call_seconds: Option<i32>,
    /// For a call to etcd.
    #[serde(rename = "etcdAPICallSeconds", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub etcd_api_call_seconds: Option<i32>,
    /// For the kubelet to get its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tls_bootstrap_seconds: Option<i32>,
    /// For the host to find the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub discovery_seconds: Option<i32>,
}

/// How a host finds the cluster and trusts it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct Discovery {
    /// With a token.
    #[serde(skip_serializing_if = "is_default")]
    pub bootstrap_token: TokenDiscovery,
    /// With a kubeconfig.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileDiscovery>,
    /// The token the kubelet gets its certificate with, if it is not the one above.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub tls_bootstrap_token: Option<Sensitive>,
}

/// Discovery with a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct TokenDiscovery {
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub token: Option<Sensitive>,
    /// Where the API server is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub api_server_endpoint: Option<String>,
    /// Hashes of the public keys of the certificate authorities to trust.
    #[serde(rename = "caCertHashes", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<100, 512>")]
    pub ca_cert_hashes: Vec<String>,
    /// Trust whoever answers.
    #[serde(rename = "unsafeSkipCAVerification", skip_serializing_if = "Option::is_none")]
    pub unsafe_skip_ca_verification: Option<bool>,
}

/// Discovery with a kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileDiscovery {
    /// The kubeconfig, a file on the host.
    #[schemars(length(min = 1, max = 512))]
    pub kube_config_path: String,
    /// The kubeconfig to write there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_config: Option<DiscoveryKubeConfig>,
}

/// A kubeconfig to write onto the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryKubeConfig {
    /// The cluster; filled if absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cluster: KubeConfigCluster,
    /// How the host proves who it is.
    pub user: KubeConfigUser,
}

/// The cluster of a kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeConfigCluster {
    /// The API server's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub server: Option<String>,
    /// The name the API server's certificate is checked against.
    #[serde(rename = "tlsServerName", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub tls_server_name: Option<String>,
    /// Trust whoever answers.
    #[serde(rename = "insecureSkipTLSVerify", skip_serializing_if = "Option::is_none")]
    pub insecure_skip_tls_verify: Option<bool>,
    /// The certificate authorities to trust, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "certificate_data")]
    pub certificate_authority_data: Option<ByteString>,
    /// The proxy to go through.
    #[serde(rename = "proxyURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub proxy_url: Option<String>,
}

fn certificate_data(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "byte", "minLength": 1, "maxLength": 51200 })
}

/// How a host proves who it is: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct KubeConfigUser {
    /// With a plugin of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_provider: Option<AuthProvider>,
    /// With a command on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<AuthExec>,
}

/// A plugin of the client that proves who a host is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthProvider {
    /// The plugin's name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// The plugin's settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, Sensitive>,
}

/// A command that proves who a host is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthExec {
    /// The command.
    #[schemars(length(min = 1, max = 1024))]
    pub command: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<100, 512>")]
    pub args: Vec<String>,
    /// Its environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::atomic_list::<AuthExecEnv, 100>")]
    pub env: Vec<AuthExecEnv>,
    /// The API version it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub api_version: Option<String>,
    /// Whether it is told about the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provide_cluster_info: Option<bool>,
}

/// An environment variable of such a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthExecEnv {
    /// The name.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
    /// The value.
    #[schemars(length(min = 1, max = 512))]
    pub value: Sensitive,
}
