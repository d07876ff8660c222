//! Pods and templates of pods.

use std::collections::BTreeSet;

use serde_json::Value;
use windlass_apimachinery::FieldError;
use windlass_apimachinery::meta::{dns_label, dns_subdomain};
use windlass_apimachinery::quantity::Quantity;

use super::at::{At, Errors, config_key, env_name, port_name};
use super::selector;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Checks a `PodTemplateSpec`.
pub fn template(at: &At<'_>, errors: &mut Errors) {
    let metadata = at.child("metadata");
    metadata.child("labels").labels(errors);
    for (key, _) in metadata.child("annotations").entries() {
        let field = metadata.child("annotations").path;
        windlass_apimachinery::meta::qualified_name(&key.to_lowercase(), &field, errors);
    }
    spec(&at.child("spec"), errors);
    if at.down(&["spec", "ephemeralContainers"]).is_filled() {
        at.down(&["spec", "ephemeralContainers"])
            .forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}

/// Checks a `PodSpec`.
pub fn spec(at: &At<'_>, errors: &mut Errors) {
    let volumes = volumes(&at.child("volumes"), errors);
    let names = containers(&at.child("containers"), &volumes, errors);
    init_containers(&at.child("initContainers"), names, &volumes, errors);
    host_network(at, errors);
    at.child("restartPolicy").one_of(errors, &["Always", "OnFailure", "Never"]);
    at.child("dnsPolicy").one_of(errors, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    at.child("nodeSelector").labels(errors);
    for secret in at.child("imagePullSecrets").items() {
        if !secret.child("name").is_filled() {
            secret.child("name").required(errors, "");
        }
    }
    affinity(&at.child("affinity"), errors);
    spread(&at.child("topologySpreadConstraints"), errors);
    for name in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        if at.child(name).is_filled() {
            at.child(name).by(errors, dns_subdomain);
        }
    }
    at.child("activeDeadlineSeconds").between(errors, 1, i64::from(i32::MAX));
    for name in ["hostname", "subdomain"] {
        if at.child(name).is_filled() {
            at.child(name).by(errors, dns_label);
        }
    }
    for toleration in at.child("tolerations").items() {
        self::toleration(&toleration, errors);
    }
}

fn host_network(at: &At<'_>, errors: &mut Errors) {
    if at.child("hostNetwork").value != &Value::Bool(true) {
        return;
    }
    for list in ["containers", "initContainers"] {
        for container in at.child(list).items() {
            for port in container.child("ports").items() {
                let (host, own) = (port.child("hostPort"), port.child("containerPort"));
                if host.int().unwrap_or(0) != 0 && host.value != own.value {
                    own.invalid(errors, "must match `hostPort` when `hostNetwork` is true");
                }
            }
        }
    }
}

/// Checks volumes; returns their names.
fn volumes<'a>(at: &At<'a>, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for volume in at.items() {
        let before = errors.len();
        source(&volume, errors);
        let name = volume.child("name");
        name.required_by(errors, dns_label);
        if names.contains(name.text()) {
            name.duplicate(errors);
        }
        if errors.len() == before {
            names.insert(name.text());
        }
    }
    names
}

fn source(volume: &At<'_>, errors: &mut Errors) {
    let sources: Vec<(&str, At<'_>)> = volume
        .value
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| *key != "name" && !value.is_null())
        .map(|(key, _)| (key.as_str(), volume.child(key)))
        .collect();
    if sources.is_empty() {
        volume.required(errors, "must specify a volume type");
    }
    for (_, source) in sources.iter().skip(1) {
        source.forbidden(errors, "may not specify more than 1 volume type");
    }
    let Some((kind, source)) = sources.first() else { return };
    let need = |errors: &mut Errors, field: &str| {
        if !source.child(field).is_filled() {
            source.child(field).required(errors, "");
        }
    };
    match *kind {
        "configMap" => need(errors, "name"),
        "secret" => need(errors, "secretName"),
        "persistentVolumeClaim" => need(errors, "claimName"),
        "hostPath" => need(errors, "path"),
        "nfs" => ["server", "path"].into_iter().for_each(|field| need(errors, field)),
        "csi" => need(errors, "driver"),
        _ => {}
    }
    source.child("defaultMode").between(errors, 0, 0o777);
    let (key, path) = ("key", "path");
    for item in source.child("items").items().filter(|_| matches!(*kind, "configMap" | "secret")) {
        if !item.child(key).is_filled() {
            item.child(key).required(errors, "");
        }
        if !item.child(path).is_filled() {
            item.child(path).required(errors, "");
        }
    }
}

