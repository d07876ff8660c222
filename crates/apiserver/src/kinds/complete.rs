//! Defaults that depend on other fields; the constant ones stand in
//! `data/defaults.txt`. The rules are those of Kubernetes' `pkg/apis/*/v1/defaults.go`.

use serde_json::{Map, Value, json};

use crate::object::{member, meta_str};

/// Fills in what a client left out, as every decoded object of the kind gets it.
pub fn complete(group: &str, kind: &str, object: &mut Value) {
    match (group, kind) {
        ("", "Pod") => {
            pod_spec(object.get_mut("spec"));
            pod(object);
        }
        ("", "PodTemplate") => template(object.get_mut("template")),
        ("", "ReplicationController") => {
            template(object.pointer_mut("/spec/template"));
            controller(object);
        }
        ("apps", "Deployment") => {
            template(object.pointer_mut("/spec/template"));
            rolling(object, "/spec/strategy", &json!({"maxUnavailable": "25%", "maxSurge": "25%"}));
        }
        ("apps", "DaemonSet") => {
            template(object.pointer_mut("/spec/template"));
            let annotations = member(member(object, "metadata"), "annotations");
            fill(annotations, "deprecated.daemonset.template.generation", json!("0"));
            rolling(object, "/spec/updateStrategy", &json!({"maxUnavailable": 1, "maxSurge": 0}));
        }
        ("apps", "ReplicaSet") => template(object.pointer_mut("/spec/template")),
        ("apps", "StatefulSet") => {
            template(object.pointer_mut("/spec/template"));
            stateful_set(object);
        }
        ("batch", "Job") => {
            template(object.pointer_mut("/spec/template"));
            job(object);
        }
        ("batch", "CronJob") => template(object.pointer_mut("/spec/jobTemplate/spec/template")),
        ("", "Service") => service(object),
        ("", "Namespace") => {
            let name = meta_str(object, "name").to_owned();
            if !name.is_empty() {
                set(member(member(object, "metadata"), "labels"), "kubernetes.io/metadata.name", json!(name));
            }
        }
        ("", "Node") => node(object),
        ("", "LimitRange") => items(object, "/spec/limits").for_each(limit),
        ("networking.k8s.io", "NetworkPolicy") => network_policy(object),
        ("resource.k8s.io", "ResourceClaim") => device_requests(object.pointer_mut("/spec")),
        ("resource.k8s.io", "ResourceClaimTemplate") => device_requests(object.pointer_mut("/spec/spec")),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(object),
        _ => {}
    }
}

/// The items of a list, nothing when there is none.
fn items<'a>(object: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    object.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Sets a field that is missing, null or empty.
fn fill(object: &mut Value, key: &str, value: Value) {
    let slot = member(object, key);
    if slot.is_null() || slot == "" {
        *slot = value;
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    *member(object, key) = value;
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn template(template: Option<&mut Value>) {
    pod_spec(template.and_then(|template| template.get_mut("spec")));
}

fn pod_spec(spec: Option<&mut Value>) {
    let Some(spec) = spec.filter(|spec| spec.is_object()) else { return };
    for list in ["/containers", "/initContainers", "/ephemeralContainers"] {
        items(spec, list).for_each(container);
    }
    items(spec, "/volumes").for_each(volume);
    // The old name of the field is written with the new one.
    let account = match (text(spec, "serviceAccountName"), text(spec, "serviceAccount")) {
        ("", "") => return,
        ("", account) | (account, _) => json!(account),
    };
    set(spec, "serviceAccountName", account.clone());
    set(spec, "serviceAccount", account);
}

fn container(container: &mut Value) {
    if container.is_object() {
        let policy = pull_policy(text(container, "image"));
        fill(container, "imagePullPolicy", json!(policy));
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            if let Some(grpc) = container.pointer_mut(&format!("/{probe}/grpc")) {
                fill(grpc, "service", json!(""));
            }
        }
    }
}

/// Images of no or the latest tag may change under their name.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn volume(volume: &mut Value) {
    let Some(map) = volume.as_object_mut() else { return };
    if !map.keys().any(|key| key != "name") {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    if let Some(template) = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec") {
        fill(template, "volumeMode", json!("Filesystem"));
    }
    if let Some(image) = volume.get_mut("image") {
        let policy = pull_policy(text(image, "reference"));
        fill(image, "pullPolicy", json!(policy));
    }
}

fn pod(pod: &mut Value) {
    let host = pod.pointer("/spec/hostNetwork") == Some(&json!(true));
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in items(pod, list) {
            requests(container);
            if host {
                for port in items(container, "/ports") {
                    let own = port["containerPort"].clone();
                    fill(port, "hostPort", own);
                }
            }
        }
    }
}

/// What is limited and not requested is requested up to the limit.
fn requests(container: &mut Value) {
    let Some(limits) = container.pointer("/resources/limits").and_then(Value::as_object).cloned() else {
        return;
    };
    let requests = member(member(container, "resources"), "requests");
    for (name, limit) in limits {
        fill(requests, &name, limit);
    }
}

