//! The cells of compiled-in kinds' tables, by kind and heading: what
//! `kubectl get` shows.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::columns::age;

/// Computes a cell.
pub(super) type Compute = fn(&Value, Timestamp) -> Value;

fn text(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn count(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer) == Some(&Value::Bool(true))
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn len(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}

/// A text, or something else where it is empty.
fn or(text: String, other: &str) -> Value {
    json!(if text.is_empty() { other.to_owned() } else { text })
}

/// One field of all items, with commas.
fn joined(items: &[Value], field: &str) -> String {
    let texts: Vec<String> = items.iter().map(|item| text(item, field)).collect();
    texts.join(",")
}

fn labels(object: &Value, pointer: &str) -> String {
    let map = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = map.map(|(key, value)| format!("{key}={}", text(value, ""))).collect();
    pairs.join(",")
}

/// A `LabelSelector`, or the plain map of old kinds.
fn selector(object: &Value, pointer: &str) -> String {
    let Some(value) = object.pointer(pointer) else { return String::new() };
    if value.get("matchLabels").is_none() && value.get("matchExpressions").is_none() {
        return labels(object, pointer);
    }
    let mut parts = vec![labels(value, "/matchLabels")];
    for requirement in list(value, "/matchExpressions") {
        let (key, values) = (text(requirement, "/key"), joined(list(requirement, "/values"), ""));
        parts.push(match text(requirement, "/operator").as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key,
            _ => format!("!{key}"),
        });
    }
    parts.retain(|part| !part.is_empty());
    parts.join(",")
}

/// `ReadWriteOnce` as `RWO`.
fn modes(object: &Value, pointer: &str) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    list(object, pointer).iter().map(short).collect::<Vec<_>>().join(",")
}

fn since(object: &Value, pointer: &str, now: Timestamp) -> Value {
    match object.pointer(pointer) {
        Some(time @ Value::String(_)) => json!(age(Some(time), now)),
        _ => json!("<none>"),
    }
}

macro_rules! cell {
    ($object:ident => $value:expr) => {
        Some(|$object: &Value, _: Timestamp| json!($value))
    };
    ($object:ident, $now:ident => $value:expr) => {
        Some(|$object: &Value, $now: Timestamp| json!($value))
    };
}

/// The cells under a heading, if they are known.
pub(super) fn of(kind: &str, heading: &str) -> Option<Compute> {
    match heading {
        "Name" => cell!(o => text(o, "/metadata/name")),
        "Age" => cell!(o, now => age(o.pointer("/metadata/creationTimestamp"), now)),
        "Created At" => cell!(o => text(o, "/metadata/creationTimestamp")),
        _ => workload(kind, heading)
            .or_else(|| core(kind, heading))
            .or_else(|| network(kind, heading))
            .or_else(|| storage(kind, heading))
            .or_else(|| other(kind, heading))
            .or_else(|| control(kind, heading)),
    }
}

