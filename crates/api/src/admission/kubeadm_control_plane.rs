//! The rules of KubeadmControlPlanes and their templates.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use windlass_model::Version;

use super::error::Review;
use super::kubeadm_config::validate_spec;
use super::shared::{Role, default_version, show, validate_metadata, validate_taints, validate_version};
use super::{Options, Rules, naming};
use crate::bootstrap::{ClusterConfiguration, KubeadmConfigSpec, LocalEtcd};
use crate::control_plane::{
    KubeadmControlPlane, KubeadmControlPlaneRollout, KubeadmControlPlaneSpec, KubeadmControlPlaneTemplate,
};
use crate::names;

/// Days that certificates live where nobody said otherwise (kubeadm).
const CERTIFICATE_DAYS: i32 = 365;
/// Days that certificate authorities live where nobody said otherwise (kubeadm).
const CA_DAYS: i32 = 3650;
/// The placeholder of the owner's name in naming templates.
const OWNER: &str = ".kubeadmControlPlane.name";

impl Rules for KubeadmControlPlane {
    fn default(&mut self, _old: Option<&Self>) {
        self.spec.replicas.get_or_insert(1);
        default_version(&mut self.spec.version);
        default_rollout(&mut self.spec.rollout);
    }

    fn validate(&self, old: Option<&Self>, options: Options, review: &mut Review) {
        let spec = &self.spec;
        validate_replicas(spec.replicas, spec, review);
        validate_version("spec.version", &spec.version, old.map(|old| old.spec.version.as_str()), review);
        validate_metadata("spec.machineTemplate.metadata", &spec.machine_template.metadata, review);
        let taints = &spec.machine_template.spec.taints;
        validate_taints("spec.machineTemplate.spec.taints", taints, Role::ControlPlane, options, review);
        validate_kubeadm("spec", &spec.kubeadm_config_spec, review);
        validate_rollout("spec", &spec.rollout, &spec.kubeadm_config_spec, spec.replicas, review);
        naming::validate(&spec.machine_naming, OWNER, review);
        if let Some(Self { spec: old, .. }) = old {
            validate_upgrade(&old.version, &spec.version, review);
            let (old, new) = (&old.kubeadm_config_spec, &spec.kubeadm_config_spec);
            let (old, new) = (&old.cluster_configuration, &new.cluster_configuration);
            validate_change(old, new, review);
            let annotations = self.metadata.annotations.as_ref();
            if annotations
                .is_none_or(|annotations| !annotations.contains_key(names::ANNOTATION_SKIP_CORE_DNS))
            {
                validate_dns_change(old, new, review);
            }
        }
    }
}

impl Rules for KubeadmControlPlaneTemplate {
    fn validate(&self, old: Option<&Self>, options: Options, review: &mut Review) {
        let template = &self.spec.template;
        let spec = &template.spec;
        validate_metadata("spec.template.metadata", &template.metadata, review);
        let metadata = &spec.machine_template.metadata;
        validate_metadata("spec.template.spec.machineTemplate.metadata", metadata, review);
        let taints = &spec.machine_template.spec.taints;
        let field = "spec.template.spec.machineTemplate.spec.taints";
        validate_taints(field, taints, Role::ControlPlane, options, review);
        validate_kubeadm("spec.template.spec", &spec.kubeadm_config_spec, review);
        validate_rollout("spec.template.spec", &spec.rollout, &spec.kubeadm_config_spec, None, review);
        naming::validate(&spec.machine_naming, OWNER, review);
        // Older releases wrote defaults into templates; those say nothing new.
        let settled = |template: &Self| {
            let mut spec = template.spec.template.spec.clone();
            default_rollout(&mut spec.rollout);
            spec
        };
        if old.is_some_and(|old| settled(old) != settled(self)) {
            review.invalid("spec.template.spec", "changed", "cannot change; create another template instead");
        }
    }
}

fn default_rollout(rollout: &mut KubeadmControlPlaneRollout) {
    let strategy = rollout.strategy.get_or_insert_default();
    strategy.rolling_update.max_surge.get_or_insert(IntOrString::Int(1));
}

