//! Services, volumes, configuration and limits.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use windlass_apimachinery::FieldError;
use windlass_apimachinery::meta::{dns_label, dns_subdomain};
use windlass_apimachinery::quantity::Quantity;

use super::at::{At, Errors, config_key};
use super::selector;

/// Most bytes of a Secret or ConfigMap.
const MAX_SIZE: usize = 1 << 20;
const FROZEN: &str = "field is immutable when `immutable` is set";

fn frozen(object: &At<'_>, old: Option<&At<'_>>, fields: &[&str], errors: &mut Errors) {
    let Some(old) = old.filter(|old| old.child("immutable").value == &Value::Bool(true)) else { return };
    if object.child("immutable").value != &Value::Bool(true) {
        object.child("immutable").forbidden(errors, FROZEN);
    }
    for field in fields {
        if old.child(field).value != object.child(field).value {
            object.child(field).forbidden(errors, FROZEN);
        }
    }
}

fn key(errors: &mut Errors, at: &At<'_>, key: &str) {
    for detail in config_key(key) {
        errors.push(FieldError::invalid(at.path.clone(), key, detail));
    }
}

pub fn config_map(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    frozen(object, old, &["data", "binaryData"], errors);
    let (data, binary) = (object.child("data"), object.child("binaryData"));
    let mut size = 0;
    for (name, at) in data.entries() {
        key(errors, &at, name);
        if binary.value.get(name).is_some() {
            errors.push(FieldError::invalid(at.path.clone(), name, "duplicate of key present in binaryData"));
        }
        size += at.text().len();
    }
    for (name, at) in binary.entries() {
        key(errors, &at, name);
        size += bytes(&at).len();
    }
    if size > MAX_SIZE {
        // How upstream writes the field of the object itself.
        errors.push(FieldError::too_long("[]", Value::Null, MAX_SIZE as u64));
    }
}

fn bytes(at: &At<'_>) -> Vec<u8> {
    BASE64.decode(at.text()).unwrap_or_default()
}

pub fn secret(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    if let Some(old) = old {
        object.child("type").immutable(errors, &old.child("type"));
    }
    frozen(object, old, &["data"], errors);
    let data = object.child("data");
    let mut size = 0;
    for (name, at) in data.entries() {
        key(errors, &at, name);
        size += bytes(&at).len();
    }
    if size > MAX_SIZE {
        errors.push(FieldError::too_long("data", Value::Null, MAX_SIZE as u64));
    }
    let need = |errors: &mut Errors, name: &str| {
        let missing = data.value.get(name).is_none();
        if missing {
            errors.push(FieldError::required(format!("data[{name}]"), ""));
        }
        missing
    };
    match object.child("type").text() {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if !object.down(&["metadata", "annotations", name]).is_filled() {
                errors.push(FieldError::required(format!("metadata.annotations[{name}]"), ""));
            }
        }
        "kubernetes.io/dockercfg" if !need(errors, ".dockercfg") => document(&data, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" if !need(errors, ".dockerconfigjson") => {
            document(&data, ".dockerconfigjson", errors);
        }
        "kubernetes.io/basic-auth"
            if data.value.get("username").is_none() && data.value.get("password").is_none() =>
        {
            need(errors, "username");
            need(errors, "password");
        }
        "kubernetes.io/ssh-auth" if !data.child("ssh-privatekey").is_filled() => {
            errors.push(FieldError::required("data[ssh-privatekey]", ""));
        }
        "kubernetes.io/tls" => {
            need(errors, "tls.crt");
            need(errors, "tls.key");
        }
        _ => {}
    }
}

fn document(data: &At<'_>, name: &str, errors: &mut Errors) {
    let bytes = bytes(&data.child(name));
    let why = match serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        Ok(_) => return,
        Err(_) if bytes.is_empty() => "unexpected end of JSON input".to_owned(),
        Err(_) => match bytes.first() {
            Some(first) if first.is_ascii_alphabetic() => {
                format!("invalid character '{}' looking for beginning of value", char::from(*first))
            }
            _ => "unexpected end of JSON input".to_owned(),
        },
    };
    errors.push(FieldError::invalid(format!("data[{name}]"), "<secret contents redacted>", why));
}

