//! Writes what a MachineSet says about itself.

use windlass_api::core::{MachineSet, MachineSetStatus, VersionCount};
use windlass_model::{Condition, Time};
use windlass_plan::machine_set::Status;
use windlass_plan::machines::Counts;
use windlass_runtime::conditions;

use super::observe::Scene;
use crate::pausing;
use crate::references::count;

/// `set` as it says that it is paused, and nothing else.
pub(super) fn paused(set: &MachineSet, scene: &Scene, now: Time) -> MachineSet {
    let mut after = set.clone();
    let status = after.status.get_or_insert_default();
    let ours = vec![scene.paused.clone()];
    status.conditions = conditions::merge(&status.conditions, ours, set.metadata.generation, now);
    after
}

/// `set` as it says what was seen and planned, and whether somebody acts on the difference. The latest spec is
/// observed once it has been `applied`.
pub(super) fn report(
    set: &MachineSet,
    scene: &Scene,
    status: Status,
    applied: bool,
    now: Time,
) -> (MachineSet, bool) {
    let Status { counts, conditions: mut ours } = status;
    pausing::insert(&mut ours, scene.paused.clone());
    let mut after = set.clone();
    let before = set.status.clone().unwrap_or_default();
    let urgent = urgent(&before, &ours);
    let Counts { replicas, ready, available, up_to_date, versions } = counts;
    let number = |number: u32| Some(count(number));
    after.status = Some(MachineSetStatus {
        conditions: conditions::merge(&before.conditions, ours, set.metadata.generation, now),
        selector: Some(scene.selector.to_string()),
        replicas: number(replicas),
        ready_replicas: number(ready),
        available_replicas: number(available),
        up_to_date_replicas: number(up_to_date),
        versions: versions
            .into_iter()
            .map(|(version, machines)| VersionCount { version, replicas: number(machines) })
            .collect(),
        observed_generation: if applied { set.metadata.generation } else { before.observed_generation },
        deprecated: before.deprecated,
    });
    (after, urgent)
}

/// Deployments count machines themselves: only a pause that ends is waited for.
fn urgent(before: &MachineSetStatus, ours: &[Condition]) -> bool {
    let was = conditions::is_true(&before.conditions, "Paused");
    ours.iter().any(|condition| condition.kind == "Paused" && condition.is_true() != was)
}
