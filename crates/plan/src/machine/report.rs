//! What a Machine says about itself; follows from the same snapshot as the plan.

use std::time::Duration;

use windlass_model::{Condition, Polarity, Status as Truth, Time};

use super::{Deletion, Facts, Node, Observed, Plan, Stage, Workload};
use crate::conditions::{Part, Reasons, mirror, summary};
use crate::referent::{Known, Referent};

/// How long a workload cluster may be silent before what is known of its Nodes counts for nothing
/// (upstream's `--remote-conditions-grace-period`).
const SILENCE: Duration = Duration::from_mins(5);
/// How long a deletion may take before the summary says so.
const SLOW_DELETION: Duration = Duration::from_mins(15);

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is there yet.
    Pending,
    /// The bootstrap data is there.
    Provisioning,
    /// The infrastructure machine is there.
    Provisioned,
    /// The Node is there.
    Running,
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
            Self::Running => "Running",
            Self::Deleting => "Deleting",
        }
    }
}

/// `status`, in our words; addresses and the like are copied by the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// One-way facts from now on.
    pub facts: Facts,
    /// How far the Machine is.
    pub phase: Phase,
    /// In the order in which people read them.
    pub conditions: Vec<Condition>,
}

/// The fields of a template that cannot change in place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateFacts {
    /// `version`.
    pub version: Option<String>,
    /// `failureDomain`.
    pub failure_domain: Option<String>,
    /// Kind and name of the bootstrap template, or the name of the Secret.
    pub bootstrap: (String, String),
    /// Kind and name of the infrastructure template.
    pub infrastructure: (String, String),
}

/// How a set's template differs from its deployment's, one line each; empty when it is up to date.
pub fn differences(own: &TemplateFacts, wanted: &TemplateFacts) -> Vec<String> {
    let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let mut lines = Vec::new();
    if own.version != wanted.version {
        lines.push(format!("Version {}, {} required", said(&own.version), said(&wanted.version)));
    }
    if own.failure_domain != wanted.failure_domain {
        let (own, wanted) = (said(&own.failure_domain), said(&wanted.failure_domain));
        lines.push(format!("Failure domain {own}, {wanted} required"));
    }
    for (own, wanted) in [(&own.bootstrap, &wanted.bootstrap), (&own.infrastructure, &wanted.infrastructure)]
    {
        if own != wanted {
            lines.push(format!("{} is not up-to-date", wanted.0.trim_end_matches("Template")));
        }
    }
    lines
}

/// The status that follows from what was seen and planned.
pub fn status(seen: &Observed<'_>, plan: &Plan) -> Status {
    let facts = facts(seen, plan);
    let mut conditions = vec![bootstrap_ready(seen), infrastructure_ready(seen, &facts)];
    conditions.extend(node_conditions(seen, &facts));
    conditions.push(Condition::new("Updating", Truth::False, "NotUpdating"));
    conditions.push(deleting(plan.deletion.as_ref()));
    let ready = ready(seen, plan, &conditions);
    let mut all = vec![available(seen, &ready), ready];
    all.extend(up_to_date(seen));
    all.extend(conditions);
    Status { phase: phase(seen, &facts), facts, conditions: all }
}

fn facts(seen: &Observed<'_>, plan: &Plan) -> Facts {
    Facts {
        bootstrapped: seen.facts.bootstrapped || seen.data_secret().is_some(),
        provisioned: seen.facts.provisioned || seen.provisioned_infrastructure().is_some(),
        node: seen.node_name(),
        marks: plan.deletion.as_ref().map_or_else(|| seen.facts.marks.clone(), |one| one.marks.clone()),
    }
}

fn phase(seen: &Observed<'_>, facts: &Facts) -> Phase {
    if seen.deleting.is_some() {
        Phase::Deleting
    } else if facts.node.is_some() && facts.provisioned {
        Phase::Running
    } else if seen.provider_id().is_some() {
        Phase::Provisioned
    } else if facts.bootstrapped && !facts.provisioned {
        Phase::Provisioning
    } else {
        Phase::Pending
    }
}

