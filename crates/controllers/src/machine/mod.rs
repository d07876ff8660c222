//! Machine: one host of a cluster, from its infrastructure to its Node.
//!
//! The pass copies facts from the Machine's companions and its Node, keeps the Node in line, and when the
//! Machine goes, takes everything of it away in order. It never waits for a workload cluster: what is known
//! of Nodes comes from the connection that [`Workloads`] keeps, and what happens there wakes the Machine.

mod apply;
mod observe;
mod report;

use std::sync::Arc;

use windlass_api::core::{Cluster, Machine, MachineDeployment, MachineSet};
use windlass_api::names;
use windlass_model::Key;
use windlass_plan::machine::{lint, plan, status};
use windlass_runtime::{Cache, Controller, ManagementError, Outcome, Pass, StepError, Watches, key_of};
use windlass_workload::{What, Workloads};

use crate::patience::Patience;
use crate::references::label;

/// The Machine controller.
#[derive(Debug)]
pub struct Machines {
    workloads: Workloads,
    patience: Patience,
}

/// Why a pass failed; the variant is the event's reason.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum Error {
    /// The pods of the Node could not be read.
    #[error("cannot list the pods of Node {node} of Machine {name}")]
    Observe {
        /// Name of the Machine.
        name: String,
        /// Name of the Node.
        node: String,
        /// The workload cluster's answer.
        source: Box<kube::Error>,
    },
    /// Something in the management cluster could not be written.
    #[error("cannot {step} Machine {name}")]
    Apply {
        /// What was tried.
        step: &'static str,
        /// Name of the Machine.
        name: String,
        /// The server's answer.
        source: Box<ManagementError>,
    },
    /// Something in the workload cluster could not be written.
    #[error("cannot {step} Node {node} of Machine {name}")]
    Node {
        /// What was tried.
        step: &'static str,
        /// Name of the Machine.
        name: String,
        /// Name of the Node.
        node: String,
        /// The workload cluster's answer.
        source: Box<kube::Error>,
    },
    /// The world is not as it should be, and waiting does not help.
    #[error("Machine {name}: {text}")]
    Fault {
        /// Name of the Machine.
        name: String,
        /// What is wrong, and what to do.
        text: String,
    },
    /// The plan broke an invariant and was not executed.
    #[error("refused an unsafe plan for Machine {name}: {notes}; please report this")]
    Unsafe {
        /// Name of the Machine.
        name: String,
        /// What is wrong with it.
        notes: String,
    },
    /// The status could not be written.
    #[error("cannot report the status of Machine {0}")]
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

impl Machines {
    /// A controller that sees Nodes through `workloads`, and whose statuses wait as `patience` says.
    pub fn new(workloads: Workloads, patience: Patience) -> Self {
        Self { workloads, patience }
    }
}

impl Controller for Machines {
    type Object = Machine;
    type Error = Error;
    const NAME: &'static str = "machine";

    fn finalizer() -> Option<&'static str> {
        Some(names::finalizer::MACHINE)
    }

    fn watches(&self, watches: &mut Watches<'_, Self>) {
        watches
            .reads::<MachineSet>()
            .kind::<MachineDeployment>(|deployment, cache| {
                let name = key_of(deployment).name;
                let own =
                    |machine: &Machine| label(&machine.metadata, names::LABEL_DEPLOYMENT_NAME) == Some(&name);
                machines_of(cache, &key_of(deployment).sibling(&*deployment.spec.cluster_name), own)
            })
            .kind::<Cluster>(|cluster, cache| machines_of(cache, &key_of(cluster), |_| true))
            .stream(self.workloads.subscribe(), |event, cache| match event.what {
                What::Connected | What::Disconnected => machines_of(cache, &event.cluster, |_| true),
                // Its own Machine, or one that is still looking for a Node.
                What::Node(node) => machines_of(cache, &event.cluster, |machine| {
                    let known = machine.status.as_ref().and_then(|status| status.node_ref.as_ref());
                    known.is_none_or(|known| known.name == node)
                }),
                What::Pods => Vec::new(),
            });
    }

    async fn reconcile(&self, machine: Arc<Machine>, pass: &Pass) -> Result<Outcome, Error> {
        let Some(scene) = observe::observe(&machine, &self.workloads, pass).await? else {
            return Ok(Outcome::Rest);
        };
        let name = &pass.key.name;
        let report = |error| Error::Report(name.clone(), Box::new(error));
        if scene.paused.is_true() {
            let after = report::paused(&machine, &scene, pass.now);
            return self.patience.report(pass, &*machine, &after, true).await.map_err(report);
        }
        let seen = scene.observed(&machine);
        let plan = plan(&seen);
        let notes = lint(&seen, &plan);
        if !notes.is_empty() {
            return Err(Error::Unsafe { name: name.clone(), notes: notes.join(", ") });
        }
        let mut after = machine.clone();
        let applied = apply::apply(&mut after, &scene, &plan, pass).await;
        if plan.released() {
            self.patience.forget(&pass.key);
            return applied.map(|()| Outcome::Released);
        }
        let failed = applied.as_ref().is_err_and(|error| !error.is_conflict());
        let (told, urgent) = report::report(&after, &scene, status(&seen, &plan), pass.now);
        let reported = self.patience.report(pass, &*after, &told, urgent || failed);
        let outcome = reported.await.map_err(report)?;
        applied?;
        if let Some(text) = plan.faults.into_iter().next() {
            return Err(Error::Fault { name: name.clone(), text });
        }
        Ok(outcome.soonest(plan.again.map_or(Outcome::Rest, Outcome::Again)))
    }
}

/// Keys of those machines of a cluster that `which` picks.
fn machines_of(cache: &Cache, cluster: &Key, which: impl Fn(&Machine) -> bool) -> Vec<Key> {
    let all = cache.of_cluster::<Machine>(&cluster.namespace, &cluster.name);
    all.iter().filter(|machine| which(machine)).map(|machine| key_of(&**machine)).collect()
}