fn workload(kind: &str, heading: &str) -> Option<Compute> {
    match (kind, heading) {
        ("PodTemplate", "Containers") => cell!(o => joined(list(o, "/template/spec/containers"), "/name")),
        ("PodTemplate", "Images") => cell!(o => joined(list(o, "/template/spec/containers"), "/image")),
        ("PodTemplate", "Pod Labels") => cell!(o => or(labels(o, "/template/metadata/labels"), "<none>")),
        ("CronJob", "Containers") => {
            cell!(o => joined(list(o, "/spec/jobTemplate/spec/template/spec/containers"), "/name"))
        }
        ("CronJob", "Images") => {
            cell!(o => joined(list(o, "/spec/jobTemplate/spec/template/spec/containers"), "/image"))
        }
        ("CronJob", "Selector") => cell!(o => or(selector(o, "/spec/jobTemplate/spec/selector"), "<none>")),
        (_, "Containers") => cell!(o => joined(list(o, "/spec/template/spec/containers"), "/name")),
        (_, "Images") => cell!(o => joined(list(o, "/spec/template/spec/containers"), "/image")),
        (_, "Selector") => cell!(o => or(selector(o, "/spec/selector"), "<none>")),
        ("Deployment" | "StatefulSet", "Ready") => {
            cell!(o => format!("{}/{}", count(o, "/status/readyReplicas"), count(o, "/spec/replicas")))
        }
        ("Deployment", "Up-to-date") => cell!(o => count(o, "/status/updatedReplicas")),
        ("Deployment", "Available") => cell!(o => count(o, "/status/availableReplicas")),
        ("DaemonSet", "Desired") => cell!(o => count(o, "/status/desiredNumberScheduled")),
        ("DaemonSet", "Current") => cell!(o => count(o, "/status/currentNumberScheduled")),
        ("DaemonSet", "Ready") => cell!(o => count(o, "/status/numberReady")),
        ("DaemonSet", "Up-to-date") => cell!(o => count(o, "/status/updatedNumberScheduled")),
        ("DaemonSet", "Available") => cell!(o => count(o, "/status/numberAvailable")),
        ("DaemonSet", "Node Selector") => {
            cell!(o => or(labels(o, "/spec/template/spec/nodeSelector"), "<none>"))
        }
        ("ReplicaSet" | "ReplicationController", "Desired") => cell!(o => count(o, "/spec/replicas")),
        ("ReplicaSet" | "ReplicationController", "Current") => cell!(o => count(o, "/status/replicas")),
        ("ReplicaSet" | "ReplicationController", "Ready") => cell!(o => count(o, "/status/readyReplicas")),
        ("ControllerRevision", "Controller") => cell!(o => controller(o)),
        ("ControllerRevision", "Revision") => cell!(o => count(o, "/revision")),
        ("CronJob", "Schedule") => cell!(o => text(o, "/spec/schedule")),
        ("CronJob", "Timezone") => cell!(o => or(text(o, "/spec/timeZone"), "<none>")),
        ("CronJob", "Suspend") => cell!(o => if flag(o, "/spec/suspend") { "True" } else { "False" }),
        ("CronJob", "Active") => cell!(o => len(o, "/status/active")),
        ("CronJob", "Last Schedule") => Some(|o, now| since(o, "/status/lastScheduleTime", now)),
        ("Job", "Status") => cell!(o => job_status(o)),
        ("Job", "Completions") => cell!(o => completions(o)),
        ("Job", "Duration") => cell!(o, now => duration(o, now)),
        _ => None,
    }
}

fn controller(object: &Value) -> Value {
    let owner = list(object, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true);
    let shown = owner.map(|owner| {
        let group = text(owner, "/apiVersion");
        let group = group.split_once('/').map_or_else(String::new, |(group, _)| format!(".{group}"));
        format!("{}{group}/{}", text(owner, "/kind").to_lowercase(), text(owner, "/name"))
    });
    or(shown.unwrap_or_default(), "<none>")
}

fn job_status(object: &Value) -> &'static str {
    let is = |kind: &str| {
        list(object, "/status/conditions").iter().any(|c| c["type"] == kind && c["status"] == "True")
    };
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if object.pointer("/metadata/deletionTimestamp").is_some() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(object: &Value) -> String {
    let done = count(object, "/status/succeeded");
    match object.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(wanted) => format!("{done}/{wanted}"),
        None => match count(object, "/spec/parallelism") {
            0 | 1 => format!("{done}/1"),
            several => format!("{done}/1 of {several}"),
        },
    }
}

fn duration(object: &Value, now: Timestamp) -> String {
    let time = |pointer: &str| text(object, pointer).parse::<Timestamp>().ok();
    let Some(start) = time("/status/startTime") else { return String::new() };
    let end = time("/status/completionTime").unwrap_or(now);
    windlass_apimachinery::table::age(end.as_second() - start.as_second())
}

fn core(kind: &str, heading: &str) -> Option<Compute> {
    match (kind, heading) {
        ("Namespace", "Status") => cell!(o => text(o, "/status/phase")),
        ("Secret", "Type") => cell!(o => text(o, "/type")),
        ("Secret", "Data") => cell!(o => len(o, "/data")),
        ("ConfigMap", "Data") => cell!(o => len(o, "/data") + len(o, "/binaryData")),
        ("Event", _) => event(heading),
        ("Node", _) => node(heading),
        ("Pod", _) => pod(heading),
        ("ResourceQuota", "Request") => cell!(o => quota(o, false)),
        ("ResourceQuota", "Limit") => cell!(o => quota(o, true)),
        _ => None,
    }
}

