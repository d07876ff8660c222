//! Status and conditions of the control plane, from the snapshot its plan was made from.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use windlass_model::{Condition, Status, Version};

use super::etcd::{Member, Membership};
use super::health::{COMPONENTS, ETCD_MEMBER, ETCD_POD, NODE_LABELS, Reach};
use super::{Certificates, ControlPlane, Etcd, Machine, Plan};

/// How versions are sorted in `status.versions`: as versions; those that differ in build metadata only,
/// and what is no version, by their text.
pub fn version_order(one: &str, other: &str) -> Ordering {
    let by_version = match (one.parse::<Version>(), other.parse::<Version>()) {
        (Ok(one), Ok(other)) => one.partial_cmp(&other),
        (Ok(_) | Err(_), Err(_)) | (Err(_), Ok(_)) => None,
    };
    by_version.filter(|order| *order != Ordering::Equal).unwrap_or_else(|| one.cmp(other))
}

/// The conditions of the control plane but for `MachinesReady`, `MachinesUpToDate` and `Paused`.
pub fn conditions(world: &ControlPlane, plan: &Plan) -> Vec<Condition> {
    let mut conditions = vec![available(world), initialized(world)];
    conditions.extend(certificates(world));
    conditions.extend([
        etcd_healthy(world),
        components_healthy(world),
        rolling_out(world),
        Condition::new("Remediating", Status::False, "NotRemediating"),
        scaling_down(world, plan),
        scaling_up(world, plan),
        deleting(world),
    ]);
    conditions
}

fn initialized(world: &ControlPlane) -> Condition {
    if world.initialized {
        Condition::new("Initialized", Status::True, "Initialized")
    } else {
        Condition::new("Initialized", Status::False, "NotInitialized")
    }
}

fn certificates(world: &ControlPlane) -> Option<Condition> {
    match &world.certificates {
        Certificates::Available => Some(Condition::new("CertificatesAvailable", Status::True, "Available")),
        Certificates::Missing(why) => {
            Some(Condition::new("CertificatesAvailable", Status::False, "NotAvailable").because(why))
        }
        Certificates::Unknown => None,
    }
}

/// Available: someone can use the API server, and etcd can lose nothing it has.
fn available(world: &ControlPlane) -> Condition {
    let no = |message: String| Condition::new("Available", Status::False, "NotAvailable").because(message);
    if !world.initialized {
        return no("Control plane not yet initialized".to_owned());
    }
    let mut problems = Vec::new();
    if world.deleting {
        problems.push("* Control plane metadata.deletionTimestamp is set".to_owned());
    }
    if let Certificates::Missing(_) = &world.certificates {
        problems.push("* Control plane certificates are not available".to_owned());
    }
    match &world.etcd {
        Etcd::Unseen(_) if problems.is_empty() && !excused(world) => {
            return no("Waiting for etcd to report the list of members".to_owned());
        }
        Etcd::External | Etcd::Unseen(_) => {}
        Etcd::Seen(membership) => problems.extend(etcd_problems(world, membership)),
    }
    let serves = |machine: &&Machine| machine.components_healthy() || calm(world, machine, components(world));
    if world.machines.iter().filter(serves).count() == 0 {
        problems.push(
            "* There are no Machines with healthy control plane components, at least 1 required".to_owned(),
        );
    }
    if problems.is_empty() {
        Condition::new("Available", Status::True, "Available")
    } else {
        no(problems.join("\n"))
    }
}

/// What is wrong with etcd as a whole.
fn etcd_problems(world: &ControlPlane, membership: &Membership) -> Vec<String> {
    let mut problems = Vec::new();
    // A member that joins does not vote at first: the others do not need it, and do not wait for it.
    let voting = || membership.members.iter().filter(|member| !member.learner);
    let all = voting().count();
    let well = voting()
        .filter(|member| {
            let machine = world.machines.iter().find(|m| m.node.as_deref() == Some(member.name.as_str()));
            machine.map_or_else(
                || world.healthy_member(member),
                |machine| machine.member_healthy() || calm(world, machine, &[ETCD_MEMBER]),
            )
        })
        .count();
    let quorum = all / 2 + 1;
    if well < quorum {
        problems.push(format!(
            "* {well} of {all} etcd members is healthy, at least {quorum} healthy member required for etcd quorum"
        ));
    }
    if !strangers(world).is_empty() {
        problems.push("* The list of etcd members does not match the list of Machines and Nodes".to_owned());
    }
    problems
}