/// etcd on the machines needs a majority; that needs an odd number of machines.
pub(super) fn validate_replicas(replicas: Option<i32>, spec: &KubeadmControlPlaneSpec, review: &mut Review) {
    const FIELD: &str = "spec.replicas";
    let external_etcd = spec.kubeadm_config_spec.cluster_configuration.etcd.external.is_some();
    match replicas {
        None => review.required(FIELD, "say how many machines the control plane has"),
        Some(replicas) if replicas <= 0 => {
            review
                .forbidden(FIELD, "a control plane needs at least one machine; delete the cluster to end it");
        }
        Some(replicas) if replicas % 2 == 0 && !external_etcd => {
            review.forbidden(
                FIELD,
                format!(
                    "{replicas} machines with etcd on them survive no more failures than {}; choose an odd number",
                    replicas - 1
                ),
            );
        }
        Some(_) => {}
    }
}

/// What kubeadm is told about a control plane. `field` is what `kubeadmConfigSpec` is a member of.
fn validate_kubeadm(field: &str, spec: &KubeadmConfigSpec, review: &mut Review) {
    let field = format!("{field}.kubeadmConfigSpec");
    validate_spec(&field, spec, review);
    let (init, join) = (&spec.init_configuration.timeouts, &spec.join_configuration.timeouts);
    let seconds = init.control_plane_component_health_check_seconds;
    if seconds != join.control_plane_component_health_check_seconds {
        review.invalid(
            format!("{field}.initConfiguration.timeouts.controlPlaneComponentHealthCheckSeconds"),
            &seconds.map_or("absent".to_owned(), |seconds| seconds.to_string()),
            "must be the same in initConfiguration.timeouts and joinConfiguration.timeouts",
        );
    }
    let field = format!("{field}.clusterConfiguration");
    let cluster = &spec.cluster_configuration;
    let (days, ca_days) =
        (cluster.certificate_validity_period_days, cluster.ca_certificate_validity_period_days);
    if let Some(days) = days.filter(|days| *days > ca_days.unwrap_or(CA_DAYS)) {
        review.invalid(
            format!("{field}.certificateValidityPeriodDays"),
            &days,
            format!(
                "certificates would outlive their authority, which lives {} days; shorten the one or lengthen \
                 the other",
                ca_days.unwrap_or(CA_DAYS)
            ),
        );
    }
    let etcd = &cluster.etcd;
    if etcd.external.is_some() && etcd.local != LocalEtcd::default() {
        review.forbidden(format!("{field}.etcd.local"), "etcd runs on the machines or elsewhere; remove one");
    }
    let tags = [("etcd.local", &etcd.local.image_tag), ("dns", &cluster.dns.image_tag)];
    for (member, tag) in tags {
        if let Some(tag) = tag.as_ref().filter(|tag| !is_image_tag(tag)) {
            review.invalid(
                format!("{field}.{member}.imageTag"),
                tag,
                "is no image tag; use at most 128 letters, digits, '_', '.' and '-', the last two not first",
            );
        }
    }
}

fn is_image_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// When and how machines are replaced. `field` is what `rollout` is a member of; a template knows no
/// number of `replicas`.
fn validate_rollout(
    field: &str,
    rollout: &KubeadmControlPlaneRollout,
    kubeadm: &KubeadmConfigSpec,
    replicas: Option<i32>,
    review: &mut Review,
) {
    let validity = kubeadm.cluster_configuration.certificate_validity_period_days.unwrap_or(CERTIFICATE_DAYS);
    if let Some(days) = rollout.before.certificates_expiry_days.filter(|days| *days >= validity) {
        review.invalid(
            format!("{field}.rollout.before.certificatesExpiryDays"),
            &days,
            format!(
                "machines would be replaced without end; certificates live {validity} days, so choose less"
            ),
        );
    }
    let surge = rollout.strategy.as_ref().and_then(|strategy| strategy.rolling_update.max_surge.as_ref());
    let field = format!("{field}.rollout.strategy.rollingUpdate.maxSurge");
    match surge {
        None | Some(IntOrString::Int(1)) => {}
        Some(IntOrString::Int(0)) if replicas.is_none_or(|replicas| replicas >= 3) => {}
        Some(zero @ IntOrString::Int(0)) => {
            review.invalid(
                field,
                &show(zero),
                "removes a machine first, which needs at least 3; use 1 or more replicas",
            );
        }
        Some(other) => review.invalid(field, &show(other), "must be 0 or 1"),
    }
}

