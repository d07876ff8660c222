//! Namespaces, Secrets, quotas, Events, Nodes and Pods.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Compute, age, count, flag, len, list, or, text};

pub(super) fn core(kind: &str, heading: &str) -> Option<Compute> {
    match (kind, heading) {
        ("Namespace", "Status") => cell!(o => text(o, "/status/phase")),
        ("Secret", "Type") => cell!(o => text(o, "/type")),
        ("Secret", "Data") => cell!(o => len(o, "/data")),
        ("ConfigMap", "Data") => cell!(o => len(o, "/data") + len(o, "/binaryData")),
        ("ComponentStatus", "Status") => cell!(o => match text(health(o), "/status").as_str() {
            "True" => "Healthy",
            "" => "Unknown",
            _ => "Unhealthy",
        }),
        ("ComponentStatus", "Message") => cell!(o => text(health(o), "/message")),
        ("ComponentStatus", "Error") => cell!(o => text(health(o), "/error")),
        ("Event", _) => event(heading),
        ("Node", _) => node(heading),
        ("Pod", _) => pod(heading),
        ("ResourceQuota", "Request") => cell!(o => quota(o, false)),
        ("ResourceQuota", "Limit") => cell!(o => quota(o, true)),
        _ => None,
    }
}

/// The condition that says how a component is; null when there is none.
fn health(object: &Value) -> &Value {
    let conditions = list(object, "/conditions").iter();
    conditions.into_iter().find(|condition| condition["type"] == "Healthy").unwrap_or(&Value::Null)
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