/// Members that belong to no machine. While a machine has no node yet, an unknown member may be its own.
fn strangers(world: &ControlPlane) -> Vec<&Member> {
    let Etcd::Seen(membership) = &world.etcd else { return Vec::new() };
    let nodes: BTreeSet<&str> = world.machines.iter().filter_map(|machine| machine.node.as_deref()).collect();
    if nodes.len() < world.machines.len() {
        return Vec::new();
    }
    membership.members.iter().filter(|member| !nodes.contains(member.name.as_str())).collect()
}

/// Whether none of the conditions `kinds` of a machine has been anything but true for ten seconds. It is asked
/// only of a control plane that was available: one that comes up has no past to lean on.
fn calm(world: &ControlPlane, machine: &Machine, kinds: &[&str]) -> bool {
    world.available && kinds.iter().all(|kind| machine.holds(kind) || machine.lately.contains(*kind))
}

/// Whether etcd has been out of sight for a moment only.
fn excused(world: &ControlPlane) -> bool {
    !world.machines.is_empty() && world.machines.iter().all(|machine| calm(world, machine, &[ETCD_MEMBER]))
}

/// Whether something is left out of `Available` that will not be left out for long.
pub fn excuses(world: &ControlPlane) -> bool {
    world.available && world.machines.iter().any(|machine| !machine.lately.is_empty())
}

fn etcd_healthy(world: &ControlPlane) -> Condition {
    let stranger = |member: &&Member| {
        let name = if member.name.is_empty() { format!("{:x}", member.id) } else { member.name.clone() };
        format!("* Etcd member {name} does not have a corresponding Machine")
    };
    let strangers = strangers(world);
    summary(world, "EtcdClusterHealthy", &[ETCD_MEMBER], strangers.iter().map(stranger))
}

fn components_healthy(world: &ControlPlane) -> Condition {
    let stray = |node: &String| format!("* Control plane Node {node} does not have a corresponding Machine");
    let strays = world.strays.iter().map(stray);
    summary(world, "ControlPlaneComponentsHealthy", components(world), strays)
}

/// The conditions about static pods that a machine has.
fn components(world: &ControlPlane) -> &'static [&'static str] {
    match world.etcd {
        Etcd::External => &COMPONENTS,
        Etcd::Unseen(_) | Etcd::Seen(_) => {
            &["APIServerPodHealthy", "ControllerManagerPodHealthy", "SchedulerPodHealthy", ETCD_POD]
        }
    }
}