/// kubeadm upgrades by one minor at a time.
fn validate_upgrade(old: &str, new: &str, review: &mut Review) {
    let (Ok(from), Ok(to)) = (old.parse::<Version>(), new.parse::<Version>()) else { return };
    if (to.major, to.minor) > (from.major, from.minor + 1) {
        review.forbidden(
            "spec.version",
            format!("cannot go from {old} to {new} at once; go to v{}.{} first", from.major, from.minor + 1),
        );
    }
}

/// What is fixed when the first machine starts the cluster; everything else of the spec may change.
fn validate_change(old: &ClusterConfiguration, new: &ClusterConfiguration, review: &mut Review) {
    const FIELD: &str = "spec.kubeadmConfigSpec.clusterConfiguration";
    let fixed = [
        ("controlPlaneEndpoint", old.control_plane_endpoint == new.control_plane_endpoint),
        ("certificatesDir", old.certificates_dir == new.certificates_dir),
        (
            "caCertificateValidityPeriodDays",
            old.ca_certificate_validity_period_days == new.ca_certificate_validity_period_days,
        ),
    ];
    for (member, _) in fixed.into_iter().filter(|(_, same)| !same) {
        review.forbidden(format!("{FIELD}.{member}"), "cannot change once the cluster exists; put it back");
    }
    if old.etcd.external.is_some() != new.etcd.external.is_some() {
        review.forbidden(
            format!("{FIELD}.etcd"),
            "etcd cannot move between the machines and elsewhere; put it back",
        );
    }
}

/// CoreDNS is upgraded in place and its configuration with it; there is no way back.
fn validate_dns_change(old: &ClusterConfiguration, new: &ClusterConfiguration, review: &mut Review) {
    // Tags of other registries carry suffixes, `v1.10.1_vendor.2`.
    let version = |tag: &Option<String>| {
        let plain = tag.as_deref()?.split(['_', '-', '+']).next()?;
        plain.parse::<Version>().ok().map(|version| (version.major, version.minor, version.patch))
    };
    if let (Some(from), Some(to)) = (version(&old.dns.image_tag), version(&new.dns.image_tag))
        && to < from
    {
        review.forbidden(
            "spec.kubeadmConfigSpec.clusterConfiguration.dns.imageTag",
            "CoreDNS cannot go back to an older version; choose one that is at least as new",
        );
    }
}

#[cfg(test)]
mod tests {
    use kube_core::GroupVersionKind;
    use serde_json::{Value, json};

    use crate::admission::testing::{Table, changed};
    use crate::admission::validate_scale;