pub fn service(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    let kind = spec.child("type").text();
    let headless = spec.child("clusterIP").text() == "None";
    if let Some(old) = old {
        address_kept(&spec, &old.child("spec"), errors);
    }
    let ports = spec.child("ports");
    if !ports.is_filled() && !headless && kind != "ExternalName" {
        ports.required(errors, "");
    }
    match kind {
        "LoadBalancer" if headless => {
            spec.child("clusterIPs").invalid(errors, "may not be set to 'None' for LoadBalancer services");
        }
        "NodePort" if headless => {
            spec.child("clusterIPs").invalid(errors, "may not be set to 'None' for NodePort services");
        }
        "ExternalName" => external_name(&spec, errors),
        _ => {}
    }
    service_ports(&spec, kind, errors);
    spec.child("selector").labels(errors);
    spec.child("sessionAffinity").one_of(errors, &["ClientIP", "None"]);
    let seconds = spec.down(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
    if seconds.int().is_some_and(|seconds| !(1..=86400).contains(&seconds)) {
        seconds.invalid(errors, "must be greater than 0 and less than 86400");
    }
    spec.child("type").one_of(errors, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    let policy = spec.child("externalTrafficPolicy");
    let external = spec.child("externalIPs").is_filled();
    if matches!(kind, "LoadBalancer" | "NodePort") || (kind == "ClusterIP" && external) {
        policy.one_of(errors, &["Cluster", "Local"]);
    } else if policy.is_filled() {
        policy.invalid(errors, "may only be set for externally-accessible services");
    }
    spec.child("internalTrafficPolicy").maybe_one_of(errors, &["Cluster", "Local"]);
    for address in spec.child("externalIPs").items() {
        ip(&address, errors);
    }
}

fn ip(at: &At<'_>, errors: &mut Errors) {
    if at.text().parse::<std::net::IpAddr>().is_err() {
        at.invalid(errors, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

fn address_kept(spec: &At<'_>, old: &At<'_>, errors: &mut Errors) {
    let external = |spec: &At<'_>| spec.child("type").text() == "ExternalName";
    if external(spec) || external(old) {
        return;
    }
    let (now, before) = (spec.down(&["clusterIP"]), old.child("clusterIP"));
    if before.is_filled() && now.value != before.value {
        let field = FieldError::invalid(
            format!("{}.clusterIPs[0]", spec.path),
            spec.child("clusterIPs").value.clone(),
            if now.is_filled() { "may not change once set" } else { "primary clusterIP can not be unset" },
        );
        errors.push(field);
    }
}

fn external_name(spec: &At<'_>, errors: &mut Errors) {
    for (field, other) in [("clusterIPs", "clusterIPs"), ("ipFamilies", "ipFamilies")] {
        if spec.child(field).is_filled() {
            spec.child(other).forbidden(errors, "may not be set when `type` is 'ExternalName'");
        }
    }
    let name = spec.child("externalName");
    let host = name.text().strip_suffix('.').unwrap_or(name.text());
    if host.is_empty() {
        name.required(errors, "");
    } else {
        let at = At { path: name.path.clone(), value: name.value };
        for detail in dns_subdomain(host) {
            at.invalid(errors, detail);
        }
    }
}

fn service_ports(spec: &At<'_>, kind: &str, errors: &mut Errors) {
    let ports: Vec<At<'_>> = spec.child("ports").items().collect();
    let mut names = BTreeSet::new();
    for port in &ports {
        let name = port.child("name");
        if name.is_filled() {
            name.by(errors, dns_label);
            if !names.insert(name.text()) {
                name.duplicate(errors);
            }
        } else if ports.len() > 1 {
            name.required(errors, "");
        }
        port.child("port").port(errors);
        port.child("protocol").one_of(errors, &["SCTP", "TCP", "UDP"]);
        port.child("targetPort").port_or_name(errors);
        if port.child("appProtocol").is_filled() {
            port.child("appProtocol").qualified(errors);
        }
        let node = port.child("nodePort");
        if kind == "ClusterIP" && node.int().unwrap_or(0) != 0 {
            node.forbidden(errors, "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut seen = BTreeSet::new();
    for port in &ports {
        let key = (port.child("protocol").text(), port.child("port").int());
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(port.path.clone(), json!({"protocol": key.0, "port": key.1})));
        }
    }
}

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

fn access_modes(spec: &At<'_>, errors: &mut Errors) {
    for mode in spec.child("accessModes").items() {
        let at = At { path: spec.child("accessModes").path, value: mode.value };
        at.maybe_one_of(errors, MODES);
    }
}

pub fn claim(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    let modes = spec.child("accessModes");
    if !modes.is_filled() {
        modes.required(errors, "at least 1 access mode is required");
    }
    selector::selector(&spec.child("selector"), errors);
    access_modes(&spec, errors);
    let size = spec.down(&["resources", "requests", "storage"]);
    let path = "spec.resources[storage]";
    match Quantity::parse(size.text()) {
        None => errors.push(FieldError::required(path, "")),
        Some(amount) if amount.nanos() <= 0 => {
            errors.push(FieldError::invalid(path, size.value.clone(), "must be greater than zero"));
        }
        Some(_) => {}
    }
    if spec.child("storageClassName").is_filled() {
        spec.child("storageClassName").by(errors, dns_subdomain);
    }
    spec.child("volumeMode").maybe_one_of(errors, &["Block", "Filesystem"]);
    if let Some(old) = old
        && claim_core(spec.value) != claim_core(old.child("spec").value)
    {
        spec.forbidden(errors, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
    }
}

fn claim_core(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(map) = spec.as_object_mut() {
        for field in ["resources", "volumeAttributesClassName", "volumeName"] {
            map.remove(field);
        }
    }
    spec
}

/// Where volumes may come from.
const SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

pub fn volume(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    if !spec.child("accessModes").is_filled() {
        spec.child("accessModes").required(errors, "");
    }
    access_modes(&spec, errors);
    let capacity = spec.child("capacity");
    if !capacity.is_filled() {
        capacity.required(errors, "");
    }
    if capacity.value.as_object().is_none_or(|map| map.len() != 1 || !map.contains_key("storage")) {
        capacity.not_supported(errors, &["storage"]);
    }
    if !SOURCES.iter().any(|source| spec.child(source).is_set()) {
        spec.required(errors, "must specify a volume type");
    }
    spec.child("persistentVolumeReclaimPolicy").maybe_one_of(errors, &["Delete", "Recycle", "Retain"]);
    spec.child("volumeMode").maybe_one_of(errors, &["Block", "Filesystem"]);
}

pub fn limit_range(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let mut kinds = BTreeSet::new();
    for limit in object.down(&["spec", "limits"]).items() {
        let kind = limit.child("type");
        if !matches!(kind.text(), "Container" | "Pod" | "PersistentVolumeClaim") {
            kind.qualified(errors);
        }
        if !kinds.insert(kind.text()) {
            kind.duplicate(errors);
        }
    }
}

pub fn endpoints(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    for subset in object.child("subsets").items() {
        if !subset.child("addresses").is_filled() && !subset.child("notReadyAddresses").is_filled() {
            subset.required(errors, "must specify `addresses` or `notReadyAddresses`");
        }
        for address in subset.child("addresses").items().chain(subset.child("notReadyAddresses").items()) {
            ip(&address.child("ip"), errors);
        }
        let ports: Vec<At<'_>> = subset.child("ports").items().collect();
        for port in &ports {
            if ports.len() > 1 && !port.child("name").is_filled() {
                port.child("name").required(errors, "");
            }
            port.child("port").port(errors);
            port.child("protocol").one_of(errors, &["SCTP", "TCP", "UDP"]);
        }
    }
}

pub fn event(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let involved = object.child("involvedObject");
    let own = object.down(&["metadata", "namespace"]).text();
    let theirs = involved.child("namespace");
    let fits =
        if theirs.is_filled() { theirs.text() == own } else { own == "default" || own == "kube-system" };
    if !fits && involved.is_set() {
        theirs.invalid(errors, "does not match event.namespace");
    }
}
