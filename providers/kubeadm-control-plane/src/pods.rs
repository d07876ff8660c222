//! What a static pod's status says about it.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod as KubePod, PodStatus};
use windlass_plan::control_plane::health::Pod;

/// Waits of a container that are part of every start, and say nothing.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// The state of a static pod.
pub(crate) fn classify(pod: &KubePod) -> Pod {
    let provisioning = |why: &str| Pod::Provisioning(why.to_owned());
    let Some(status) = &pod.status else { return provisioning("Waiting to be scheduled") };
    match status.phase.as_deref() {
        Some("Pending") if !holds(status, "PodScheduled") => provisioning("Waiting to be scheduled"),
        Some("Pending") if !holds(status, "Initialized") => provisioning("Running init containers"),
        Some("Running") if holds(status, "Ready") => Pod::Running,
        Some("Pending" | "Running") => containers(status),
        Some("Succeeded" | "Failed") => Pod::Failed("All the containers have been terminated".to_owned()),
        Some(_) | None => Pod::Unknown("Pod is reporting Unknown status".to_owned()),
    }
}

/// Whether a condition holds; one that a kubelet does not report stands in nobody's way.
fn holds(status: &PodStatus, kind: &str) -> bool {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    condition.map_or(kind != "Ready", |condition| condition.status == "True")
}

/// What the containers of a pod wait for that has been started and is not ready.
fn containers(status: &PodStatus) -> Pod {
    let statuses: Vec<&ContainerStatus> = status.container_statuses.iter().flatten().collect();
    let waits = |status: &&ContainerStatus| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.clone()?;
        (!STARTING.contains(&reason.as_str())).then_some(reason)
    };
    let mut reasons: Vec<String> = statuses.iter().filter_map(waits).collect();
    reasons.dedup();
    let crashed = reasons.iter().any(|reason| reason == "CrashLoopBackOff");
    let ended = |status: &&&ContainerStatus| {
        let end = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        end.is_some_and(|end| end.exit_code != 0)
    };
    let ended = statuses.iter().find(ended);
    match (ended, reasons.is_empty()) {
        (_, false) if crashed => Pod::Failed(reasons.join(", ")),
        (Some(status), true) => {
            let end = status.state.as_ref().and_then(|state| state.terminated.as_ref());
            let code = end.map_or(0, |end| end.exit_code);
            Pod::Failed(format!("Container {} terminated with exit code {code}", status.name))
        }
        (_, false) => Pod::Provisioning(reasons.join(", ")),
        (None, true) => Pod::Provisioning("Waiting for startup or readiness probes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn pods_are_told_apart() {
        let say = |pod: Pod| match pod {
            Pod::Missing => "missing".to_owned(),
            Pod::Running => "running".to_owned(),
            Pod::Provisioning(why) => format!("provisioning: {why}"),
            Pod::Failed(why) => format!("failed: {why}"),
            Pod::Unknown(why) => format!("unknown: {why}"),
        };
        let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
        let ended = |code: i32| json!({ "terminated": { "exitCode": code } });
        // phase, conditions that hold and that do not, states of containers; what it is
        let probes = "provisioning: Waiting for startup or readiness probes";
        let cases: Vec<(&str, &str, Vec<Value>, &str)> = vec![
            // As a kubelet reports a mirror pod, step by step.
            ("Pending", "!PodScheduled", vec![], "provisioning: Waiting to be scheduled"),
            ("Pending", "PodScheduled !Initialized", vec![], "provisioning: Running init containers"),
            ("Pending", "PodScheduled Initialized !Ready", vec![waiting("ContainerCreating")], probes),
            (
                "Pending",
                "PodScheduled Initialized !Ready",
                vec![waiting("ErrImagePull")],
                "provisioning: ErrImagePull",
            ),
            ("Running", "PodScheduled Initialized !Ready", vec![json!({ "running": {} })], probes),
            ("Running", "PodScheduled Initialized Ready", vec![json!({ "running": {} })], "running"),
            // As our memory provider does: a phase and Ready.
            ("Running", "Ready", vec![], "running"),
            ("Pending", "!Ready", vec![], probes),
            ("Running", "!Ready", vec![waiting("CrashLoopBackOff")], "failed: CrashLoopBackOff"),
            (
                "Running",
                "!Ready",
                vec![json!({ "running": {} }), waiting("CrashLoopBackOff")],
                "failed: CrashLoopBackOff",
            ),
            ("Running", "!Ready", vec![ended(137)], "failed: Container c0 terminated with exit code 137"),
            ("Running", "!Ready", vec![ended(0)], probes),
            ("Succeeded", "", vec![], "failed: All the containers have been terminated"),
            ("Failed", "", vec![], "failed: All the containers have been terminated"),
            ("Unknown", "", vec![], "unknown: Pod is reporting Unknown status"),
        ];
        for (phase, conditions, states, expected) in cases {
            let conditions: Vec<Value> = conditions
                .split_whitespace()
                .map(|word| {
                    let (kind, status) =
                        word.strip_prefix('!').map_or((word, "True"), |kind| (kind, "False"));
                    json!({ "type": kind, "status": status })
                })
                .collect();
            let containers: Vec<Value> = states
                .iter()
                .enumerate()
                .map(|(at, state)| json!({ "name": format!("c{at}"), "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state }))
                .collect();
            let status = json!({ "phase": phase, "conditions": conditions, "containerStatuses": containers });
            let pod = serde_json::from_value(json!({ "metadata": {}, "status": status })).unwrap();
            assert_eq!(say(classify(&pod)), expected, "{phase} {conditions:?} {states:?}");
        }
        assert_eq!(say(classify(&KubePod::default())), "provisioning: Waiting to be scheduled");
    }
}
