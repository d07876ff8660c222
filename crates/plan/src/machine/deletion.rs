//! The order in which a Machine goes: hooks, drain, volumes, hooks, infrastructure, bootstrap, Node.
//!
//! Each step is looked at from scratch in every pass; a step that is done lets the next one begin in the
//! same pass. The Node is left alone where that is pointless: the cluster goes as a whole, or no control
//! plane machine would be left to answer.

use std::time::Duration;

use windlass_model::Time;

use super::{Action, Observed, Workload};
use crate::referent::{Known, Referent};

/// Where a deletion stands; the condition's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Somebody's annotation holds the deletion before the drain.
    WaitingForPreDrainHook,
    /// Pods are being evicted.
    DrainingNode,
    /// Volumes are still attached.
    WaitingForVolumeDetach,
    /// Somebody's annotation holds the deletion before the infrastructure goes.
    WaitingForPreTerminateHook,
    /// The infrastructure machine is going.
    WaitingForInfrastructureDeletion,
    /// The bootstrap configuration is going.
    WaitingForBootstrapDeletion,
    /// The Node object is going.
    DeletingNode,
    /// Nothing is left.
    Completed,
}

impl Stage {
    /// As the condition's reason spells it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::WaitingForPreDrainHook => "WaitingForPreDrainHook",
            Self::DrainingNode => "DrainingNode",
            Self::WaitingForVolumeDetach => "WaitingForVolumeDetach",
            Self::WaitingForPreTerminateHook => "WaitingForPreTerminateHook",
            Self::WaitingForInfrastructureDeletion => "WaitingForInfrastructureDeletion",
            Self::WaitingForBootstrapDeletion => "WaitingForBootstrapDeletion",
            Self::DeletingNode => "DeletingNode",
            Self::Completed => "DeletionCompleted",
        }
    }
}

/// When a step of the deletion was first tried (`status.deletion`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// `waitForPreDrainHookStartTime`.
    pub pre_drain_hook: Option<Time>,
    /// `nodeDrainStartTime`.
    pub drain: Option<Time>,
    /// `waitForNodeVolumeDetachStartTime`.
    pub detach: Option<Time>,
    /// `waitForPreTerminateHookStartTime`.
    pub pre_terminate_hook: Option<Time>,
}

/// The stage, what it waits for, and the times to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Where the deletion stands.
    pub stage: Stage,
    /// Of condition `Deleting`.
    pub message: String,
    /// `status.deletion` from now on.
    pub marks: Marks,
}

/// A pod that a drain must evict: DaemonSet and mirror pods are left out by the executor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// It has been asked to go.
    pub deleting: bool,
}

/// Longest time without a look at a step that no event announces (upstream's drain and detach retry).
const RETRY: Duration = Duration::from_secs(20);

/// How many names a message spells out.
const NAMED: usize = 3;

type Step = (Stage, String, Vec<Action>, Option<Duration>);

/// The first step that is not done, with what to do about it.
pub(super) fn step(seen: &Observed<'_>, since: Time) -> (Deletion, Vec<Action>, Option<Duration>) {
    let mut marks = seen.facts.marks.clone();
    let node = allowed_node(seen);
    let waiting = node
        .as_deref()
        .and_then(|node| {
            pre_drain(seen, &mut marks)
                .or_else(|| drain(seen, node, &mut marks))
                .or_else(|| detach(seen, &mut marks))
        })
        .or_else(|| pre_terminate(seen, &mut marks))
        .or_else(|| infrastructure(seen))
        .or_else(|| bootstrap(seen))
        .or_else(|| node.as_deref().and_then(|node| delete_node(seen, node, since)));
    let (stage, message, actions, again) =
        waiting.unwrap_or((Stage::Completed, "Deletion completed".to_owned(), Vec::new(), None));
    (Deletion { stage, message, marks }, actions, again)
}

/// The Node's name if the Node is to be drained and deleted.
fn allowed_node(seen: &Observed<'_>) -> Option<String> {
    let cluster = &seen.cluster;
    if cluster.deleting {
        return None;
    }
    let node = seen.node_name()?;
    if cluster.external_control_plane {
        return Some(node);
    }
    (!cluster.control_plane_deleting && cluster.control_plane_machines > 0).then_some(node)
}

fn pre_drain(seen: &Observed<'_>, marks: &mut Marks) -> Option<Step> {
    let hooks = &seen.spec.pre_drain_hooks;
    if hooks.is_empty() {
        return None;
    }
    marks.pre_drain_hook.get_or_insert(seen.now);
    let message = format!("Waiting for pre-drain hooks to succeed (hooks: {})", hooks.join(", "));
    Some((Stage::WaitingForPreDrainHook, message, Vec::new(), None))
}

/// When to look again at a step that began at `start`; `None` when its time is over. A timeout of zero
/// never ends.
fn patience(start: Time, timeout: Duration, now: Time) -> Option<Duration> {
    if timeout.is_zero() {
        return Some(RETRY);
    }
    let left = timeout.saturating_sub(now.since(start));
    (!left.is_zero()).then_some(left.min(RETRY))
}

