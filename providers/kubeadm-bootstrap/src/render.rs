//! From a KubeadmConfig to bootstrap data.

use serde_json::json;
use thiserror::Error;
use windlass_api::bootstrap::{
    DiscoveryKubeConfig, FileDiscovery, Format, JoinConfiguration, KubeadmConfigSpec, User,
};
use windlass_api::names::node::TAINT_UNINITIALIZED;
use windlass_model::{Secret, Version};
use windlass_pki::{KeyPair, Purpose};

use crate::cloud_init::cloud_config;
use crate::host::{HostFile, Verb};
use crate::ignition::{self, Mistake};
use crate::kubeadm::{self, ClusterFacts};
use crate::yaml;

/// Where kubeadm keeps certificates unless it is told otherwise.
const CERTIFICATES_DIR: &str = "/etc/kubernetes/pki";

/// All values of a Secret together, in bytes (Kubernetes' own limit).
const MAX_SECRET: usize = 1024 * 1024;
/// How many files the message about data that is too large names.
const LARGEST: usize = 3;

/// Why bootstrap data cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RenderError {
    /// kubeadm of that version speaks no API that we write.
    #[error("cannot write a configuration for kubeadm {0}: Machine spec.version must be v1.22.0 or newer")]
    TooOld(String),
    /// A part of the spec has no JSON form; it came from JSON.
    #[error("cannot encode the kubeadm configuration")]
    Encode,
    /// Ignition has no words for a part of the spec.
    #[error("cannot render {field} for Ignition: {instead}")]
    Ignition {
        /// Where, below `spec`.
        field: String,
        /// What to do.
        instead: &'static str,
    },
    /// What shall be added to the Ignition config cannot be.
    #[error("cannot use ignition.containerLinuxConfig.additionalConfig: {0}")]
    Additional(Mistake),
    /// The data does not fit into a Secret.
    #[error(
        "cannot publish {size} bytes of bootstrap data, a Secret holds {MAX_SECRET}; the largest files are \
         {largest}: make them smaller, or fetch them in preKubeadmCommands"
    )]
    TooLarge {
        /// Bytes in all.
        size: usize,
        /// Paths and sizes.
        largest: String,
    },
}

/// Bootstrap data.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The data.
    pub data: Secret<Vec<u8>>,
    /// What it is written in.
    pub format: Format,
    /// What was left out, for people: fields of the additional Ignition configuration that nobody knows.
    pub oddities: Vec<String>,
}

/// The certificates of the cluster, as far as a host needs them.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    /// Key pairs by purpose.
    pub pairs: Vec<(Purpose, KeyPair)>,
    /// The API server's client certificate for an external etcd.
    pub etcd_client: Option<KeyPair>,
}

/// What the host is to do.
#[derive(Clone, Debug)]
pub enum Task<'a> {
    /// Start the cluster.
    Init {
        /// The cluster.
        cluster: ClusterFacts<'a>,
        /// Its certificates.
        certificates: &'a Certificates,
    },
    /// Join as a control plane host. The join configuration comes with its discovery filled in.
    JoinControlPlane {
        /// The cluster's certificates.
        certificates: &'a Certificates,
    },
    /// Join as a worker. The join configuration comes with its discovery filled in.
    JoinWorker,
}

/// Renders user data in the format that the spec asks for. `files` and `users` come with their contents
/// resolved.
///
/// # Errors
/// [`RenderError`] names what cannot be rendered.
pub fn render(
    spec: &KubeadmConfigSpec,
    version: &Version,
    task: &Task<'_>,
    files: &[HostFile],
    users: &[User],
) -> Result<Rendered, RenderError> {
    let mut written = match task {
        Task::Init { certificates, .. } | Task::JoinControlPlane { certificates } => {
            certificate_files(spec, certificates)
        }
        Task::JoinWorker => Vec::new(),
    };
    written.extend(files.iter().cloned());
    let (verb, document) = match task {
        Task::Init { cluster, .. } => {
            let document =
                kubeadm::init(version, cluster, &spec.cluster_configuration, &spec.init_configuration)?;
            (Verb::Init, document)
        }
        Task::JoinControlPlane { .. } => {
            let mut join = spec.join_configuration.clone();
            join.control_plane.get_or_insert_default();
            written.extend(discovery_file(&join));
            (Verb::Join, kubeadm::join(version, &join)?)
        }
        Task::JoinWorker => {
            let mut join = spec.join_configuration.clone();
            join.control_plane = None;
            until_initialized(&mut join);
            written.extend(discovery_file(&join));
            (Verb::Join, kubeadm::join(version, &join)?)
        }
    };
    let format = spec.format.unwrap_or_default();
    let (data, oddities) = match format {
        Format::CloudConfig => (cloud_config(spec, users, &written, verb, &document), Vec::new()),
        Format::Ignition => ignition::render(spec, users, &written, verb, &document)?,
    };
    let size = data.expose().len() + format.as_str().len();
    if size > MAX_SECRET {
        return Err(RenderError::TooLarge { size, largest: largest(&written) });
    }
    Ok(Rendered { data, format, oddities })
}

