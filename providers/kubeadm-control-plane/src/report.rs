//! Status of the control plane and the conditions that it reports on its machines: one write per object,
//! and none without a change.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use windlass_api::control_plane::KubeadmControlPlane;
use windlass_api::core::{Machine, VersionCount};
use windlass_api::names::{LABEL_CLUSTER_NAME, LABEL_CONTROL_PLANE};
use windlass_model::{Condition, Status, Time};
use windlass_plan::control_plane::{self as plan, Plan, conditions as decided};
use windlass_plan::machines::{self, Fleet};
use windlass_runtime::{Outcome, Pass, conditions, time};

use crate::controller::KubeadmControlPlaneError as Error;
use crate::observe::Scene;

/// Conditions that say what the workload cluster looks like: they stand as long as nobody has looked.
const REMOTE: [&str; 3] = ["Available", "EtcdClusterHealthy", "ControlPlaneComponentsHealthy"];

/// What is still becoming is not worth a write until it is this old: most of it is over by then.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reports what was seen and planned, and with `acted` that the latest spec has been acted on; says when to
/// report what is held back.
pub(crate) async fn report(scene: &Scene, plan: &Plan, acted: bool, pass: &Pass) -> Result<Outcome, Error> {
    let mut outcome = Outcome::Rest;
    for (machine, view) in scene.machines.iter().zip(&scene.world.machines) {
        let done = view.deleting.is_some() || view.conditions.iter().all(Condition::is_true);
        match held_back(&machine.metadata, done, pass.now) {
            Some(wait) => outcome = outcome.soonest(Outcome::Again(wait)),
            None => report_machine(machine, view, scene.fresh, pass).await?,
        }
    }
    if let Some(wait) = held_back(&scene.object.metadata, is_news(scene, plan), pass.now) {
        return Ok(outcome.soonest(Outcome::Again(wait)));
    }
    let mut after = scene.object.as_ref().clone();
    status(scene, plan, &mut after, pass);
    if acted {
        after.status.get_or_insert_default().observed_generation = after.metadata.generation;
    }
    let written = pass.management.update_status(scene.object.as_ref(), &after).await;
    written.map_err(Error::Status)?;
    Ok(outcome)
}

/// How long the report on a young object is held back, unless it is `done`.
fn held_back(meta: &ObjectMeta, done: bool, now: Time) -> Option<Duration> {
    let born = meta.creation_timestamp.as_ref().map(time::from_meta)?;
    PATIENCE.checked_sub(now.since(born)).filter(|wait| !done && !wait.is_zero())
}

/// Whether somebody waits for what there is to report: the control plane has come up, is complete, or goes.
fn is_news(scene: &Scene, plan: &Plan) -> bool {
    let world = &scene.world;
    let known = scene.object.status.as_ref().and_then(|s| s.initialization.control_plane_initialized);
    let complete = world.machines.len() == world.desired
        && plan.waits.is_empty()
        && world.machines.iter().all(|machine| machine.conditions.iter().all(Condition::is_true));
    world.deleting || complete || (world.initialized && known != Some(true))
}

/// Reports that nothing is done, and why.
pub(crate) async fn paused(scene: &Scene, pass: &Pass, why: &str) -> Result<(), Error> {
    let mut after = scene.object.as_ref().clone();
    let generation = after.metadata.generation;
    let status = after.status.get_or_insert_default();
    let paused = Condition::new("Paused", Status::True, "Paused").because(why);
    status.conditions = conditions::merge(&status.conditions, vec![paused], generation, pass.now);
    let written = pass.management.update_status(scene.object.as_ref(), &after).await;
    written.map(drop).map_err(Error::Status)
}

/// The conditions of a machine that are the control plane's to report.
async fn report_machine(
    machine: &Machine,
    view: &plan::Machine,
    fresh: bool,
    pass: &Pass,
) -> Result<(), Error> {
    let mut ours = vec![decided::up_to_date(view)];
    if fresh {
        ours.extend(view.conditions.iter().cloned());
    }
    let mut after = machine.clone();
    let generation = after.metadata.generation;
    let status = after.status.get_or_insert_default();
    status.conditions = conditions::merge(&status.conditions, ours, generation, pass.now);
    match pass.management.update_status(machine, &after).await {
        Ok(_) => Ok(()),
        // It went while we looked at it.
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(Error::Status(error)),
    }
}

fn status(scene: &Scene, plan: &Plan, after: &mut KubeadmControlPlane, pass: &Pass) {
    let world = &scene.world;
    let read: Vec<Vec<Condition>> = scene
        .machines
        .iter()
        .map(|machine| {
            machine.status.as_ref().map(|status| conditions::read_all(&status.conditions)).unwrap_or_default()
        })
        .collect();
    let up_to_date: Vec<Condition> = world.machines.iter().map(decided::up_to_date).collect();
    let fleet: Vec<Fleet<'_>> = scene
        .machines
        .iter()
        .zip(read.iter().zip(&up_to_date))
        .map(|(machine, (all, up_to_date))| {
            let find = |kind: &str| all.iter().find(|condition| condition.kind == kind);
            Fleet {
                name: machine.metadata.name.as_deref().unwrap_or_default(),
                control_plane: true,
                created: machine
                    .metadata
                    .creation_timestamp
                    .as_ref()
                    .map(time::from_meta)
                    .unwrap_or_default(),
                version: machine.spec.version.as_deref(),
                ready: find("Ready"),
                available: find("Available"),
                up_to_date: Some(up_to_date),
            }
        })
        .collect();

    let mut ours = decided::conditions(world, plan);
    if !scene.fresh {
        // A control plane that goes is not available, whatever it looks like.
        let stands = |kind: &str| REMOTE.contains(&kind) && !(world.deleting && kind == "Available");
        ours.retain(|condition| !stands(&condition.kind));
    }
    ours.push(machines::ready("MachinesReady", &fleet));
    ours.push(machines::up_to_date("MachinesUpToDate", &fleet, pass.now));
    ours.push(Condition::new("Paused", Status::False, "NotPaused"));

    let generation = after.metadata.generation;
    let status = after.status.get_or_insert_default();
    status.conditions = conditions::merge(&status.conditions, ours, generation, pass.now);
    if world.initialized {
        status.initialization.control_plane_initialized = Some(true);
    }
    let cluster = scene.cluster_key().name;
    status.selector = Some(format!("{LABEL_CLUSTER_NAME}={cluster},{LABEL_CONTROL_PLANE}"));
    count(&fleet, status);
}

fn count(fleet: &[Fleet<'_>], status: &mut windlass_api::control_plane::KubeadmControlPlaneStatus) {
    let number = |count: u32| Some(i32::try_from(count).unwrap_or(i32::MAX));
    let counts = machines::Counts::of(fleet);
    status.replicas = number(counts.replicas);
    status.ready_replicas = number(counts.ready);
    status.available_replicas = number(counts.available);
    status.up_to_date_replicas = number(counts.up_to_date);
    let mut versions: Vec<VersionCount> = counts
        .versions
        .into_iter()
        .map(|(version, count)| VersionCount { version, replicas: number(count) })
        .collect();
    versions.sort_by(|a, b| decided::version_order(&a.version, &b.version));
    status.version = versions.first().map(|lowest| lowest.version.clone());
    status.versions = versions;
}
