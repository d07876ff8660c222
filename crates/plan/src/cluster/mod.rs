//! Decides what a Cluster as a whole needs next: ownership of its two halves, facts copied from them, the
//! connection to it, and when it goes, workers before control plane before infrastructure.
//!
//! **Invariants**, checked by [`lint`]: the control plane is deleted only when no worker is left, the
//! infrastructure only when no control plane is left, and the finalizer goes last. *Initialized* and
//! *provisioned* never turn back.

mod report;

use windlass_model::{Condition, Time};

use crate::referent::{Known, Referent};

pub use report::{Counters, Phase, Status, status};

/// What the executor saw of one Cluster, already validated.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// `spec.controlPlaneEndpoint`, if host and port are set.
    pub endpoint: Option<Endpoint>,
    /// What was reported before and does not turn back.
    pub facts: Facts,
    /// Conditions on the object.
    pub conditions: &'a [Condition],
    /// The infrastructure cluster; `None` where a person provides the infrastructure.
    pub infrastructure: Option<Referent<Infrastructure>>,
    /// The control plane; `None` for stand-alone control plane machines.
    pub control_plane: Option<Referent<ControlPlane>>,
    /// Everything with the cluster's label.
    pub descendants: Descendants,
    /// The connection to the workload cluster.
    pub connection: Connection,
    /// `spec.availabilityGates`: condition types and what is good news.
    pub availability_gates: Vec<(String, windlass_model::Polarity)>,
    /// The one clock reading of the pass.
    pub now: Time,
}

/// Where the API server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// One-way facts from `status.initialization`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// `infrastructureProvisioned`.
    pub provisioned: bool,
    /// `controlPlaneInitialized`.
    pub initialized: bool,
}

/// The infrastructure cluster (contract v1beta2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Infrastructure {
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// It carries the Cluster's owner reference and label.
    pub owned: bool,
    /// `status.initialization.provisioned`.
    pub provisioned: bool,
    /// `spec.controlPlaneEndpoint`.
    pub endpoint: Option<Endpoint>,
    /// Condition `Ready`.
    pub ready: Option<Condition>,
}

/// The control plane object (contract v1beta2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlPlane {
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// It carries the Cluster's owner reference and label.
    pub owned: bool,
    /// `status.initialization.controlPlaneInitialized`.
    pub initialized: bool,
    /// `spec.controlPlaneEndpoint` of control planes that bring their own.
    pub endpoint: Option<Endpoint>,
    /// Replica counters, where the object has replicas.
    pub counters: Counters,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// Everything with the cluster's label, by kind and name.
#[derive(Debug, Clone, Default)]
pub struct Descendants {
    /// MachineDeployments.
    pub deployments: Vec<Group>,
    /// MachineSets, those of deployments included.
    pub sets: Vec<Group>,
    /// Machines without the control plane label.
    pub workers: Vec<Machine>,
    /// Machines with it.
    pub control_plane: Vec<Machine>,
}

/// A MachineDeployment or MachineSet.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// `metadata.name`.
    pub name: String,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// The Cluster owns it directly; others belong to something between.
    pub stand_alone: bool,
    /// Replica counters.
    pub counters: Counters,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// A Machine.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// `metadata.name`.
    pub name: String,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// The Cluster owns it directly.
    pub stand_alone: bool,
    /// When it was created.
    pub created: Time,
    /// It has a Node.
    pub has_node: bool,
    /// `spec.version`.
    pub version: Option<String>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// The connection to the workload cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connection {
    /// It stands at present.
    pub established: bool,
    /// When the cluster last answered.
    pub last_success: Option<Time>,
    /// Probes that failed since.
    pub failures: u32,
}

/// Kinds of objects that a Cluster deletes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildKind {
    /// MachineDeployment.
    MachineDeployment,
    /// MachineSet.
    MachineSet,
    /// Machine.
    Machine,
}

/// One step that can be executed alone and repeated safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Put owner reference and label on the infrastructure cluster.
    OwnInfrastructure,
    /// Put owner reference and label on the control plane.
    OwnControlPlane,
    /// Copy the endpoint into the spec.
    SetEndpoint(Endpoint),
    /// Delete a child that the Cluster owns directly.
    DeleteChild {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
    },
    /// Delete the control plane object.
    DeleteControlPlane,
    /// Delete the infrastructure cluster.
    DeleteInfrastructure,
}

/// Where a deletion stands; the condition's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Workers are going.
    WaitingForWorkersDeletion,
    /// The control plane is going.
    WaitingForControlPlaneDeletion,
    /// The infrastructure cluster is going.
    WaitingForInfrastructureDeletion,
    /// Nothing is left.
    Completed,
}

