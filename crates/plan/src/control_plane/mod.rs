//! The kubeadm control plane: first machine, more machines, fewer machines, in an order that keeps etcd's
//! quorum; and what is waited for meanwhile.
//!
//! One action a pass: the next pass sees what became of it.

pub mod addons;
pub mod conditions;
pub mod domains;
pub mod etcd;
pub mod health;
pub mod hook;
#[cfg(test)]
pub(crate) mod notation;
pub mod preflight;

use windlass_model::naming::Naming;
use windlass_model::{Condition, Time};

use std::collections::BTreeSet;

use etcd::Membership;
use health::{COMPONENTS, ETCD_MEMBER, ETCD_POD};
use preflight::Preflight;

/// One control plane machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp`.
    pub created: Time,
    /// `metadata.deletionTimestamp`.
    pub deleting: Option<Time>,
    /// `spec.failureDomain`, or what the infrastructure chose.
    pub domain: Option<String>,
    /// `status.nodeRef.name`.
    pub node: Option<String>,
    /// In what it differs from what a new machine would be; empty if it does not.
    pub outdated: Vec<String>,
    /// It carries `cluster.x-k8s.io/delete-machine`.
    pub marked: bool,
    /// What [`health::conditions`] says of it now.
    pub conditions: Vec<Condition>,
    /// Which of them are not true, and have not been for less than ten seconds.
    pub lately: BTreeSet<String>,
    /// Its last health check failed (condition `HealthCheckSucceeded`).
    pub failing: bool,
    /// Its pre-terminate hooks.
    pub hooks: Hooks,
}

/// Pre-terminate hooks of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Ours, `kcp-cleanup`.
    pub ours: bool,
    /// Anyone else's.
    pub others: bool,
    /// The machine's deletion has come to waiting for them.
    pub reached: bool,
}

impl Machine {
    /// Whether a condition holds.
    pub fn holds(&self, kind: &str) -> bool {
        self.conditions.iter().any(|condition| condition.kind == kind && condition.is_true())
    }

    /// Whether all static pods run.
    pub fn components_healthy(&self) -> bool {
        let etcd_ill = self.conditions.iter().any(|c| c.kind == ETCD_POD && !c.is_true());
        !etcd_ill && COMPONENTS.iter().all(|kind| self.holds(kind))
    }

    /// Whether its etcd member is known to be well.
    pub fn member_healthy(&self) -> bool {
        self.holds(ETCD_MEMBER)
    }
}

/// The certificates of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// All are there.
    Available,
    /// They have not been looked for.
    Unknown,
    /// Some are missing and may not be made again, or cannot be read.
    Missing(String),
}

/// Where etcd runs, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Etcd {
    /// Somewhere else: not managed here.
    External,
    /// On the machines, but nobody has answered yet; the text says why.
    Unseen(String),
    /// On the machines.
    Seen(Membership),
}

/// One snapshot of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlane {
    /// `spec.replicas`.
    pub desired: usize,
    /// How many machines more than that there may be while outdated ones are replaced
    /// (`spec.rollout.strategy.rollingUpdate.maxSurge`).
    pub surge: usize,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `status.initialization.controlPlaneInitialized`, or it has just been seen.
    pub initialized: bool,
    /// `Cluster.status.initialization.infrastructureProvisioned`.
    pub infrastructure_provisioned: bool,
    /// `Cluster.spec.controlPlaneEndpoint` has host and port.
    pub endpoint_known: bool,
    /// The cluster's certificates.
    pub certificates: Certificates,
    /// Whether the workload cluster can be looked at.
    pub reach: health::Reach,
    /// Failure domains that may hold control plane machines.
    pub domains: Vec<String>,
    /// Every control plane machine of the cluster, those being deleted too.
    pub machines: Vec<Machine>,
    /// Machines that are not control plane machines; they go first.
    pub workers: usize,
    /// etcd.
    pub etcd: Etcd,
    /// Control plane nodes that belong to no machine, while every machine has its own node.
    pub strays: Vec<String>,
    /// It was available when last reported: troubles of a few seconds do not change that.
    pub available: bool,
    /// kubeadm of this version and newer waits for others' hooks first (1.31: kubelet talks to the local
    /// API server only).
    pub waits_for_other_hooks: bool,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the machine that initializes the cluster.
    Initialize {
        /// Where.
        domain: Option<String>,
    },
    /// Make a machine that joins.
    ScaleUp {
        /// Where.
        domain: Option<String>,
    },
    /// Delete a machine.
    Delete {
        /// Which.
        machine: String,
    },
    /// Make another member etcd's leader, the first of `candidates` that takes it.
    MoveLeader {
        /// Nodes, the best first.
        candidates: Vec<String>,
    },
    /// Remove a member from etcd.
    RemoveMember {
        /// Its identifier.
        id: u64,
    },
    /// Take our hook off a machine that is being deleted.
    ReleaseHook {
        /// Which.
        machine: String,
    },
    /// Everything is gone: let the object go.
    Release,
}