fn quota(object: &Value, limits: bool) -> String {
    let hard = object.pointer("/status/hard").and_then(Value::as_object);
    let hard = hard.into_iter().flatten().filter(|(name, _)| name.starts_with("limits.") == limits);
    let parts: Vec<String> = hard
        .map(|(name, value)| {
            let used =
                object["status"]["used"].get(name).map_or_else(|| "0".to_owned(), |used| text(used, ""));
            format!("{name}: {used}/{}", text(value, ""))
        })
        .collect();
    parts.join(", ")
}

fn event(heading: &str) -> Option<Compute> {
    match heading {
        "Last Seen" => cell!(o, now => {
            let time = ["/series/lastObservedTime", "/lastTimestamp", "/deprecatedLastTimestamp", "/eventTime"];
            let time = time.iter().find_map(|pointer| o.pointer(pointer).filter(|time| time.is_string()));
            age(time, now)
        }),
        "First Seen" => cell!(o, now => {
            let time = ["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"];
            let time = time.iter().find_map(|pointer| o.pointer(pointer).filter(|time| time.is_string()));
            age(time, now)
        }),
        "Type" => cell!(o => text(o, "/type")),
        "Reason" => cell!(o => text(o, "/reason")),
        "Object" => cell!(o => {
            let of = if o.get("regarding").is_some() { "/regarding" } else { "/involvedObject" };
            let kind = text(o, &format!("{of}/kind")).to_lowercase();
            format!("{kind}/{}", text(o, &format!("{of}/name")))
        }),
        "Subobject" => cell!(o => text(o, "/involvedObject/fieldPath") + &text(o, "/regarding/fieldPath")),
        "Source" => cell!(o => {
            let source = if o.get("deprecatedSource").is_some() { "/deprecatedSource" } else { "/source" };
            let parts = [text(o, &format!("{source}/component")), text(o, &format!("{source}/host"))];
            let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            if parts.is_empty() {
                text(o, "/reportingComponent") + &text(o, "/reportingController")
            } else {
                parts.join(", ")
            }
        }),
        "Message" => cell!(o => (text(o, "/message") + &text(o, "/note")).trim().to_owned()),
        "Count" => cell!(o => {
            let counts = [count(o, "/series/count"), count(o, "/count"), count(o, "/deprecatedCount")];
            counts.into_iter().find(|count| *count > 0).unwrap_or(1)
        }),
        _ => None,
    }
}

fn node(heading: &str) -> Option<Compute> {
    match heading {
        "Status" => cell!(o => node_status(o)),
        "Roles" => cell!(o => node_roles(o)),
        "Version" => cell!(o => text(o, "/status/nodeInfo/kubeletVersion")),
        "Internal-IP" => cell!(o => node_address(o, "InternalIP")),
        "External-IP" => cell!(o => node_address(o, "ExternalIP")),
        "OS-Image" => cell!(o => or(text(o, "/status/nodeInfo/osImage"), "<unknown>")),
        "Kernel-Version" => cell!(o => or(text(o, "/status/nodeInfo/kernelVersion"), "<unknown>")),
        "Container-Runtime" => {
            cell!(o => or(text(o, "/status/nodeInfo/containerRuntimeVersion"), "<unknown>"))
        }
        _ => None,
    }
}