impl Stage {
    /// As the condition's reason spells it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::WaitingForWorkersDeletion => "WaitingForWorkersDeletion",
            Self::WaitingForControlPlaneDeletion => "WaitingForControlPlaneDeletion",
            Self::WaitingForInfrastructureDeletion => "WaitingForInfrastructureDeletion",
            Self::Completed => "DeletionCompleted",
        }
    }
}

/// A stage and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Where the deletion stands.
    pub stage: Stage,
    /// Of condition `Deleting`.
    pub message: String,
}

/// The next steps, and what the Cluster waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a plan does nothing until it is executed"]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// One-way facts from now on.
    pub facts: Facts,
    /// A connection to the workload cluster is wanted.
    pub connect: bool,
    /// The stage of the deletion, once there is one.
    pub deletion: Option<Deletion>,
    /// Something is wrong that time does not heal; reported and retried with backoff.
    pub faults: Vec<String>,
}

impl Plan {
    /// Nothing of the Cluster is left: its finalizer may be removed.
    pub fn released(&self) -> bool {
        self.deletion.as_ref().is_some_and(|deletion| deletion.stage == Stage::Completed)
    }
}

/// Plans one pass over one Cluster.
pub fn plan(seen: &Observed<'_>) -> Plan {
    let facts = facts(seen);
    let mut plan = Plan { facts, ..Plan::default() };
    plan.actions.extend(own(seen));
    if seen.deleting {
        let (deletion, actions) = teardown(seen);
        plan.connect = facts.provisioned && deletion.stage < Stage::WaitingForInfrastructureDeletion;
        plan.actions.extend(actions);
        plan.deletion = Some(deletion);
        return plan;
    }
    plan.connect = facts.provisioned && seen.effective_endpoint().is_some();
    plan.faults.extend(faults(seen));
    let reported = seen.reported_endpoint().filter(|_| seen.endpoint.is_none());
    plan.actions.extend(reported.map(Action::SetEndpoint));
    plan
}

fn facts(seen: &Observed<'_>) -> Facts {
    let infrastructure = seen.infrastructure.as_ref();
    let provisioned = match infrastructure {
        None => true,
        Some(target) => target.present().is_some_and(|object| object.provisioned && !object.deleting),
    };
    let initialized = match &seen.control_plane {
        Some(target) => target.present().is_some_and(|object| object.initialized),
        None => seen.descendants.control_plane.iter().any(|machine| machine.has_node),
    };
    Facts {
        provisioned: seen.facts.provisioned || provisioned,
        initialized: seen.facts.initialized || initialized,
    }
}

fn own(seen: &Observed<'_>) -> impl Iterator<Item = Action> {
    let infrastructure = seen.infrastructure.as_ref().and_then(Referent::present);
    let control_plane = seen.control_plane.as_ref().and_then(Referent::present);
    let first = infrastructure.is_some_and(|object| !object.owned && !object.deleting);
    let second = control_plane.is_some_and(|object| !object.owned && !object.deleting);
    first.then_some(Action::OwnInfrastructure).into_iter().chain(second.then_some(Action::OwnControlPlane))
}

fn faults(seen: &Observed<'_>) -> Vec<String> {
    let lost = |kind: &str, name: &str, what: &str| {
        format!("{kind} {name} has been deleted after it was {what}; restore it or delete the Cluster")
    };
    let mut faults = Vec::new();
    if let Some(target) = &seen.infrastructure
        && seen.facts.provisioned
        && target.known == Known::Absent
    {
        faults.push(lost(&target.kind, &target.name, "provisioned"));
    }
    if let Some(target) = &seen.control_plane
        && seen.facts.initialized
        && target.known == Known::Absent
    {
        faults.push(lost(&target.kind, &target.name, "initialized"));
    }
    faults
}

impl Observed<'_> {
    /// The endpoint that one of the halves reports: the infrastructure's once it is provisioned, else the
    /// control plane's.
    fn reported_endpoint(&self) -> Option<Endpoint> {
        let infrastructure = self.infrastructure.as_ref().and_then(Referent::present);
        let first =
            infrastructure.filter(|object| object.provisioned).and_then(|object| object.endpoint.clone());
        let control_plane = self.control_plane.as_ref().and_then(Referent::present);
        first.or_else(|| control_plane.and_then(|object| object.endpoint.clone()))
    }

    /// The endpoint, from the spec or as it is being copied.
    pub fn effective_endpoint(&self) -> Option<Endpoint> {
        self.endpoint.clone().or_else(|| self.reported_endpoint())
    }

    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// How many names a message spells out.
const NAMED: usize = 5;