/// What to do, and what is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order. More than one only when machines may go at the same time, or when a machine's etcd
    /// member is removed and its hook after it.
    pub actions: Vec<Action>,
    /// Why no more is done.
    pub waits: Vec<String>,
}

impl Plan {
    fn act(action: Action) -> Self {
        Self { actions: vec![action], waits: Vec::new() }
    }

    fn wait(reason: impl Into<String>) -> Self {
        Self { actions: Vec::new(), waits: vec![reason.into()] }
    }
}

impl ControlPlane {
    /// Whether a member is healthy: its machine says so; without a machine, or with one that our hook
    /// still holds back, it has raised no alarm.
    pub fn healthy_member(&self, member: &etcd::Member) -> bool {
        let calm = match &self.etcd {
            Etcd::Seen(membership) => !member.name.is_empty() && !membership.alarms.contains(&member.id),
            Etcd::External | Etcd::Unseen(_) => false,
        };
        match self.machines.iter().find(|m| m.node.as_deref() == Some(member.name.as_str())) {
            Some(machine) if machine.deleting.is_some() => machine.hooks.ours && calm,
            Some(machine) => machine.member_healthy(),
            None => calm,
        }
    }
}

/// The next step.
pub fn plan(world: &ControlPlane) -> Plan {
    if world.deleting {
        return delete(world);
    }
    if !world.infrastructure_provisioned {
        return Plan::wait("waiting for Cluster infrastructure to be provisioned");
    }
    if !world.endpoint_known {
        return Plan::wait("waiting for Cluster spec.controlPlaneEndpoint to be set");
    }
    if let Some(plan) = hook::stranger(world).or_else(|| hook::release(world)) {
        return plan;
    }
    scale(world)
}

/// Workers first, then all control plane machines at once: there is no quorum to keep any more.
fn delete(world: &ControlPlane) -> Plan {
    if world.workers > 0 {
        return Plan::wait(format!("waiting for {} worker machines to be deleted", world.workers));
    }
    if world.machines.is_empty() {
        return Plan::act(Action::Release);
    }
    let actions = world
        .machines
        .iter()
        .filter_map(|machine| {
            let name = machine.name.clone();
            match (machine.deleting, machine.hooks.ours) {
                (None, _) => Some(Action::Delete { machine: name }),
                (Some(_), true) => Some(Action::ReleaseHook { machine: name }),
                (Some(_), false) => None,
            }
        })
        .collect();
    Plan { actions, waits: vec!["waiting for control plane machines to be deleted".to_owned()] }
}

/// First machine, one more, one less, or nothing.
///
/// Outdated machines are replaced one by one: with a surge a new machine comes before the old one goes,
/// without one after it.
fn scale(world: &ControlPlane) -> Plan {
    let current = world.machines.len();
    let outdated = world.machines.iter().any(|machine| !machine.outdated.is_empty());
    let target = if outdated { world.desired + world.surge } else { world.desired };
    if current == 0 {
        return initialize(world);
    }
    if current < target {
        return match preflight::check(world, &Preflight::ScaleUp) {
            Ok(()) => {
                let domain = domains::for_new_machine(&world.domains, &world.machines);
                Plan::act(Action::ScaleUp { domain })
            }
            Err(waits) => Plan { actions: Vec::new(), waits },
        };
    }
    if current == target && !outdated {
        return Plan::default();
    }
    let Some(machine) = domains::to_remove(&world.domains, &world.machines) else {
        return Plan::wait(preflight::DELETING);
    };
    match preflight::check(world, &Preflight::ScaleDown { machine }) {
        // A leader that only goes away costs everybody an election.
        Ok(()) => Plan::act(
            hook::hand_over(world, machine)
                .unwrap_or_else(|| Action::Delete { machine: machine.name.clone() }),
        ),
        Err(waits) => Plan { actions: Vec::new(), waits },
    }
}

fn initialize(world: &ControlPlane) -> Plan {
    if world.desired == 0 {
        return Plan::default();
    }
    if let Certificates::Missing(why) = &world.certificates {
        return Plan::wait(format!("waiting for certificates: {why}"));
    }
    let domain = domains::for_new_machine(&world.domains, &world.machines);
    Plan::act(Action::Initialize { domain })
}

/// The name of the next machine: the first of those that `naming` gives that no machine has.
///
/// It follows from the control plane's UID and generation, so that a pass that crashed after a create
/// computes the same name again.
pub fn machine_name(naming: &Naming<'_>, uid: &str, generation: i64, taken: impl Fn(&str) -> bool) -> String {
    let generation = generation.to_string();
    let mut slot = 0_u32;
    loop {
        let name = naming.name(&[uid, &generation, &slot.to_string()]);
        if !taken(&name) {
            return name;
        }
        slot += 1;
    }
}

#[cfg(test)]
mod tests;
