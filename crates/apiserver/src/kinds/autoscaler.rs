//! HorizontalPodAutoscalers in their older form, `autoscaling/v1`: one target
//! has a field, all else stands as JSON in annotations
//! (Kubernetes' `pkg/apis/autoscaling/v1/conversion.go`).

use serde_json::{Map, Value, json};

use crate::object::{member, metadata_mut};

/// The older form.
pub const OLD: &str = "autoscaling/v1";

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Percent of the requested CPU that is wanted where nothing else is said.
const CPU: i64 = 80;

/// Turns the stored form into the older one.
pub fn older(object: &mut Value) {
    take_annotations(object);
    let mut part = |key: &str| object.get_mut(key).map(Value::take).unwrap_or_default();
    let (mut spec, mut status) = (part("spec"), part("status"));
    let metrics = taken(&mut spec, "metrics");
    let (of_cpu, others): (Vec<&Value>, Vec<&Value>) =
        metrics.iter().partition(|metric| !cpu(metric, "target").is_null());
    let others: Vec<Value> = others.into_iter().map(|metric| old_metric(metric, "target")).collect();
    annotate(object, METRICS, &others);
    if let Some(first) = of_cpu.first() {
        spec["targetCPUUtilizationPercentage"] = cpu(first, "target").clone();
    }
    let current = taken(&mut status, "currentMetrics");
    if let Some(last) =
        current.iter().map(|metric| cpu(metric, "current")).rfind(|percent| !percent.is_null())
    {
        status["currentCPUUtilizationPercentage"] = last.clone();
    }
    let current: Vec<Value> = current.iter().map(|metric| old_metric(metric, "current")).collect();
    annotate(object, CURRENT, &current);
    if let Some(behavior) = spec.as_object_mut().and_then(|spec| spec.remove("behavior"))
        && behavior.is_object()
    {
        set_annotation(object, BEHAVIOR, go_json(&old_behavior(&behavior)));
    }
    annotate(object, CONDITIONS, &taken(&mut status, "conditions"));
    for (key, value) in [("spec", spec), ("status", status)] {
        if !value.is_null() {
            object[key] = value;
        }
    }
}

/// Turns the older form into the stored one.
pub fn newer(object: &mut Value) {
    let notes = take_annotations(object);
    let list = |key: &str| notes.get(key).and_then(Value::as_array).cloned();
    let spec = member(object, "spec");
    let percent = spec.as_object_mut().and_then(|spec| spec.remove("targetCPUUtilizationPercentage"));
    let mut metrics: Vec<Value> =
        list(METRICS).unwrap_or_default().iter().map(|old| new_metric(old, "target")).collect();
    match percent {
        Some(Value::Number(percent)) => metrics.push(cpu_metric(&json!(percent))),
        _ if metrics.is_empty() => metrics.push(cpu_metric(&json!(CPU))),
        _ => {}
    }
    spec["metrics"] = Value::Array(metrics);
    if let Some(behavior) = notes.get(BEHAVIOR).filter(|behavior| behavior.is_object()) {
        spec["behavior"] = new_behavior(behavior);
    }
    if !object["status"].is_object() {
        return;
    }
    let status = member(object, "status");
    let percent = status.as_object_mut().and_then(|status| status.remove("currentCPUUtilizationPercentage"));
    match (list(CURRENT), percent) {
        (Some(current), _) => {
            status["currentMetrics"] = current.iter().map(|old| new_metric(old, "current")).collect();
        }
        (None, Some(Value::Number(percent))) => {
            let current = json!({"name": "cpu", "current": {"averageUtilization": percent}});
            status["currentMetrics"] = json!([{"type": "Resource", "resource": current}]);
        }
        (None, _) => {}
    }
    if let Some(conditions) = list(CONDITIONS) {
        status["conditions"] = Value::Array(conditions);
    }
}