/// The mirror of a companion's `Ready`, with what its absence means.
fn companion<T>(
    kind: &'static str,
    target: &Referent<T>,
    existed: bool,
    ready: impl Fn(&T) -> Option<&Condition>,
    fallback: impl Fn(&T) -> Condition,
) -> Condition {
    let what = &target.kind;
    match &target.known {
        Known::Present(object) => mirror(kind, ready(object), fallback(object)),
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

/// What a companion without conditions is worth: its contract field.
fn by_field(kind: &'static str, what: &str, field: &str, holds: bool) -> Condition {
    if holds {
        Condition::new(kind, Truth::True, "Ready")
    } else {
        let message = format!("{what} status.initialization.{field} is false");
        Condition::new(kind, Truth::False, "NotReady").because(message)
    }
}

fn bootstrap_ready(seen: &Observed<'_>) -> Condition {
    const KIND: &str = "BootstrapConfigReady";
    let Some(target) = &seen.bootstrap else {
        return Condition::new(KIND, Truth::True, "DataSecretProvided");
    };
    let existed = seen.facts.bootstrapped || seen.deleting.is_some();
    companion(
        KIND,
        target,
        existed,
        |config| config.ready.as_ref(),
        |config| by_field(KIND, &target.kind, "dataSecretCreated", config.created),
    )
}

fn infrastructure_ready(seen: &Observed<'_>, facts: &Facts) -> Condition {
    const KIND: &str = "InfrastructureReady";
    let target = &seen.infrastructure;
    let existed = facts.provisioned || seen.deleting.is_some();
    companion(
        KIND,
        target,
        existed,
        |machine| machine.ready.as_ref(),
        |machine| by_field(KIND, &target.kind, "provisioned", machine.provisioned),
    )
}

/// `NodeHealthy` and `NodeReady`.
fn node_conditions(seen: &Observed<'_>, facts: &Facts) -> [Condition; 2] {
    let both = |status, reason: &'static str, message: String| {
        ["NodeHealthy", "NodeReady"].map(|kind| Condition::new(kind, status, reason).because(message.clone()))
    };
    let unknown = |message: String| both(Truth::Unknown, "InspectionFailed", message);
    let cluster = &seen.cluster;
    if !cluster.infrastructure_provisioned {
        return unknown("Waiting for Cluster infrastructure to be provisioned".to_owned());
    }
    if !cluster.control_plane_initialized {
        return unknown("Waiting for Cluster control plane to be initialized".to_owned());
    }
    match &seen.workload {
        Workload::Down { probed, last_success } => silent(seen, *probed, *last_success),
        Workload::Up { .. } => match seen.workload.node() {
            Some(node) => healthy(node),
            None if facts.node.is_some() => {
                let name = facts.node.as_deref().unwrap_or_default();
                let staying = if seen.deleting.is_some() { "" } else { " while the Machine still exists" };
                both(Truth::False, "NodeDeleted", format!("Node {name} has been deleted{staying}"))
            }
            None if seen.deleting.is_some() => {
                both(Truth::Unknown, "NodeDoesNotExist", "Node does not exist".to_owned())
            }
            None => unknown(match seen.provider_id() {
                None => format!("Waiting for {} to report spec.providerID", seen.infrastructure.kind),
                Some(id) => format!("Waiting for a Node with spec.providerID {id} to exist"),
            }),
        },
    }
}

/// Without a connection: what was known holds for a while.
fn silent(seen: &Observed<'_>, probed: bool, last_success: Option<Time>) -> [Condition; 2] {
    let since = last_success.max(seen.cluster.control_plane_initialized_at);
    let lost = probed && since.is_some_and(|since| seen.now.since(since) > SILENCE);
    ["NodeHealthy", "NodeReady"].map(|kind| {
        if lost {
            return Condition::new(kind, Truth::Unknown, "ConnectionDown")
                .because("The workload cluster does not answer");
        }
        let known = seen.condition(kind).filter(|condition| condition.reason != "InspectionFailed");
        known.cloned().unwrap_or_else(|| {
            Condition::new(kind, Truth::Unknown, "InspectionFailed")
                .because("Remote connection not established yet")
        })
    })
}

/// What the Node says: ready, and under no pressure.
fn healthy(node: &Node) -> [Condition; 2] {
    let named = |kind: &str| node.conditions.iter().find(|condition| condition.kind == kind);
    let Some(ready) = named("Ready") else {
        return ["NodeHealthy", "NodeReady"].map(|kind| {
            let reason = if kind == "NodeReady" { "NodeReadyUnknown" } else { "NodeHealthyUnknown" };
            Condition::new(kind, Truth::Unknown, reason).because("* Node.Ready: Condition not yet reported")
        });
    };
    let said = |condition: &Condition| format!("* Node.{}: {}", condition.kind, condition.message);
    let node_ready = match ready.status {
        Truth::True => Condition::new("NodeReady", Truth::True, "NodeReady"),
        Truth::False => Condition::new("NodeReady", Truth::False, "NodeNotReady").because(said(ready)),
        Truth::Unknown => {
            Condition::new("NodeReady", Truth::Unknown, "NodeReadyUnknown").because(said(ready))
        }
    };
    let pressures = ["MemoryPressure", "DiskPressure", "PIDPressure"].into_iter().filter_map(named);
    let mut bad: Vec<String> = pressures.clone().filter(|one| one.is_true()).map(said).collect();
    let mut vague: Vec<String> = pressures.filter(|one| one.status == Truth::Unknown).map(said).collect();
    match ready.status {
        Truth::True => {}
        Truth::False => bad.insert(0, said(ready)),
        Truth::Unknown => vague.insert(0, said(ready)),
    }
    let (status, reason) = match (bad.is_empty(), vague.is_empty()) {
        (false, _) => (Truth::False, "NodeNotHealthy"),
        (true, false) => (Truth::Unknown, "NodeHealthyUnknown"),
        (true, true) => (Truth::True, "NodeHealthy"),
    };
    bad.extend(vague);
    [Condition::new("NodeHealthy", status, reason).because(bad.join("\n")), node_ready]
}

fn deleting(deletion: Option<&Deletion>) -> Condition {
    const KIND: &str = "Deleting";
    match deletion {
        None => Condition::new(KIND, Truth::False, "NotDeleting"),
        Some(one) => Condition::new(KIND, Truth::True, one.stage.reason()).because(one.message.clone()),
    }
}

/// Condition types of the control plane's static pods, which one line stands for while they agree.
const COMPONENTS: [&str; 4] =
    ["APIServerPodHealthy", "ControllerManagerPodHealthy", "SchedulerPodHealthy", "EtcdPodHealthy"];

fn ready(seen: &Observed<'_>, plan: &Plan, own: &[Condition]) -> Condition {
    let find =
        |kind: &str| own.iter().find(|condition| condition.kind == kind).or_else(|| seen.condition(kind));
    let going = seen.deleting.is_some();
    let stage = deletion_summary(seen, plan);
    let deleting = Part { message: stage.as_deref(), ..Part::new("Deleting", find("Deleting")).negative() };
    // A machine that goes loses its companions: that is no news.
    let lost = |kind: &'static str| {
        let part = Part::new(kind, find(kind));
        let gone = part.condition.is_some_and(|condition| {
            ["ObjectDeleted", "ObjectDoesNotExist", "NodeDeleted", "NodeDoesNotExist"]
                .contains(&condition.reason.as_ref())
        });
        Part { excused: going && gone, ..part }
    };
    let mut parts = vec![
        deleting,
        Part::new("Updating", find("Updating")).negative(),
        lost("BootstrapConfigReady"),
        lost("InfrastructureReady"),
        lost("NodeHealthy"),
        Part::new("HealthCheckSucceeded", find("HealthCheckSucceeded")).optional(),
    ];
    parts.extend(gates(seen));
    let reasons = Reasons { issue: "NotReady", unknown: "ReadyUnknown", info: "Ready" };
    summary("Ready", &parts, reasons)
}

