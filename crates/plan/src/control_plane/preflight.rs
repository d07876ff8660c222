//! What must hold before a machine is added or removed.

use windlass_model::Status;

use super::etcd::Change;
use super::health::{ETCD_MEMBER, ETCD_POD};
use super::{Certificates, ControlPlane, Etcd, Machine};
use crate::control_plane::health::Reach;

/// Said while a machine goes.
pub const DELETING: &str = "waiting for a control plane Machine to complete deletion";
/// Said while static pods do not run.
pub const COMPONENTS: &str = "waiting for control plane components to become healthy";
/// Said while etcd is not well.
pub const ETCD: &str = "waiting for etcd cluster to become healthy";

/// What is about to be done.
#[derive(Clone, Copy, Debug)]
pub enum Preflight<'a> {
    /// A machine more.
    ScaleUp,
    /// A machine less.
    ScaleDown {
        /// Which; its own health does not matter.
        machine: &'a Machine,
    },
}

/// Checks that the control plane can stand the change.
///
/// # Errors
/// Everything that is waited for, in the order in which people want to read it.
pub fn check(world: &ControlPlane, change: &Preflight<'_>) -> Result<(), Vec<String>> {
    let mut waits = Vec::new();
    let leaving = match change {
        Preflight::ScaleUp => None,
        Preflight::ScaleDown { machine } => Some(*machine),
    };
    if leaving.is_none() && world.certificates != Certificates::Available {
        waits.push("waiting for certificates".to_owned());
    }
    if world.machines.iter().any(|machine| machine.deleting.is_some()) {
        waits.push(DELETING.to_owned());
    }
    match &world.reach {
        Reach::Up => {}
        Reach::NoInfrastructure | Reach::NotInitialized => {
            waits.push("waiting for Cluster control plane to be initialized".to_owned());
        }
        Reach::Down(why) => waits.push(format!("waiting for the workload cluster to answer: {why}")),
    }
    let staying =
        || world.machines.iter().filter(|machine| leaving.is_none_or(|leaving| leaving.name != machine.name));
    if staying().any(|machine| machine.node.is_none() || !machine.components_healthy()) {
        waits.push(COMPONENTS.to_owned());
    }
    let members_ill = match &world.etcd {
        Etcd::External => false,
        Etcd::Unseen(_) => true,
        Etcd::Seen(membership) => {
            let change = match leaving.and_then(|machine| machine.node.as_deref()) {
                Some(node) => membership.on(node).map_or(Change::None, |member| Change::Remove(member.id)),
                None => Change::Add,
            };
            staying().any(|machine| !machine.member_healthy())
                || membership.allows(change, |member| world.healthy_member(member)).is_err()
        }
    };
    if members_ill {
        waits.push(ETCD.to_owned());
    }
    if waits.is_empty() { Ok(()) } else { Err(waits) }
}

/// What is wrong with the machines, one by one, for people (in upstream's words).
pub fn troubles(world: &ControlPlane) -> String {
    let mut lines = Vec::new();
    for machine in world.machines.iter().filter(|machine| machine.deleting.is_none()) {
        let name = &machine.name;
        if machine.node.is_none() {
            lines.push(format!(
                "Machine {name} does not have a corresponding Node yet (Machine.status.nodeRef not set)"
            ));
            continue;
        }
        for kind in COMPONENTS_AND_ETCD {
            let said = machine.conditions.iter().find(|condition| condition.kind == kind);
            let Some(said) = said.filter(|condition| !condition.is_true()) else { continue };
            let is = if said.status == Status::False { "false" } else { "unknown" };
            lines.push(format!("Machine {name} reports {kind} condition is {is} ({})", said.message));
        }
    }
    match (&world.etcd, lines.len()) {
        (Etcd::Unseen(why), 0) => format!("etcd does not report its members ({why})"),
        (_, 0) => "etcd would lose its quorum".to_owned(),
        (_, 1) => lines.remove(0),
        (_, _) => format!("[{}]", lines.join(", ")),
    }
}

/// The conditions that say so, in upstream's order.
const COMPONENTS_AND_ETCD: [&str; 5] =
    ["APIServerPodHealthy", "ControllerManagerPodHealthy", "SchedulerPodHealthy", ETCD_POD, ETCD_MEMBER];
