//! Rules that several kinds share.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use windlass_model::{MAX_LABEL, Version};

use super::Options;
use super::error::Review;
use crate::core::{Bootstrap, MachineTaint, Metadata};
use crate::names;

/// The minors of Kubernetes 1 that workload clusters may run.
pub const SUPPORTED_MINORS: RangeInclusive<u64> = 31..=36;

/// All annotations of an object together, keys and values (Kubernetes' own limit).
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Puts a `v` in front of a version that has none.
pub(super) fn default_version(version: &mut String) {
    if !version.is_empty() && !version.starts_with('v') {
        version.insert(0, 'v');
    }
}

/// A version must be `v` and a semantic version, and (our rule) one that we can run. What an object has
/// already is not questioned.
pub(super) fn validate_version(field: &str, version: &str, old: Option<&str>, review: &mut Review) {
    if old == Some(version) {
        return;
    }
    let (from, to) = (SUPPORTED_MINORS.start(), SUPPORTED_MINORS.end());
    let bare = version.strip_prefix('v').filter(|bare| !bare.starts_with('v'));
    match bare.and_then(|bare| bare.parse::<Version>().ok()) {
        None => review.invalid(field, version, "is no version; write it as v1.35.0"),
        Some(known) if known.major == 1 && SUPPORTED_MINORS.contains(&known.minor) => {}
        Some(_) => review.invalid(
            field,
            version,
            format!(
                "is no Kubernetes version that clusters can run here; choose one from v1.{from} to v1.{to}"
            ),
        ),
    }
}

/// A field that must stay as it was.
pub(super) fn immutable<T: PartialEq>(
    field: &str,
    new: &T,
    old: Option<&T>,
    shown: &str,
    review: &mut Review,
) {
    if old.is_some_and(|old| old != new) {
        review.invalid(field, shown, "cannot change; create another object instead");
    }
}

/// Labels an object with its cluster's name.
pub(super) fn default_cluster_label(labels: &mut Option<BTreeMap<String, String>>, cluster: &str) {
    labels.get_or_insert_default().insert(names::LABEL_CLUSTER_NAME.to_owned(), cluster.to_owned());
}

/// The number of replicas, where the client left it open: the autoscaler's bounds decide if there are any,
/// else it is 1. `None` if the bounds cannot be read.
pub(super) fn default_replicas(metadata: &ObjectMeta, old: Option<i32>) -> Option<i32> {
    let bound = |name| metadata.annotations.as_ref()?.get(name).map(|text| text.parse::<i32>().ok());
    match (bound(names::ANNOTATION_AUTOSCALER_MIN_SIZE), bound(names::ANNOTATION_AUTOSCALER_MAX_SIZE)) {
        (Some(Some(min)), Some(Some(max))) => {
            Some(old.map_or(min, |old| if old < min { min } else { old.min(max) }))
        }
        (Some(_), Some(_)) => None,
        (Some(_), None) | (None, Some(_) | None) => Some(1),
    }
}

/// [`default_replicas`] fails only on the autoscaler's annotations.
pub(super) fn validate_replicas(replicas: Option<i32>, review: &mut Review) {
    match replicas {
        None => review.required(
            "spec.replicas",
            format!(
                "annotations {} and {} are no whole numbers; correct them or set replicas",
                names::ANNOTATION_AUTOSCALER_MIN_SIZE,
                names::ANNOTATION_AUTOSCALER_MAX_SIZE,
            ),
        ),
        // Our rule: upstream's schema lets negative numbers in, and nothing good comes of them.
        Some(replicas) if replicas < 0 => {
            review.invalid("spec.replicas", &replicas, "must be 0 or more");
        }
        Some(_) => {}
    }
}

/// Bootstrap data must come from somewhere.
pub(super) fn validate_bootstrap(field: &str, bootstrap: &Bootstrap, review: &mut Review) {
    if bootstrap.config_ref.is_none() && bootstrap.data_secret_name.is_none() {
        review.required(field, "set configRef, or dataSecretName to bring your own bootstrap data");
    }
}

/// A name that is used as the value of a label.
pub(super) fn validate_label_name(metadata: &ObjectMeta, review: &mut Review) {
    let name = metadata.name.as_deref().unwrap_or_default();
    if name.len() > MAX_LABEL {
        review.too_long(
            "metadata.name",
            name,
            format!(
                "has {} characters; choose a name of at most {MAX_LABEL}, because labels carry it",
                name.len()
            ),
        );
    } else if !is_label_value(name) {
        review.invalid(
            "metadata.name",
            name,
            "labels carry the name; use letters, digits, '-', '_' and '.', a letter or digit first and last",
        );
    }
}

/// Labels and annotations for objects to come.
pub(super) fn validate_metadata(field: &str, metadata: &Metadata, review: &mut Review) {
    for (key, value) in &metadata.labels {
        validate_key(&format!("{field}.labels"), key, review);
        if !is_label_value(value) {
            review.invalid(
                format!("{field}.labels"),
                value,
                format!("is no label value (of {key}); use at most 63 letters, digits, '-', '_' and '.'"),
            );
        }
    }
    for key in metadata.annotations.keys() {
        validate_key(&format!("{field}.annotations"), key, review);
    }
    let size: usize = metadata.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        review.too_long(
            format!("{field}.annotations"),
            &format!("{size} bytes"),
            format!("keep all annotations together below {MAX_ANNOTATIONS} bytes"),
        );
    }
}

