//! kubeadm's configuration documents: v1beta4 for Kubernetes 1.31 and newer, v1beta3 for older.
//!
//! The API's types have kubeadm's own field names; what differs is changed here, and everything else is
//! handed through, so that a field cannot be forgotten.

use serde_json::{Map, Value, json};
use windlass_api::bootstrap::{
    ClusterConfiguration, InitConfiguration, JoinConfiguration, NodeRegistration, Timeouts,
};
use windlass_api::core::ClusterNetwork;
use windlass_model::Version;

use crate::RenderError;
use crate::yaml;

/// The version of kubeadm's configuration API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    V1Beta3,
    V1Beta4,
}

impl Api {
    /// What the kubeadm of a Kubernetes version speaks.
    pub(crate) fn of(version: &Version) -> Result<Self, RenderError> {
        match (version.major, version.minor) {
            (1, 0..=21) | (0, _) => Err(RenderError::TooOld(version.to_string())),
            (1, 22..=30) => Ok(Self::V1Beta3),
            (_, _) => Ok(Self::V1Beta4),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta3 => "kubeadm.k8s.io/v1beta3",
            Self::V1Beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }
}

const DAY: i64 = 86_400;

/// What the Cluster says.
#[derive(Clone, Debug)]
pub struct ClusterFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// `host:port` of the API server.
    pub endpoint: &'a str,
    /// `spec.clusterNetwork`.
    pub network: &'a ClusterNetwork,
}

/// The ClusterConfiguration that `kubeadm init` of `version` is given: what the cluster is made with, and what
/// machines that join later shall find noted in it.
///
/// # Errors
/// The version is too old for any configuration that is written here.
pub fn cluster_document(
    version: &Version,
    cluster: &ClusterFacts<'_>,
    configuration: &ClusterConfiguration,
    waits: &Timeouts,
) -> Result<Value, RenderError> {
    cluster_configuration(Api::of(version)?, version, cluster, configuration, waits)
}

/// The two documents of `kubeadm init`.
pub(crate) fn init(
    version: &Version,
    cluster: &ClusterFacts<'_>,
    configuration: &ClusterConfiguration,
    init: &InitConfiguration,
) -> Result<String, RenderError> {
    let api = Api::of(version)?;
    let cluster = cluster_configuration(api, version, cluster, configuration, &init.timeouts)?;
    let mut document = object(init)?;
    for token in each(&mut document, "bootstrapTokens") {
        rename_duration(token, "ttlSeconds", "ttl");
    }
    node(api, &mut document, &init.node_registration);
    timeouts(api, &mut document);
    let init = finish(api, "InitConfiguration", document);
    Ok(format!("---\n{}---\n{}", yaml::document(&cluster), yaml::document(&init)))
}

/// The document of `kubeadm join`.
pub(crate) fn join(version: &Version, join: &JoinConfiguration) -> Result<String, RenderError> {
    let api = Api::of(version)?;
    let mut document = object(join)?;
    if let Some(Value::Object(discovery)) = document.get_mut("discovery") {
        if let Some(Value::Object(file)) = discovery.get_mut("file") {
            // Its content is a file of its own.
            file.remove("kubeConfig");
        }
        if api == Api::V1Beta3
            && let Some(seconds) = join.timeouts.discovery_seconds
        {
            discovery.insert("timeout".to_owned(), json!(duration(i64::from(seconds))));
        }
    }
    node(api, &mut document, &join.node_registration);
    timeouts(api, &mut document);
    Ok(format!("---\n{}", yaml::document(&finish(api, "JoinConfiguration", document))))
}

