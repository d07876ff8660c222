//! What containers are called and labelled: upstream's words, so that its tools find them, and our own.

use std::collections::BTreeMap;

use windlass_model::Key;
use windlass_provider::Token;

use crate::engine::Container;

/// Upstream's: name of the cluster.
pub(crate) const CLUSTER: &str = "io.x-k8s.kind.cluster";
/// Upstream's: what a container is in its cluster.
pub(crate) const ROLE: &str = "io.x-k8s.kind.role";
/// Upstream's: where a node pretends to be.
pub(crate) const FAILURE_DOMAIN: &str = "io.x-k8s.cluster.failureDomain";
/// The token that the container was made for. What lacks it is nobody's business here.
pub(crate) const TOKEN: &str = "docker.windlass.dev/token";
/// UID of the cluster.
pub(crate) const CLUSTER_UID: &str = "docker.windlass.dev/cluster-uid";
/// Namespace of the object.
pub(crate) const NAMESPACE: &str = "docker.windlass.dev/namespace";
/// Name of the DevMachine.
pub(crate) const MACHINE: &str = "docker.windlass.dev/machine";
/// On load balancers: name of the DevCluster.
pub(crate) const OBJECT: &str = "docker.windlass.dev/cluster";
/// Says that a container runs without privileges because the engine refused them.
pub(crate) const PRIVILEGES: &str = "docker.windlass.dev/privileges";
/// On load balancers: the port of the endpoint.
pub(crate) const PORT: &str = "docker.windlass.dev/port";
/// On load balancers: the host of the endpoint, where people chose one.
pub(crate) const HOST: &str = "docker.windlass.dev/host";
/// On load balancers: the family of the endpoint's address.
pub(crate) const FAMILY: &str = "docker.windlass.dev/ip-family";
/// [`FAMILY`] of a cluster that prefers IPv6.
pub(crate) const IPV6: &str = "ipv6";
/// On control plane machines: the weight in the load balancer that their object asked for at first.
pub(crate) const FIRST_WEIGHT: &str = "docker.windlass.dev/weight";
/// On networks: that they were made here.
pub(crate) const MADE_BY: &str = "docker.windlass.dev/made-by";

/// Annotation of a DevMachine: its weight in the load balancer. Upstream's name.
pub(crate) const WEIGHT: &str = "devmachine.infrastructure.cluster.x-k8s.io/weight";
/// Annotation of a DevCluster: where the host publishes its API server.
pub(crate) const PUBLISHED: &str = "docker.windlass.dev/published-endpoint";

/// What a container is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    ControlPlane,
    Worker,
    LoadBalancer,
}

impl Role {
    /// As upstream labels it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Worker => "worker",
            Self::LoadBalancer => "external-load-balancer",
        }
    }

    /// The role of a container.
    pub(crate) fn of(container: &Container) -> Option<Self> {
        let roles = [Self::ControlPlane, Self::Worker, Self::LoadBalancer];
        roles.into_iter().find(|role| role.as_str() == container.label(ROLE))
    }
}

/// Name of a machine's container, which is its host name and its node's name: the machine's name, with the
/// cluster's name before it unless it is there already.
pub(crate) fn machine(cluster: &str, machine: &str) -> String {
    let prefixed = machine.strip_prefix(cluster).is_some_and(|rest| rest.starts_with('-'));
    if prefixed { machine.to_owned() } else { format!("{cluster}-{machine}") }
}

/// Name of a cluster's load balancer.
pub(crate) fn load_balancer(cluster: &str) -> String {
    format!("{cluster}-lb")
}

/// Provider id of a machine.
pub(crate) fn provider_id(container: &str) -> String {
    format!("docker:////{container}")
}

/// A label as a filter.
pub(crate) fn is(label: &str, value: &str) -> String {
    format!("{label}={value}")
}

/// The labels that every container of ours carries.
pub(crate) fn labels(token: &Token, cluster: &Key, uid: &str, role: Role) -> BTreeMap<String, String> {
    let labels = [
        (CLUSTER, cluster.name.as_str()),
        (ROLE, role.as_str()),
        (TOKEN, token.as_str()),
        (CLUSTER_UID, uid),
        (NAMESPACE, cluster.namespace.as_str()),
    ];
    labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The DevMachine that a container belongs to.
pub(crate) fn key(labels: &BTreeMap<String, String>) -> Option<Key> {
    let (namespace, name) = (labels.get(NAMESPACE)?, labels.get(MACHINE)?);
    Some(Key::new(namespace.clone(), name.clone()))
}

/// The DevCluster that a load balancer belongs to.
pub(crate) fn cluster_key(labels: &BTreeMap<String, String>) -> Option<Key> {
    let (namespace, name) = (labels.get(NAMESPACE)?, labels.get(OBJECT)?);
    Some(Key::new(namespace.clone(), name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_carries_its_clusters_name_once() {
        for (cluster, name, container) in [
            ("c1", "c1-md-0-abcde", "c1-md-0-abcde"),
            ("c1", "worker", "c1-worker"),
            ("c1", "c1", "c1-c1"),
            ("c1", "c10-worker", "c1-c10-worker"),
        ] {
            assert_eq!(machine(cluster, name), container);
        }
    }
}
