//! What a Cluster says about itself; follows from the same snapshot as the plan.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_model::{Condition, Polarity, Status as Truth};

use super::{Connection, ControlPlane, Deletion, Group, Machine, Observed, Plan};
use crate::conditions::{Aggregate, Part, Reasons, Source, aggregate, mirror, summary};
use crate::machines::{Fleet, ready, up_to_date};
use crate::referent::{Known, Referent};

/// Probes that must fail before the connection counts as lost (upstream's cluster cache).
const PROBE_FAILURES: u32 = 5;
/// How long the last answer may lie back (upstream's `--remote-connection-grace-period`).
const PROBE_GRACE: Duration = Duration::from_secs(50);

/// Replica counters of one half; what is not reported stays empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Wanted.
    pub desired: Option<u32>,
    /// Present.
    pub replicas: Option<u32>,
    /// Ready.
    pub ready: Option<u32>,
    /// Available.
    pub available: Option<u32>,
    /// Up to date.
    pub up_to_date: Option<u32>,
    /// How many of each version.
    pub versions: BTreeMap<String, u32>,
}

impl Counters {
    fn add(&mut self, other: &Self) {
        let add = |sum: &mut Option<u32>, more: Option<u32>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0) + more);
            }
        };
        add(&mut self.desired, other.desired);
        add(&mut self.replicas, other.replicas);
        add(&mut self.ready, other.ready);
        add(&mut self.available, other.available);
        add(&mut self.up_to_date, other.up_to_date);
        for (version, count) in &other.versions {
            *self.versions.entry(version.clone()).or_default() += count;
        }
    }
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is referred to yet.
    Pending,
    /// The infrastructure is being made.
    Provisioning,
    /// The infrastructure is there, and the endpoint is known.
    Provisioned,
    /// It is going.
    Deleting,
}

impl Phase {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Provisioned => "Provisioned",
            Self::Deleting => "Deleting",
        }
    }
}

/// `status`, in our words; failure domains are copied by the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How far the Cluster is.
    pub phase: Phase,
    /// Of the control plane; `None` without one.
    pub control_plane: Option<Counters>,
    /// Of all workers; `None` without any.
    pub workers: Option<Counters>,
    /// In the order in which people read them.
    pub conditions: Vec<Condition>,
}

/// The status that follows from what was seen and planned.
pub fn status(seen: &Observed<'_>, plan: &Plan) -> Status {
    let control_plane_machines: Vec<_> = fleet(&seen.descendants.control_plane, true);
    let workers: Vec<_> = fleet(&seen.descendants.workers, false);
    let all: Vec<&Machine> = seen.descendants.control_plane.iter().chain(&seen.descendants.workers).collect();
    let mut conditions = vec![
        remote_connection(seen),
        infrastructure_ready(seen),
        initialized(seen, plan),
        control_plane_available(seen),
        workers_available(seen),
        movement(seen, "RollingOut", ["RollingOut", "RollingOutUnknown", "NotRollingOut"], false),
        remediating(&all),
        movement(seen, "ScalingDown", ["ScalingDown", "ScalingDownUnknown", "NotScalingDown"], true),
        movement(seen, "ScalingUp", ["ScalingUp", "ScalingUpUnknown", "NotScalingUp"], true),
        ready("ControlPlaneMachinesReady", &control_plane_machines),
        ready("WorkerMachinesReady", &workers),
        up_to_date("ControlPlaneMachinesUpToDate", &control_plane_machines, seen.now),
        up_to_date("WorkerMachinesUpToDate", &workers, seen.now),
        deleting(plan.deletion.as_ref()),
    ];
    conditions.insert(0, available(seen, &conditions));
    Status {
        phase: phase(seen, plan),
        control_plane: control_plane(seen).map(|object| object.counters.clone()),
        workers: worker_counters(seen),
        conditions,
    }
}

fn control_plane<'a>(seen: &'a Observed<'_>) -> Option<&'a ControlPlane> {
    seen.control_plane.as_ref().and_then(Referent::present)
}

fn fleet(machines: &[Machine], control_plane: bool) -> Vec<Fleet<'_>> {
    machines.iter().map(|machine| in_fleet(machine, control_plane)).collect()
}

fn in_fleet(machine: &Machine, control_plane: bool) -> Fleet<'_> {
    Fleet {
        name: &machine.name,
        control_plane,
        created: machine.created,
        version: machine.version.as_deref(),
        ready: find(&machine.conditions, "Ready"),
        available: find(&machine.conditions, "Available"),
        up_to_date: find(&machine.conditions, "UpToDate"),
    }
}

fn phase(seen: &Observed<'_>, plan: &Plan) -> Phase {
    if seen.deleting {
        Phase::Deleting
    } else if plan.facts.provisioned && seen.effective_endpoint().is_some() {
        Phase::Provisioned
    } else if seen.infrastructure.is_some() || seen.control_plane.is_some() {
        Phase::Provisioning
    } else {
        Phase::Pending
    }
}

