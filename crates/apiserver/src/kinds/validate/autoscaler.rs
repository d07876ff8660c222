//! HorizontalPodAutoscalers, in the form of `autoscaling/v2`.

use windlass_apimachinery::FieldError;
use windlass_apimachinery::meta::{NameRule, dns_label, name};
use windlass_apimachinery::quantity::Quantity;

use super::at::{At, Errors};

/// The sources of metrics: type, field.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const LONGEST_WINDOW: i64 = 3600;
const LONGEST_PERIOD: i64 = 1800;

pub fn autoscaler(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    let (least, most) = (spec.child("minReplicas"), spec.child("maxReplicas"));
    if least.int().is_some_and(|least| least < 1) {
        least.invalid(errors, "must be greater than or equal to 1");
    }
    if most.int().unwrap_or(0) < 1 {
        most.invalid(errors, "must be greater than 0");
    }
    if least.int().unwrap_or(0) > most.int().unwrap_or(0) {
        most.invalid(errors, "must be greater than or equal to `minReplicas`");
    }
    let scaled = spec.child("scaleTargetRef");
    reference(&scaled, errors);
    let version = scaled.child("apiVersion");
    if !version.text().contains('/') && !matches!(version.text(), "v1") {
        let (path, text) = (version.path.clone(), version.text());
        errors.push(FieldError::invalid(path, text, "apiVersion must specify API group"));
    }
    for metric in spec.child("metrics").items() {
        self::metric(&metric, errors);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = spec.child("behavior").child(direction);
        if rules.is_set() {
            self::rules(&rules, errors);
        }
    }
}

fn reference(at: &At<'_>, errors: &mut Errors) {
    for field in ["kind", "name"] {
        let value = at.child(field);
        if !value.is_filled() {
            value.required(errors, "");
        }
    }
}

fn metric(at: &At<'_>, errors: &mut Errors) {
    let kind = at.child("type");
    if !kind.is_filled() {
        kind.required(errors, "must specify a metric source type");
    }
    let wanted = SOURCES.iter().find(|(known, _)| *known == kind.text()).map(|(_, field)| *field);
    let unknown = || {
        let known = ["ContainerResource", "External", "Object", "Pods", "Resource"];
        wanted.is_none().then(|| FieldError::not_supported(kind.path.clone(), kind.text(), &known))
    };
    errors.extend(unknown());
    let present: Vec<&str> =
        SOURCES.iter().map(|(_, field)| *field).filter(|field| at.child(field).is_set()).collect();
    if let Some(first) = present.first() {
        source(first, &at.child(first), errors);
    }
    // Upstream says it where it looks for the source, too.
    errors.extend(unknown());
    if let Some(wanted) = wanted.filter(|wanted| !present.contains(wanted)) {
        at.child(wanted).required(errors, "must populate information for the given metric source");
    }
    if present.len() != 1 {
        let mut others: Vec<&str> = present.into_iter().filter(|field| Some(*field) != wanted).collect();
        others.sort_unstable();
        for other in others {
            at.child(other).forbidden(errors, "must populate the given metric source only");
        }
    }
}

/// What a metric of a sort must say.
fn source(sort: &str, at: &At<'_>, errors: &mut Errors) {
    let target = at.child("target");
    let (value, average) = (target.child("value"), target.child("averageValue"));
    match sort {
        "object" => {
            reference(&at.child("describedObject"), errors);
            identifier(&at.child("metric"), errors);
            self::target(&target, errors);
            if !value.is_set() && !average.is_set() {
                average.required(errors, "must set either a target value or averageValue");
            }
        }
        "external" => {
            identifier(&at.child("metric"), errors);
            self::target(&target, errors);
            match (value.is_set(), average.is_set()) {
                (false, false) => {
                    average.required(errors, "must set either a target value for metric or a per-pod target");
                }
                (true, true) => {
                    value
                        .forbidden(errors, "may not set both a target value for metric and a per-pod target");
                }
                _ => {}
            }
        }
        "pods" => {
            identifier(&at.child("metric"), errors);
            self::target(&target, errors);
            if !average.is_set() {
                average.required(errors, "must specify a positive target averageValue");
            }
        }
        _ => resource(sort == "containerResource", at, errors),
    }
}

fn resource(of_container: bool, at: &At<'_>, errors: &mut Errors) {
    if !at.child("name").is_filled() {
        at.child("name").required(errors, "must specify a resource name");
    }
    let container = at.child("container");
    if of_container && !container.is_filled() {
        container.required(errors, "must specify a container");
    } else if of_container {
        container.by(errors, dns_label);
    }
    let target = at.child("target");
    self::target(&target, errors);
    let (percent, average) = (target.child("averageUtilization"), target.child("averageValue"));
    match (percent.is_set(), average.is_set()) {
        (false, false) => {
            percent.required(errors, "must set either a target raw value or a target utilization");
        }
        (true, true) => {
            average.forbidden(errors, "may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn identifier(at: &At<'_>, errors: &mut Errors) {
    let named = at.child("name");
    if named.is_filled() {
        named.by(errors, |text| name(NameRule::PathSegment, text));
    } else {
        named.required(errors, "must specify a metric name");
    }
}

fn target(at: &At<'_>, errors: &mut Errors) {
    let kind = at.child("type");
    if !kind.is_filled() {
        kind.required(errors, "must specify a metric target type");
    }
    if !matches!(kind.text(), "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(kind.path.clone(), kind.text(), why));
    }
    for field in ["value", "averageValue"] {
        let amount = at.child(field);
        let nanos = Quantity::parse(amount.text()).map(Quantity::nanos);
        if amount.is_set() && nanos.is_none_or(|nanos| nanos <= 0) {
            amount.invalid(errors, "must be positive");
        }
    }
    let percent = at.child("averageUtilization");
    if percent.int().is_some_and(|percent| percent < 1) {
        percent.invalid(errors, "must be greater than 0");
    }
}

fn rules(at: &At<'_>, errors: &mut Errors) {
    let window = at.child("stabilizationWindowSeconds");
    if window.int().is_some_and(|seconds| seconds < 0) {
        window.invalid(errors, "must be greater than or equal to zero");
    }
    if window.int().is_some_and(|seconds| seconds > LONGEST_WINDOW) {
        window.invalid(errors, format!("must be less than or equal to {LONGEST_WINDOW}"));
    }
    at.child("selectPolicy").maybe_one_of(errors, &["Disabled", "Max", "Min"]);
    let policies = at.child("policies");
    if !policies.is_filled() {
        policies.required(errors, "must specify at least one Policy");
    }
    for policy in policies.items() {
        let kind = policy.child("type");
        if !matches!(kind.text(), "Pods" | "Percent") {
            let path = kind.path.clone();
            errors.push(FieldError::not_supported(path, kind.text(), &["Percent", "Pods"]));
        }
        for field in ["value", "periodSeconds"] {
            let number = policy.child(field);
            if number.int().unwrap_or(0) <= 0 {
                let path = number.path.clone();
                errors.push(FieldError::invalid(
                    path,
                    number.int().unwrap_or(0),
                    "must be greater than zero",
                ));
            }
        }
        let period = policy.child("periodSeconds");
        if period.int().is_some_and(|seconds| seconds > LONGEST_PERIOD) {
            period.invalid(errors, format!("must be less than or equal to {LONGEST_PERIOD}"));
        }
    }
}
