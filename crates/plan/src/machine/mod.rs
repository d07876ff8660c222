//! Decides what one Machine needs next: facts copied from its companions, its Node kept in line, and when
//! it goes, everything of it in the right order.
//!
//! A Machine never creates its companions (bootstrap configuration and infrastructure machine); who
//! created the Machine does. It copies from them once what others wait for: the bootstrap Secret's name
//! and the provider ID.
//!
//! **Invariants**, checked by [`lint`]: the bootstrap configuration outlives the infrastructure machine,
//! the Node outlives both, and the finalizer goes last.

mod deletion;
mod node;
mod report;
mod taints;

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_model::{Condition, Time};

use crate::referent::{Known, Referent};

pub use deletion::{Deletion, Marks, Pod, Stage};
pub use node::{Alignment, Node, OwnerRef, Tracked, align};
pub use report::{Phase, Status, TemplateFacts, differences, status};
pub use taints::{MachineTaint, Taint, TaintChange};

/// What the executor saw of one Machine, already validated.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.deletionTimestamp`.
    pub deleting: Option<Time>,
    /// What was asked for.
    pub spec: Spec,
    /// What was reported before and does not turn back.
    pub facts: Facts,
    /// Conditions on the object, also those of other controllers.
    pub conditions: &'a [Condition],
    /// Since when condition `Ready` has been `True`.
    pub ready_since: Option<Time>,
    /// The cluster it belongs to.
    pub cluster: Cluster,
    /// The bootstrap configuration; `None` when a person provides the Secret.
    pub bootstrap: Option<Referent<Bootstrap>>,
    /// The infrastructure machine.
    pub infrastructure: Referent<Infrastructure>,
    /// Nobody controls the Machine and nobody ever did: the Cluster adopts it.
    pub orphan: bool,
    /// The workload cluster, as far as this Machine is concerned.
    pub workload: Workload,
    /// How the set's template differs from its deployment's, or that it belongs to no deployment.
    pub outdated: Option<Vec<String>>,
    /// The one clock reading of the pass.
    pub now: Time,
}

/// `spec`, in our words.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// `bootstrap.dataSecretName`.
    pub data_secret: Option<String>,
    /// `providerID`.
    pub provider_id: Option<String>,
    /// `failureDomain`.
    pub failure_domain: Option<String>,
    /// `minReadySeconds`.
    pub min_ready: Duration,
    /// `readinessGates`: condition types and whether `True` is bad news.
    pub readiness_gates: Vec<(String, windlass_model::Polarity)>,
    /// `deletion.nodeDrainTimeoutSeconds`; zero is forever.
    pub drain_timeout: Duration,
    /// `deletion.nodeVolumeDetachTimeoutSeconds`; zero is forever.
    pub detach_timeout: Duration,
    /// `deletion.nodeDeletionTimeoutSeconds`; zero is forever.
    pub node_deletion_timeout: Duration,
    /// Annotation `exclude-node-draining`.
    pub exclude_drain: bool,
    /// Annotation `exclude-wait-for-node-volume-detach`.
    pub exclude_detach: bool,
    /// Annotations that hold deletion before the drain.
    pub pre_drain_hooks: Vec<String>,
    /// Annotations that hold deletion before the infrastructure goes.
    pub pre_terminate_hooks: Vec<String>,
}

/// One-way facts from `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `initialization.bootstrapDataSecretCreated`.
    pub bootstrapped: bool,
    /// `initialization.infrastructureProvisioned`.
    pub provisioned: bool,
    /// `nodeRef.name`.
    pub node: Option<String>,
    /// `deletion`: when each step was first tried.
    pub marks: Marks,
}

/// The cluster as far as one of its Machines cares.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// The Cluster is going, and everything of it.
    pub deleting: bool,
    /// `status.initialization.infrastructureProvisioned`.
    pub infrastructure_provisioned: bool,
    /// `status.initialization.controlPlaneInitialized`.
    pub control_plane_initialized: bool,
    /// When it became so.
    pub control_plane_initialized_at: Option<Time>,
    /// The control plane object is going.
    pub control_plane_deleting: bool,
    /// The control plane's machines have no Nodes (`status.externalManagedControlPlane`).
    pub external_control_plane: bool,
    /// Control plane machines that stay.
    pub control_plane_machines: usize,
}

