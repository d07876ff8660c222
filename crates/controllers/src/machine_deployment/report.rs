//! Writes what a MachineDeployment says about itself.

use windlass_api::core::{MachineDeployment, MachineDeploymentPhase, MachineDeploymentStatus, VersionCount};
use windlass_model::Time;
use windlass_plan::machine_deployment::{Phase, Status};
use windlass_plan::machines::Counts;
use windlass_runtime::conditions;

use super::observe::Scene;
use crate::pausing;
use crate::references::{count, is_leaving};

/// `deployment` as it says that it is paused, and nothing else.
pub(super) fn paused(deployment: &MachineDeployment, scene: &Scene, now: Time) -> MachineDeployment {
    let mut after = deployment.clone();
    let status = after.status.get_or_insert_default();
    let ours = vec![scene.paused.clone()];
    status.conditions = conditions::merge(&status.conditions, ours, deployment.metadata.generation, now);
    after
}

/// `deployment` as it says what was seen and planned, and whether somebody acts on the difference.
pub(super) fn report(
    deployment: &MachineDeployment,
    scene: &Scene,
    status: Status,
    now: Time,
) -> (MachineDeployment, bool) {
    let Status { counts, phase, conditions: mut ours } = status;
    pausing::insert(&mut ours, scene.paused.clone());
    let before = deployment.status.clone().unwrap_or_default();
    // What the Cluster acts on: whether there are enough.
    let turned = |kind: &str| {
        let was = conditions::is_true(&before.conditions, kind);
        ours.iter().any(|condition| condition.kind == kind && condition.is_true() != was)
    };
    let urgent = turned("Available") && !is_leaving(deployment) || turned("Paused");
    let generation = deployment.metadata.generation;
    let reported = counts.is_some();
    let Counts { replicas, ready, available, up_to_date, versions } = counts.unwrap_or_default();
    let number = |number: u32| reported.then(|| count(number));
    let mut after = deployment.clone();
    after.status = Some(MachineDeploymentStatus {
        conditions: conditions::merge(&before.conditions, ours, generation, now),
        observed_generation: generation,
        selector: Some(scene.selector.to_string()),
        replicas: number(replicas),
        ready_replicas: number(ready),
        available_replicas: number(available),
        up_to_date_replicas: number(up_to_date),
        versions: versions
            .into_iter()
            .map(|(version, machines)| VersionCount { version, replicas: Some(count(machines)) })
            .collect(),
        phase: Some(match phase {
            Phase::ScalingUp => MachineDeploymentPhase::ScalingUp,
            Phase::ScalingDown => MachineDeploymentPhase::ScalingDown,
            Phase::Running => MachineDeploymentPhase::Running,
        }),
        deprecated: before.deprecated,
    });
    (after, urgent)
}
