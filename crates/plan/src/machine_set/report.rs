//! What a MachineSet says about itself; follows from the same snapshot as the plan.

use std::time::Duration;

use windlass_model::{Condition, Polarity, Status as Truth};

use super::{Machine, Observed};
use crate::machines::{Counts, Fleet, ready, up_to_date};

/// `status`, in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Replica counters and versions.
    pub counts: Counts,
    /// In the order in which people read them.
    pub conditions: Vec<Condition>,
}

/// How long a deletion may take before the scale-down condition names it.
const SLOW_DELETION: Duration = Duration::from_mins(15);

/// The status that follows from what was seen.
pub fn status(seen: &Observed<'_>) -> Status {
    let fleet: Vec<Fleet<'_>> = seen.machines.iter().map(Machine::in_fleet).collect();
    let conditions = vec![
        remediating(seen),
        scaling_down(seen),
        scaling_up(seen),
        ready("MachinesReady", &fleet),
        up_to_date("MachinesUpToDate", &fleet, seen.now),
        deleting(seen),
    ];
    Status { counts: Counts::of(&fleet), conditions }
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

/// Replicas to reach: none once the set is to go.
fn wanted(seen: &Observed<'_>) -> Option<usize> {
    if seen.deleting { Some(0) } else { seen.desired.map(|desired| desired as usize) }
}

fn scaling_up(seen: &Observed<'_>) -> Condition {
    const KIND: &str = "ScalingUp";
    let Some(wanted) = wanted(seen) else {
        return Condition::new(KIND, Truth::Unknown, "WaitingForReplicasSet")
            .because("Waiting for spec.replicas set");
    };
    let present = seen.machines.len();
    let missing = seen.missing_templates.iter().map(|object| format!("{object} does not exist"));
    let obstacles: Vec<String> = missing.chain(seen.blocked.iter().cloned()).collect();
    let blocked = if obstacles.is_empty() || seen.deleting {
        String::new()
    } else {
        format!(" is blocked because:\n* {}", obstacles.join("\n* "))
    };
    if present >= wanted {
        let message = if seen.missing_templates.is_empty() || seen.deleting {
            String::new()
        } else {
            let missing: Vec<_> =
                seen.missing_templates.iter().map(|object| format!("{object} does not exist")).collect();
            format!("Scaling up would be blocked because:\n* {}", missing.join("\n* "))
        };
        return Condition::new(KIND, Truth::False, "NotScalingUp").because(message);
    }
    let message = format!("Scaling up from {present} to {wanted} replicas{blocked}");
    Condition::new(KIND, Truth::True, KIND).because(message)
}

fn scaling_down(seen: &Observed<'_>) -> Condition {
    const KIND: &str = "ScalingDown";
    let Some(wanted) = wanted(seen) else {
        return Condition::new(KIND, Truth::Unknown, "WaitingForReplicasSet")
            .because("Waiting for spec.replicas set");
    };
    let present = seen.machines.len();
    if present <= wanted {
        return Condition::new(KIND, Truth::False, "NotScalingDown");
    }
    let slow = seen
        .machines
        .iter()
        .filter(|machine| machine.deleting_since.is_some_and(|since| seen.now.since(since) >= SLOW_DELETION));
    let slow: Vec<_> = slow.map(|machine| machine.name.as_str()).collect();
    let mut message = format!("Scaling down from {present} to {wanted} replicas");
    if !slow.is_empty() {
        message = format!("{message}\n* Deletion of {} takes more than 15m", slow.join(", "));
    }
    Condition::new(KIND, Truth::True, KIND).because(message)
}

/// Machines that the set has been asked to replace.
fn remediating(seen: &Observed<'_>) -> Condition {
    const KIND: &str = "Remediating";
    let asked: Vec<_> = seen
        .machines
        .iter()
        .filter_map(|machine| Some((machine, machine.owner_remediated.as_ref()?)))
        .filter(|(_, condition)| condition.status == Truth::False)
        .collect();
    if asked.is_empty() {
        let sick = seen.machines.iter().filter(|machine| machine.health_check_failed);
        let names: Vec<_> = sick.map(|machine| machine.name.as_str()).collect();
        let message = match names.as_slice() {
            [] => String::new(),
            [one] => format!("Machine {one} is not healthy (not to be remediated by MachineSet)"),
            [..] => {
                format!("Machines {} are not healthy (not to be remediated by MachineSet)", names.join(", "))
            }
        };
        return Condition::new(KIND, Truth::False, "NotRemediating").because(message);
    }
    let sources: Vec<_> = asked
        .iter()
        .map(|(machine, condition)| crate::conditions::Source {
            kind: "Machine",
            name: &machine.name,
            control_plane: false,
            condition: Some(condition),
        })
        .collect();
    let reasons = crate::conditions::Reasons { issue: KIND, unknown: KIND, info: KIND };
    let polarity = Polarity::Positive;
    let what = crate::conditions::Aggregate { kind: KIND, of: "OwnerRemediated", polarity, reasons };
    // The machines' `False` means that somebody asked; here that is `True`.
    Condition { status: Truth::True, ..crate::conditions::aggregate(what, &sources) }
}

fn deleting(seen: &Observed<'_>) -> Condition {
    const KIND: &str = "Deleting";
    if !seen.deleting {
        return Condition::new(KIND, Truth::False, "NotDeleting");
    }
    let message = match seen.machines.len() {
        0 => "Deletion completed".to_owned(),
        left => format!("Deleting {left} Machines"),
    };
    Condition::new(KIND, Truth::True, KIND).because(message)
}