fn node_status(object: &Value) -> String {
    let ready = list(object, "/status/conditions").iter().find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|c| c["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if flag(object, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn node_roles(object: &Value) -> String {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn node_address(object: &Value, kind: &str) -> String {
    let address = list(object, "/status/addresses").iter().find(|a| a["type"] == kind);
    address.and_then(|a| a["address"].as_str()).unwrap_or("<none>").to_owned()
}

fn pod(heading: &str) -> Option<Compute> {
    match heading {
        "Ready" => cell!(o => {
            let ready = list(o, "/status/containerStatuses").iter().filter(|c| c["ready"] == true).count();
            format!("{ready}/{}", len(o, "/spec/containers"))
        }),
        "Status" => cell!(o => {
            let deleting = o.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string);
            let reason = text(o, "/status/reason");
            let phase = if reason.is_empty() { text(o, "/status/phase") } else { reason };
            if deleting { "Terminating".to_owned() } else { phase }
        }),
        "Restarts" => cell!(o => {
            let counts = list(o, "/status/containerStatuses").iter().filter_map(|c| c["restartCount"].as_i64());
            counts.sum::<i64>().to_string()
        }),
        "IP" => cell!(o => or(text(o, "/status/podIP"), "<none>")),
        "Node" => cell!(o => or(text(o, "/spec/nodeName"), "<none>")),
        "Nominated Node" => cell!(o => or(text(o, "/status/nominatedNodeName"), "<none>")),
        "Readiness Gates" => cell!(o => {
            let gates = list(o, "/spec/readinessGates");
            let met = gates.iter().filter(|gate| {
                let met = |c: &&Value| c["type"] == gate["conditionType"] && c["status"] == "True";
                list(o, "/status/conditions").iter().any(|c| met(&c))
            });
            if gates.is_empty() { "<none>".to_owned() } else { format!("{}/{}", met.count(), gates.len()) }
        }),
        _ => None,
    }
}

fn network(kind: &str, heading: &str) -> Option<Compute> {
    match (kind, heading) {
        ("Service", "Type") => cell!(o => text(o, "/spec/type")),
        ("Service", "Cluster-IP") => cell!(o => or(text(o, "/spec/clusterIP"), "<none>")),
        ("Service", "External-IP") => cell!(o => external(o)),
        ("Service", "Port(s)") => cell!(o => or(service_ports(o), "<none>")),
        ("Endpoints", "Endpoints") => cell!(o => endpoints(o)),
        ("EndpointSlice", "AddressType") => cell!(o => text(o, "/addressType")),
        ("EndpointSlice", "Ports") => {
            cell!(o => or(first(list(o, "/ports").iter().map(|p| text(p, "/port"))), "<unset>"))
        }
        ("EndpointSlice", "Endpoints") => cell!(o => {
            let addresses = list(o, "/endpoints").iter().flat_map(|endpoint| list(endpoint, "/addresses"));
            or(first(addresses.map(|address| text(address, ""))), "<unset>")
        }),
        ("Ingress", "Class") => cell!(o => {
            let old = o["metadata"]["annotations"].get("kubernetes.io/ingress.class");
            let class = text(o, "/spec/ingressClassName");
            or(if class.is_empty() { old.map(|old| text(old, "")).unwrap_or_default() } else { class }, "<none>")
        }),
        ("Ingress", "Hosts") => cell!(o => hosts(o)),
        ("Ingress", "Address") => cell!(o => balanced(o)),
        ("Ingress", "Ports") => cell!(o => if len(o, "/spec/tls") > 0 { "80, 443" } else { "80" }),
        ("IngressClass", "Controller") => cell!(o => text(o, "/spec/controller")),
        ("IngressClass", "Parameters") => cell!(o => {
            let group = text(o, "/spec/parameters/apiGroup");
            let group = if group.is_empty() { group } else { format!(".{group}") };
            let name = text(o, "/spec/parameters/name");
            or(if name.is_empty() { name } else { format!("{}{group}/{name}", text(o, "/spec/parameters/kind")) }, "<none>")
        }),
        ("NetworkPolicy", "Pod-Selector") => cell!(o => or(selector(o, "/spec/podSelector"), "<none>")),
        _ => None,
    }
}

/// The first three, and how many more there are.
fn first(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    let shown = all[..all.len().min(3)].join(",");
    if all.len() > 3 { format!("{shown} + {} more...", all.len() - 3) } else { shown }
}

