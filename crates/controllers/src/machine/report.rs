//! Writes what a Machine says about itself.

use windlass_api::core::{
    Machine, MachineDeletionStatus, MachineInitialization, MachinePhase, MachineStatus, NodeRef,
};
use windlass_api::names;
use windlass_model::Time;
use windlass_plan::machine::{Facts, Marks, Phase, Status};
use windlass_runtime::{conditions, time};

use super::observe::Scene;
use crate::pausing;
use crate::references::{annotation, is_leaving, label};

/// `machine` as it says that it is paused, and nothing else.
pub(super) fn paused(machine: &Machine, scene: &Scene, now: Time) -> Machine {
    let mut after = machine.clone();
    let status = after.status.get_or_insert_default();
    let ours = vec![scene.paused.clone()];
    status.conditions = conditions::merge(&status.conditions, ours, machine.metadata.generation, now);
    after
}

/// `machine` as it says what was seen and planned, and whether somebody acts on the difference.
pub(super) fn report(machine: &Machine, scene: &Scene, said: Status, now: Time) -> (Machine, bool) {
    let before = machine.status.clone().unwrap_or_default();
    let Status { facts, phase, conditions: mut ours } = said;
    pausing::insert(&mut ours, scene.paused.clone());
    let generation = machine.metadata.generation;
    let mut status = before.clone();
    status.conditions = conditions::merge(&before.conditions, ours, generation, now);
    status.observed_generation = generation;
    put_phase(&mut status, phase, now);
    put_facts(&mut status, facts);
    put_copies(&mut status, machine, scene);
    let urgent = urgent(&before, &status, is_leaving(machine));
    let mut after = machine.clone();
    after.status = Some(status);
    (after, urgent)
}

/// What others act on: the Node, readiness, availability; of a Machine that goes, that it waits for
/// somebody.
fn urgent(before: &MachineStatus, after: &MachineStatus, leaving: bool) -> bool {
    let turned = |kind: &str| {
        conditions::is_true(&before.conditions, kind) != conditions::is_true(&after.conditions, kind)
    };
    let stage = |status: &MachineStatus| {
        conditions::find(&status.conditions, "Deleting").map(|condition| condition.reason.clone())
    };
    let waits = stage(after).is_some_and(|reason| reason.ends_with("Hook"));
    if turned("Paused") || waits && stage(before) != stage(after) {
        return true;
    }
    let lost = conditions::is_true(&before.conditions, "Ready") && turned("Ready");
    !leaving && (before.node_ref != after.node_ref || turned("Available") || lost)
}

fn put_phase(status: &mut MachineStatus, phase: Phase, now: Time) {
    let phase = match phase {
        Phase::Pending => MachinePhase::Pending,
        Phase::Provisioning => MachinePhase::Provisioning,
        Phase::Provisioned => MachinePhase::Provisioned,
        Phase::Running => MachinePhase::Running,
        Phase::Deleting => MachinePhase::Deleting,
    };
    if status.phase != Some(phase) {
        status.phase = Some(phase);
        status.last_updated = Some(time::meta(now));
    }
}

fn put_facts(status: &mut MachineStatus, facts: Facts) {
    let Facts { bootstrapped, provisioned, node, marks } = facts;
    status.initialization = MachineInitialization {
        infrastructure_provisioned: provisioned.then_some(true),
        bootstrap_data_secret_created: bootstrapped.then_some(true),
    };
    status.node_ref = node.map(|name| NodeRef { name });
    let Marks { pre_drain_hook, drain, detach, pre_terminate_hook } = marks;
    let deletion = MachineDeletionStatus {
        wait_for_pre_drain_hook_start_time: pre_drain_hook.map(time::meta),
        node_drain_start_time: drain.map(time::meta),
        wait_for_node_volume_detach_start_time: detach.map(time::meta),
        wait_for_pre_terminate_hook_start_time: pre_terminate_hook.map(time::meta),
    };
    status.deletion = (deletion != MachineDeletionStatus::default()).then_some(deletion);
}

/// What others know better: addresses, placement, the Node's own description, expiry of certificates.
fn put_copies(status: &mut MachineStatus, machine: &Machine, scene: &Scene) {
    if let Some(host) = scene.infrastructure.present() {
        status.addresses.clone_from(&host.status.addresses);
        if host.status.failure_domain.is_some() {
            status.failure_domain.clone_from(&host.status.failure_domain);
        }
    }
    if let Some(node) = &scene.node {
        status.node_info = node.status.as_ref().and_then(|status| status.node_info.clone());
    }
    if label(&machine.metadata, names::LABEL_CONTROL_PLANE).is_none() {
        return;
    }
    let own = annotation(&machine.metadata, names::ANNOTATION_CERTIFICATES_EXPIRY);
    let config = scene.bootstrap.as_ref().and_then(|target| target.present());
    let expiry = own.or_else(|| annotation(&config?.metadata, names::ANNOTATION_CERTIFICATES_EXPIRY));
    status.certificates_expiry_date = expiry.and_then(time::parse).map(time::meta);
}