/// Checks containers; returns their names.
fn containers<'a>(at: &At<'a>, volumes: &BTreeSet<&str>, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    if !at.is_filled() {
        at.required(errors, "");
        return names;
    }
    for container in at.items() {
        self::container(&container, volumes, errors);
        let name = container.child("name");
        if !names.insert(name.text()) {
            name.duplicate(errors);
        }
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            self::probe(&container.child(probe), probe, errors);
        }
        for step in ["postStart", "preStop"] {
            let handler = container.down(&["lifecycle", step]);
            if handler.is_set() {
                self::handler(&handler, errors);
            }
        }
    }
    host_ports(at, errors);
    names
}

fn init_containers(at: &At<'_>, mut names: BTreeSet<&str>, volumes: &BTreeSet<&str>, errors: &mut Errors) {
    let mut own: Vec<At<'_>> = Vec::new();
    for container in at.items() {
        self::container(&container, volumes, errors);
        own.push(container);
    }
    let mut seen = BTreeSet::new();
    for container in &own {
        let name = container.child("name");
        let known = names.contains(name.text()) || !seen.insert(name.text().to_owned());
        if known {
            name.duplicate(errors);
        }
        let always = container.child("restartPolicy").text() == "Always";
        if !always {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.child(field).is_set() {
                    container
                        .child(field)
                        .forbidden(errors, "may not be set for init containers without restartPolicy=Always");
                }
            }
        }
    }
    names.clear();
}

fn host_ports(containers: &At<'_>, errors: &mut Errors) {
    let mut taken = BTreeSet::new();
    for container in containers.items() {
        for port in container.child("ports").items() {
            let host = port.child("hostPort");
            let Some(number) = host.int().filter(|number| *number != 0) else { continue };
            let key = format!("{}/{}/{number}", port.child("protocol").text(), port.child("hostIP").text());
            if !taken.insert(key.clone()) {
                errors.push(FieldError::duplicate(host.path.clone(), Value::from(key)));
            }
        }
    }
}

fn container(at: &At<'_>, volumes: &BTreeSet<&str>, errors: &mut Errors) {
    at.child("name").required_by(errors, dns_label);
    if !at.child("image").is_filled() {
        at.child("image").required(errors, "");
    }
    at.child("terminationMessagePolicy").one_of(errors, &["File", "FallbackToLogsOnError"]);
    ports(&at.child("ports"), errors);
    for variable in at.child("env").items() {
        env(&variable, errors);
    }
    for from in at.child("envFrom").items() {
        env_from(&from, errors);
    }
    mounts(&at.child("volumeMounts"), volumes, errors);
    at.child("imagePullPolicy").one_of(errors, &["Always", "IfNotPresent", "Never"]);
    resources(&at.child("resources"), errors);
}

fn ports(at: &At<'_>, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for port in at.items() {
        let name = port.child("name");
        if name.is_filled() {
            let before = errors.len();
            name.by(errors, port_name);
            if errors.len() == before && !names.insert(name.text()) {
                name.duplicate(errors);
            }
        }
        let number = port.child("containerPort");
        if number.int().unwrap_or(0) == 0 {
            number.required(errors, "");
        } else {
            number.port(errors);
        }
        if port.child("hostPort").int().unwrap_or(0) != 0 {
            port.child("hostPort").port(errors);
        }
        port.child("protocol").one_of(errors, PROTOCOLS);
    }
}