fn endpoints(object: &Value) -> Value {
    let all = list(object, "/subsets").iter().flat_map(|subset| {
        let addresses = list(subset, "/addresses");
        let ports = list(subset, "/ports");
        let plain = addresses.iter().filter(|_| ports.is_empty()).map(|address| text(address, "/ip"));
        let with = ports.iter().flat_map(|port| {
            addresses.iter().map(|address| format!("{}:{}", text(address, "/ip"), text(port, "/port")))
        });
        plain.chain(with).collect::<Vec<_>>()
    });
    or(first(all), "<none>")
}

fn balanced(object: &Value) -> String {
    let ingress = list(object, "/status/loadBalancer/ingress").iter();
    let shown: Vec<String> = ingress
        .map(|ingress| {
            let ip = text(ingress, "/ip");
            if ip.is_empty() { text(ingress, "/hostname") } else { ip }
        })
        .collect();
    shown.join(",")
}

fn external(object: &Value) -> Value {
    let own = joined(list(object, "/spec/externalIPs"), "");
    match text(object, "/spec/type").as_str() {
        "LoadBalancer" => {
            let all: Vec<String> = [balanced(object), own].into_iter().filter(|ip| !ip.is_empty()).collect();
            or(all.join(","), "<pending>")
        }
        "ExternalName" => json!(text(object, "/spec/externalName")),
        _ => or(own, "<none>"),
    }
}

fn service_ports(object: &Value) -> String {
    let ports: Vec<String> = list(object, "/spec/ports")
        .iter()
        .map(|port| {
            let node = count(port, "/nodePort");
            let node = if node > 0 { format!(":{node}") } else { String::new() };
            format!("{}{node}/{}", text(port, "/port"), text(port, "/protocol"))
        })
        .collect();
    ports.join(",")
}

fn hosts(object: &Value) -> String {
    let hosts =
        list(object, "/spec/rules").iter().map(|rule| text(rule, "/host")).filter(|host| !host.is_empty());
    let shown = first(hosts);
    if shown.is_empty() { "*".to_owned() } else { shown }
}

fn storage(kind: &str, heading: &str) -> Option<Compute> {
    match (kind, heading) {
        ("PersistentVolume" | "PersistentVolumeClaim", "Status") => cell!(o => {
            let deleting = o.pointer("/metadata/deletionTimestamp").is_some();
            if deleting { "Terminating".to_owned() } else { text(o, "/status/phase") }
        }),
        ("PersistentVolumeClaim", "Volume") => cell!(o => text(o, "/spec/volumeName")),
        ("PersistentVolumeClaim", "Capacity") => cell!(o => text(o, "/status/capacity/storage")),
        ("PersistentVolumeClaim", "Access Modes") => cell!(o => modes(o, "/status/accessModes")),
        ("PersistentVolume", "Capacity") => cell!(o => text(o, "/spec/capacity/storage")),
        ("PersistentVolume", "Access Modes") => cell!(o => modes(o, "/spec/accessModes")),
        ("PersistentVolume", "Reclaim Policy") => cell!(o => text(o, "/spec/persistentVolumeReclaimPolicy")),
        ("PersistentVolume", "Claim") => cell!(o => {
            let name = text(o, "/spec/claimRef/name");
            if name.is_empty() { name } else { format!("{}/{name}", text(o, "/spec/claimRef/namespace")) }
        }),
        ("PersistentVolume", "Reason") => cell!(o => text(o, "/status/reason")),
        (_, "StorageClass") => cell!(o => text(o, "/spec/storageClassName")),
        (_, "VolumeAttributesClass") => cell!(o => or(text(o, "/spec/volumeAttributesClassName"), "<unset>")),
        (_, "VolumeMode") => cell!(o => or(text(o, "/spec/volumeMode"), "<unset>")),
        ("StorageClass", "Provisioner") => cell!(o => text(o, "/provisioner")),
        ("StorageClass", "ReclaimPolicy") => cell!(o => text(o, "/reclaimPolicy")),
        ("StorageClass", "VolumeBindingMode") => cell!(o => text(o, "/volumeBindingMode")),
        ("StorageClass", "AllowVolumeExpansion") => cell!(o => flag(o, "/allowVolumeExpansion")),
        ("CSIDriver", "AttachRequired") => cell!(o => flag(o, "/spec/attachRequired")),
        ("CSIDriver", "PodInfoOnMount") => cell!(o => flag(o, "/spec/podInfoOnMount")),
        ("CSIDriver", "StorageCapacity") => cell!(o => flag(o, "/spec/storageCapacity")),
        ("CSIDriver", "TokenRequests") => {
            cell!(o => or(joined(list(o, "/spec/tokenRequests"), "/audience"), "<unset>"))
        }
        ("CSIDriver", "RequiresRepublish") => cell!(o => flag(o, "/spec/requiresRepublish")),
        ("CSIDriver", "Modes") => cell!(o => joined(list(o, "/spec/volumeLifecycleModes"), "")),
        ("CSINode", "Drivers") => cell!(o => len(o, "/spec/drivers")),
        ("VolumeAttachment", "Attacher") => cell!(o => text(o, "/spec/attacher")),
        ("VolumeAttachment", "PV") => cell!(o => text(o, "/spec/source/persistentVolumeName")),
        ("VolumeAttachment", "Node") => cell!(o => text(o, "/spec/nodeName")),
        ("VolumeAttachment", "Attached") => cell!(o => flag(o, "/status/attached")),
        ("VolumeAttributesClass", "DriverName") => cell!(o => text(o, "/driverName")),
        _ => None,
    }
}