/// Whether the machine under the Node is already going or gone: nothing on it can be saved.
fn infrastructure_going(seen: &Observed<'_>) -> bool {
    match &seen.infrastructure.known {
        Known::Absent => true,
        Known::Present(machine) => machine.deleting,
        Known::Unsynced => false,
    }
}

fn drain(seen: &Observed<'_>, node: &str, marks: &mut Marks) -> Option<Step> {
    let skip = seen.spec.exclude_drain || marks.pre_terminate_hook.is_some() || infrastructure_going(seen);
    if skip {
        return None;
    }
    let start = *marks.drain.get_or_insert(seen.now);
    let again = patience(start, seen.spec.drain_timeout, seen.now)?;
    let wait = |message: String, actions| Some((Stage::DrainingNode, message, actions, Some(again)));
    let Workload::Up { nodes, pods } = &seen.workload else {
        return wait(format!("Waiting for a connection to drain Node {node}"), Vec::new());
    };
    let found = nodes.iter().find(|one| one.name == node)?;
    if !found.unschedulable {
        return wait(format!("Cordoning Node {node}"), vec![Action::Cordon { node: node.to_owned() }]);
    }
    if pods.is_empty() {
        return None;
    }
    let evictions = pods.iter().filter(|pod| !pod.deleting).cloned().map(Action::Evict).collect();
    wait(draining_message(node, pods), evictions)
}

fn draining_message(node: &str, pods: &[Pod]) -> String {
    let names: Vec<_> = pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    let more = names.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(
        "Draining Node {node}\n* Pods {}{more}: still on the Node",
        names[..names.len().min(NAMED)].join(", ")
    )
}

fn detach(seen: &Observed<'_>, marks: &mut Marks) -> Option<Step> {
    let skip = seen.spec.exclude_detach || marks.pre_terminate_hook.is_some() || infrastructure_going(seen);
    if skip {
        return None;
    }
    let start = *marks.detach.get_or_insert(seen.now);
    let again = patience(start, seen.spec.detach_timeout, seen.now)?;
    let node = seen.workload.node()?;
    if node.unreachable || node.volumes.is_empty() {
        return None;
    }
    let message = format!("Waiting for Node volumes to be detached\n* {}", node.volumes.join("\n* "));
    Some((Stage::WaitingForVolumeDetach, message, Vec::new(), Some(again)))
}

fn pre_terminate(seen: &Observed<'_>, marks: &mut Marks) -> Option<Step> {
    let hooks = &seen.spec.pre_terminate_hooks;
    if hooks.is_empty() {
        return None;
    }
    marks.pre_terminate_hook.get_or_insert(seen.now);
    let message = format!("Waiting for pre-terminate hooks to succeed (hooks: {})", hooks.join(", "));
    Some((Stage::WaitingForPreTerminateHook, message, Vec::new(), None))
}

/// Deletes a companion that is there, waits for one that is going, passes over one that is gone.
fn companion<T>(
    target: &Referent<T>,
    stage: Stage,
    delete: Action,
    deleting: impl Fn(&T) -> bool,
) -> Option<Step> {
    let actions = match &target.known {
        Known::Absent => return None,
        Known::Present(object) if !deleting(object) => vec![delete],
        Known::Present(_) | Known::Unsynced => Vec::new(),
    };
    Some((stage, format!("Waiting for {} to be deleted", target.kind), actions, None))
}

fn infrastructure(seen: &Observed<'_>) -> Option<Step> {
    let stage = Stage::WaitingForInfrastructureDeletion;
    companion(&seen.infrastructure, stage, Action::DeleteInfrastructure, |machine| machine.deleting)
}

fn bootstrap(seen: &Observed<'_>) -> Option<Step> {
    let stage = Stage::WaitingForBootstrapDeletion;
    companion(seen.bootstrap.as_ref()?, stage, Action::DeleteBootstrap, |config| config.deleting)
}

/// Deletes the Node, and gives up after the timeout: a Node that nobody can delete must not keep the
/// Machine forever.
fn delete_node(seen: &Observed<'_>, node: &str, since: Time) -> Option<Step> {
    let left = patience(since, seen.spec.node_deletion_timeout, seen.now);
    let wait =
        |actions, again| Some((Stage::DeletingNode, format!("Deleting Node {node}"), actions, Some(again)));
    match &seen.workload {
        Workload::Down { .. } => wait(Vec::new(), left?),
        Workload::Up { nodes, .. } => {
            let found = nodes.iter().find(|one| one.name == node)?;
            // The time is that of the whole deletion: however long it has taken, it is tried once.
            let tried =
                seen.condition("Deleting").is_some_and(|said| said.reason == Stage::DeletingNode.reason());
            let again = left.or((!tried).then_some(RETRY))?;
            let delete = (!found.deleting).then(|| Action::DeleteNode { node: node.to_owned() });
            wait(delete.into_iter().collect(), again)
        }
    }
}
