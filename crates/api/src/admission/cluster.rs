//! The rules of Clusters.

use std::net::IpAddr;

use super::error::Review;
use super::shared::{default_version, validate_label_name};
use super::{Options, Rules};
use crate::core::{Cluster, ClusterNetwork, ContractRef};

impl Rules for Cluster {
    fn default(&mut self, _old: Option<&Self>) {
        if let Some(topology) = &mut self.spec.topology {
            default_version(&mut topology.version);
        }
    }

    fn validate(&self, old: Option<&Self>, _options: Options, review: &mut Review) {
        let spec = &self.spec;
        validate_label_name(&self.metadata, review);
        if spec.topology.is_some() {
            // Our rule: the topology controller does not exist yet.
            review.forbidden(
                "spec.topology",
                "clusters from a ClusterClass are not served yet; set controlPlaneRef and infrastructureRef, \
                 as `windlass generate cluster` does",
            );
        } else if spec.control_plane_ref.is_none() && spec.infrastructure_ref.is_none() {
            review.required("spec", "a cluster needs at least one of controlPlaneRef and infrastructureRef");
        }
        if let Some(Self { spec: old, .. }) = old {
            stays(
                "spec.infrastructureRef",
                spec.infrastructure_ref.as_ref(),
                old.infrastructure_ref.as_ref(),
                review,
            );
            stays(
                "spec.controlPlaneRef",
                spec.control_plane_ref.as_ref(),
                old.control_plane_ref.as_ref(),
                review,
            );
        }
        validate_network(&spec.cluster_network, review);
    }
}

fn stays(field: &str, new: Option<&ContractRef>, old: Option<&ContractRef>, review: &mut Review) {
    if old.is_some() && new.is_none() {
        review.forbidden(field, "cannot be taken away once set; put it back");
    }
}

fn validate_network(network: &ClusterNetwork, review: &mut Review) {
    for (name, ranges) in [("services", &network.services), ("pods", &network.pods)] {
        for (at, block) in ranges.iter().flat_map(|ranges| &ranges.cidr_blocks).enumerate() {
            if !is_cidr(block) {
                review.invalid(
                    format!("spec.clusterNetwork.{name}.cidrBlocks[{at}]"),
                    block,
                    "is no range of IP addresses; write it as 10.128.0.0/12 or fd00::/64",
                );
            }
        }
    }
}

fn is_cidr(block: &str) -> bool {
    let Some((address, bits)) = block.split_once('/') else { return false };
    let canonical = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    match (address.parse::<IpAddr>(), bits.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => canonical && bits <= 32,
        (Ok(IpAddr::V6(_)), Ok(bits)) => canonical && bits <= 128,
        (Err(_), _) | (_, Err(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::Table;

    const CLUSTER: &str = r#"{"metadata":{"name":"c"},"spec":{
        "controlPlaneRef":{"apiGroup":"g","kind":"K","name":"n"},
        "infrastructureRef":{"apiGroup":"g","kind":"K","name":"n"},
        "clusterNetwork":{"pods":{"cidrBlocks":["192.168.0.0/16"]},"services":{"cidrBlocks":["10.128.0.0/12"]}}}}"#;

    #[test]
    fn what_a_new_cluster_may_be() {
        #[rustfmt::skip]
        Table::new("cluster.x-k8s.io", "Cluster", CLUSTER).create(&[
            // change                                                            refused at
            ("",                                                                 ""),
            (r#"metadata.name="a.b_C""#,                                         ""),
            (r#"metadata.name="-a""#,                                            "metadata.name Invalid"),
            (&format!("metadata.name=\"{}\"", "a".repeat(63)),                   ""),
            (&format!("metadata.name=\"{}\"", "a".repeat(64)),                   "metadata.name TooLong"),
            ("spec.controlPlaneRef=",                                            ""),
            ("spec.infrastructureRef=",                                          ""),
            ("spec.controlPlaneRef= spec.infrastructureRef=",                    "spec Required"),
            (r#"spec.topology={"classRef":{"name":"x"},"version":"v1.35.0"}"#,   "spec.topology Forbidden"),
            (r#"spec.clusterNetwork.pods.cidrBlocks=["10.0.0.0/8","fd00::/64"]"#, ""),
            (r#"spec.clusterNetwork.pods.cidrBlocks=["10.0.0.0"]"#,              "spec.clusterNetwork.pods.cidrBlocks[0] Invalid"),
            (r#"spec.clusterNetwork.services.cidrBlocks=["10.0.0.0/8","10.0.0.0/33"]"#, "spec.clusterNetwork.services.cidrBlocks[1] Invalid"),
            (r#"spec.clusterNetwork.services.cidrBlocks=["fd00::/129"]"#,        "spec.clusterNetwork.services.cidrBlocks[0] Invalid"),
            (r#"spec.clusterNetwork.services.cidrBlocks=["10.0.0.0/+8"]"#,       "spec.clusterNetwork.services.cidrBlocks[0] Invalid"),
        ]);
    }

    #[test]
    fn how_a_cluster_may_change() {
        #[rustfmt::skip]
        Table::new("cluster.x-k8s.io", "Cluster", CLUSTER).update(&[
            ("spec.controlPlaneRef=",             "spec.controlPlaneRef Forbidden"),
            ("spec.infrastructureRef=",           "spec.infrastructureRef Forbidden"),
            (r#"spec.infrastructureRef.name="m""#, ""),
            ("spec.paused=true",                  ""),
        ]);
    }

    #[test]
    fn defaults() {
        Table::new("cluster.x-k8s.io", "Cluster", CLUSTER).defaults(&[
            (
                r#"spec.topology={"classRef":{"name":"x"},"version":"1.35.0"}"#,
                r#"spec.topology.version="v1.35.0""#,
            ),
            (
                r#"spec.topology={"classRef":{"name":"x"},"version":"v1.35.0"}"#,
                r#"spec.topology.version="v1.35.0""#,
            ),
        ]);
    }

    #[test]
    fn the_topology_error_says_what_to_do() {
        let errors = Table::new("cluster.x-k8s.io", "Cluster", CLUSTER)
            .errors(r#"spec.topology={"classRef":{"name":"x"},"version":"v1.35.0"}"#);
        assert!(errors.contains("not served yet; set controlPlaneRef and infrastructureRef"), "{errors}");
    }
}