/// The bootstrap configuration (contract v1beta2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bootstrap {
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// It carries our controller reference and cluster label.
    pub owned: bool,
    /// `status.initialization.dataSecretCreated`.
    pub created: bool,
    /// `status.dataSecretName`.
    pub secret: Option<String>,
    /// Condition `Ready`.
    pub ready: Option<Condition>,
}

/// The infrastructure machine (contract v1beta2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Infrastructure {
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// It carries our controller reference and cluster label.
    pub owned: bool,
    /// `status.initialization.provisioned`.
    pub provisioned: bool,
    /// `spec.providerID`.
    pub provider_id: Option<String>,
    /// `spec.failureDomain` of older providers.
    pub failure_domain: Option<String>,
    /// Condition `Ready`.
    pub ready: Option<Condition>,
}

/// What the workload cluster says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// There is no connection at present.
    Down {
        /// A connection has existed, or has been tried long enough to say that there is none.
        probed: bool,
        /// When the cluster last answered.
        last_success: Option<Time>,
    },
    /// There is one, and these Nodes bear the provider ID (or the name, once `nodeRef` is set).
    Up {
        /// More than one is a fault of the infrastructure.
        nodes: Vec<Node>,
        /// Pods on the Node that a drain has to evict; read only while the Machine is going.
        pods: Vec<Pod>,
    },
}

impl Workload {
    /// The Node, if exactly one is known.
    pub fn node(&self) -> Option<&Node> {
        match self {
            Self::Up { nodes, .. } => match nodes.as_slice() {
                [node] => Some(node),
                [] | [_, _, ..] => None,
            },
            Self::Down { .. } => None,
        }
    }
}

/// One step that can be executed alone and repeated safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the Cluster the owner of a Machine that nobody owns.
    Adopt,
    /// Make the Machine the owner of a bootstrap configuration that a person created.
    OwnBootstrap,
    /// The same for the infrastructure machine.
    OwnInfrastructure,
    /// Copy facts into the spec, in one write.
    Fill {
        /// `bootstrap.dataSecretName`.
        data_secret: Option<String>,
        /// `providerID`.
        provider_id: Option<String>,
        /// `failureDomain`.
        failure_domain: Option<String>,
    },
    /// Bring the Node's labels, annotations and taints in line.
    AlignNode(Alignment),
    /// Keep new pods off the Node.
    Cordon {
        /// Name of the Node.
        node: String,
    },
    /// Ask for the eviction of a pod; disruption budgets may refuse for now.
    Evict(Pod),
    /// Delete the infrastructure machine.
    DeleteInfrastructure,
    /// Delete the bootstrap configuration.
    DeleteBootstrap,
    /// Delete the Node object.
    DeleteNode {
        /// Name of the Node.
        node: String,
    },
}

/// The next steps, and what the Machine waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a plan does nothing until it is executed"]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// The stage of the deletion, once there is one.
    pub deletion: Option<Deletion>,
    /// Look again after this long, whatever happens until then.
    pub again: Option<Duration>,
    /// Something is wrong that time does not heal; reported and retried with backoff.
    pub faults: Vec<String>,
}

impl Plan {
    /// Nothing of the Machine is left: its finalizer may be removed.
    pub fn released(&self) -> bool {
        self.deletion.as_ref().is_some_and(|deletion| deletion.stage == Stage::Completed)
    }
}

/// Plans one pass over one Machine.
pub fn plan(seen: &Observed<'_>) -> Plan {
    let mut plan = Plan::default();
    if seen.orphan {
        plan.actions.push(Action::Adopt);
    }
    plan.actions.extend(own(seen));
    plan.faults.extend(faults(seen));
    if let Some(since) = seen.deleting {
        let (deletion, actions, again) = deletion::step(seen, since);
        plan.actions.extend(actions);
        (plan.deletion, plan.again) = (Some(deletion), again);
        return plan;
    }
    plan.actions.extend(fill(seen));
    if let Some(node) = seen.workload.node() {
        plan.actions.extend(node.alignment.clone().map(Action::AlignNode));
    }
    plan.again = report::until_available(seen);
    plan
}

/// Companions that a person created belong to the Machine from now on.
fn own(seen: &Observed<'_>) -> impl Iterator<Item = Action> {
    let bootstrap = seen.bootstrap.as_ref().and_then(Referent::present);
    let free = bootstrap.is_some_and(|config| !config.owned && !config.deleting);
    let infrastructure = seen.infrastructure.present();
    let bare = infrastructure.is_some_and(|machine| !machine.owned && !machine.deleting);
    let first = free.then_some(Action::OwnBootstrap);
    first.into_iter().chain(bare.then_some(Action::OwnInfrastructure))
}