/// A list that has no place in the older form.
fn taken(object: &mut Value, key: &str) -> Vec<Value> {
    match object.as_object_mut().and_then(|map| map.remove(key)) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// Removes the annotations that carry what has no field; returns what they say.
fn take_annotations(object: &mut Value) -> Map<String, Value> {
    let mut found = Map::new();
    let metadata = metadata_mut(object);
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        for key in [METRICS, CURRENT, CONDITIONS, BEHAVIOR] {
            let text = annotations.remove(key);
            let value = text.and_then(|text| serde_json::from_str(text.as_str()?).ok());
            found.extend(value.map(|value| (key.to_owned(), value)));
        }
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    found
}

fn annotate(object: &mut Value, key: &str, list: &[Value]) {
    if !list.is_empty() {
        set_annotation(object, key, go_json(&json!(list)));
    }
}

fn set_annotation(object: &mut Value, key: &str, text: String) {
    *member(member(member(object, "metadata"), "annotations"), key) = Value::from(text);
}

/// The percentage of a metric about the CPU; null of others.
fn cpu<'a>(metric: &'a Value, side: &str) -> &'a Value {
    if metric["type"] == "Resource" && metric["resource"]["name"] == "cpu" {
        &metric["resource"][side]["averageUtilization"]
    } else {
        &Value::Null
    }
}

fn cpu_metric(percent: &Value) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// Sets what is there.
fn set(into: &mut Value, key: &str, value: &Value) {
    if !value.is_null() {
        into[key] = value.clone();
    }
}

/// A quantity, which is never missing.
fn quantity(value: &Value) -> Value {
    if value.is_null() { json!("0") } else { value.clone() }
}

/// A metric in the older form; `side` is `target` of what is wanted and
/// `current` of what is measured, and the beginning of the older names.
fn old_metric(metric: &Value, side: &str) -> Value {
    let name = |rest: &str| format!("{side}{rest}");
    let wanted = side == "target";
    let mut out = json!({"type": metric["type"]});
    for key in ["object", "pods", "resource", "containerResource", "external"] {
        let (source, values) = (&metric[key], &metric[key][side]);
        if !source.is_object() {
            continue;
        }
        let (value, average) = (&values["value"], &values["averageValue"]);
        let mut old = json!({});
        match key {
            "object" => {
                old["target"] = source["describedObject"].clone();
                old["metricName"] = source["metric"]["name"].clone();
                old[name("Value")] = quantity(value);
                set(&mut old, "selector", &source["metric"]["selector"]);
                set(&mut old, "averageValue", average);
            }
            "pods" => {
                old["metricName"] = source["metric"]["name"].clone();
                old[name("AverageValue")] = quantity(average);
                set(&mut old, "selector", &source["metric"]["selector"]);
            }
            "external" => {
                old["metricName"] = source["metric"]["name"].clone();
                set(&mut old, "metricSelector", &source["metric"]["selector"]);
                let value = if wanted { value.clone() } else { quantity(value) };
                set(&mut old, &name("Value"), &value);
                set(&mut old, &name("AverageValue"), average);
            }
            _ => {
                old["name"] = source["name"].clone();
                set(&mut old, &name("AverageUtilization"), &values["averageUtilization"]);
                let average = if wanted { average.clone() } else { quantity(average) };
                set(&mut old, &name("AverageValue"), &average);
                set(&mut old, "container", &source["container"]);
            }
        }
        out[key] = old;
    }
    out
}

