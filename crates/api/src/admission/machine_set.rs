//! The rules of MachineSets, most of which MachineDeployments share.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use windlass_model::label_value;

use super::error::Review;
use super::shared::{
    Role, default_cluster_label, default_replicas, default_version, immutable, validate_bootstrap,
    validate_metadata, validate_replicas, validate_selector, validate_taints, validate_version,
};
use super::{Options, Rules, naming};
use crate::core::{MachineNaming, MachineSet, MachineTemplateSpec};
use crate::names;

/// The preflight checks that may be skipped.
const PREFLIGHT_CHECKS: [&str; 5] =
    ["All", "ControlPlaneIsStable", "ControlPlaneVersionSkew", "KubeadmVersionSkew", "KubernetesVersionSkew"];

impl Rules for MachineSet {
    fn default(&mut self, old: Option<&Self>) {
        let spec = &mut self.spec;
        default_cluster_label(&mut self.metadata.labels, &spec.cluster_name);
        spec.replicas =
            spec.replicas.or_else(|| default_replicas(&self.metadata, old.and_then(|old| old.spec.replicas)));
        default_selector(names::LABEL_SET_NAME, &self.metadata, &mut spec.selector, &mut spec.template);
        spec.template.spec.version.iter_mut().for_each(default_version);
    }

    fn validate(&self, old: Option<&Self>, options: Options, review: &mut Review) {
        let spec = &self.spec;
        Machines {
            metadata: &self.metadata,
            cluster_name: &spec.cluster_name,
            replicas: spec.replicas,
            selector: &spec.selector,
            template: &spec.template,
            naming: (&spec.machine_naming, ".machineSet.name"),
        }
        .validate(old.map(|old| (&old.spec.cluster_name, &old.spec.template)), options, review);
    }
}

/// An empty selector becomes one for the object's own name.
pub(super) fn default_selector(
    label: &str,
    metadata: &ObjectMeta,
    selector: &mut LabelSelector,
    template: &mut MachineTemplateSpec,
) {
    let empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if empty {
        let value = label_value(metadata.name.as_deref().unwrap_or_default());
        selector.match_labels.get_or_insert_default().insert(label.to_owned(), value.clone());
        template.metadata.labels.insert(label.to_owned(), value);
    }
}

/// What MachineSets and MachineDeployments have in common.
pub(super) struct Machines<'a> {
    pub(super) metadata: &'a ObjectMeta,
    pub(super) cluster_name: &'a String,
    pub(super) replicas: Option<i32>,
    pub(super) selector: &'a LabelSelector,
    pub(super) template: &'a MachineTemplateSpec,
    /// The naming template, and the placeholder for the owner's name.
    pub(super) naming: (&'a MachineNaming, &'a str),
}

impl Machines<'_> {
    /// `old` is the cluster's name and the template before an update.
    pub(super) fn validate(
        &self,
        old: Option<(&String, &MachineTemplateSpec)>,
        options: Options,
        review: &mut Review,
    ) {
        let Self { metadata, cluster_name, replicas, selector, template, naming: (naming, owner) } = *self;
        immutable("spec.clusterName", cluster_name, old.map(|(name, _)| name), cluster_name, review);
        if template.spec.cluster_name != *cluster_name {
            review.invalid(
                "spec.template.spec.clusterName",
                &template.spec.cluster_name,
                format!("must be spec.clusterName, {cluster_name}"),
            );
        }
        validate_replicas(replicas, review);
        validate_selector(selector, &template.metadata.labels, review);
        validate_metadata("spec.template.metadata", &template.metadata, review);
        validate_bootstrap("spec.template.spec.bootstrap", &template.spec.bootstrap, review);
        if let Some(version) = &template.spec.version {
            let old = old.and_then(|(_, template)| template.spec.version.as_deref());
            validate_version("spec.template.spec.version", version, old, review);
        }
        validate_taints("spec.template.spec.taints", &template.spec.taints, Role::Worker, options, review);
        naming::validate(naming, owner, review);
        validate_skipped_checks(metadata, review);
    }
}

