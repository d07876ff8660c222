//! Writes what a Cluster says about itself.

use std::time::Duration;

use windlass_api::core::{
    Cluster, ClusterInitialization, ClusterPhase, ClusterReplicas, ClusterStatus, VersionCount,
};
use windlass_model::Time;
use windlass_plan::cluster::{Counters, Facts, Observed, Phase, Status};
use windlass_runtime::{Outcome, conditions};

use super::observe::Scene;
use crate::pausing;
use crate::references::count;

/// A connection that stood is looked at again this soon: five failed probes of ten seconds decide.
const PROBE: Duration = Duration::from_secs(10);

/// `cluster` as it says that it is paused, and nothing else.
pub(super) fn paused(cluster: &Cluster, scene: &Scene, now: Time) -> Cluster {
    let mut after = cluster.clone();
    let status = after.status.get_or_insert_default();
    let ours = vec![scene.paused.clone()];
    status.conditions = conditions::merge(&status.conditions, ours, cluster.metadata.generation, now);
    after
}

/// `cluster` as it says what was seen and planned, and whether somebody acts on the difference.
pub(super) fn report(
    cluster: &Cluster,
    scene: &Scene,
    facts: Facts,
    said: Status,
    now: Time,
) -> (Cluster, bool) {
    let before = cluster.status.clone().unwrap_or_default();
    let Status { phase, control_plane, workers, conditions: mut ours } = said;
    pausing::insert(&mut ours, scene.paused.clone());
    let generation = cluster.metadata.generation;
    let Facts { provisioned, initialized } = facts;
    let mut after = cluster.clone();
    let domains = scene.infrastructure.as_ref().and_then(|target| target.present());
    after.status = Some(ClusterStatus {
        conditions: conditions::merge(&before.conditions, ours, generation, now),
        initialization: ClusterInitialization {
            infrastructure_provisioned: provisioned.then_some(true),
            control_plane_initialized: initialized.then_some(true),
        },
        control_plane: control_plane.map(replicas),
        workers: workers.map(replicas),
        failure_domains: domains
            .map_or_else(|| before.failure_domains.clone(), |object| object.status.failure_domains.clone()),
        phase: Some(match phase {
            Phase::Pending => ClusterPhase::Pending,
            Phase::Provisioning => ClusterPhase::Provisioning,
            Phase::Provisioned => ClusterPhase::Provisioned,
            Phase::Deleting => ClusterPhase::Deleting,
        }),
        observed_generation: generation,
        deprecated: before.deprecated.clone(),
    });
    let urgent = after.status.as_ref().is_some_and(|after| urgent(&before, after));
    (after, urgent)
}

/// What others act on: that the infrastructure and the control plane are there, and availability.
fn urgent(before: &ClusterStatus, after: &ClusterStatus) -> bool {
    let turned = |kind: &str| {
        conditions::is_true(&before.conditions, kind) != conditions::is_true(&after.conditions, kind)
    };
    before.initialization != after.initialization
        || before.failure_domains != after.failure_domains
        || turned("Available") && after.phase != Some(ClusterPhase::Deleting)
        || turned("Paused")
}

fn replicas(counters: Counters) -> ClusterReplicas {
    let Counters { desired, replicas, ready, available, up_to_date, versions } = counters;
    ClusterReplicas {
        desired_replicas: desired.map(count),
        replicas: replicas.map(count),
        up_to_date_replicas: up_to_date.map(count),
        ready_replicas: ready.map(count),
        available_replicas: available.map(count),
        versions: versions
            .into_iter()
            .map(|(version, machines)| VersionCount { version, replicas: Some(count(machines)) })
            .collect(),
        upgrade_plan: Vec::new(),
    }
}

/// While a connection that once stood is down, only the clock says when it counts as lost.
pub(super) fn probe_again(seen: &Observed<'_>) -> Outcome {
    let ever = seen.connection.last_success.is_some() || seen.facts.initialized;
    let down = !seen.connection.established && ever;
    if down && !seen.deleting { Outcome::Again(PROBE) } else { Outcome::Rest }
}