fn other(kind: &str, heading: &str) -> Option<Compute> {
    match (kind, heading) {
        ("Lease", "Holder") => cell!(o => text(o, "/spec/holderIdentity")),
        ("PodDisruptionBudget", "Min Available") => cell!(o => or(text(o, "/spec/minAvailable"), "N/A")),
        ("PodDisruptionBudget", "Max Unavailable") => cell!(o => or(text(o, "/spec/maxUnavailable"), "N/A")),
        ("PodDisruptionBudget", "Allowed Disruptions") => cell!(o => count(o, "/status/disruptionsAllowed")),
        ("HorizontalPodAutoscaler", "Reference") => {
            cell!(o => format!("{}/{}", text(o, "/spec/scaleTargetRef/kind"), text(o, "/spec/scaleTargetRef/name")))
        }
        ("HorizontalPodAutoscaler", "Targets") => cell!(o => targets(o)),
        ("HorizontalPodAutoscaler", "MinPods") => cell!(o => or(text(o, "/spec/minReplicas"), "<unset>")),
        ("HorizontalPodAutoscaler", "MaxPods") => cell!(o => count(o, "/spec/maxReplicas")),
        ("HorizontalPodAutoscaler", "Replicas") => cell!(o => count(o, "/status/currentReplicas")),
        ("RoleBinding" | "ClusterRoleBinding", "Role") => {
            cell!(o => format!("{}/{}", text(o, "/roleRef/kind"), text(o, "/roleRef/name")))
        }
        ("RoleBinding" | "ClusterRoleBinding", "Users") => cell!(o => subjects(o, "User")),
        ("RoleBinding" | "ClusterRoleBinding", "Groups") => cell!(o => subjects(o, "Group")),
        ("RoleBinding" | "ClusterRoleBinding", "ServiceAccounts") => {
            cell!(o => subjects(o, "ServiceAccount"))
        }
        ("CertificateSigningRequest", "SignerName") => cell!(o => or(text(o, "/spec/signerName"), "<none>")),
        ("CertificateSigningRequest", "Requestor") => cell!(o => text(o, "/spec/username")),
        ("CertificateSigningRequest", "RequestedDuration") => {
            cell!(o => match o.pointer("/spec/expirationSeconds").and_then(Value::as_i64) {
                Some(seconds) => windlass_apimachinery::table::age(seconds),
                None => "<none>".to_owned(),
            })
        }
        ("CertificateSigningRequest", "Condition") => cell!(o => condition(o)),
        _ => None,
    }
}