fn cluster_configuration(
    api: Api,
    version: &Version,
    cluster: &ClusterFacts<'_>,
    configuration: &ClusterConfiguration,
    waits: &Timeouts,
) -> Result<Value, RenderError> {
    let mut document = object(configuration)?;
    document.entry("controlPlaneEndpoint").or_insert_with(|| json!(cluster.endpoint));
    document.insert("clusterName".to_owned(), json!(cluster.name));
    document.insert("kubernetesVersion".to_owned(), json!(version.to_string()));
    let networking = networking(cluster.network);
    if !networking.is_empty() {
        document.insert("networking".to_owned(), Value::Object(networking));
    }
    for (from, to) in [
        ("certificateValidityPeriodDays", "certificateValidityPeriod"),
        ("caCertificateValidityPeriodDays", "caCertificateValidityPeriod"),
    ] {
        if let Some(days) = document.remove(from).and_then(|days| days.as_i64())
            && api == Api::V1Beta4
        {
            document.insert(to.to_owned(), json!(duration(days * DAY)));
        }
    }
    if api == Api::V1Beta3 {
        document.remove("encryptionAlgorithm");
        for pointer in ["/apiServer", "/controllerManager", "/scheduler", "/etcd/local"] {
            let mut whole = Value::Object(std::mem::take(&mut document));
            if let Some(Value::Object(component)) = whole.pointer_mut(pointer) {
                component.remove("extraEnvs");
                arguments_as_map(component, "extraArgs");
            }
            if let Value::Object(members) = whole {
                document = members;
            }
        }
        if let Some(seconds) = waits.control_plane_component_health_check_seconds {
            let server = document.entry("apiServer").or_insert_with(|| json!({}));
            server["timeoutForControlPlane"] = json!(duration(i64::from(seconds)));
        }
    }
    Ok(finish(api, "ClusterConfiguration", document))
}

fn networking(network: &ClusterNetwork) -> Map<String, Value> {
    let ranges = |ranges: &Option<windlass_api::core::NetworkRanges>| {
        ranges.as_ref().map(|ranges| ranges.cidr_blocks.join(",")).filter(|text| !text.is_empty())
    };
    [
        ("dnsDomain", network.service_domain.clone()),
        ("serviceSubnet", ranges(&network.services)),
        ("podSubnet", ranges(&network.pods)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))))
    .collect()
}

/// Writes out what the API's type leaves out, and what older kubeadm spells differently.
fn node(api: Api, document: &mut Map<String, Value>, registration: &NodeRegistration) {
    let Some(Value::Object(node)) = document.get_mut("nodeRegistration") else { return };
    // The empty list means "no taint"; leaving it out means "kubeadm's own".
    if let Some(taints) = &registration.taints {
        node.insert("taints".to_owned(), json!(taints));
    }
    if api == Api::V1Beta3 {
        node.remove("imagePullSerial");
        arguments_as_map(node, "kubeletExtraArgs");
    }
}

/// `[{name, value}]` as `{name: value}`.
fn arguments_as_map(component: &mut Map<String, Value>, member: &str) {
    let Some(Value::Array(list)) = component.remove(member) else { return };
    let map: Map<String, Value> = list
        .into_iter()
        .filter_map(|argument| {
            Some((argument.get("name")?.as_str()?.to_owned(), argument.get("value")?.clone()))
        })
        .collect();
    component.insert(member.to_owned(), Value::Object(map));
}

fn timeouts(api: Api, document: &mut Map<String, Value>) {
    let Some(Value::Object(mut waits)) = document.remove("timeouts") else { return };
    if api == Api::V1Beta3 {
        return;
    }
    let names: Vec<String> = waits.keys().cloned().collect();
    for name in names {
        if let Some(short) = name.strip_suffix("Seconds") {
            rename_duration(&mut waits, &name, short);
        }
    }
    document.insert("timeouts".to_owned(), Value::Object(waits));
}

fn rename_duration(members: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(seconds) = members.remove(from).and_then(|seconds| seconds.as_i64()) {
        members.insert(to.to_owned(), json!(duration(seconds)));
    }
}

/// Go's spelling of a duration.
fn duration(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        (_, _) => format!("{hours}h{minutes}m{rest}s"),
    }
}

fn finish(api: Api, kind: &str, mut document: Map<String, Value>) -> Value {
    document.insert("apiVersion".to_owned(), json!(api.as_str()));
    document.insert("kind".to_owned(), json!(kind));
    Value::Object(document)
}

fn object(value: &impl serde::Serialize) -> Result<Map<String, Value>, RenderError> {
    match serde_json::to_value(value) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(RenderError::Encode),
    }
}

fn each<'a>(
    document: &'a mut Map<String, Value>,
    member: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    document
        .get_mut(member)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (seconds, text) in
            [(0, "0s"), (5, "5s"), (240, "4m0s"), (3600, "1h0m0s"), (3650 * 86_400, "87600h0m0s")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn versions_choose_the_api() {
        for (version, api) in [
            ("v1.22.0", Some(Api::V1Beta3)),
            ("v1.30.9", Some(Api::V1Beta3)),
            ("v1.31.0", Some(Api::V1Beta4)),
            ("v1.36.0", Some(Api::V1Beta4)),
            ("v1.21.0", None),
        ] {
            assert_eq!(Api::of(&version.parse().unwrap()).ok(), api, "{version}");
        }
    }
}
