//! What any owner of machines reports of them: counters, versions, readiness.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_model::{Condition, Polarity, Status, Time};

use crate::conditions::{Aggregate, Reasons, Source, aggregate};

/// Machines younger than this may not have been looked at yet (upstream's grace for `UpToDate`).
const YOUNG: Duration = Duration::from_secs(10);

/// One machine of several, as its owner reports it.
#[derive(Debug, Clone, Copy)]
pub struct Fleet<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// It carries the control plane label.
    pub control_plane: bool,
    /// When it was created.
    pub created: Time,
    /// `spec.version`.
    pub version: Option<&'a str>,
    /// Condition `Ready`.
    pub ready: Option<&'a Condition>,
    /// Condition `Available`.
    pub available: Option<&'a Condition>,
    /// Condition `UpToDate`.
    pub up_to_date: Option<&'a Condition>,
}

/// Replica counters and versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Machines that exist.
    pub replicas: u32,
    /// Those with `Ready`.
    pub ready: u32,
    /// Those with `Available`.
    pub available: u32,
    /// Those with `UpToDate`.
    pub up_to_date: u32,
    /// How many of each version, sorted by it.
    pub versions: BTreeMap<String, u32>,
}

impl Counts {
    /// Counts `machines`.
    pub fn of(machines: &[Fleet<'_>]) -> Self {
        let holds = |condition: Option<&Condition>| u32::from(condition.is_some_and(Condition::is_true));
        let mut counts = Self::default();
        for machine in machines {
            counts.replicas += 1;
            counts.ready += holds(machine.ready);
            counts.available += holds(machine.available);
            counts.up_to_date += holds(machine.up_to_date);
            if let Some(version) = machine.version {
                *counts.versions.entry(version.to_owned()).or_default() += 1;
            }
        }
        counts
    }
}

fn none(kind: &'static str) -> Condition {
    Condition::new(kind, Status::True, "NoReplicas")
}

fn sources<'a>(
    machines: impl Iterator<Item = &'a Fleet<'a>>,
    condition: impl Fn(&Fleet<'a>) -> Option<&'a Condition>,
) -> Vec<Source<'a>> {
    let source = |machine: &'a Fleet<'a>| Source {
        kind: "Machine",
        name: machine.name,
        control_plane: machine.control_plane,
        condition: condition(machine),
    };
    machines.map(source).collect()
}

/// `Ready` of all machines as one condition.
pub fn ready(kind: &'static str, machines: &[Fleet<'_>]) -> Condition {
    if machines.is_empty() {
        return none(kind);
    }
    let reasons = Reasons { issue: "NotReady", unknown: "ReadyUnknown", info: "Ready" };
    let what = Aggregate { kind, of: "Ready", polarity: Polarity::Positive, reasons };
    aggregate(what, &sources(machines.iter(), |machine| machine.ready))
}

/// `UpToDate` of all machines as one condition; young machines count once they report it.
pub fn up_to_date(kind: &'static str, machines: &[Fleet<'_>], now: Time) -> Condition {
    let reporting =
        |machine: &&Fleet<'_>| machine.up_to_date.is_some() || now.since(machine.created) >= YOUNG;
    let sources = sources(machines.iter().filter(reporting), |machine| machine.up_to_date);
    if sources.is_empty() {
        return none(kind);
    }
    let reasons = Reasons { issue: "NotUpToDate", unknown: "UpToDateUnknown", info: "UpToDate" };
    aggregate(Aggregate { kind, of: "UpToDate", polarity: Polarity::Positive, reasons }, &sources)
}