fn validate_key(field: &str, key: &str, review: &mut Review) {
    if !is_qualified_name(key) {
        review.invalid(
            field,
            key,
            "is no key; use at most 63 letters, digits, '-', '_' and '.', optionally behind a domain and '/'",
        );
    }
}

/// A selector must be well formed and select what is made from the template.
pub(super) fn validate_selector(
    selector: &LabelSelector,
    labels: &BTreeMap<String, String>,
    review: &mut Review,
) {
    const FIELD: &str = "spec.selector";
    for (at, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let field = format!("{FIELD}.matchExpressions[{at}]");
        let has_values = requirement.values.as_ref().is_some_and(|values| !values.is_empty());
        match requirement.operator.as_str() {
            "In" | "NotIn" if has_values => {}
            "Exists" | "DoesNotExist" if !has_values => {}
            "In" | "NotIn" => return review.required(format!("{field}.values"), "name at least one value"),
            "Exists" | "DoesNotExist" => {
                return review
                    .forbidden(format!("{field}.values"), "this operator takes no values; remove them");
            }
            other => {
                let operators = ["In", "NotIn", "Exists", "DoesNotExist"];
                return review.not_supported(format!("{field}.operator"), other, &operators);
            }
        }
    }
    if !selects(selector, labels) {
        review.invalid(
            "spec.template.metadata.labels",
            &format!("{labels:?}"),
            "the selector does not match them; add the selector's labels to the template",
        );
    }
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let value = labels.get(&requirement.key);
            let listed = value.is_some_and(|value| requirement.values.iter().flatten().any(|v| v == value));
            match requirement.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

/// Whose Node a taint would end up on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    ControlPlane,
    Worker,
}

/// Taints that other parts of Kubernetes set, or that would make no sense.
pub(super) fn validate_taints(
    field: &str,
    taints: &[MachineTaint],
    role: Role,
    options: Options,
    review: &mut Review,
) {
    if !taints.is_empty() && !options.gates.taints {
        review
            .forbidden(field, "taints of Machines are not served yet; set them through the bootstrap config");
        return;
    }
    for (at, taint) in taints.iter().enumerate() {
        let key = taint.key.as_str();
        let refused = match key {
            names::node::TAINT_UNINITIALIZED | names::node::TAINT_OUTDATED_REVISION => {
                Some("the controllers set this taint themselves; choose another key")
            }
            "node-role.kubernetes.io/master" => {
                Some("this key is no longer used; use node-role.kubernetes.io/control-plane")
            }
            names::node::ROLE_CONTROL_PLANE if role == Role::Worker => {
                Some("this taint is for control plane nodes; choose another key")
            }
            "node.kubernetes.io/out-of-service" => None,
            _ if key.starts_with("node.kubernetes.io/")
                || key.starts_with("node.cloudprovider.kubernetes.io/") =>
            {
                Some("Kubernetes sets taints with this prefix itself; choose another key")
            }
            _ => None,
        };
        if let Some(detail) = refused {
            review.invalid(format!("{field}[{at}].key"), key, detail);
        }
    }
}

/// A number of things, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Count(i32),
    Percent(i32),
}

impl Amount {
    pub(super) fn parse(value: &IntOrString) -> Option<Self> {
        match value {
            IntOrString::Int(count) => Some(Self::Count(*count)).filter(|_| *count >= 0),
            IntOrString::String(text) => {
                let digits = text.strip_suffix('%')?;
                let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                all_digits.then(|| digits.parse().ok().map(Self::Percent)).flatten()
            }
        }
    }

    pub(super) fn is_zero(self) -> bool {
        matches!(self, Self::Count(0) | Self::Percent(0))
    }
}

/// How a number or share is shown in an error.
pub(super) fn show(value: &IntOrString) -> String {
    match value {
        IntOrString::Int(count) => count.to_string(),
        IntOrString::String(text) => text.clone(),
    }
}

/// A field with a number or a share must have one.
pub(super) fn validate_amount(
    field: &str,
    value: Option<&IntOrString>,
    review: &mut Review,
) -> Option<Amount> {
    let value = value?;
    let amount = Amount::parse(value);
    if amount.is_none() {
        review.invalid(field, &show(value), "must be a whole number of 0 or more, or a percentage like 25%");
    }
    amount
}

pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name_part(value)
}

/// A DNS subdomain (RFC 1123) of at most 253 characters.
pub(super) fn is_dns_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let inner =
            label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => is_dns_subdomain(domain) && is_name_part(name),
        None => is_name_part(key),
    }
}

fn is_name_part(name: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let mut bytes = name.bytes();
    name.len() <= MAX_LABEL
        && ends(name.bytes().next())
        && ends(name.bytes().last())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