fn env(at: &At<'_>, errors: &mut Errors) {
    at.child("name").required_by(errors, env_name);
    let from = at.child("valueFrom");
    if !from.is_set() {
        return;
    }
    let sources: Vec<&String> = from.value.as_object().into_iter().flatten().map(|(key, _)| key).collect();
    for (source, fields) in [
        ("configMapKeyRef", ["name", "key"].as_slice()),
        ("secretKeyRef", &["name", "key"]),
        ("fieldRef", &["fieldPath"]),
        ("resourceFieldRef", &["resource"]),
    ] {
        let reference = from.child(source);
        for field in fields.iter().filter(|_| reference.is_set()) {
            let value = reference.child(field);
            if !value.is_filled() {
                value.required(errors, "");
            } else if *field == "key" {
                value.by(errors, config_key);
            }
        }
    }
    let said = |errors: &mut Errors, detail: &str| {
        errors.push(FieldError::invalid(from.path.clone(), "", detail));
    };
    if sources.is_empty() {
        said(
            errors,
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if at.child("value").is_filled() {
        said(errors, "may not be specified when `value` is not empty");
    } else if sources.len() > 1 {
        said(errors, "may not have more than one field specified at a time");
    }
}

fn env_from(at: &At<'_>, errors: &mut Errors) {
    if at.child("prefix").is_filled() {
        at.child("prefix").by(errors, env_name);
    }
    let (map, secret) = (at.child("configMapRef"), at.child("secretRef"));
    for reference in [&map, &secret] {
        if reference.is_set() {
            reference.child("name").required_by(errors, dns_subdomain);
        }
    }
    let said = |errors: &mut Errors, detail: &str| {
        errors.push(FieldError::invalid(at.path.clone(), "", detail));
    };
    match (map.is_set(), secret.is_set()) {
        (false, false) => said(errors, "must specify one of: `configMapRef` or `secretRef`"),
        (true, true) => said(errors, "may not have more than one field specified at a time"),
        _ => {}
    }
}

fn mounts(at: &At<'_>, volumes: &BTreeSet<&str>, errors: &mut Errors) {
    let mut paths = BTreeSet::new();
    for mount in at.items() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        if !name.is_filled() {
            name.required(errors, "");
        }
        if !volumes.contains(name.text()) {
            name.not_found(errors);
        }
        if !path.is_filled() {
            path.required(errors, "");
        }
        if !paths.insert(path.text()) {
            path.invalid(errors, "must be unique");
        }
    }
}

/// Checks `ResourceRequirements`.
pub fn resources(at: &At<'_>, errors: &mut Errors) {
    let (limits, requests) = (at.child("limits"), at.child("requests"));
    let positive = |name: &str, amount: &At<'_>, errors: &mut Errors| {
        resource_name(name, &amount.path, errors);
        if amount_of(amount).is_some_and(Quantity::is_negative) {
            amount.invalid(errors, "must be greater than or equal to 0");
        }
    };
    for (name, amount) in limits.entries() {
        positive(name, &amount, errors);
    }
    for (name, amount) in requests.entries() {
        positive(name, &amount, errors);
        let Some(limit) = limits.value.get(name) else { continue };
        let limit = At { path: String::new(), value: limit };
        if let (Some(asked), Some(most)) = (amount_of(&amount), amount_of(&limit))
            && asked.nanos() > most.nanos()
        {
            let detail = format!("must be less than or equal to {name} limit of {}", limit.text());
            errors.push(FieldError::invalid(requests.path.clone(), amount.value.clone(), detail));
        }
    }
}

fn amount_of(at: &At<'_>) -> Option<Quantity> {
    Quantity::parse(at.text())
}

fn resource_name(name: &str, field: &str, errors: &mut Errors) {
    let before = errors.len();
    windlass_apimachinery::meta::qualified_name(name, field, errors);
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if errors.len() == before && !standard && !name.contains('/') {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(field, name, detail));
        let detail = "must be a standard resource for containers";
        errors.push(FieldError::invalid(field, name, detail));
    }
}

fn probe(at: &At<'_>, kind: &str, errors: &mut Errors) {
    if !at.is_set() {
        return;
    }
    handler(at, errors);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        at.child(field).not_negative(errors);
    }
    if kind != "readinessProbe" && at.child("successThreshold").int().is_some_and(|count| count > 1) {
        at.child("successThreshold").invalid(errors, "must be 1");
    }
}