fn controller(controller: &mut Value) {
    let labels = controller.pointer("/spec/template/metadata/labels").cloned();
    let Some(labels) = labels.filter(|labels| labels.as_object().is_some_and(|map| !map.is_empty())) else {
        return;
    };
    fill(member(controller, "spec"), "selector", labels.clone());
    fill(member(controller, "metadata"), "labels", labels);
}

fn rolling(object: &mut Value, pointer: &str, values: &Value) {
    let Some(strategy) = object.pointer_mut(pointer) else { return };
    if text(strategy, "type") == "RollingUpdate" {
        for (key, value) in values.as_object().into_iter().flatten() {
            fill(member(strategy, "rollingUpdate"), key, value.clone());
        }
    }
}

fn stateful_set(set: &mut Value) {
    if let Some(strategy) = set.pointer_mut("/spec/updateStrategy")
        && text(strategy, "type") == "RollingUpdate"
    {
        fill(member(strategy, "rollingUpdate"), "partition", json!(0));
    }
    for claim in items(set, "/spec/volumeClaimTemplates") {
        set_type(claim, "v1", "PersistentVolumeClaim");
    }
}

fn set_type(object: &mut Value, api_version: &str, kind: &str) {
    set(object, "apiVersion", json!(api_version));
    set(object, "kind", json!(kind));
}

fn job(job: &mut Value) {
    let labels = job.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
    if labels.as_object().is_some_and(|map| !map.is_empty()) && job.pointer("/metadata/labels").is_none() {
        set(member(job, "metadata"), "labels", labels);
    }
    let spec = member(job, "spec");
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        set(spec, "completions", json!(1));
    }
    fill(spec, "parallelism", json!(1));
    if spec.get("backoffLimitPerIndex").is_some() && spec["backoffLimit"] == 6 {
        set(spec, "backoffLimit", json!(i32::MAX));
    }
    let failure = spec.get("podFailurePolicy").is_some();
    fill(spec, "podReplacementPolicy", json!(if failure { "Failed" } else { "TerminatingOrFailed" }));
    fill(spec, "manualSelector", json!(false));
}

fn service(service: &mut Value) {
    let spec = member(service, "spec");
    if text(spec, "sessionAffinity") == "ClientIP" {
        let seconds = member(member(spec, "sessionAffinityConfig"), "clientIP");
        fill(seconds, "timeoutSeconds", json!(10800));
    } else if let Some(map) = spec.as_object_mut() {
        map.remove("sessionAffinityConfig");
    }
    for port in items(spec, "/ports") {
        let own = port["port"].clone();
        if matches!(&port["targetPort"], Value::Null) || port["targetPort"] == 0 || port["targetPort"] == "" {
            set(port, "targetPort", own);
        }
    }
    let kind = text(spec, "type").to_owned();
    let external = spec["externalIPs"].as_array().is_some_and(|list| !list.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && external) {
        fill(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        fill(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", json!(true));
        for ingress in items(service, "/status/loadBalancer/ingress") {
            if !text(ingress, "ip").is_empty() {
                fill(ingress, "ipMode", json!("VIP"));
            }
        }
    }
}

fn node(node: &mut Value) {
    let Some(capacity) = node.pointer("/status/capacity").cloned() else { return };
    fill(member(node, "status"), "allocatable", capacity);
}

fn limit(limit: &mut Value) {
    if text(limit, "type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        for (name, value) in limit[from].as_object().cloned().unwrap_or_default() {
            fill(member(limit, to), &name, value);
        }
    }
}

fn network_policy(policy: &mut Value) {
    let spec = member(policy, "spec");
    let egress = spec["egress"].as_array().is_some_and(|list| !list.is_empty());
    let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    fill(spec, "policyTypes", types);
}

/// Whoever asks for a number of devices wants one.
fn device_requests(spec: Option<&mut Value>) {
    let one = |wanted: &mut Value| {
        if wanted["allocationMode"] == "ExactCount" && (wanted["count"].is_null() || wanted["count"] == 0) {
            set(wanted, "count", json!(1));
        }
    };
    let Some(spec) = spec else { return };
    for request in items(spec, "/devices/requests") {
        request.pointer_mut("/exactly").into_iter().for_each(one);
        items(request, "/firstAvailable").for_each(one);
    }
}

fn autoscaler(autoscaler: &mut Value) {
    let spec = member(autoscaler, "spec");
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        set(spec, "metrics", json!([metric]));
    }
    if !spec["behavior"].is_object() {
        return;
    }
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let up = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]});
    let down = json!({"selectPolicy": "Max", "policies": [percent]});
    for (direction, rules) in [("scaleUp", up), ("scaleDown", down)] {
        let slot = member(member(spec, "behavior"), direction);
        for (key, value) in rules.as_object().cloned().unwrap_or_else(Map::new) {
            fill(slot, &key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_may_change_is_always_pulled() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
