//! Decides which machines a MachineSet creates, completes, brings in line and deletes.
//!
//! **Invariants**, checked by [`lint`] in every test and, cheaply, before every execution:
//! a set never creates beyond what it is asked for, and never deletes below it. A machine that is on its
//! way out counts until it is gone (as upstream), so that a replacement never outruns what it replaces.
//!
//! **Names.** A machine's name is derived from the set's UID and a slot number. The planner takes the
//! lowest slots whose name nobody bears. A pass that crashed after its create therefore plans the same
//! name again, and a name is given to another machine only after the first one is gone.

mod order;
mod preflight;
mod report;

use std::collections::BTreeSet;

use windlass_model::naming::Naming;
use windlass_model::{Condition, Time, Uid};

pub use order::{DeleteOrder, Rank, rank};
pub use preflight::{ControlPlane, Preflight, SetVersion, preflight};
pub use report::{Status, status};

/// What the executor saw of one MachineSet, already validated.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// How the machines are named: by the set's name unless it has a template.
    pub naming: Naming<'a>,
    /// `metadata.uid`, the seed of the machines' names.
    pub uid: &'a Uid,
    /// `spec.replicas`; `None` while nobody has set it.
    pub desired: Option<u32>,
    /// The set itself is to go: its machines go first.
    pub deleting: bool,
    /// Annotation `disable-machine-create`: an old set of an OnDelete rollout only shrinks.
    pub create_disabled: bool,
    /// `spec.deletion.order`.
    pub order: DeleteOrder,
    /// Machines that the set controls, the ones being deleted included, by name.
    pub machines: &'a [Machine],
    /// Machines that the selector matches and nobody controls, by name: the set adopts them.
    pub orphans: &'a [String],
    /// Names of other Machines in the namespace: never taken, whatever their slot would be.
    pub taken: &'a BTreeSet<String>,
    /// What forbids growing at present ([`preflight`]); empty when nothing does.
    pub blocked: &'a [String],
    /// Template objects that are referred to and do not exist, as `KubeadmConfigTemplate md-0`.
    pub missing_templates: &'a [String],
    /// The one clock reading of the pass.
    pub now: Time,
}

/// One machine of the set.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `metadata.name`, shared with its bootstrap configuration and its infrastructure machine.
    pub name: String,
    /// When it was created.
    pub created: Time,
    /// On its way out: counted until it is gone, never chosen again.
    pub deleting: bool,
    /// Since when.
    pub deleting_since: Option<Time>,
    /// Annotation `delete-machine`: somebody asked for this one to go first.
    pub marked: bool,
    /// An update in place is under way.
    pub updating: bool,
    /// No node yet, a node that is not healthy, or a failed health check.
    pub unhealthy: bool,
    /// The bootstrap configuration that should exist does not (nothing has been provisioned from it).
    pub lacks_bootstrap: bool,
    /// The same for the infrastructure machine.
    pub lacks_infrastructure: bool,
    /// Labels, annotations or other fields that follow the template in place differ from it.
    pub drifted: bool,
    /// `spec.version`.
    pub version: Option<String>,
    /// Condition `Ready`.
    pub ready: Option<Condition>,
    /// Condition `Available`.
    pub available: Option<Condition>,
    /// Condition `UpToDate`.
    pub up_to_date: Option<Condition>,
    /// Condition `OwnerRemediated`.
    pub owner_remediated: Option<Condition>,
    /// Condition `HealthCheckSucceeded` is `False`.
    pub health_check_failed: bool,
}

/// One step that can be executed alone and repeated safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create the Machine and, once it has its UID, what belongs to it.
    Create {
        /// Name of the Machine and of its companions.
        name: String,
    },
    /// Create what a crash left out between the Machine and its companions.
    Complete {
        /// Name of the Machine and of its companions.
        name: String,
        /// The bootstrap configuration is missing.
        bootstrap: bool,
        /// The infrastructure machine is missing.
        infrastructure: bool,
    },
    /// Make the set the controller of a Machine that nobody controls.
    Adopt {
        /// Name of the Machine.
        name: String,
    },
    /// Write the fields that follow the template in place.
    Align {
        /// Name of the Machine and of its companions.
        name: String,
    },
    /// Delete the Machine; it takes its companions with it.
    Delete {
        /// Name of the Machine.
        name: String,
    },
}

/// The next steps and what keeps others from being taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a plan does nothing until it is executed"]
pub struct Plan {
    /// In this order; each may fail alone.
    pub actions: Vec<Action>,
    /// Why nothing more happens, for conditions and `describe`.
    pub waiting: Vec<String>,
    /// Nothing is left of a set that is to go: its finalizer may be removed.
    pub released: bool,
}