fn handler(at: &At<'_>, errors: &mut Errors) {
    let kinds = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    let set: Vec<At<'_>> = kinds.iter().map(|kind| at.child(kind)).filter(At::is_set).collect();
    for handler in set.iter().skip(1) {
        handler.forbidden(errors, "may not specify more than 1 handler type");
    }
    let Some(first) = set.first() else { return at.required(errors, "must specify a handler type") };
    if first.path.ends_with("exec") {
        if !first.child("command").is_filled() {
            first.child("command").required(errors, "");
        }
    } else if first.path.ends_with("httpGet") {
        first.child("port").port_or_name(errors);
        first.child("scheme").one_of(errors, &["HTTP", "HTTPS"]);
    } else if first.path.ends_with("tcpSocket") {
        first.child("port").port_or_name(errors);
    } else if first.path.ends_with("grpc") {
        first.child("port").port(errors);
    }
}

fn affinity(at: &At<'_>, errors: &mut Errors) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let terms = at.child(kind);
        for term in terms.child("requiredDuringSchedulingIgnoredDuringExecution").items() {
            pod_term(&term, errors);
        }
        for weighted in terms.child("preferredDuringSchedulingIgnoredDuringExecution").items() {
            if weighted.child("weight").int().is_none_or(|weight| !(1..=100).contains(&weight)) {
                weighted.child("weight").invalid(errors, "must be in the range 1-100");
            }
            pod_term(&weighted.child("podAffinityTerm"), errors);
        }
    }
    let node = at.child("nodeAffinity");
    let required = node.child("requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_set() && !required.child("nodeSelectorTerms").is_filled() {
        required.child("nodeSelectorTerms").required(errors, "must have at least one node selector term");
    }
    for term in required.child("nodeSelectorTerms").items() {
        for expression in term.child("matchExpressions").items() {
            node_expression(&expression, errors);
        }
    }
}

fn node_expression(at: &At<'_>, errors: &mut Errors) {
    let (operator, values) = (at.child("operator"), at.child("values"));
    match operator.text() {
        "In" | "NotIn" if !values.is_filled() => {
            values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if values.is_filled() => {
            values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.items().count() != 1 => {
            values.required(errors, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        _ => operator.invalid(errors, "not a valid selector operator"),
    }
    at.child("key").qualified(errors);
}

fn pod_term(at: &At<'_>, errors: &mut Errors) {
    selector::selector(&at.child("labelSelector"), errors);
    let key = at.child("topologyKey");
    if key.is_filled() {
        key.qualified(errors);
    } else {
        key.required(errors, "can not be empty");
    }
}

fn spread(at: &At<'_>, errors: &mut Errors) {
    for constraint in at.items() {
        if constraint.child("maxSkew").int().is_none_or(|skew| skew <= 0) {
            constraint.child("maxSkew").invalid(errors, "must be greater than zero");
        }
        if !constraint.child("topologyKey").is_filled() {
            constraint.child("topologyKey").required(errors, "can not be empty");
        }
        constraint.child("whenUnsatisfiable").one_of(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        selector::selector(&constraint.child("labelSelector"), errors);
    }
}

fn toleration(at: &At<'_>, errors: &mut Errors) {
    let (key, operator) = (at.child("key"), at.child("operator"));
    if key.is_filled() {
        key.qualified(errors);
    } else if operator.text() != "Exists" {
        operator.invalid(
            errors,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        );
    }
    if at.child("tolerationSeconds").is_set() && at.child("effect").text() != "NoExecute" {
        at.child("effect").invalid(errors, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    match operator.text() {
        "Equal" | "" => {
            windlass_apimachinery::meta::label_value(at.child("value").text(), &operator.path, errors);
        }
        "Exists" if at.child("value").is_filled() => {
            operator.invalid(errors, "value must be empty when `operator` is 'Exists'");
        }
        "Exists" => {}
        _ => operator.not_supported(errors, &["Equal", "Exists"]),
    }
    at.child("effect").maybe_one_of(errors, &["NoExecute", "NoSchedule", "PreferNoSchedule"]);
}