/// The Secret's name once, and the provider's facts whenever they differ.
fn fill(seen: &Observed<'_>) -> Option<Action> {
    let secret = seen.data_secret().filter(|_| seen.spec.data_secret.is_none());
    let infrastructure = seen.provisioned_infrastructure();
    let provider_id = infrastructure
        .and_then(|machine| machine.provider_id.clone())
        .filter(|id| seen.spec.provider_id.as_ref() != Some(id));
    let failure_domain = infrastructure
        .and_then(|machine| machine.failure_domain.clone())
        .filter(|domain| seen.spec.failure_domain.as_ref() != Some(domain));
    let any = secret.is_some() || provider_id.is_some() || failure_domain.is_some();
    any.then_some(Action::Fill { data_secret: secret, provider_id, failure_domain })
}

/// What must not be, and no waiting mends.
fn faults(seen: &Observed<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let infrastructure = &seen.infrastructure;
    if seen.deleting.is_none() && seen.facts.provisioned && infrastructure.known == Known::Absent {
        faults.push(format!(
            "{} {} has been deleted after it was provisioned; delete the Machine to replace it",
            infrastructure.kind, infrastructure.name
        ));
    }
    if let Workload::Up { nodes, .. } = &seen.workload
        && nodes.len() > 1
    {
        let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        let names = names.join(", ");
        faults.push(format!("Nodes {names} have the same spec.providerID; delete those that are not its"));
    }
    faults
}

impl Observed<'_> {
    /// Name of the bootstrap Secret, from the spec or from a configuration that is done.
    pub fn data_secret(&self) -> Option<String> {
        let config = self.bootstrap.as_ref().and_then(Referent::present).filter(|config| config.created);
        let reported = config.and_then(|config| config.secret.clone()).filter(|name| !name.is_empty());
        self.spec.data_secret.clone().or(reported)
    }

    /// The infrastructure machine, once it is provisioned and says which machine it is.
    pub fn provisioned_infrastructure(&self) -> Option<&Infrastructure> {
        let machine = self.infrastructure.present()?;
        let named = machine.provider_id.as_ref().is_some_and(|id| !id.is_empty());
        (machine.provisioned && named).then_some(machine)
    }

    /// The provider ID, from the spec or as it is being copied.
    pub fn provider_id(&self) -> Option<String> {
        let reported = self.provisioned_infrastructure().and_then(|machine| machine.provider_id.clone());
        reported.or_else(|| self.spec.provider_id.clone())
    }

    /// Name of the Node, reported before or found now.
    pub fn node_name(&self) -> Option<String> {
        self.facts.node.clone().or_else(|| self.workload.node().map(|node| node.name.clone()))
    }

    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// Names what is wrong with a plan; empty for every plan this module makes.
pub fn lint(seen: &Observed<'_>, plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    let infrastructure_left = seen.infrastructure.known != Known::Absent;
    let bootstrap_left = seen.bootstrap.as_ref().is_some_and(|config| config.known != Known::Absent);
    for action in &plan.actions {
        let (deletes, too_early) = match action {
            Action::DeleteBootstrap => (true, infrastructure_left),
            Action::DeleteNode { .. } => (true, infrastructure_left || bootstrap_left),
            Action::DeleteInfrastructure => (true, !seen.spec.pre_terminate_hooks.is_empty()),
            Action::Cordon { .. } | Action::Evict(_) => (true, !seen.spec.pre_drain_hooks.is_empty()),
            Action::Adopt
            | Action::OwnBootstrap
            | Action::OwnInfrastructure
            | Action::Fill { .. }
            | Action::AlignNode(_) => (false, false),
        };
        if deletes && seen.deleting.is_none() {
            notes.push(format!("{action:?} of a machine that stays"));
        }
        if too_early {
            notes.push(format!("{action:?} comes too early"));
        }
    }
    if plan.released() && (infrastructure_left || bootstrap_left) {
        notes.push("releases a machine whose companions may still exist".to_owned());
    }
    notes
}

/// Labels or annotations by key.
pub type Labels = BTreeMap<String, String>;

#[cfg(test)]
mod tests;
