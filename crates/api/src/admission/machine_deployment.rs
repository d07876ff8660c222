//! The rules of MachineDeployments.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::error::Review;
use super::machine_set::{Machines, default_selector};
use super::shared::{
    Amount, default_cluster_label, default_replicas, default_version, validate_amount, validate_label_name,
};
use super::{Options, Rules};
use crate::core::{MachineDeployment, RollingUpdate, RolloutStrategyType};
use crate::names;

impl Rules for MachineDeployment {
    fn default(&mut self, old: Option<&Self>) {
        let spec = &mut self.spec;
        default_cluster_label(&mut self.metadata.labels, &spec.cluster_name);
        spec.replicas =
            spec.replicas.or_else(|| default_replicas(&self.metadata, old.and_then(|old| old.spec.replicas)));
        default_selector(
            names::LABEL_DEPLOYMENT_NAME,
            &self.metadata,
            &mut spec.selector,
            &mut spec.template,
        );
        default_cluster_label(&mut spec.selector.match_labels, &spec.cluster_name);
        let labels = &mut spec.template.metadata.labels;
        labels.insert(names::LABEL_CLUSTER_NAME.to_owned(), spec.cluster_name.clone());
        spec.template.spec.version.iter_mut().for_each(default_version);

        let strategy = spec.rollout.strategy.get_or_insert_default();
        match strategy.type_ {
            RolloutStrategyType::RollingUpdate => {
                let RollingUpdate { max_unavailable, max_surge } = &mut strategy.rolling_update;
                max_surge.get_or_insert(IntOrString::Int(1));
                max_unavailable.get_or_insert(IntOrString::Int(0));
            }
            RolloutStrategyType::OnDelete => {}
        }
    }

    fn validate(&self, old: Option<&Self>, options: Options, review: &mut Review) {
        let spec = &self.spec;
        validate_label_name(&self.metadata, review);
        Machines {
            metadata: &self.metadata,
            cluster_name: &spec.cluster_name,
            replicas: spec.replicas,
            selector: &spec.selector,
            template: &spec.template,
            // The MachineSets of a MachineDeployment do the naming.
            naming: (&spec.machine_naming, ".machineSet.name"),
        }
        .validate(old.map(|old| (&old.spec.cluster_name, &old.spec.template)), options, review);
        if let Some(strategy) = &spec.rollout.strategy {
            validate_rolling_update(&strategy.rolling_update, review);
        }
        let max_in_flight = spec.remediation.max_in_flight.as_ref();
        validate_amount("spec.remediation.maxInFlight", max_in_flight, review);
    }
}

fn validate_rolling_update(rolling_update: &RollingUpdate, review: &mut Review) {
    const SURGE: &str = "spec.rollout.strategy.rollingUpdate.maxSurge";
    const UNAVAILABLE: &str = "spec.rollout.strategy.rollingUpdate.maxUnavailable";
    let surge = validate_amount(SURGE, rolling_update.max_surge.as_ref(), review);
    let unavailable = validate_amount(UNAVAILABLE, rolling_update.max_unavailable.as_ref(), review);
    if surge.is_some_and(Amount::is_zero) && unavailable.is_some_and(Amount::is_zero) {
        review.invalid(UNAVAILABLE, "0", "no machine could ever be replaced; raise it or maxSurge above 0");
    }
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::Table;

    const DEPLOYMENT: &str = r#"{"metadata":{"name":"d"},"spec":{"clusterName":"c","replicas":1,
        "selector":{"matchLabels":{"a":"b"}},
        "template":{"metadata":{"labels":{"a":"b"}},"spec":{"clusterName":"c","version":"v1.35.0",
        "bootstrap":{"configRef":{"apiGroup":"g","kind":"K","name":"n"}},
        "infrastructureRef":{"apiGroup":"g","kind":"K","name":"n"}}}}}"#;

    fn table() -> Table {
        Table::new("cluster.x-k8s.io", "MachineDeployment", DEPLOYMENT)
    }

    #[test]
    fn defaults() {
        const CLUSTER: &str = r#""cluster.x-k8s.io/cluster-name":"c""#;
        const DEPLOYMENT: &str = r#""cluster.x-k8s.io/deployment-name":"d""#;
        #[rustfmt::skip]
        table().defaults(&[
            ("",                  &format!("metadata.labels={{{CLUSTER}}}")),
            ("",                  &format!(r#"spec.selector.matchLabels={{"a":"b",{CLUSTER}}}"#)),
            ("",                  &format!(r#"spec.template.metadata.labels={{"a":"b",{CLUSTER}}}"#)),
            ("spec.selector={}",  &format!("spec.selector.matchLabels={{{CLUSTER},{DEPLOYMENT}}}")),
            ("spec.selector={}",  &format!(r#"spec.template.metadata.labels={{"a":"b",{CLUSTER},{DEPLOYMENT}}}"#)),
            ("spec.replicas=",    "spec.replicas=1"),
            ("",                  r#"spec.rollout.strategy={"type":"RollingUpdate","rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}"#),
            (r#"spec.rollout.strategy={"type":"OnDelete"}"#, r#"spec.rollout.strategy={"type":"OnDelete"}"#),
            (r#"spec.rollout.strategy={"type":"RollingUpdate","rollingUpdate":{"maxSurge":"25%"}}"#,
                                  r#"spec.rollout.strategy.rollingUpdate={"maxSurge":"25%","maxUnavailable":0}"#),
            (r#"spec.template.spec.version="1.35.1""#, r#"spec.template.spec.version="v1.35.1""#),
        ]);
    }

    #[test]
    fn what_a_new_deployment_may_be() {
        let strategy = |surge: &str, unavailable: &str| {
            format!(
                "spec.rollout.strategy={{\"type\":\"RollingUpdate\",\
                 \"rollingUpdate\":{{\"maxSurge\":{surge},\"maxUnavailable\":{unavailable}}}}}"
            )
        };
        let at = "spec.rollout.strategy.rollingUpdate";
        #[rustfmt::skip]
        table().create(&[
            ("",                                               ""),
            (&format!("metadata.name=\"{}\"", "a".repeat(64)), "metadata.name TooLong"),
            (&strategy("1", "0"),                              ""),
            (&strategy("0", "\"10%\""),                        ""),
            (&strategy("0", "0"),                              &format!("{at}.maxUnavailable Invalid")),
            (&strategy("\"0%\"", "0"),                         &format!("{at}.maxUnavailable Invalid")),
            (&strategy("\"5\"", "1"),                          &format!("{at}.maxSurge Invalid")),
            (&strategy("\"+5%\"", "1"),                        &format!("{at}.maxSurge Invalid")),
            (&strategy("1", "-1"),                             &format!("{at}.maxUnavailable Invalid")),
            (r#"spec.remediation.maxInFlight="20%""#,          ""),
            (r#"spec.remediation.maxInFlight="some""#,         "spec.remediation.maxInFlight Invalid"),
            (r#"spec.template.spec.clusterName="e""#,          "spec.template.spec.clusterName Invalid"),
        ]);
    }

    #[test]
    fn how_a_deployment_may_change() {
        table().update(&[
            ("spec.replicas=5", ""),
            (r#"spec.clusterName="d" spec.template.spec.clusterName="d""#, "spec.clusterName Invalid"),
        ]);
    }
}
