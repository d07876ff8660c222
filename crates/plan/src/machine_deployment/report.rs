//! What a MachineDeployment says about itself; follows from the same snapshot as the plan.

use std::collections::BTreeMap;

use windlass_model::{Condition, Polarity, Status as Truth, Time};

use super::{Amount, Observed, Strategy};
use crate::conditions::{Aggregate, Reasons, Source, aggregate};
use crate::machines::{Counts, Fleet, ready, up_to_date};

/// A machine of one of the deployment's sets.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `metadata.name`.
    pub name: String,
    /// When it was created.
    pub created: Time,
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
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Fewer machines than wanted.
    ScalingUp,
    /// More machines than wanted.
    ScalingDown,
    /// As many as wanted.
    Running,
}

impl Phase {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScalingUp => "ScalingUp",
            Self::ScalingDown => "ScalingDown",
            Self::Running => "Running",
        }
    }
}

/// `status`, in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Replica counters and versions; `None` until a set reports.
    pub counts: Option<Counts>,
    /// How far scaling is.
    pub phase: Phase,
    /// In the order in which people read them.
    pub conditions: Vec<Condition>,
}

/// What a status is made of besides the plan's snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Reported<'a> {
    /// Machines of all sets.
    pub machines: &'a [Machine],
    /// Template objects that are referred to and do not exist.
    pub missing_templates: &'a [String],
    /// The one clock reading of the pass.
    pub now: Time,
}

/// The status that follows from what was seen.
pub fn status(seen: &Observed<'_>, reported: Reported<'_>) -> Status {
    let fleet: Vec<Fleet<'_>> = reported.machines.iter().map(Machine::in_fleet).collect();
    let present = u32::try_from(fleet.len()).unwrap_or(u32::MAX);
    let wanted = if seen.deleting { Some(0) } else { seen.desired };
    let counts = (!seen.sets.is_empty()).then(|| Counts::of(&fleet));
    let conditions = vec![
        available(seen, counts.as_ref()),
        rolling_out(&fleet, reported.machines, seen),
        remediating(reported.machines),
        scaling_down(present, wanted),
        scaling_up(present, wanted, seen, reported.missing_templates),
        ready("MachinesReady", &fleet),
        up_to_date("MachinesUpToDate", &fleet, reported.now),
        deleting(seen, present),
    ];
    let phase = match wanted {
        Some(wanted) if present < wanted => Phase::ScalingUp,
        Some(wanted) if present > wanted => Phase::ScalingDown,
        Some(_) | None => Phase::Running,
    };
    Status { counts, phase, conditions }
}

impl Machine {
    fn in_fleet(&self) -> Fleet<'_> {
        Fleet {
            name: &self.name,
            control_plane: false,
            created: self.created,
            version: self.version.as_deref(),
            ready: self.ready.as_ref(),
            available: self.available.as_ref(),
            up_to_date: self.up_to_date.as_ref(),
        }
    }
}

fn available(seen: &Observed<'_>, counts: Option<&Counts>) -> Condition {
    const KIND: &str = "Available";
    let Some(desired) = seen.desired else {
        return Condition::new(KIND, Truth::Unknown, "WaitingForReplicasSet")
            .because("Waiting for spec.replicas set");
    };
    let Some(counts) = counts else {
        return Condition::new(KIND, Truth::Unknown, "WaitingForAvailableReplicasSet")
            .because("Waiting for status.availableReplicas set");
    };
    let unavailable = seen.strategy.bounds(desired).unavailable;
    let minimum = desired.saturating_sub(unavailable);
    if counts.available >= minimum {
        return Condition::new(KIND, Truth::True, KIND);
    }
    let message = if seen.deleting {
        "Deletion in progress".to_owned()
    } else {
        let bound = match seen.strategy {
            Strategy::RollingUpdate { max_unavailable: Amount::Percent(percent), .. } => {
                format!("spec.strategy.rollout.maxUnavailable is {percent}%, ")
            }
            Strategy::RollingUpdate { max_unavailable: Amount::Count(count), .. } => {
                format!("spec.strategy.rollout.maxUnavailable is {count}, ")
            }
            Strategy::OnDelete => String::new(),
        };
        let available = counts.available;
        format!(
            "{available} available replicas, at least {minimum} required ({bound}spec.replicas is {desired})"
        )
    };
    Condition::new(KIND, Truth::False, "NotAvailable").because(message)
}