/// One condition from the conditions `kinds` of all machines, and from what is wrong beside them.
fn summary(
    world: &ControlPlane,
    kind: &'static str,
    kinds: &[&'static str],
    beside: impl Iterator<Item = String>,
) -> Condition {
    let unknown = |reason, message: &str| Condition::new(kind, Status::Unknown, reason).because(message);
    match &world.reach {
        Reach::NoInfrastructure => {
            return unknown("InspectionFailed", "Waiting for Cluster status.infrastructureReady to be true");
        }
        Reach::NotInitialized => {
            return unknown("InspectionFailed", "Waiting for Cluster control plane to be initialized");
        }
        Reach::Down(why) => return unknown("ConnectionDown", why),
        Reach::Up => {}
    }
    let of = |machine: &Machine| -> Vec<Condition> {
        machine
            .conditions
            .iter()
            .filter(|c| kinds.contains(&c.kind.as_ref()) && !c.is_true())
            .cloned()
            .collect()
    };
    let mut groups: Vec<(Vec<&str>, String)> = Vec::new();
    let mut worst = Status::True;
    for machine in &world.machines {
        let troubles = of(machine);
        if troubles.is_empty() {
            continue;
        }
        let bad = troubles.iter().any(|condition| condition.status == Status::False);
        worst = if bad || worst == Status::False { Status::False } else { Status::Unknown };
        let text = lines(&troubles, kinds.len());
        match groups.iter_mut().find(|(_, known)| *known == text) {
            Some((names, _)) => names.push(&machine.name),
            None => groups.push((vec![&machine.name], text)),
        }
    }
    let mut message: Vec<_> = groups
        .iter()
        .map(|(names, text)| {
            let plural = if names.len() == 1 { "" } else { "s" };
            format!("* Machine{plural} {}:\n{text}", names.join(", "))
        })
        .collect();
    message.extend(beside.inspect(|_| worst = Status::False));
    let reason = match worst {
        Status::True => "Healthy",
        Status::False => "NotHealthy",
        Status::Unknown => "HealthUnknown",
    };
    Condition::new(kind, worst, reason).because(message.join("\n"))
}

/// Troubles of one machine, a line each; one line for all where all components say the same.
fn lines(troubles: &[Condition], kinds: usize) -> String {
    let same = troubles.iter().all(|condition| condition.message == troubles[0].message);
    if troubles.len() > 1 && troubles.len() == kinds && same {
        return format!("  * Control plane components: {}", troubles[0].message);
    }
    let line = |condition: &Condition| format!("  * {}: {}", condition.kind, condition.message);
    troubles.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn rolling_out(world: &ControlPlane) -> Condition {
    let outdated: Vec<_> = world.machines.iter().filter(|machine| !machine.outdated.is_empty()).collect();
    if outdated.is_empty() {
        return Condition::new("RollingOut", Status::False, "NotRollingOut");
    }
    let mut reasons: Vec<&String> = Vec::new();
    for reason in outdated.iter().flat_map(|machine| &machine.outdated) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    let mut message = format!("Rolling out {} not up-to-date replicas", outdated.len());
    for reason in reasons {
        message.push_str("\n* ");
        message.push_str(reason);
    }
    Condition::new("RollingOut", Status::True, "RollingOut").because(message)
}

/// `Scaling <way> from c to d replicas`, and what blocks it.
fn scaling(way: &str, from: usize, to: usize, plan: &Plan) -> String {
    let mut message = format!("Scaling {way} from {from} to {to} replicas");
    if !plan.waits.is_empty() {
        message.push_str(" is blocked because:");
        for wait in &plan.waits {
            message.push_str("\n* ");
            message.push_str(wait);
        }
    }
    message
}

fn scaling_up(world: &ControlPlane, plan: &Plan) -> Condition {
    let current = world.machines.len();
    if world.deleting || current >= world.desired {
        return Condition::new("ScalingUp", Status::False, "NotScalingUp");
    }
    Condition::new("ScalingUp", Status::True, "ScalingUp").because(scaling(
        "up",
        current,
        world.desired,
        plan,
    ))
}

fn scaling_down(world: &ControlPlane, plan: &Plan) -> Condition {
    let (current, desired) = (world.machines.len(), if world.deleting { 0 } else { world.desired });
    if current <= desired {
        return Condition::new("ScalingDown", Status::False, "NotScalingDown");
    }
    let message = if world.deleting {
        format!("Scaling down from {current} to 0 replicas")
    } else {
        scaling("down", current, desired, plan)
    };
    Condition::new("ScalingDown", Status::True, "ScalingDown").because(message)
}

fn deleting(world: &ControlPlane) -> Condition {
    let yes = |reason: &'static str, message: String| {
        Condition::new("Deleting", Status::True, reason).because(message)
    };
    if !world.deleting {
        return Condition::new("Deleting", Status::False, "NotDeleting");
    }
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    if world.workers > 0 {
        let (count, s) = (world.workers, plural(world.workers));
        return yes(
            "WaitingForWorkersDeletion",
            format!("* {count} worker Machine{s} still exist{}", if count == 1 { "s" } else { "" }),
        );
    }
    match world.machines.len() {
        0 => yes("DeletionCompleted", "Deletion completed".to_owned()),
        count => yes("WaitingForMachineDeletion", format!("Deleting {count} Machine{}", plural(count))),
    }
}

/// `UpToDate` of one machine.
pub fn up_to_date(machine: &Machine) -> Condition {
    if machine.outdated.is_empty() {
        return Condition::new("UpToDate", Status::True, "UpToDate");
    }
    let lines: Vec<_> = machine.outdated.iter().map(|reason| format!("* {reason}")).collect();
    Condition::new("UpToDate", Status::False, "NotUpToDate").because(lines.join("\n"))
}

/// What a machine must report before it is ready: its readiness gates.
pub fn readiness_gates(external_etcd: bool) -> Vec<&'static str> {
    let etcd: &[&'static str] = if external_etcd { &[] } else { &[ETCD_POD, ETCD_MEMBER] };
    std::iter::once(NODE_LABELS).chain(COMPONENTS).chain(etcd.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::world;
    use super::super::{Action, plan};
    use super::*;

    fn said(text: &str, kind: &str) -> String {
        let world = world(text);
        let condition =
            conditions(&world, &plan(&world)).into_iter().find(|condition| condition.kind == kind).unwrap();
        let Condition { status, reason, message, .. } = condition;
        format!("{} {reason} {message}", status.as_str()).trim().to_owned()
    }

    #[test]
    fn says_what_upstream_says() {
        // As recorded of upstream; where the text is upstream's, it is upstream's word for word.
        let cases = [
            ("1: early", "Available", "False NotAvailable Control plane not yet initialized"),
            ("1: early", "Initialized", "False NotInitialized"),
            ("1: early", "ScalingUp", "True ScalingUp Scaling up from 0 to 1 replicas"),
            (
                "1: early",
                "EtcdClusterHealthy",
                "Unknown InspectionFailed Waiting for Cluster control plane to be initialized",
            ),
            ("1: a", "Available", "True Available"),
            ("1: a", "EtcdClusterHealthy", "True Healthy"),
            ("1: a", "ControlPlaneComponentsHealthy", "True Healthy"),
            ("1: a", "RollingOut", "False NotRollingOut"),
            ("1: a", "ScalingUp", "False NotScalingUp"),
            ("1: a", "ScalingDown", "False NotScalingDown"),
            ("1: a", "Deleting", "False NotDeleting"),
            ("1: a blind", "Available", "False NotAvailable Waiting for etcd to report the list of members"),
            ("3: a", "ScalingUp", "True ScalingUp Scaling up from 1 to 3 replicas"),
            (
                "3: a b,new",
                "ScalingUp",
                "True ScalingUp Scaling up from 2 to 3 replicas is blocked because:\n* waiting for control plane components to become healthy\n* waiting for etcd cluster to become healthy",
            ),
            ("1: a b c", "ScalingDown", "True ScalingDown Scaling down from 3 to 1 replicas"),
            (
                "1: a b,going,held,sick",
                "Available",
                "False NotAvailable * 1 of 2 etcd members is healthy, at least 2 healthy member required for etcd quorum",
            ),
            (
                "1: a,old",
                "RollingOut",
                "True RollingOut Rolling out 1 not up-to-date replicas\n* Version v1.34.0, v1.35.0 required",
            ),
            (
                "1: a deleting",
                "Available",
                "False NotAvailable * Control plane metadata.deletionTimestamp is set",
            ),
            ("1: a deleting", "ScalingDown", "True ScalingDown Scaling down from 1 to 0 replicas"),
            ("1: a deleting", "Deleting", "True WaitingForMachineDeletion Deleting 1 Machine"),
            ("1: deleting", "Deleting", "True DeletionCompleted Deletion completed"),
            ("1: deleting", "ScalingDown", "False NotScalingDown"),
        ];
        for (text, kind, expected) in cases {
            assert_eq!(said(text, kind), expected, "{kind} of `{text}`");
        }
    }

    #[test]
    fn what_is_short_is_excused_and_what_is_nobodys_is_told() {
        let cases = [
            // Troubles of a few seconds do not count, but they are told one level below.
            ("1: a,ill,sick,lately was-available", "Available", "True Available"),
            (
                "1: a,ill,lately was-available",
                "ControlPlaneComponentsHealthy",
                "False NotHealthy * Machine a:\n  * Control plane components:",
            ),
            ("1: a,sick,lately was-available blind", "Available", "True Available"),
            (
                "1: a,sick,lately",
                "Available",
                "False NotAvailable * 0 of 1 etcd members is healthy, at least 1 healthy member required for etcd quorum",
            ),
            (
                "1: a,sick was-available",
                "Available",
                "False NotAvailable * 0 of 1 etcd members is healthy, at least 1 healthy member required for etcd quorum",
            ),
            // What belongs to nobody.
            (
                "1: a stranger",
                "Available",
                "False NotAvailable * The list of etcd members does not match the list of Machines and Nodes",
            ),
            (
                "1: a stranger",
                "EtcdClusterHealthy",
                "False NotHealthy * Etcd member lost does not have a corresponding Machine",
            ),
            ("3: a b,new stranger", "Available", "True Available"),
            ("3: a b,new learner", "Available", "True Available"),
            (
                "1: a stray=foreign",
                "ControlPlaneComponentsHealthy",
                "False NotHealthy * Control plane Node foreign does not have a corresponding Machine",
            ),
        ];
        for (text, kind, expected) in cases {
            assert_eq!(said(text, kind), expected, "{kind} of `{text}`");
        }
    }

    #[test]
    fn groups_machines_that_say_the_same() {
        assert_eq!(
            said("3: a b,sick c,sick", "EtcdClusterHealthy"),
            "False NotHealthy * Machines b, c:\n  * EtcdMemberHealthy:"
        );
        assert_eq!(
            said("3: a b,ill c", "ControlPlaneComponentsHealthy"),
            "False NotHealthy * Machine b:\n  * Control plane components:"
        );
    }

    #[test]
    fn versions_are_sorted_as_versions() {
        let mut versions = ["v1.35.0", "v1.9.0", "v1.35.0-rc.1", "v1.35.0+b", "v1.35.0+a"];
        versions.sort_by(|one, other| version_order(one, other));
        assert_eq!(versions, ["v1.9.0", "v1.35.0-rc.1", "v1.35.0", "v1.35.0+a", "v1.35.0+b"]);
    }

    #[test]
    fn an_action_is_not_a_wait() {
        let world = world("3: a");
        assert!(matches!(plan(&world).actions[..], [Action::ScaleUp { .. }]));
        assert!(plan(&world).waits.is_empty());
    }
}