/// The largest files, for people.
fn largest(files: &[HostFile]) -> String {
    let mut sizes: Vec<(usize, &str)> =
        files.iter().map(|file| (file.content.expose().len(), file.path.as_str())).collect();
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    let named: Vec<String> =
        sizes.iter().take(LARGEST).map(|(size, path)| format!("{path} ({size} bytes)")).collect();
    named.join(", ")
}

/// Workers start with a taint that the Machine controller takes off when it knows the node.
fn until_initialized(join: &mut JoinConfiguration) {
    let taints = join.node_registration.taints.get_or_insert_default();
    if !taints.iter().any(|taint| taint.key == TAINT_UNINITIALIZED) {
        taints.push(k8s_openapi::api::core::v1::Taint {
            key: TAINT_UNINITIALIZED.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Default::default()
        });
    }
}

/// The files of the certificates: below kubeadm's directory, but those of an external etcd where the spec
/// says that they are.
fn certificate_files(spec: &KubeadmConfigSpec, certificates: &Certificates) -> Vec<HostFile> {
    let cluster = &spec.cluster_configuration;
    let directory = cluster.certificates_dir.as_deref().unwrap_or(CERTIFICATES_DIR);
    let below = |(certificate, key): (&str, &str)| {
        (format!("{directory}/{certificate}"), format!("{directory}/{key}"))
    };
    let mut files = Vec::new();
    let mut add = |(certificate, key): (String, String), pair: &KeyPair| {
        files.push(HostFile::root(certificate, "0640", pair.certificate.as_bytes()));
        if let Some(text) = &pair.key {
            files.push(HostFile::root(key, "0600", text.expose().as_bytes()));
        }
    };
    for (purpose, pair) in &certificates.pairs {
        match (purpose, &cluster.etcd.external) {
            // Its key, if somebody left it there, stays here.
            (Purpose::Etcd, Some(external)) => {
                let public = KeyPair { certificate: pair.certificate.clone(), key: None };
                add((external.ca_file.clone(), String::new()), &public);
            }
            (Purpose::Cluster | Purpose::ServiceAccount | Purpose::FrontProxy, Some(_)) | (_, None) => {
                add(below(purpose.files()), pair);
            }
        }
    }
    if let (Some(pair), Some(external)) = (&certificates.etcd_client, &cluster.etcd.external) {
        add((external.cert_file.clone(), external.key_file.clone()), pair);
    }
    files
}

/// The kubeconfig that `discovery.file` names, if its content is given.
fn discovery_file(join: &JoinConfiguration) -> Option<HostFile> {
    let FileDiscovery { kube_config_path, kube_config } = join.discovery.file.as_ref()?;
    let DiscoveryKubeConfig { cluster, user } = kube_config.as_ref()?;
    let renamed = |pairs: Vec<(&str, Option<serde_json::Value>)>| -> serde_json::Value {
        pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    };
    let cluster = renamed(vec![
        ("server", cluster.server.as_ref().map(|server| json!(server))),
        ("tls-server-name", cluster.tls_server_name.as_ref().map(|name| json!(name))),
        ("insecure-skip-tls-verify", cluster.insecure_skip_tls_verify.map(|skip| json!(skip))),
        ("certificate-authority-data", cluster.certificate_authority_data.as_ref().map(|data| json!(data))),
        ("proxy-url", cluster.proxy_url.as_ref().map(|url| json!(url))),
    ]);
    let exec = user.exec.as_ref().map(|exec| {
        let env: Vec<_> =
            exec.env.iter().map(|env| json!({ "name": env.name, "value": env.value.expose() })).collect();
        renamed(vec![
            (
                "apiVersion",
                Some(json!(exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1"))),
            ),
            ("command", Some(json!(exec.command))),
            ("args", (!exec.args.is_empty()).then(|| json!(exec.args))),
            ("env", (!env.is_empty()).then(|| json!(env))),
            ("provideClusterInfo", exec.provide_cluster_info.map(|provide| json!(provide))),
            ("interactiveMode", Some(json!("Never"))),
        ])
    });
    let auth = user.auth_provider.as_ref().map(|auth| {
        let config: serde_json::Value =
            auth.config.iter().map(|(key, value)| (key.clone(), json!(value.expose()))).collect();
        json!({ "name": auth.name, "config": config })
    });
    let user = renamed(vec![("exec", exec), ("auth-provider", auth)]);
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "default", "cluster": cluster }],
        "contexts": [{ "name": "default", "context": { "cluster": "default", "user": "default" } }],
        "current-context": "default",
        "users": [{ "name": "default", "user": user }],
    });
    Some(HostFile::root(kube_config_path, "0640", yaml::document(&file)))
}

#[cfg(test)]
mod complete;
#[cfg(test)]
mod tests;
