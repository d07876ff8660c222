//! Scaling, access, classes, fair queueing, webhooks, aggregated APIs, devices.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::autoscaler;
use super::{Compute, count, flag, len, list, or, text};

pub(super) fn other(kind: &str, heading: &str) -> Option<Compute> {
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

/// Classes, devices, fair queueing, webhooks and aggregated APIs.
pub(super) fn control(kind: &str, heading: &str) -> Option<Compute> {
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
        ("ResourceClaim", "State") => cell!(o => claim_state(o)),
        ("ResourceSlice", "Node") => cell!(o => text(o, "/spec/nodeName")),
        ("ResourceSlice", "Driver") => cell!(o => text(o, "/spec/driver")),
        ("ResourceSlice", "Pool") => cell!(o => text(o, "/spec/pool/name")),
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
    let mut object = object.clone();
    if object["apiVersion"] == autoscaler::OLD {
        autoscaler::newer(&mut object);
    }
    let all = list(&object, "/spec/metrics").iter().map(|metric| {
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

fn claim_state(object: &Value) -> String {
    let deleted = object.pointer("/metadata/deletionTimestamp").is_some();
    let allocated = object.pointer("/status/allocation").is_some();
    let states = [
        (deleted, "deleted"),
        (!deleted && !allocated, "pending"),
        (allocated, "allocated"),
        (allocated && len(object, "/status/reservedFor") > 0, "reserved"),
    ];
    let states: Vec<&str> = states.into_iter().filter_map(|(holds, state)| holds.then_some(state)).collect();
    states.join(",")
}