fn teardown(seen: &Observed<'_>) -> (Deletion, Vec<Action>) {
    let at = |stage, message| Deletion { stage, message };
    if let Some((message, actions)) = workers_left(seen) {
        return (at(Stage::WaitingForWorkersDeletion, message), actions);
    }
    if let Some((message, actions)) =
        half(seen.control_plane.as_ref(), Action::DeleteControlPlane, |object| object.deleting)
    {
        return (at(Stage::WaitingForControlPlaneDeletion, message), actions);
    }
    if !seen.descendants.control_plane.is_empty() {
        let names = names(seen.descendants.control_plane.iter().map(|machine| machine.name.as_str()));
        let message = format!("* Control plane Machines: {names}");
        return (at(Stage::WaitingForControlPlaneDeletion, message), Vec::new());
    }
    if let Some((message, actions)) =
        half(seen.infrastructure.as_ref(), Action::DeleteInfrastructure, |object| object.deleting)
    {
        return (at(Stage::WaitingForInfrastructureDeletion, message), actions);
    }
    (at(Stage::Completed, "Deletion completed".to_owned()), Vec::new())
}

/// Workers of every kind, and stand-alone control plane machines with them where no object governs them.
fn workers_left(seen: &Observed<'_>) -> Option<(String, Vec<Action>)> {
    let Descendants { deployments, sets, workers, control_plane } = &seen.descendants;
    let mut lines = Vec::new();
    let mut line = |label: &str, names: String| {
        if !names.is_empty() {
            lines.push(format!("* {label}: {names}"));
        }
    };
    line("MachineDeployments", names(deployments.iter().map(|group| group.name.as_str())));
    line("MachineSets", names(sets.iter().map(|group| group.name.as_str())));
    line("Worker Machines", names(workers.iter().map(|machine| machine.name.as_str())));
    let ungoverned = if seen.control_plane.is_none() { control_plane.as_slice() } else { &[] };
    line("Control plane Machines", names(ungoverned.iter().map(|machine| machine.name.as_str())));
    if lines.is_empty() {
        return None;
    }
    let group = |kind: ChildKind, groups: &[Group]| -> Vec<Action> {
        let own = groups.iter().filter(|group| group.stand_alone && !group.deleting);
        own.map(|group| Action::DeleteChild { kind, name: group.name.clone() }).collect()
    };
    let mut actions = group(ChildKind::MachineDeployment, deployments);
    actions.extend(group(ChildKind::MachineSet, sets));
    let machines = workers.iter().chain(ungoverned).filter(|one| one.stand_alone && !one.deleting);
    actions
        .extend(machines.map(|one| Action::DeleteChild { kind: ChildKind::Machine, name: one.name.clone() }));
    Some((lines.join("\n"), actions))
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<_> = names.collect();
    let more = all.len().saturating_sub(NAMED);
    let listed = all[..all.len().min(NAMED)].join(", ");
    if more == 0 { listed } else { format!("{listed} and {more} more") }
}

/// Deletes one of the two halves, or waits for it; `None` when it is gone.
fn half<T>(
    target: Option<&Referent<T>>,
    delete: Action,
    deleting: impl Fn(&T) -> bool,
) -> Option<(String, Vec<Action>)> {
    let target = target?;
    let actions = match &target.known {
        Known::Absent => return None,
        Known::Present(object) if !deleting(object) => vec![delete],
        Known::Present(_) | Known::Unsynced => Vec::new(),
    };
    Some((format!("Waiting for {} to be deleted", target.kind), actions))
}

/// Names what is wrong with a plan; empty for every plan this module makes.
pub fn lint(seen: &Observed<'_>, plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    let Descendants { deployments, sets, workers, control_plane } = &seen.descendants;
    let workers_left = deployments.len() + sets.len() + workers.len();
    let half_left = |absent: Option<bool>| absent.is_some_and(|absent| !absent);
    let control_plane_left =
        half_left(seen.control_plane.as_ref().map(|target| target.known == Known::Absent))
            || !control_plane.is_empty();
    let infrastructure_left =
        half_left(seen.infrastructure.as_ref().map(|target| target.known == Known::Absent));
    for action in &plan.actions {
        let (deletes, too_early) = match action {
            Action::OwnInfrastructure | Action::OwnControlPlane | Action::SetEndpoint(_) => (false, false),
            Action::DeleteChild { .. } => (true, false),
            Action::DeleteControlPlane => (true, workers_left > 0),
            Action::DeleteInfrastructure => (true, workers_left > 0 || control_plane_left),
        };
        if deletes && !seen.deleting {
            notes.push(format!("{action:?} of a cluster that stays"));
        }
        if too_early {
            notes.push(format!("{action:?} comes too early"));
        }
    }
    if plan.released() && (workers_left > 0 || control_plane_left || infrastructure_left) {
        notes.push("releases a cluster of which something is left".to_owned());
    }
    if seen.facts.provisioned && !plan.facts.provisioned || seen.facts.initialized && !plan.facts.initialized
    {
        notes.push("forgets a fact".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests;