/// The readiness gates, the static pods under one name while all of them say the same.
fn gates<'a>(seen: &'a Observed<'_>) -> Vec<Part<'a>> {
    let part = |(kind, polarity): &'a (String, Polarity)| Part {
        polarity: *polarity,
        ..Part::new(kind, seen.condition(kind))
    };
    let parts: Vec<Part<'a>> = seen.spec.readiness_gates.iter().map(part).collect();
    let is_component = |part: &Part<'_>| COMPONENTS.contains(&part.label);
    let said: Vec<_> = parts
        .iter()
        .filter(|part| is_component(part))
        .map(|part| part.condition.map(|condition| (condition.status, condition.message.as_str())))
        .collect();
    let agree = said.len() > 1 && said.windows(2).all(|pair| pair[0] == pair[1]);
    if !agree {
        return parts;
    }
    let mut first = true;
    let keep = |part: Part<'a>| {
        if !is_component(&part) {
            return Some(part);
        }
        std::mem::take(&mut first).then_some(Part { label: "Control plane components", ..part })
    };
    parts.into_iter().filter_map(keep).collect()
}

/// One line for the summary; the condition itself has the details.
fn deletion_summary(seen: &Observed<'_>, plan: &Plan) -> Option<String> {
    let stage = plan.deletion.as_ref()?.stage;
    let slow = seen.deleting.is_some_and(|since| seen.now.since(since) > SLOW_DELETION);
    let slow = if slow { " since more than 15m" } else { "" };
    Some(format!("Machine deletion in progress{slow}, stage: {}", stage.reason()))
}

/// Time until a ready Machine has been ready long enough to be available.
pub(super) fn until_available(seen: &Observed<'_>) -> Option<Duration> {
    let left = seen.spec.min_ready.saturating_sub(seen.now.since(seen.ready_since?));
    (!left.is_zero()).then_some(left)
}

fn available(seen: &Observed<'_>, ready: &Condition) -> Condition {
    const KIND: &str = "Available";
    if !ready.is_true() {
        return Condition::new(KIND, Truth::False, "NotReady");
    }
    let since = seen.ready_since.unwrap_or(seen.now);
    if seen.now.since(since) >= seen.spec.min_ready {
        Condition::new(KIND, Truth::True, KIND)
    } else {
        Condition::new(KIND, Truth::False, "WaitingForMinReadySeconds")
    }
}

/// Only of machines of a deployment; others report it by whoever owns them.
fn up_to_date(seen: &Observed<'_>) -> Option<Condition> {
    const KIND: &str = "UpToDate";
    let lines = seen.outdated.as_ref()?;
    Some(if lines.is_empty() {
        Condition::new(KIND, Truth::True, KIND)
    } else {
        let bullets: Vec<_> = lines.iter().map(|line| format!("* {line}")).collect();
        Condition::new(KIND, Truth::False, "NotUpToDate").because(bullets.join("\n"))
    })
}

/// Whether the deletion has come to its end.
impl Deletion {
    /// Nothing is left to wait for.
    pub fn completed(&self) -> bool {
        self.stage == Stage::Completed
    }
}
