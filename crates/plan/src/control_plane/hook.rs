//! A machine leaves etcd before it goes: leadership first, then membership, then the hook.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::etcd::{Change, Membership};
use super::{Action, ControlPlane, Etcd, Machine, Plan};

/// Removes one member that belongs to no machine, if there is one and that is safe.
///
/// Such a member is left over from a machine that vanished without our hook. While a machine is joining
/// (it has no node, or a node without a member), an unknown member may be its own.
pub(super) fn stranger(world: &ControlPlane) -> Option<Plan> {
    let Etcd::Seen(membership) = &world.etcd else { return None };
    let nodes: BTreeSet<&str> = world.machines.iter().filter_map(|machine| machine.node.as_deref()).collect();
    let stranger = membership.strangers(&nodes).next()?;
    let joining = |machine: &Machine| {
        machine.deleting.is_none() && machine.node.as_deref().and_then(|node| membership.on(node)).is_none()
    };
    if world.machines.iter().any(joining) {
        return None;
    }
    let change = Change::Remove(stranger.id);
    match membership.allows(change, |member| world.healthy_member(member)) {
        Ok(()) => Some(Plan::act(Action::RemoveMember { id: stranger.id })),
        Err(_) => None,
    }
}

/// The next step for the machine that has been leaving longest, if one waits for our hook.
pub(super) fn release(world: &ControlPlane) -> Option<Plan> {
    let machine = world
        .machines
        .iter()
        .filter(|machine| machine.hooks.ours)
        .filter_map(|machine| Some((machine.deleting?, machine)))
        .min_by_key(|(since, machine)| (*since, machine.name.as_str()))
        .map(|(_, machine)| machine)?;
    if world.waits_for_other_hooks && machine.hooks.others {
        return Some(Plan::wait(format!(
            "waiting for other pre-terminate hooks of Machine {}",
            machine.name
        )));
    }
    if !machine.hooks.reached {
        return Some(Plan::wait(super::preflight::DELETING));
    }
    let release = || Plan::act(Action::ReleaseHook { machine: machine.name.clone() });
    let Some(node) = machine.node.as_deref() else { return Some(release()) };
    // The last machine takes its etcd with it.
    if world.machines.len() == 1 {
        return Some(release());
    }
    Some(match &world.etcd {
        Etcd::External => release(),
        Etcd::Unseen(why) => Plan::wait(format!("waiting for etcd to report the list of members: {why}")),
        Etcd::Seen(membership) => leave(world, membership, machine, node).unwrap_or_else(release),
    })
}

/// Moves etcd's leadership away from `leaving`, if it leads and another machine can.
pub(super) fn hand_over(world: &ControlPlane, leaving: &Machine) -> Option<Action> {
    let Etcd::Seen(membership) = &world.etcd else { return None };
    let node = leaving.node.as_deref().filter(|node| membership.leads(node))?;
    let candidates = candidates(world, membership, leaving);
    (!candidates.is_empty() && membership.on(node).is_some()).then_some(Action::MoveLeader { candidates })
}

/// What remains to be done in etcd before `machine` may go; nothing if it is no member any more.
fn leave(world: &ControlPlane, membership: &Membership, machine: &Machine, node: &str) -> Option<Plan> {
    let member = membership.on(node)?;
    if membership.allows(Change::Remove(member.id), |member| world.healthy_member(member)).is_err() {
        return Some(Plan::wait(super::preflight::ETCD));
    }
    if membership.leads(node) {
        let forward = hand_over(world, machine).map(Plan::act);
        return Some(forward.unwrap_or_else(|| Plan::wait("waiting for another etcd member that can lead")));
    }
    // At once: the API server beside a removed member is of no use, and the way to this cluster may lead
    // through it. It must not take another look to let the machine go.
    Some(Plan {
        actions: vec![
            Action::RemoveMember { id: member.id },
            Action::ReleaseHook { machine: machine.name.clone() },
        ],
        waits: Vec::new(),
    })
}

/// Who may lead etcd after `leaving`, the best first: members that stay before those whose own machine
/// goes (only a human deletes several at once), the healthy, those that no health check complains of, the up to
/// date, the newest.
fn candidates(world: &ControlPlane, membership: &Membership, leaving: &Machine) -> Vec<String> {
    let votes = |node: &str| membership.on(node).is_some_and(|member| !member.learner);
    let mut others: Vec<&Machine> = world
        .machines
        .iter()
        .filter(|machine| machine.name != leaving.name)
        .filter(|machine| machine.deleting.is_none() || machine.hooks.ours)
        .filter(|machine| machine.node.as_deref().is_some_and(votes))
        .collect();
    others.sort_by_key(|machine| {
        let outdated = !machine.outdated.is_empty();
        let preferred = (machine.deleting.is_some(), !machine.member_healthy(), machine.failing, outdated);
        (preferred, Reverse(machine.created), machine.name.clone())
    });
    others.into_iter().filter_map(|machine| machine.node.clone()).collect()
}