/// Classes, fair queueing, webhooks and aggregated APIs.
fn control(kind: &str, heading: &str) -> Option<Compute> {
    match (kind, heading) {
        ("PriorityClass", "Value") => cell!(o => count(o, "/value")),
        ("PriorityClass", "Global-Default") => cell!(o => flag(o, "/globalDefault")),
        ("PriorityClass", "PreemptionPolicy") => cell!(o => text(o, "/preemptionPolicy")),
        ("RuntimeClass", "Handler") => cell!(o => text(o, "/handler")),
        ("FlowSchema", "PriorityLevel") => cell!(o => text(o, "/spec/priorityLevelConfiguration/name")),
        ("FlowSchema", "MatchingPrecedence") => cell!(o => count(o, "/spec/matchingPrecedence")),
        ("FlowSchema", "DistinguisherMethod") => {
            cell!(o => or(text(o, "/spec/distinguisherMethod/type"), "<none>"))
        }
        ("FlowSchema", "MissingPL") => cell!(o => {
            let dangling = list(o, "/status/conditions").iter().find(|c| c["type"] == "Dangling");
            or(dangling.map(|c| text(c, "/status")).unwrap_or_default(), "?")
        }),
        ("PriorityLevelConfiguration", "Type") => cell!(o => text(o, "/spec/type")),
        ("PriorityLevelConfiguration", "NominalConcurrencyShares") => {
            cell!(o => or(text(o, "/spec/limited/nominalConcurrencyShares"), "<none>"))
        }
        ("PriorityLevelConfiguration", "Queues") => {
            cell!(o => or(text(o, "/spec/limited/limitResponse/queuing/queues"), "<none>"))
        }
        ("PriorityLevelConfiguration", "HandSize") => {
            cell!(o => or(text(o, "/spec/limited/limitResponse/queuing/handSize"), "<none>"))
        }
        ("PriorityLevelConfiguration", "QueueLengthLimit") => {
            cell!(o => or(text(o, "/spec/limited/limitResponse/queuing/queueLengthLimit"), "<none>"))
        }
        (_, "Webhooks") => cell!(o => len(o, "/webhooks")),
        ("APIService", "Service") => cell!(o => {
            let name = text(o, "/spec/service/name");
            or(if name.is_empty() { name } else { format!("{}/{name}", text(o, "/spec/service/namespace")) }, "Local")
        }),
        ("APIService", "Available") => cell!(o => {
            let available = list(o, "/status/conditions").iter().find(|c| c["type"] == "Available");
            match available {
                Some(condition) if condition["status"] == "True" => "True".to_owned(),
                Some(condition) => format!("{} ({})", text(condition, "/status"), text(condition, "/reason")),
                None => "Unknown".to_owned(),
            }
        }),
        _ => None,
    }
}

fn subjects(object: &Value, kind: &str) -> String {
    let subjects = list(object, "/subjects").iter().filter(|subject| subject["kind"] == kind);
    let names: Vec<String> = subjects
        .map(|subject| match text(subject, "/namespace").as_str() {
            "" => text(subject, "/name"),
            namespace => format!("{namespace}/{}", text(subject, "/name")),
        })
        .collect();
    names.join(", ")
}

fn condition(object: &Value) -> String {
    let has = |kind: &str| list(object, "/status/conditions").iter().any(|c| c["type"] == kind);
    let mut parts = Vec::new();
    if has("Denied") {
        parts.push("Denied");
    } else if has("Approved") {
        parts.push("Approved");
    } else {
        parts.push("Pending");
    }
    if has("Failed") {
        parts.push("Failed");
    }
    if object.pointer("/status/certificate").is_some() {
        parts.push("Issued");
    }
    parts.join(",")
}

/// The metrics an autoscaler goes by, measured (which nobody does) and wanted.
fn targets(object: &Value) -> Value {
    let all = list(object, "/spec/metrics").iter().map(|metric| {
        let resource = &metric["resource"];
        let wanted = match &resource["target"]["averageUtilization"] {
            Value::Number(percent) => format!("{percent}%"),
            _ => text(resource, "/target/averageValue"),
        };
        format!("{}: <unknown>/{wanted}", text(resource, "/name"))
    });
    let all: Vec<String> = all.collect();
    or(all.join(", "), "<none>")
}