/// Deployments, stand-alone sets and stand-alone machines together.
fn worker_counters(seen: &Observed<'_>) -> Option<Counters> {
    let descendants = &seen.descendants;
    let groups = descendants.deployments.iter().chain(descendants.sets.iter().filter(|set| set.stand_alone));
    let mut sum = None::<Counters>;
    for group in groups {
        sum.get_or_insert_default().add(&group.counters);
    }
    for machine in descendants.workers.iter().filter(|machine| machine.stand_alone) {
        let holds = |kind: &str| {
            let condition = machine.conditions.iter().find(|condition| condition.kind == kind);
            Some(u32::from(condition.is_some_and(Condition::is_true)))
        };
        sum.get_or_insert_default().add(&Counters {
            desired: Some(1),
            replicas: Some(1),
            ready: holds("Ready"),
            available: holds("Available"),
            up_to_date: holds("UpToDate"),
            versions: machine.version.iter().map(|version| (version.clone(), 1)).collect(),
        });
    }
    sum
}

fn remote_connection(seen: &Observed<'_>) -> Condition {
    const KIND: &str = "RemoteConnectionProbe";
    let Connection { established, last_success, failures } = seen.connection;
    let Some(last) = last_success else {
        // A process that has just started knows no better than the one before it.
        let known = seen.conditions.iter().any(|condition| condition.kind == KIND && condition.is_true());
        if known && failures < PROBE_FAILURES {
            return Condition::new(KIND, Truth::True, "ProbeSucceeded");
        }
        return Condition::new(KIND, Truth::False, "ProbeFailed")
            .because("Remote connection not established yet");
    };
    let recent = seen.now.since(last) <= PROBE_GRACE;
    if failures < PROBE_FAILURES && (recent || established) {
        return Condition::new(KIND, Truth::True, "ProbeSucceeded");
    }
    Condition::new(KIND, Truth::False, "ProbeFailed").because("The workload cluster does not answer")
}