fn rolling_out(fleet: &[Fleet<'_>], machines: &[Machine], seen: &Observed<'_>) -> Condition {
    const KIND: &str = "RollingOut";
    let old = |machine: &&Fleet<'_>| machine.up_to_date.is_some_and(|one| one.status == Truth::False);
    let count = fleet.iter().filter(old).count();
    if count == 0 || seen.deleting {
        return Condition::new(KIND, Truth::False, "NotRollingOut");
    }
    // Each reason once, with the number of machines that give it deciding the order.
    let mut reasons = BTreeMap::<&str, usize>::new();
    for machine in machines {
        let why = machine.up_to_date.as_ref().filter(|one| one.status == Truth::False);
        for line in why.map_or("", |one| one.message.as_str()).lines() {
            *reasons.entry(line).or_default() += 1;
        }
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let mut message = format!("Rolling out {count} not up-to-date replicas");
    for (reason, _) in reasons {
        message.push('\n');
        message.push_str(reason);
    }
    Condition::new(KIND, Truth::True, KIND).because(message)
}

fn remediating(machines: &[Machine]) -> Condition {
    const KIND: &str = "Remediating";
    let asked = |machine: &&Machine| {
        machine.owner_remediated.as_ref().is_some_and(|condition| condition.status == Truth::False)
    };
    let sources: Vec<Source<'_>> = machines
        .iter()
        .filter(asked)
        .map(|machine| Source {
            kind: "Machine",
            name: &machine.name,
            control_plane: false,
            condition: machine.owner_remediated.as_ref(),
        })
        .collect();
    if sources.is_empty() {
        return Condition::new(KIND, Truth::False, "NotRemediating");
    }
    let reasons = Reasons { issue: KIND, unknown: KIND, info: KIND };
    let what = Aggregate { kind: KIND, of: "OwnerRemediated", polarity: Polarity::Positive, reasons };
    Condition { status: Truth::True, ..aggregate(what, &sources) }
}

fn scaling_up(present: u32, wanted: Option<u32>, seen: &Observed<'_>, missing: &[String]) -> Condition {
    const KIND: &str = "ScalingUp";
    let Some(wanted) = wanted else {
        return Condition::new(KIND, Truth::Unknown, "WaitingForReplicasSet")
            .because("Waiting for spec.replicas set");
    };
    let obstacles = if seen.deleting || missing.is_empty() {
        String::new()
    } else {
        let lines: Vec<_> = missing.iter().map(|object| format!("* {object} does not exist")).collect();
        lines.join("\n")
    };
    if present >= wanted {
        let message = if obstacles.is_empty() {
            String::new()
        } else {
            format!("Scaling up would be blocked because:\n{obstacles}")
        };
        return Condition::new(KIND, Truth::False, "NotScalingUp").because(message);
    }
    let blocked =
        if obstacles.is_empty() { String::new() } else { format!(" is blocked because:\n{obstacles}") };
    Condition::new(KIND, Truth::True, KIND)
        .because(format!("Scaling up from {present} to {wanted} replicas{blocked}"))
}

fn scaling_down(present: u32, wanted: Option<u32>) -> Condition {
    const KIND: &str = "ScalingDown";
    match wanted {
        None => Condition::new(KIND, Truth::Unknown, "WaitingForReplicasSet")
            .because("Waiting for spec.replicas set"),
        Some(wanted) if present > wanted => Condition::new(KIND, Truth::True, KIND)
            .because(format!("Scaling down from {present} to {wanted} replicas")),
        Some(_) => Condition::new(KIND, Truth::False, "NotScalingDown"),
    }
}

fn deleting(seen: &Observed<'_>, present: u32) -> Condition {
    const KIND: &str = "Deleting";
    if !seen.deleting {
        return Condition::new(KIND, Truth::False, "NotDeleting");
    }
    let message = match (present, seen.sets.len()) {
        (0, 0) => "Deletion completed".to_owned(),
        (0, sets) => format!("Deleting {sets} MachineSets"),
        (machines, _) => format!("Deleting {machines} Machines"),
    };
    Condition::new(KIND, Truth::True, KIND).because(message)
}