fn new_metric(old: &Value, side: &str) -> Value {
    let mut out = json!({"type": old["type"]});
    for key in ["object", "pods", "resource", "containerResource", "external"] {
        let source = &old[key];
        if !source.is_object() {
            continue;
        }
        let of = |rest: &str| &source[format!("{side}{rest}")];
        let (value, percent) = (of("Value"), of("AverageUtilization"));
        let average = if key == "object" { &source["averageValue"] } else { of("AverageValue") };
        let mut values = json!({});
        set(&mut values, "value", value);
        set(&mut values, "averageValue", average);
        set(&mut values, "averageUtilization", percent);
        if side == "target" {
            let of_value = match key {
                "object" => average.is_null(),
                _ => !value.is_null(),
            };
            let kind = if !percent.is_null() {
                "Utilization"
            } else if of_value {
                "Value"
            } else {
                "AverageValue"
            };
            values["type"] = json!(kind);
        }
        let mut new = json!({side: values});
        if source.get("metricName").is_some() {
            new["metric"] = json!({"name": source["metricName"]});
            set(&mut new["metric"], "selector", &source["selector"]);
            set(&mut new["metric"], "selector", &source["metricSelector"]);
        }
        if key == "object" {
            new["describedObject"] = source["target"].clone();
        }
        for kept in ["name", "container"] {
            set(&mut new, kept, &source[kept]);
        }
        out[key] = new;
    }
    out
}

/// The fields of Go types without names for JSON: field, type within.
const RULES: [(&str, &str); 4] = [
    ("StabilizationWindowSeconds", "stabilizationWindowSeconds"),
    ("SelectPolicy", "selectPolicy"),
    ("Policies", "policies"),
    ("Tolerance", "tolerance"),
];
const DIRECTIONS: [(&str, &str); 2] = [("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown")];
const POLICY: [(&str, &str); 3] = [("Type", "type"), ("Value", "value"), ("PeriodSeconds", "periodSeconds")];

/// How fast to scale, as the Go types without names for JSON write it.
fn old_behavior(behavior: &Value) -> Value {
    let policy = |policy: &Value| -> Value {
        POLICY.iter().map(|(old, new)| ((*old).to_owned(), policy[new].clone())).collect()
    };
    let rules = |rules: &Value| -> Value {
        let fields = RULES.iter().map(|(old, new)| {
            let value = match rules[new].as_array() {
                Some(policies) => policies.iter().map(policy).collect(),
                None => rules[new].clone(),
            };
            ((*old).to_owned(), value)
        });
        fields.collect()
    };
    let directions = DIRECTIONS.iter().map(|(old, new)| {
        let value = if behavior[new].is_object() { rules(&behavior[new]) } else { Value::Null };
        ((*old).to_owned(), value)
    });
    directions.collect()
}

fn new_behavior(old: &Value) -> Value {
    // Go takes fields by their name in any case.
    fn renamed(old: &Value) -> Value {
        let names = || DIRECTIONS.iter().chain(&RULES).chain(&POLICY).map(|(_, new)| *new);
        match old {
            Value::Object(map) => {
                let fields = map.iter().filter(|(_, value)| !value.is_null()).filter_map(|(key, value)| {
                    let name = names().find(|name| name.eq_ignore_ascii_case(key))?;
                    Some((name.to_owned(), renamed(value)))
                });
                fields.collect()
            }
            Value::Array(list) => list.iter().map(renamed).collect(),
            other => other.clone(),
        }
    }
    renamed(old)
}

/// The fields of all types in these annotations, as Go orders them.
const ORDER: &[&str] = &[
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "kind",
    "name",
    "apiVersion",
    "metricName",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "currentAverageUtilization",
    "targetAverageValue",
    "currentAverageValue",
    "container",
    "selector",
    "averageValue",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Type",
    "Value",
    "PeriodSeconds",
    "Tolerance",
];

/// JSON as Go writes it: fields in the order of their types.
fn go_json(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_by_key(|key| ORDER.iter().position(|known| known == key));
            let fields = keys.into_iter().map(|key| {
                let value = &map[key];
                // Labels are no fields.
                let text = if key == "matchLabels" { escaped(value) } else { go_json(value) };
                format!("{}:{text}", escaped(&json!(key)))
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(go_json).collect::<Vec<_>>().join(",")),
        plain => escaped(plain),
    }
}

