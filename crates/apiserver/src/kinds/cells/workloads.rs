//! Workloads.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Compute, count, flag, joined, labels, len, list, or, selector, since, text};

pub(super) fn workload(kind: &str, heading: &str) -> Option<Compute> {
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
