//! The rules of Machines.

use super::error::Review;
use super::shared::{
    Role, default_cluster_label, default_version, immutable, validate_bootstrap, validate_taints,
    validate_version,
};
use super::{Options, Rules};
use crate::core::Machine;
use crate::names;

/// Seconds to try to delete the Node object, where nobody said otherwise.
const NODE_DELETION_TIMEOUT_SECONDS: i32 = 10;

impl Rules for Machine {
    fn default(&mut self, _old: Option<&Self>) {
        default_cluster_label(&mut self.metadata.labels, &self.spec.cluster_name);
        self.spec.version.iter_mut().for_each(default_version);
        self.spec.deletion.node_deletion_timeout_seconds.get_or_insert(NODE_DELETION_TIMEOUT_SECONDS);
    }

    fn validate(&self, old: Option<&Self>, options: Options, review: &mut Review) {
        let spec = &self.spec;
        let has_label =
            |label| self.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(label));
        // The hosts of a MachinePool are bootstrapped together.
        if !has_label(names::LABEL_POOL_NAME) {
            validate_bootstrap("spec.bootstrap", &spec.bootstrap, review);
        }
        let old_name = old.map(|old| &old.spec.cluster_name);
        immutable("spec.clusterName", &spec.cluster_name, old_name, &spec.cluster_name, review);
        if let Some(version) = &spec.version {
            let old = old.and_then(|old| old.spec.version.as_deref());
            validate_version("spec.version", version, old, review);
        }
        let role = if has_label(names::LABEL_CONTROL_PLANE) { Role::ControlPlane } else { Role::Worker };
        validate_taints("spec.taints", &spec.taints, role, options, review);
    }
}

#[cfg(test)]
mod tests {
    use crate::admission::Gates;
    use crate::admission::testing::Table;

    const MACHINE: &str = r#"{"metadata":{"name":"m"},"spec":{"clusterName":"c","version":"v1.35.0",
        "bootstrap":{"configRef":{"apiGroup":"g","kind":"K","name":"n"}},
        "infrastructureRef":{"apiGroup":"g","kind":"K","name":"n"}}}"#;

    fn table() -> Table {
        Table::new("cluster.x-k8s.io", "Machine", MACHINE)
    }

    #[test]
    fn defaults() {
        table().defaults(&[
            ("", r#"metadata.labels.`cluster.x-k8s.io/cluster-name`="c""#),
            (r#"spec.version="1.34.1""#, r#"spec.version="v1.34.1""#),
            ("spec.version=", "spec.version="),
            ("", "spec.deletion.nodeDeletionTimeoutSeconds=10"),
            ("spec.deletion.nodeDeletionTimeoutSeconds=0", "spec.deletion.nodeDeletionTimeoutSeconds=0"),
            ("spec.deletion.nodeDrainTimeoutSeconds=5", "spec.deletion.nodeDeletionTimeoutSeconds=10"),
        ]);
    }

    #[test]
    fn bootstrap_data_comes_from_somewhere() {
        table().create(&[
            ("", ""),
            (r#"spec.bootstrap={"dataSecretName":"s"}"#, ""),
            ("spec.bootstrap={}", "spec.bootstrap Required"),
            (r#"spec.bootstrap={} metadata.labels={"cluster.x-k8s.io/pool-name":"p"}"#, ""),
        ]);
    }

    #[test]
    fn versions_are_known_ones() {
        table().create(&[
            ("spec.version=", ""),
            (r#"spec.version="v1.31.0""#, ""),
            (r#"spec.version="v1.36.2-rc.1+build.5""#, ""),
            (r#"spec.version="1.35.0""#, "spec.version Invalid"),
            (r#"spec.version="vv1.35.0""#, "spec.version Invalid"),
            (r#"spec.version="v1.35""#, "spec.version Invalid"),
            (r#"spec.version="v1.035.0""#, "spec.version Invalid"),
            (r#"spec.version="v1.30.9""#, "spec.version Invalid"),
            (r#"spec.version="v1.37.0""#, "spec.version Invalid"),
            (r#"spec.version="v2.35.0""#, "spec.version Invalid"),
        ]);
        let errors = table().errors(r#"spec.version="v1.99.0""#);
        assert_eq!(
            errors,
            "spec.version: Invalid value: \"v1.99.0\": is no Kubernetes version that clusters can run here; \
             choose one from v1.31 to v1.36"
        );
    }

    #[test]
    fn a_version_that_is_there_already_may_stay() {
        let old = MACHINE.replace("v1.35.0", "v1.29.0");
        Table::new("cluster.x-k8s.io", "Machine", &old)
            .update(&[(r#"spec.providerID="x""#, ""), (r#"spec.version="v1.29.1""#, "spec.version Invalid")]);
    }

    #[test]
    fn the_cluster_stays() {
        table().update(&[
            (r#"spec.clusterName="d""#, "spec.clusterName Invalid"),
            (r#"spec.providerID="x""#, ""),
        ]);
    }

    #[test]
    fn taints() {
        let taint = |key: &str| {
            format!(r#"spec.taints=[{{"key":"{key}","effect":"NoSchedule","propagation":"Always"}}]"#)
        };
        table().create(&[(&taint("a"), "spec.taints Forbidden"), ("spec.taints=[]", "")]);
        let served = table().gates(Gates { taints: true });
        for (key, expected) in [
            ("example.com/a", ""),
            ("node.kubernetes.io/out-of-service", ""),
            ("node.kubernetes.io/not-ready", "spec.taints[0].key Invalid"),
            ("node.cloudprovider.kubernetes.io/x", "spec.taints[0].key Invalid"),
            ("node.cluster.x-k8s.io/uninitialized", "spec.taints[0].key Invalid"),
            ("node.cluster.x-k8s.io/outdated-revision", "spec.taints[0].key Invalid"),
            ("node-role.kubernetes.io/master", "spec.taints[0].key Invalid"),
            ("node-role.kubernetes.io/control-plane", "spec.taints[0].key Invalid"),
        ] {
            served.create(&[(&taint(key), expected)]);
        }
        let control_plane = r#" metadata.labels={"cluster.x-k8s.io/control-plane":""}"#;
        served.create(&[(&(taint("node-role.kubernetes.io/control-plane") + control_plane), "")]);
    }
}