/// Go escapes what HTML would take for markup.
fn escaped(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(metrics: &Value) -> Value {
        let reference = json!({"kind": "Deployment", "name": "web"});
        json!({
            "apiVersion": "autoscaling/v2",
            "metadata": {"name": "h", "annotations": {"a": "b"}},
            "spec": {"scaleTargetRef": reference, "maxReplicas": 3, "metrics": metrics},
        })
    }

    #[test]
    fn metrics_survive_both_ways() {
        let metric = json!({"name": "m", "selector": {"matchLabels": {"type": "<a>"}}});
        let described = json!({"kind": "Service", "name": "s", "apiVersion": "v1"});
        let target = |kind: &str, field: &str, value: Value| json!({"type": kind, field: value});
        let percent = target("Utilization", "averageUtilization", json!(50));
        let average = target("AverageValue", "averageValue", json!("2"));
        let value = target("Value", "value", json!("7"));
        for (other, annotation) in [
            (
                json!({"type": "Object", "object": {"describedObject": described, "metric": metric, "target": value}}),
                r#"{"type":"Object","object":{"target":{"kind":"Service","name":"s","apiVersion":"v1"},"metricName":"m","targetValue":"7","selector":{"matchLabels":{"type":"\u003ca\u003e"}}}}"#,
            ),
            (
                json!({"type": "Pods", "pods": {"metric": metric, "target": average}}),
                r#"{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"2","selector":{"matchLabels":{"type":"\u003ca\u003e"}}}}"#,
            ),
            (
                json!({"type": "Resource", "resource": {"name": "memory", "target": percent}}),
                r#"{"type":"Resource","resource":{"name":"memory","targetAverageUtilization":50}}"#,
            ),
            (
                json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": average}}),
                r#"{"type":"ContainerResource","containerResource":{"name":"cpu","targetAverageValue":"2","container":"c"}}"#,
            ),
            (
                json!({"type": "External", "external": {"metric": {"name": "m"}, "target": value}}),
                r#"{"type":"External","external":{"metricName":"m","targetValue":"7"}}"#,
            ),
        ] {
            let before = stored(&json!([other, cpu_metric(&json!(40))]));
            let mut object = before.clone();
            older(&mut object);
            assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 40);
            assert_eq!(object["spec"].get("metrics"), None);
            assert_eq!(object["metadata"]["annotations"][METRICS], format!("[{annotation}]"));
            newer(&mut object);
            assert_eq!(object, before);
        }
    }

    #[test]
    fn behavior_and_status_survive_both_ways() {
        let mut before = stored(&json!([cpu_metric(&json!(40))]));
        let policies = json!([{"type": "Pods", "value": 4, "periodSeconds": 15}]);
        before["spec"]["behavior"] = json!({"scaleDown": {"selectPolicy": "Max", "policies": policies}});
        before["status"] = json!({
            "desiredReplicas": 2,
            "conditions": [{"type": "AbleToScale", "status": "True", "reason": "R", "message": "m"}],
            "currentMetrics": [{"type": "Resource", "resource":
                {"name": "cpu", "current": {"averageUtilization": 30, "averageValue": "3"}}}],
        });
        let mut object = before.clone();
        older(&mut object);
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(
            annotations[BEHAVIOR],
            r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":null,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":null}}"#
        );
        assert_eq!(
            annotations[CURRENT],
            r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":30,"currentAverageValue":"3"}}]"#
        );
        assert_eq!(object["status"]["currentCPUUtilizationPercentage"], 30);
        assert_eq!(object["status"].get("conditions"), None);
        newer(&mut object);
        assert_eq!(object, before);
    }

    #[test]
    fn whoever_says_nothing_means_the_cpu() {
        let mut object = stored(&Value::Null);
        object["spec"].as_object_mut().unwrap().remove("metrics");
        newer(&mut object);
        assert_eq!(object["spec"]["metrics"], json!([cpu_metric(&json!(80))]));
    }
}
