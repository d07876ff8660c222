//! What must hold before a machine is added or removed.

use super::etcd::Change;
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