/// What a half that does not report a condition is worth.
fn fallback<T>(
    kind: &'static str,
    target: &Referent<T>,
    existed: bool,
    reasons: [&'static str; 2],
    field: impl Fn(&T) -> (bool, &'static str),
) -> Condition {
    let what = &target.kind;
    match &target.known {
        Known::Present(object) => {
            let (holds, field) = field(object);
            if holds {
                return Condition::new(kind, Truth::True, reasons[0]);
            }
            Condition::new(kind, Truth::False, reasons[1])
                .because(format!("{what} status.initialization.{field} is false"))
        }
        Known::Unsynced => Condition::new(kind, Truth::Unknown, "InternalError")
            .because(format!("{what} has not been read yet")),
        Known::Absent if existed => {
            Condition::new(kind, Truth::False, "ObjectDeleted").because(format!("{what} has been deleted"))
        }
        Known::Absent => {
            Condition::new(kind, Truth::False, "ObjectDoesNotExist").because(format!("{what} does not exist"))
        }
    }
}

fn infrastructure_ready(seen: &Observed<'_>) -> Condition {
    const KIND: &str = "InfrastructureReady";
    let Some(target) = &seen.infrastructure else {
        return Condition::new(KIND, Truth::True, "Ready");
    };
    let existed = seen.facts.provisioned || seen.deleting;
    let fallback =
        fallback(KIND, target, existed, ["Ready", "NotReady"], |object| (object.provisioned, "provisioned"));
    mirror(KIND, target.present().and_then(|object| object.ready.as_ref()), fallback)
}

fn initialized(seen: &Observed<'_>, plan: &Plan) -> Condition {
    const KIND: &str = "ControlPlaneInitialized";
    if plan.facts.initialized {
        return Condition::new(KIND, Truth::True, "Initialized");
    }
    match &seen.control_plane {
        Some(target) if target.known == Known::Absent => {
            Condition::new(KIND, Truth::False, "ObjectDoesNotExist")
                .because(format!("{} does not exist", target.kind))
        }
        Some(_) => {
            Condition::new(KIND, Truth::False, "NotInitialized").because("Control plane not yet initialized")
        }
        None => Condition::new(KIND, Truth::False, "NotInitialized")
            .because("Waiting for the first control plane machine to have its status.nodeRef set"),
    }
}

fn control_plane_available(seen: &Observed<'_>) -> Condition {
    const KIND: &str = "ControlPlaneAvailable";
    let Some(target) = &seen.control_plane else {
        let initialized = seen.descendants.control_plane.iter().any(|machine| machine.has_node);
        let reason = if initialized { "Available" } else { "NotAvailable" };
        return Condition::new(KIND, Truth::of(initialized), reason);
    };
    let existed = seen.facts.initialized || seen.deleting;
    let fallback = fallback(KIND, target, existed, ["Available", "NotAvailable"], |object| {
        (object.initialized, "controlPlaneInitialized")
    });
    let reported = target.present().and_then(|object| find(&object.conditions, "Available"));
    mirror(KIND, reported, fallback)
}

fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}

fn source<'a>(kind: &'a str, group: &'a Group, condition: &str) -> Source<'a> {
    let condition = find(&group.conditions, condition);
    Source { kind, name: &group.name, control_plane: false, condition }
}

fn workers_available(seen: &Observed<'_>) -> Condition {
    const KIND: &str = "WorkersAvailable";
    let deployments = seen.descendants.deployments.iter();
    let sources: Vec<_> = deployments.map(|group| source("MachineDeployment", group, "Available")).collect();
    if sources.is_empty() {
        return Condition::new(KIND, Truth::True, "NoWorkers");
    }
    let reasons = Reasons { issue: "NotAvailable", unknown: "AvailableUnknown", info: "Available" };
    aggregate(Aggregate { kind: KIND, of: "Available", polarity: Polarity::Positive, reasons }, &sources)
}

/// `RollingOut`, `ScalingUp` and `ScalingDown` of the control plane and all groups of workers. A control
/// plane that does not report one of them has none.
fn movement(seen: &Observed<'_>, kind: &'static str, reasons: [&'static str; 3], sets: bool) -> Condition {
    let mut sources = Vec::new();
    if let (Some(target), Some(object)) = (&seen.control_plane, control_plane(seen)) {
        let condition = find(&object.conditions, kind);
        let source = Source { kind: &target.kind, name: &target.name, control_plane: true, condition };
        sources.extend(condition.map(|_| source));
    }
    let descendants = &seen.descendants;
    sources.extend(descendants.deployments.iter().map(|group| source("MachineDeployment", group, kind)));
    if sets {
        let alone = descendants.sets.iter().filter(|set| set.stand_alone);
        sources.extend(alone.map(|group| source("MachineSet", group, kind)));
    }
    let [issue, unknown, info] = reasons;
    let reasons = Reasons { issue, unknown, info };
    let merged = aggregate(Aggregate { kind, of: kind, polarity: Polarity::Negative, reasons }, &sources);
    // What does not move has nothing to tell.
    if merged.status == Truth::False { Condition { message: String::new(), ..merged } } else { merged }
}

fn remediating(machines: &[&Machine]) -> Condition {
    const KIND: &str = "Remediating";
    let asked = |machine: &&Machine| {
        find(&machine.conditions, "OwnerRemediated").is_some_and(|one| one.status == Truth::False)
    };
    let sources: Vec<_> = machines
        .iter()
        .copied()
        .filter(asked)
        .map(|machine| Source {
            kind: "Machine",
            name: &machine.name,
            control_plane: false,
            condition: find(&machine.conditions, "OwnerRemediated"),
        })
        .collect();
    if sources.is_empty() {
        let sick = machines.iter().filter(|machine| {
            find(&machine.conditions, "HealthCheckSucceeded").is_some_and(|one| one.status == Truth::False)
        });
        let names: Vec<_> = sick.map(|machine| machine.name.as_str()).collect();
        let message = match names.as_slice() {
            [] => String::new(),
            [one] => format!("Machine {one} is not healthy (not to be remediated)"),
            [..] => format!("Machines {} are not healthy (not to be remediated)", names.join(", ")),
        };
        return Condition::new(KIND, Truth::False, "NotRemediating").because(message);
    }
    let reasons = Reasons { issue: KIND, unknown: KIND, info: KIND };
    let what = Aggregate { kind: KIND, of: "OwnerRemediated", polarity: Polarity::Positive, reasons };
    Condition { status: Truth::True, ..aggregate(what, &sources) }
}

fn deleting(deletion: Option<&Deletion>) -> Condition {
    const KIND: &str = "Deleting";
    match deletion {
        None => Condition::new(KIND, Truth::False, "NotDeleting"),
        Some(one) => Condition::new(KIND, Truth::True, one.stage.reason()).because(one.message.clone()),
    }
}

fn available(seen: &Observed<'_>, own: &[Condition]) -> Condition {
    let going = seen.deleting;
    // A cluster that goes loses its halves: that is no news.
    let lost = |kind: &'static str| {
        let part = Part::new(kind, find(own, kind));
        let absent = part
            .condition
            .is_some_and(|one| one.reason == "ObjectDeleted" || one.reason == "ObjectDoesNotExist");
        let silent = kind == "RemoteConnectionProbe";
        Part { excused: going && (absent || silent), ..part }
    };
    let mut parts = vec![
        Part::new("Deleting", find(own, "Deleting")).negative(),
        lost("RemoteConnectionProbe"),
        lost("InfrastructureReady"),
        lost("ControlPlaneAvailable"),
        lost("WorkersAvailable"),
        Part::new("TopologyReconciled", seen.condition("TopologyReconciled")).optional(),
    ];
    parts.extend(
        seen.availability_gates
            .iter()
            .map(|(kind, polarity)| Part { polarity: *polarity, ..Part::new(kind, seen.condition(kind)) }),
    );
    let reasons = Reasons { issue: "NotAvailable", unknown: "AvailableUnknown", info: "Available" };
    summary("Available", &parts, reasons)
}
