//! What kubeadm is told about the cluster as a whole.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EnvVar;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::schema::{self, is_default};

/// What is the same for the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ClusterConfiguration {
    /// Where etcd runs.
    #[serde(skip_serializing_if = "is_default")]
    pub etcd: Etcd,
    /// Where the API server is reached; filled from the Cluster if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub control_plane_endpoint: Option<String>,
    /// The API server.
    #[serde(skip_serializing_if = "is_default")]
    pub api_server: ApiServer,
    /// The controller manager.
    #[serde(skip_serializing_if = "is_default")]
    pub controller_manager: ControlPlaneComponent,
    /// The scheduler.
    #[serde(skip_serializing_if = "is_default")]
    pub scheduler: ControlPlaneComponent,
    /// The DNS server of the cluster.
    #[serde(skip_serializing_if = "is_default")]
    pub dns: ImageMeta,
    /// Where certificates are kept on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub certificates_dir: Option<String>,
    /// The registry of all images; registry.k8s.io if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image_repository: Option<String>,
    /// Feature gates of kubeadm.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, bool>,
    /// Days that certificates live; 365 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1095))]
    pub certificate_validity_period_days: Option<i32>,
    /// Days that the certificate authorities live; 3650 if absent.
    #[serde(rename = "caCertificateValidityPeriodDays", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36500))]
    pub ca_certificate_validity_period_days: Option<i32>,
    /// The algorithm of keys and certificates; RSA-2048 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_algorithm: Option<EncryptionAlgorithm>,
}

/// The algorithm of keys and certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EncryptionAlgorithm {
    /// ECDSA on the curve P-256.
    #[serde(rename = "ECDSA-P256")]
    EcdsaP256,
    /// ECDSA on the curve P-384.
    #[serde(rename = "ECDSA-P384")]
    EcdsaP384,
    /// RSA with 2048 bits.
    #[default]
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// RSA with 3072 bits.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// RSA with 4096 bits.
    #[serde(rename = "RSA-4096")]
    Rsa4096,
}

/// An argument of a command: `--name=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Arg {
    /// The name, without dashes.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// The value; may be empty.
    #[schemars(length(min = 0, max = 1024))]
    pub value: String,
}

/// A list of arguments: at most 100, each name once.
pub(crate) fn args(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = schema::map_list::<Arg>(generator, 100, &["name", "value"]);
    schema.insert(
        "x-kubernetes-validations".to_owned(),
        json!([{
            "rule": "self.all(x, self.exists_one(y, x.name == y.name))",
            "message": "each name may be given once",
        }]),
    );
    schema
}

/// The controller manager or the scheduler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ControlPlaneComponent {
    /// Arguments beyond those of kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "args")]
    pub extra_args: Vec<Arg>,
    /// Volumes beyond those of kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::atomic_list::<HostPathMount, 100>")]
    pub extra_volumes: Vec<HostPathMount>,
    /// Environment variables beyond those of kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::environment")]
    pub extra_envs: Vec<EnvVar>,
}

/// The API server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ApiServer {
    /// Arguments beyond those of kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "args")]
    pub extra_args: Vec<Arg>,
    /// Volumes beyond those of kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::atomic_list::<HostPathMount, 100>")]
    pub extra_volumes: Vec<HostPathMount>,
    /// Environment variables beyond those of kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::environment")]
    pub extra_envs: Vec<EnvVar>,
    /// Further names and addresses in the serving certificate.
    #[serde(rename = "certSANs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<100, 253>")]
    pub cert_sans: Vec<String>,
}

/// A path of the host mounted into a component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostPathMount {
    /// The volume's name.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
    /// The path on the host.
    #[schemars(length(min = 1, max = 512))]
    pub host_path: String,
    /// The path in the component.
    #[schemars(length(min = 1, max = 512))]
    pub mount_path: String,
    /// Whether the component may only read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// What must be at the path on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_type: Option<String>,
}

/// An image other than kubeadm's own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct ImageMeta {
    /// The registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image_repository: Option<String>,
    /// The tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub image_tag: Option<String>,
}

/// Where etcd runs: on the control plane hosts, or elsewhere. Not both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct Etcd {
    /// On the control plane hosts.
    #[serde(skip_serializing_if = "is_default")]
    pub local: LocalEtcd,
    /// Elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalEtcd>,
}

/// etcd on the control plane hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("minProperties" = 1))]
pub struct LocalEtcd {
    /// The registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image_repository: Option<String>,
    /// The tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub image_tag: Option<String>,
    /// Where the data is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub data_dir: Option<String>,
    /// Arguments beyond those of kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "args")]
    pub extra_args: Vec<Arg>,
    /// Environment variables beyond those of kubeadm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::environment")]
    pub extra_envs: Vec<EnvVar>,
    /// Further names and addresses in the serving certificate.
    #[serde(rename = "serverCertSANs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<100, 253>")]
    pub server_cert_sans: Vec<String>,
    /// Further names and addresses in the peer certificate.
    #[serde(rename = "peerCertSANs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::strings::<100, 253>")]
    pub peer_cert_sans: Vec<String>,
}

/// etcd elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalEtcd {
    /// Where it is reached.
    #[schemars(schema_with = "schema::strings::<50, 512>")]
    pub endpoints: Vec<String>,
    /// The certificate authority, a file on the host.
    #[schemars(length(min = 1, max = 512))]
    pub ca_file: String,
    /// The client certificate, a file on the host.
    #[schemars(length(min = 1, max = 512))]
    pub cert_file: String,
    /// The client key, a file on the host.
    #[schemars(length(min = 1, max = 512))]
    pub key_file: String,
}
