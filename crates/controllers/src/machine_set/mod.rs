//! MachineSet: keeps a number of equal Machines.
//!
//! **Who creates what.** The set creates the Machine first and then, with the Machine as their controller
//! from the start, its bootstrap configuration and infrastructure machine: three writes a machine, none of
//! them touched up. A crash in between leaves a Machine without one of them, which the next pass
//! completes; nothing can be left without an owner. It is the set that completes, because only it knows
//! the templates; a Machine that has got its bootstrap data or its host is never completed again.
//!
//! Creations are server-side applies of the whole intent as `capi-machineset`. A repeated one after a
//! crash is the same intent under the same derived name, and changes nothing.

mod apply;
mod intent;
mod observe;
mod report;

use std::sync::Arc;

use windlass_api::core::{Cluster, Machine, MachineSet};
use windlass_api::names;
use windlass_plan::machine_set::{Action, lint, plan, status};
use windlass_runtime::{Controller, ManagementError, Outcome, Pass, StepError, Watches, key_of};

use crate::patience::Patience;
use crate::references::controller_of;
use crate::templates::TemplateError;
use crate::{pausing, references};

/// The MachineSet controller.
#[derive(Debug, Default)]
pub struct MachineSets {
    patience: Patience,
}

/// Why a pass failed; the variant is the event's reason.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum Error {
    /// The spec cannot be used.
    #[error("cannot use spec.selector of MachineSet {name}: {text}; correct it")]
    InvalidSelector {
        /// Name of the set.
        name: String,
        /// What is wrong.
        text: String,
    },
    /// An owner could not be recorded.
    #[error("cannot record the owner of MachineSet {0} or of its templates")]
    Adopt(String, #[source] Box<ManagementError>),
    /// A template could not be used.
    #[error("cannot create Machine {name}")]
    Template {
        /// Name of the Machine.
        name: String,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A machine could not be written.
    #[error("cannot {step} Machine {name}")]
    Apply {
        /// The verb.
        step: &'static str,
        /// Name of the Machine.
        name: String,
        /// The server's answer.
        source: Box<ManagementError>,
    },
    /// The plan broke an invariant and was not executed.
    #[error("refused an unsafe plan for MachineSet {name}: {notes}; please report this")]
    Unsafe {
        /// Name of the set.
        name: String,
        /// What is wrong with it.
        notes: String,
    },
    /// The status could not be written.
    #[error("cannot report the status of MachineSet {0}")]
    Report(String, #[source] Box<ManagementError>),
}

impl Error {
    /// Somebody else wrote first: the next pass comes at once, and there is nothing to tell.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Apply { source, .. } if source.is_conflict())
    }
}

impl StepError for Error {
    fn step(&self) -> &'static str {
        self.into()
    }
}

impl MachineSets {
    /// A controller whose statuses wait as `patience` says.
    pub fn new(patience: Patience) -> Self {
        Self { patience }
    }
}

impl Controller for MachineSets {
    type Object = MachineSet;
    type Error = Error;
    const NAME: &'static str = "machineset";

    fn finalizer() -> Option<&'static str> {
        Some(names::finalizer::MACHINE_SET)
    }

    fn watches(&self, watches: &mut Watches<'_, Self>) {
        watches
            .kind::<Machine>(|machine, cache| match controller_of(&machine.metadata) {
                Some(owner) if owner.kind == "MachineSet" => vec![key_of(machine).sibling(&*owner.name)],
                Some(_) => Vec::new(),
                // Somebody has let it go: any set of its cluster may be the one that adopts it.
                None => sets_of(cache, &key_of(machine).namespace, &machine.spec.cluster_name),
            })
            .kind::<Cluster>(|cluster, cache| {
                let key = key_of(cluster);
                sets_of(cache, &key.namespace, &key.name)
            });
    }

    async fn reconcile(&self, set: Arc<MachineSet>, pass: &Pass) -> Result<Outcome, Error> {
        let Some(scene) = observe::observe(&set, pass)? else { return Ok(Outcome::Rest) };
        let name = &pass.key.name;
        let report = |error| Error::Report(name.clone(), Box::new(error));
        if scene.paused.is_true() {
            let after = report::paused(&set, &scene, pass.now);
            return self.patience.report(pass, &*set, &after, true).await.map_err(report);
        }
        let seen = scene.observed(&set);
        let plan = plan(&seen);
        let notes = lint(&seen, &plan);
        if !notes.is_empty() {
            return Err(Error::Unsafe { name: name.clone(), notes: notes.join(", ") });
        }
        apply::belong(&set, &scene, pass)
            .await
            .map_err(|error| Error::Adopt(name.clone(), Box::new(error)))?;
        let applied = apply::apply(&set, &scene, &plan, pass).await;
        if plan.released {
            self.patience.forget(&pass.key);
            return applied.map(|()| Outcome::Released);
        }
        // What was written comes back as events, and the status follows from what it will be then. Aligning a
        // machine may have changed nothing.
        let writes = |action: &Action| !matches!(action, Action::Align { .. });
        if applied.is_ok() && plan.actions.iter().any(writes) {
            return Ok(Outcome::Rest);
        }
        let failed = applied.as_ref().is_err_and(|error| !error.is_conflict());
        let (told, urgent) = report::report(&set, &scene, status(&seen), applied.is_ok(), pass.now);
        let reported = self.patience.report(pass, &*set, &told, urgent || failed);
        let outcome = reported.await.map_err(report)?;
        applied.map(|()| outcome)
    }
}

/// Keys of all sets of a cluster.
fn sets_of(cache: &windlass_runtime::Cache, namespace: &str, cluster: &str) -> Vec<windlass_model::Key> {
    cache.of_cluster::<MachineSet>(namespace, cluster).iter().map(|set| key_of(&**set)).collect()
}

/// A set of a deployment belongs to it; any other belongs to the Cluster.
fn stands_alone(set: &MachineSet) -> bool {
    references::controller_of(&set.metadata).is_none()
        && references::label(&set.metadata, names::LABEL_DEPLOYMENT_NAME).is_none()
}

/// Condition `Paused` of the set.
fn paused(cluster: Option<&Cluster>, set: &MachineSet) -> windlass_model::Condition {
    pausing::condition(cluster, "MachineSet", &set.metadata)
}