    const KCP: &str = r#"{"metadata":{"name":"k"},"spec":{"replicas":3,"version":"v1.34.1","machineTemplate":{"spec":{
        "infrastructureRef":{"apiGroup":"g","kind":"K","name":"n"}}},
        "kubeadmConfigSpec":{"clusterConfiguration":{"controlPlaneEndpoint":"e:6443","dns":{"imageTag":"v1.11.1"}}}}}"#;
    const EXTERNAL: &str =
        r#"{"external":{"endpoints":["https://e"],"caFile":"a","certFile":"b","keyFile":"c"}}"#;
    const AT: &str = "spec.kubeadmConfigSpec.clusterConfiguration";

    fn table() -> Table {
        Table::new("controlplane.cluster.x-k8s.io", "KubeadmControlPlane", KCP)
    }

    #[test]
    fn defaults() {
        #[rustfmt::skip]
        table().defaults(&[
            ("spec.replicas=",            "spec.replicas=1"),
            (r#"spec.version="1.34.1""#,  r#"spec.version="v1.34.1""#),
            ("",                          r#"spec.rollout={"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}"#),
            (r#"spec.rollout={"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":0}}}"#,
                                          "spec.rollout.strategy.rollingUpdate.maxSurge=0"),
        ]);
    }

    #[test]
    fn what_a_new_control_plane_may_be() {
        let surge = |surge: &str| {
            format!(
                r#"spec.rollout={{"strategy":{{"type":"RollingUpdate","rollingUpdate":{{"maxSurge":{surge}}}}}}}"#
            )
        };
        let before = |days: u16| format!(r#"spec.rollout={{"before":{{"certificatesExpiryDays":{days}}}}}"#);
        let timeout = |kind: &str| {
            format!(
                r#"spec.kubeadmConfigSpec.{kind}Configuration={{"timeouts":{{"controlPlaneComponentHealthCheckSeconds":60}}}}"#
            )
        };
        let at_surge = "spec.rollout.strategy.rollingUpdate.maxSurge Invalid";
        let at_before = "spec.rollout.before.certificatesExpiryDays Invalid";
        #[rustfmt::skip]
        table().create(&[
            ("",                                              ""),
            ("spec.replicas=1",                               ""),
            ("spec.replicas=0",                               "spec.replicas Forbidden"),
            ("spec.replicas=-1",                              "spec.replicas Forbidden"),
            ("spec.replicas=4",                               "spec.replicas Forbidden"),
            ("spec.replicas=",                                "spec.replicas Required"),
            (&format!("spec.replicas=4 {AT}.etcd={EXTERNAL}"), ""),
            (r#"spec.version="v1.99.0""#,                     "spec.version Invalid"),
            (&surge("1"),                                     ""),
            (&surge("0"),                                     ""),
            (&format!("spec.replicas=1 {}", surge("0")),      at_surge),
            (&surge("2"),                                     at_surge),
            (&surge("\"50%\""),                               at_surge),
            (&before(364),                                    ""),
            (&before(365),                                    at_before),
            (&format!("{} {AT}.certificateValidityPeriodDays=30", before(30)), at_before),
            (&format!("{AT}.certificateValidityPeriodDays=100 {AT}.caCertificateValidityPeriodDays=100"), ""),
            (&format!("{AT}.certificateValidityPeriodDays=101 {AT}.caCertificateValidityPeriodDays=100"),
                &format!("{AT}.certificateValidityPeriodDays Invalid")),
            (&format!(r#"{AT}.etcd={EXTERNAL} {AT}.etcd.local={{"dataDir":"/d"}}"#), &format!("{AT}.etcd.local Forbidden")),
            (&format!(r#"{AT}.etcd={{"local":{{"imageTag":"3.6.0-0"}}}}"#), ""),
            (&format!(r#"{AT}.etcd={{"local":{{"imageTag":"-3"}}}}"#), &format!("{AT}.etcd.local.imageTag Invalid")),
            (&format!(r#"{AT}.dns.imageTag="a:b""#),          &format!("{AT}.dns.imageTag Invalid")),
            (&timeout("init"),                                "spec.kubeadmConfigSpec.initConfiguration.timeouts.controlPlaneComponentHealthCheckSeconds Invalid"),
            (&format!("{} {}", timeout("init"), timeout("join")), ""),
            (r#"spec.kubeadmConfigSpec.files=[{"path":"/a"},{"path":"/a"}]"#, "spec.kubeadmConfigSpec.files[1].path Duplicate"),
            (r#"spec.machineTemplate.metadata={"labels":{"a":"!"}}"#, "spec.machineTemplate.metadata.labels Invalid"),
            (r#"spec.machineNaming.template="{{.kubeadmControlPlane.name}}-{{.random}}""#, ""),
            (r#"spec.machineNaming.template="{{.kubeadmControlPlane.name}}""#, "spec.machineNaming.template Invalid"),
        ]);
    }

    #[test]
    fn how_a_control_plane_may_change() {
        #[rustfmt::skip]
        table().update(&[
            (r#"spec.version="v1.35.4""#,                        ""),
            (r#"spec.version="v1.36.0""#,                        "spec.version Forbidden"),
            (r#"spec.version="v1.33.0""#,                        ""),
            ("spec.replicas=5",                                  ""),
            (r#"spec.machineTemplate.spec.infrastructureRef.name="m""#, ""),
            (r#"spec.kubeadmConfigSpec.preKubeadmCommands=["x"]"#, ""),
            (r#"spec.kubeadmConfigSpec.joinConfiguration={"caCertPath":"/x"}"#, ""),
            (&format!("{AT}.controlPlaneEndpoint="),             &format!("{AT}.controlPlaneEndpoint Forbidden")),
            (&format!(r#"{AT}.certificatesDir="/x""#),           &format!("{AT}.certificatesDir Forbidden")),
            (&format!("{AT}.caCertificateValidityPeriodDays=900"), &format!("{AT}.caCertificateValidityPeriodDays Forbidden")),
            (&format!("{AT}.certificateValidityPeriodDays=90"),  ""),
            (&format!(r#"{AT}.imageRepository="r""#),            ""),
            (&format!(r#"{AT}.apiServer={{"certSANs":["a"]}}"#), ""),
            (&format!("{AT}.etcd={EXTERNAL}"),                   &format!("{AT}.etcd Forbidden")),
            (&format!(r#"{AT}.etcd={{"local":{{"dataDir":"/d"}}}}"#), ""),
            (&format!(r#"{AT}.dns.imageTag="v1.12.0""#),         ""),
            (&format!(r#"{AT}.dns.imageTag="v1.10.0""#),         &format!("{AT}.dns.imageTag Forbidden")),
            (&format!(r#"{AT}.dns.imageTag="v1.11.0_vendor.2""#), &format!("{AT}.dns.imageTag Forbidden")),
            (&format!(r#"{AT}.dns.imageTag="v1.10.0" metadata.annotations={{"controlplane.cluster.x-k8s.io/skip-coredns":""}}"#), ""),
        ]);
    }

    #[test]
    fn a_new_scale_obeys_the_same_rule() {
        let kind = GroupVersionKind::gvk("controlplane.cluster.x-k8s.io", "v1beta2", "KubeadmControlPlane");
        let stacked: Value = serde_json::from_str(KCP).unwrap();
        let external = changed(&stacked, &format!("{AT}.etcd={EXTERNAL}"));
        for (parent, replicas, allowed) in [
            (&stacked, json!(5), true),
            (&stacked, json!(2), false),
            (&stacked, json!(0), false),
            (&stacked, Value::Null, false),
            (&external, json!(2), true),
            (&external, json!(0), false),
        ] {
            let review = validate_scale(&kind, &json!({ "spec": { "replicas": replicas } }), parent);
            assert_eq!(review.allowed(), allowed, "{replicas}");
        }
        let machines = GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "MachineDeployment");
        assert!(validate_scale(&machines, &json!({ "spec": { "replicas": 2 } }), &stacked).allowed());
    }

    #[test]
    fn templates_stay_as_they_are() {
        let template =
            r#"{"metadata":{"name":"t"},"spec":{"template":{"spec":{"kubeadmConfigSpec":{"verbosity":1}}}}}"#;
        let table = Table::new("controlplane.cluster.x-k8s.io", "KubeadmControlPlaneTemplate", template);
        table.create(&[
            ("", ""),
            (
                r#"spec.template.spec.kubeadmConfigSpec.files=[{"path":"/a"},{"path":"/a"}]"#,
                "spec.template.spec.kubeadmConfigSpec.files[1].path Duplicate",
            ),
        ]);
        table.update(&[
            ("spec.template.spec.kubeadmConfigSpec.verbosity=2", "spec.template.spec Invalid"),
            (r#"spec.template.metadata={"labels":{"a":"b"}}"#, ""),
            (
                r#"spec.template.spec.rollout={"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}"#,
                "",
            ),
        ]);
    }
}