fn validate_skipped_checks(metadata: &ObjectMeta, review: &mut Review) {
    let skipped =
        metadata.annotations.as_ref().and_then(|all| all.get(names::ANNOTATION_SKIP_PREFLIGHT_CHECKS));
    for check in skipped.iter().flat_map(|text| text.split(',')).map(str::trim) {
        if !check.is_empty() && !PREFLIGHT_CHECKS.contains(&check) {
            let field = format!("metadata.annotations[{}]", names::ANNOTATION_SKIP_PREFLIGHT_CHECKS);
            review.not_supported(field, check, &PREFLIGHT_CHECKS);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::Table;

    const SET: &str = r#"{"metadata":{"name":"s"},"spec":{"clusterName":"c","replicas":1,
        "selector":{"matchLabels":{"a":"b"}},
        "template":{"metadata":{"labels":{"a":"b"}},"spec":{"clusterName":"c","version":"v1.35.0",
        "bootstrap":{"configRef":{"apiGroup":"g","kind":"K","name":"n"}},
        "infrastructureRef":{"apiGroup":"g","kind":"K","name":"n"}}}}}"#;

    fn table() -> Table {
        Table::new("cluster.x-k8s.io", "MachineSet", SET)
    }

    fn bounds(min: &str, max: &str) -> String {
        let name = "cluster.x-k8s.io/cluster-api-autoscaler-node-group";
        format!(
            r#"metadata.annotations={{"{name}-min-size":"{min}","{name}-max-size":"{max}"}} spec.replicas="#
        )
    }

    #[test]
    fn defaults() {
        let long = "x".repeat(70);
        table().defaults(&[
            ("", r#"metadata.labels.`cluster.x-k8s.io/cluster-name`="c""#),
            ("spec.selector={}", r#"spec.selector.matchLabels={"cluster.x-k8s.io/set-name":"s"}"#),
            (
                "spec.selector={}",
                r#"spec.template.metadata.labels={"a":"b","cluster.x-k8s.io/set-name":"s"}"#,
            ),
            ("", r#"spec.selector.matchLabels={"a":"b"}"#),
            (
                r#"spec.selector={"matchExpressions":[{"key":"a","operator":"Exists"}]}"#,
                "spec.selector.matchLabels=",
            ),
            (
                &format!("spec.selector={{}} metadata.name=\"{long}\""),
                &format!(
                    "spec.selector.matchLabels.`cluster.x-k8s.io/set-name`=\"{}\"",
                    windlass_model::label_value(&long)
                ),
            ),
            (r#"spec.template.spec.version="1.35.1""#, r#"spec.template.spec.version="v1.35.1""#),
        ]);
    }

    #[test]
    fn replicas_are_defaulted_from_the_autoscaler_or_to_one() {
        table().defaults(&[
            ("spec.replicas=", "spec.replicas=1"),
            ("spec.replicas=0", "spec.replicas=0"),
            (&bounds("3", "9"), "spec.replicas=3"),
            (&format!("{} spec.replicas=20", bounds("3", "9")), "spec.replicas=20"),
            (&bounds("three", "9"), "spec.replicas="),
        ]);
        for (old, expected) in [("1", "3"), ("5", "5"), ("12", "9")] {
            let old = SET.replace(r#""replicas":1"#, &format!(r#""replicas":{old}"#));
            Table::new("cluster.x-k8s.io", "MachineSet", &old)
                .update_defaults(&[(&bounds("3", "9"), &format!("spec.replicas={expected}"))]);
        }
        table().create(&[
            (&bounds("three", "9"), "spec.replicas Required"),
            ("spec.replicas=-1", "spec.replicas Invalid"),
        ]);
    }

    #[test]
    fn what_a_new_set_may_be() {
        #[rustfmt::skip]
        table().create(&[
            ("",                                                       ""),
            ("spec.template.spec.bootstrap={}",                        "spec.template.spec.bootstrap Required"),
            (r#"spec.template.spec.clusterName="d""#,                  "spec.template.spec.clusterName Invalid"),
            (r#"spec.template.spec.version="v1.20.0""#,                "spec.template.spec.version Invalid"),
            (r#"spec.template.metadata.labels={"a":"c"}"#,             "spec.template.metadata.labels Invalid"),
            (r#"spec.template.metadata.labels={"a":"b","-":"x"}"#,     "spec.template.metadata.labels Invalid"),
            (r#"spec.template.metadata.labels={"a":"b","x":"y/z"}"#,   "spec.template.metadata.labels Invalid"),
            (r#"spec.template.metadata.annotations={"a/b/c":""}"#,     "spec.template.metadata.annotations Invalid"),
            (r#"spec.template.metadata.annotations={"a.b/c":"x/y"}"#,  ""),
            (r#"spec.machineNaming.template="{{.machineSet.name}}""#,  "spec.machineNaming.template Invalid"),
            (r#"spec.machineNaming.template="m-{{.random}}""#,         ""),
            (r#"spec.template.spec.taints=[{"key":"a","effect":"NoExecute","propagation":"Always"}]"#, "spec.template.spec.taints Forbidden"),
            (r#"metadata.annotations={"machineset.cluster.x-k8s.io/skip-preflight-checks":"All"}"#, ""),
            (r#"metadata.annotations={"machineset.cluster.x-k8s.io/skip-preflight-checks":"KubeadmVersionSkew,Moon"}"#,
                "metadata.annotations[machineset.cluster.x-k8s.io/skip-preflight-checks] NotSupported"),
        ]);
    }

    #[test]
    fn selectors_match_the_template() {
        let expression = |text: &str| format!(r#"spec.selector={{"matchExpressions":[{text}]}}"#);
        #[rustfmt::skip]
        let rows = [
            (r#"{"key":"a","operator":"In","values":["x","b"]}"#, ""),
            (r#"{"key":"a","operator":"In","values":["x"]}"#,     "spec.template.metadata.labels Invalid"),
            (r#"{"key":"a","operator":"NotIn","values":["x"]}"#,  ""),
            (r#"{"key":"a","operator":"NotIn","values":["b"]}"#,  "spec.template.metadata.labels Invalid"),
            (r#"{"key":"a","operator":"Exists"}"#,                ""),
            (r#"{"key":"z","operator":"Exists"}"#,                "spec.template.metadata.labels Invalid"),
            (r#"{"key":"z","operator":"DoesNotExist"}"#,          ""),
            (r#"{"key":"a","operator":"DoesNotExist"}"#,          "spec.template.metadata.labels Invalid"),
            (r#"{"key":"a","operator":"In"}"#,                    "spec.selector.matchExpressions[0].values Required"),
            (r#"{"key":"a","operator":"Exists","values":["b"]}"#, "spec.selector.matchExpressions[0].values Forbidden"),
            (r#"{"key":"a","operator":"Near","values":["b"]}"#,   "spec.selector.matchExpressions[0].operator NotSupported"),
        ];
        for (requirement, expected) in rows {
            table().create(&[(&expression(requirement), expected)]);
        }
    }

    #[test]
    fn how_a_set_may_change() {
        table().update(&[
            ("spec.replicas=5", ""),
            (r#"spec.clusterName="d" spec.template.spec.clusterName="d""#, "spec.clusterName Invalid"),
        ]);
    }
}