/// Plans one pass towards the desired number of machines.
pub fn plan(seen: &Observed<'_>) -> Plan {
    if seen.deleting {
        return teardown(seen);
    }
    if !seen.orphans.is_empty() {
        // First see how many there are, then count.
        return Plan {
            actions: seen.orphans.iter().map(|name| Action::Adopt { name: name.clone() }).collect(),
            ..Plan::default()
        };
    }
    let mut plan = Plan { actions: keep(seen), ..Plan::default() };
    let Some(desired) = seen.desired else {
        plan.waiting.push("Waiting for spec.replicas set".to_owned());
        return plan;
    };
    let (desired, present) = (desired as usize, seen.machines.len());
    if present < desired {
        grow(seen, desired - present, &mut plan);
    } else {
        plan.actions.extend(shrink(seen, present - desired));
    }
    plan
}

/// What existing machines need, whatever their number.
fn keep(seen: &Observed<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    for machine in seen.machines {
        let name = || machine.name.clone();
        let (bootstrap, infrastructure) = (machine.lacks_bootstrap, machine.lacks_infrastructure);
        if !machine.deleting && (bootstrap || infrastructure) {
            actions.push(Action::Complete { name: name(), bootstrap, infrastructure });
        }
        if machine.drifted {
            actions.push(Action::Align { name: name() });
        }
    }
    actions
}

fn grow(seen: &Observed<'_>, missing: usize, plan: &mut Plan) {
    if seen.create_disabled {
        plan.waiting.push("Machine creation is disabled by annotation".to_owned());
        return;
    }
    if !seen.blocked.is_empty() || !seen.missing_templates.is_empty() {
        plan.waiting.extend(seen.blocked.iter().cloned());
        plan.waiting.extend(seen.missing_templates.iter().map(|object| format!("{object} does not exist")));
        return;
    }
    plan.actions.extend(free_names(seen).take(missing).map(|name| Action::Create { name }));
}

/// The names of the lowest free slots.
fn free_names<'a>(seen: &'a Observed<'_>) -> impl Iterator<Item = String> + 'a {
    (0_u64..)
        .map(|slot| seen.naming.name(&[&seen.uid.0, &slot.to_string()]))
        .filter(|name| !seen.taken.contains(name) && seen.machines.iter().all(|one| one.name != *name))
}

/// The surplus, those already going first.
fn shrink(seen: &Observed<'_>, surplus: usize) -> impl Iterator<Item = Action> + use<> {
    let mut candidates: Vec<_> = seen.machines.iter().collect();
    candidates.sort_by_key(|machine| rank(machine, seen.order, seen.now));
    let chosen: Vec<_> = candidates
        .into_iter()
        .take(surplus)
        .filter(|machine| !machine.deleting)
        .map(|machine| Action::Delete { name: machine.name.clone() })
        .collect();
    chosen.into_iter()
}

fn teardown(seen: &Observed<'_>) -> Plan {
    let doomed = seen.machines.iter().filter(|machine| !machine.deleting);
    let mut plan = Plan {
        actions: doomed.map(|machine| Action::Delete { name: machine.name.clone() }).collect(),
        released: seen.machines.is_empty(),
        ..Plan::default()
    };
    if !plan.released {
        plan.waiting.push(format!("Deleting {} Machines", seen.machines.len()));
    }
    plan
}

/// Names what is wrong with a plan; empty for every plan this module makes.
pub fn lint(seen: &Observed<'_>, plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    let desired = if seen.deleting { 0 } else { seen.desired.map_or(seen.machines.len(), |n| n as usize) };
    let present: BTreeSet<_> = seen.machines.iter().map(|machine| machine.name.as_str()).collect();
    let (mut after, mut leaving) = (present.clone(), 0);
    for action in &plan.actions {
        match action {
            Action::Create { name } => {
                if seen.taken.contains(name) || !after.insert(name) {
                    notes.push(format!("creates {name}, which exists"));
                }
            }
            Action::Delete { name } => {
                leaving += 1;
                if !present.contains(name.as_str()) {
                    notes.push(format!("deletes {name}, which is not there"));
                }
            }
            Action::Adopt { name } => {
                if present.contains(name.as_str()) {
                    notes.push(format!("adopts {name}, which is its own"));
                }
            }
            Action::Complete { name, .. } | Action::Align { name } => {
                if !present.contains(name.as_str()) {
                    notes.push(format!("touches {name}, which is not there"));
                }
            }
        }
    }
    let going = seen.machines.iter().filter(|machine| machine.deleting).count();
    if after.len() > desired.max(present.len()) {
        notes.push(format!("{} machines where {desired} are wanted", after.len()));
    }
    if leaving > 0 && present.len().saturating_sub(leaving + going) < desired.min(present.len() - going) {
        notes.push(format!("deletes {leaving} and falls below {desired}"));
    }
    if plan.released && !present.is_empty() {
        notes.push("releases a set that still has machines".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests;
