//! Workloads: controllers of pods, jobs, and what limits and scales them.

use serde_json::Value;
use windlass_apimachinery::meta::dns_label;

use super::at::{At, Errors};
use super::{cron, pod, selector};

/// A selector that must be there and not be empty.
fn required_selector(spec: &At<'_>, kind: &str, errors: &mut Errors) {
    let at = spec.child("selector");
    if !at.is_set() {
        at.required(errors, "");
        return;
    }
    selector::selector(&at, errors);
    if selector::is_empty(at.value) {
        at.invalid(errors, format!("empty selector is invalid for {kind}"));
    }
}

fn template_matches(spec: &At<'_>, errors: &mut Errors) {
    let labels = spec.down(&["template", "metadata", "labels"]);
    let selector = spec.child("selector");
    // No selector selects nothing; an empty one selects everything.
    let matches = selector.is_set()
        && (selector::is_empty(selector.value) || selector::matches(selector.value, labels.value));
    if !matches {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
}

/// The template of a controller whose pods run for ever.
fn endless(spec: &At<'_>, kind: &str, errors: &mut Errors) {
    let template = spec.child("template");
    pod::template(&template, errors);
    let policy = template.down(&["spec", "restartPolicy"]);
    if policy.text() != "Always" {
        policy.not_supported(errors, &["Always"]);
    }
    let deadline = template.down(&["spec", "activeDeadlineSeconds"]);
    if deadline.is_set() {
        deadline.forbidden(errors, &format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

fn unchanged(at: &At<'_>, old: Option<&At<'_>>, field: &str, errors: &mut Errors) {
    if let Some(old) = old {
        at.child(field).immutable(errors, &old.child(field));
    }
}

/// A number or a percentage, not negative.
fn amount(at: &At<'_>, errors: &mut Errors) {
    match at.value {
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                at.invalid(errors, "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')");
            }
        }
        _ => at.not_negative(errors),
    }
}

fn percent(at: &At<'_>) -> Option<i64> {
    at.text().strip_suffix('%')?.parse().ok()
}

fn value(at: &At<'_>) -> i64 {
    percent(at).or_else(|| at.int()).unwrap_or(0)
}

fn at_most_all(at: &At<'_>, errors: &mut Errors) {
    if percent(at).is_some_and(|percent| percent > 100) {
        at.invalid(errors, "must not be greater than 100%");
    }
}

pub fn deployment(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    spec.child("replicas").not_negative(errors);
    required_selector(&spec, "deployment", errors);
    template_matches(&spec, errors);
    endless(&spec, "ReplicaSet", errors);
    let (strategy, update) = (spec.child("strategy"), spec.down(&["strategy", "rollingUpdate"]));
    match strategy.child("type").text() {
        "Recreate" if update.is_set() => {
            update.forbidden(errors, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => rolling(&update, errors),
        _ => strategy.not_supported(errors, &["Recreate", "RollingUpdate"]),
    }
    for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        spec.child(field).not_negative(errors);
    }
    let deadline = spec.child("progressDeadlineSeconds");
    if deadline.int().is_some_and(|deadline| deadline <= spec.child("minReadySeconds").int().unwrap_or(0)) {
        deadline.invalid(errors, "must be greater than minReadySeconds");
    }
    unchanged(&spec, old.map(|old| old.child("spec")).as_ref(), "selector", errors);
}

fn rolling(at: &At<'_>, errors: &mut Errors) {
    let (unavailable, surge) = (at.child("maxUnavailable"), at.child("maxSurge"));
    amount(&unavailable, errors);
    amount(&surge, errors);
    if value(&unavailable) == 0 && value(&surge) == 0 {
        unavailable.invalid(errors, "may not be 0 when `maxSurge` is 0");
    }
    at_most_all(&unavailable, errors);
}

pub fn replica_set(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    spec.child("replicas").not_negative(errors);
    spec.child("minReadySeconds").not_negative(errors);
    required_selector(&spec, "deployment", errors);
    template_matches(&spec, errors);
    endless(&spec, "ReplicaSet", errors);
    unchanged(&spec, old.map(|old| old.child("spec")).as_ref(), "selector", errors);
}

pub fn replication_controller(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    spec.child("minReadySeconds").not_negative(errors);
    let selector = spec.child("selector");
    if !selector.is_filled() {
        selector.required(errors, "");
    }
    spec.child("replicas").not_negative(errors);
    let template = spec.child("template");
    if !template.is_set() {
        template.required(errors, "");
        return;
    }
    let labels = template.down(&["metadata", "labels"]);
    let matches = selector.entries().all(|(key, value)| labels.value.get(key) == Some(value.value));
    if !matches {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
    endless(&spec, "ReplicationController", errors);
}

pub fn stateful_set(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    let policy = spec.child("podManagementPolicy");
    if !matches!(policy.text(), "OrderedReady" | "Parallel") {
        policy.invalid(errors, "must be 'OrderedReady' or 'Parallel'");
    }
    let (strategy, update) = (spec.child("updateStrategy"), spec.down(&["updateStrategy", "rollingUpdate"]));
    match strategy.child("type").text() {
        "RollingUpdate" => {
            update.child("partition").not_negative(errors);
            amount(&update.child("maxUnavailable"), errors);
        }
        "OnDelete" if update.is_set() => {
            update.invalid(errors, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        _ => strategy.invalid(errors, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    for field in ["whenDeleted", "whenScaled"] {
        let policy = spec.down(&["persistentVolumeClaimRetentionPolicy", field]);
        policy.maybe_one_of(errors, &["Retain", "Delete"]);
    }
    for field in ["replicas", "minReadySeconds"] {
        spec.child(field).not_negative(errors);
    }
    if spec.child("serviceName").is_filled() && old.is_none() {
        spec.child("serviceName").by(errors, dns_label);
    }
    required_selector(&spec, "statefulset", errors);
    stateful_template(&spec, errors);
    if let Some(old) = old
        && frozen(&spec) != frozen(&old.child("spec"))
    {
        spec.forbidden(errors, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
    }
}

/// The volumes of claims count as volumes of the template.
fn stateful_template(spec: &At<'_>, errors: &mut Errors) {
    template_matches(spec, errors);
    let mut whole = spec.value.clone();
    let claims: Vec<Value> = spec
        .child("volumeClaimTemplates")
        .items()
        .map(|claim| {
            let name = claim.down(&["metadata", "name"]).text();
            serde_json::json!({"name": name, "persistentVolumeClaim": {"claimName": name}})
        })
        .collect();
    if !claims.is_empty()
        && let Some(spec) = whole.pointer_mut("/template/spec")
    {
        let own = spec["volumes"].as_array().cloned().unwrap_or_default();
        let names: Vec<Value> = claims.iter().map(|claim| claim["name"].clone()).collect();
        let rest = own.into_iter().filter(|volume| !names.contains(&volume["name"]));
        spec["volumes"] = claims.into_iter().chain(rest).collect();
    }
    endless(&At { path: spec.path.clone(), value: &whole }, "StatefulSet", errors);
}

fn frozen(spec: &At<'_>) -> Value {
    let mut spec = spec.value.clone();
    if let Some(map) = spec.as_object_mut() {
        for field in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            map.remove(field);
        }
    }
    spec
}

pub fn daemon_set(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    let selector = spec.child("selector");
    unchanged(&spec, old.map(|old| old.child("spec")).as_ref(), "selector", errors);
    if selector.is_set() {
        selector::selector(&selector, errors);
    }
    template_matches(&spec, errors);
    if selector.is_set() && selector::is_empty(selector.value) {
        selector.invalid(errors, "empty selector is invalid for daemonset");
    }
    endless(&spec, "DaemonSet", errors);
    spec.child("minReadySeconds").not_negative(errors);
    let (strategy, update) = (spec.child("updateStrategy"), spec.down(&["updateStrategy", "rollingUpdate"]));
    match strategy.child("type").text() {
        "OnDelete" => {}
        "RollingUpdate" => daemon_rolling(&update, errors),
        _ => strategy.not_supported(errors, &["RollingUpdate", "OnDelete"]),
    }
    spec.child("revisionHistoryLimit").not_negative(errors);
}

fn daemon_rolling(at: &At<'_>, errors: &mut Errors) {
    let (unavailable, surge) = (at.child("maxUnavailable"), at.child("maxSurge"));
    for amount in [&unavailable, &surge] {
        self::amount(amount, errors);
        at_most_all(amount, errors);
    }
    match (value(&unavailable) > 0, value(&surge) > 0) {
        (true, true) => surge.invalid(errors, "may not be set when maxUnavailable is non-zero"),
        (false, false) => unavailable.required(errors, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

pub fn job(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    job_spec(&spec, errors);
    if spec.child("selector").is_set() {
        selector::selector(&spec.child("selector"), errors);
        template_matches(&spec, errors);
    } else {
        spec.child("selector").required(errors, "");
    }
    let Some(old) = old.map(|old| old.child("spec")) else { return };
    for field in [
        "completions",
        "selector",
        "template",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        unchanged(&spec, Some(&old), field, errors);
    }
}

fn job_spec(spec: &At<'_>, errors: &mut Errors) {
    for field in
        ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"]
    {
        spec.child(field).not_negative(errors);
    }
    let mode = spec.child("completionMode");
    mode.maybe_one_of(errors, &["NonIndexed", "Indexed"]);
    if mode.text() == "Indexed" && !spec.child("completions").is_set() {
        spec.child("completions").required(errors, "when completion mode is Indexed");
    }
    let template = spec.child("template");
    pod::template(&template, errors);
    let policy = template.down(&["spec", "restartPolicy"]);
    match policy.text() {
        "OnFailure" | "Never" => {}
        "Always" | "" => policy.required(errors, "valid values: \"OnFailure\", \"Never\""),
        _ => policy.not_supported(errors, &["OnFailure", "Never"]),
    }
}

pub fn cron_job(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    let schedule = spec.child("schedule");
    if schedule.is_filled() {
        if let Err(error) = cron::check(schedule.text()) {
            schedule.invalid(errors, error);
        }
        if schedule.text().contains("TZ") {
            schedule.invalid(errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        }
    } else {
        schedule.required(errors, "");
    }
    spec.child("startingDeadlineSeconds").not_negative(errors);
    let zone = spec.child("timeZone");
    if zone.is_set() && zone.text().is_empty() {
        zone.invalid(errors, "timeZone must be nil or non-empty string");
    } else if zone.is_set() && jiff::tz::TimeZone::get(zone.text()).is_err() {
        zone.invalid(errors, format!("unknown time zone {}", zone.text()));
    }
    spec.child("concurrencyPolicy").one_of(errors, &["Allow", "Forbid", "Replace"]);
    job_spec(&spec.down(&["jobTemplate", "spec"]), errors);
    if spec.down(&["jobTemplate", "spec", "manualSelector"]).value == &Value::Bool(true) {
        spec.down(&["jobTemplate", "spec", "manualSelector"]).not_supported(errors, &["nil", "false"]);
    }
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        spec.child(field).not_negative(errors);
    }
    // The names of its jobs get eleven more characters.
    let name = object.down(&["metadata", "name"]);
    if name.text().len() > 52 {
        name.invalid(errors, "must be no more than 52 characters");
    }
}

pub fn disruption_budget(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    let (least, most) = (spec.child("minAvailable"), spec.child("maxUnavailable"));
    if least.is_set() && most.is_set() {
        spec.invalid(errors, "minAvailable and maxUnavailable cannot be both set");
    }
    for limit in [least, most] {
        amount(&limit, errors);
        at_most_all(&limit, errors);
    }
    selector::selector(&spec.child("selector"), errors);
    spec.child("unhealthyPodEvictionPolicy").maybe_one_of(errors, &["AlwaysAllow", "IfHealthyBudget"]);
}

pub fn priority_class(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let name = object.down(&["metadata", "name"]);
    if name.text().starts_with("system-")
        && !matches!(name.text(), "system-node-critical" | "system-cluster-critical")
    {
        let why = format!(
            "priority class names with 'system-' prefix are reserved for system use only. error: {} is not a known system priority class",
            name.text()
        );
        name.forbidden(errors, &why);
    }
    let value = object.child("value");
    if value.int().is_some_and(|value| value > 1_000_000_000) && !name.text().starts_with("system-") {
        value.forbidden(errors, "maximum allowed value of a user defined priority is 1000000000");
    }
    object.child("preemptionPolicy").maybe_one_of(errors, &["Never", "PreemptLowerPriority"]);
    if let Some(old) = old {
        for field in ["value", "preemptionPolicy"] {
            if object.child(field).value != old.child(field).value {
                object.child(field).forbidden(errors, "may not be changed in an update.");
            }
        }
    }
}

pub fn runtime_class(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    object.child("handler").by(errors, dns_label);
    unchanged(object, old, "handler", errors);
}

pub fn pod(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    pod::spec(&spec, errors);
    let Some(old) = old.map(|old| old.child("spec")) else { return };
    let count = |spec: &At<'_>, list: &str| spec.child(list).items().count();
    for list in ["containers", "initContainers"] {
        if count(&spec, list) != count(&old, list) {
            spec.child(list).forbidden(errors, "pod updates may not add or remove containers");
            return;
        }
    }
    if fixed(spec.value) != fixed(old.value) {
        spec.forbidden(errors, "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)");
    }
}

/// What of a pod's spec can never change.
fn fixed(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container.as_object_mut().map(|map| map.remove("image"));
        }
    }
    if let Some(map) = spec.as_object_mut() {
        for field in
            ["activeDeadlineSeconds", "tolerations", "schedulingGates", "nodeName", "ephemeralContainers"]
        {
            map.remove(field);
        }
    }
    spec
}

pub fn pod_template(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    pod::template(&object.child("template"), errors);
}

pub fn controller_revision(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    if !object.child("data").is_set() {
        object.child("data").required(errors, "data is mandatory");
    }
    object.child("revision").not_negative(errors);
    unchanged(object, old, "data", errors);
}
