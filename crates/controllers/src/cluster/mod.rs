//! Cluster: brings its two halves together, says how the whole is doing, and takes it away in order.
//!
//! The Cluster is also what the connection to the workload cluster hangs on: it is wanted once the
//! infrastructure is provisioned and the endpoint known, and forgotten when the control plane is gone.

mod apply;
mod observe;
mod report;

use std::sync::Arc;

use windlass_api::core::{Cluster, Machine, MachineDeployment, MachineSet};
use windlass_api::names;
use windlass_model::Key;
use windlass_plan::cluster::{lint, plan, status};
use windlass_runtime::{Controller, ManagementError, Outcome, Pass, StepError, Watches, key_of};
use windlass_workload::{What, Workloads};

use crate::patience::Patience;

/// The Cluster controller.
#[derive(Debug)]
pub struct Clusters {
    workloads: Workloads,
    patience: Patience,
}

/// Why a pass failed; the variant is the event's reason.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum Error {
    /// Something could not be written.
    #[error("cannot {step} Cluster {name}")]
    Apply {
        /// What was tried.
        step: &'static str,
        /// Name of the Cluster.
        name: String,
        /// The server's answer.
        source: Box<ManagementError>,
    },
    /// The world is not as it should be, and waiting does not help.
    #[error("Cluster {name}: {text}")]
    Fault {
        /// Name of the Cluster.
        name: String,
        /// What is wrong, and what to do.
        text: String,
    },
    /// The plan broke an invariant and was not executed.
    #[error("refused an unsafe plan for Cluster {name}: {notes}; please report this")]
    Unsafe {
        /// Name of the Cluster.
        name: String,
        /// What is wrong with it.
        notes: String,
    },
    /// The status could not be written.
    #[error("cannot report the status of Cluster {0}")]
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

impl Clusters {
    /// A controller that connects through `workloads`, and whose statuses wait as `patience` says.
    pub fn new(workloads: Workloads, patience: Patience) -> Self {
        Self { workloads, patience }
    }
}

impl Controller for Clusters {
    type Object = Cluster;
    type Error = Error;
    const NAME: &'static str = "cluster";

    fn finalizer() -> Option<&'static str> {
        Some(names::finalizer::CLUSTER)
    }

    fn watches(&self, watches: &mut Watches<'_, Self>) {
        let of = |key: Key, cluster: &str| vec![key.sibling(cluster)];
        watches
            .kind::<MachineDeployment>(move |object, _| of(key_of(object), &object.spec.cluster_name))
            .kind::<MachineSet>(move |object, _| of(key_of(object), &object.spec.cluster_name))
            .kind::<Machine>(move |object, _| of(key_of(object), &object.spec.cluster_name))
            .stream(self.workloads.subscribe(), |event, _| match event.what {
                What::Connected | What::Disconnected => vec![event.cluster],
                What::Node(_) | What::Pods => Vec::new(),
            });
    }

    async fn reconcile(&self, cluster: Arc<Cluster>, pass: &Pass) -> Result<Outcome, Error> {
        let Some(scene) = observe::observe(&cluster, &self.workloads, pass) else {
            return Ok(Outcome::Rest);
        };
        let name = &pass.key.name;
        let report = |error| Error::Report(name.clone(), Box::new(error));
        if scene.paused.is_true() {
            // A connection changes nothing: it stays as it is, and a new process makes one.
            self.connect(pass, observe::facts(&cluster).provisioned);
            let after = report::paused(&cluster, &scene, pass.now);
            return self.patience.report(pass, &*cluster, &after, true).await.map_err(report);
        }
        let seen = scene.observed(&cluster);
        let plan = plan(&seen);
        let notes = lint(&seen, &plan);
        if !notes.is_empty() {
            return Err(Error::Unsafe { name: name.clone(), notes: notes.join(", ") });
        }
        self.connect(pass, plan.connect);
        let mut after = cluster.clone();
        let applied = apply::apply(&mut after, &scene, &plan, pass).await;
        if plan.released() {
            self.patience.forget(&pass.key);
            return applied.map(|()| Outcome::Released);
        }
        let failed = applied.as_ref().is_err_and(|error| !error.is_conflict());
        let (told, urgent) = report::report(&after, &scene, plan.facts, status(&seen, &plan), pass.now);
        let reported = self.patience.report(pass, &*after, &told, urgent || failed);
        let outcome = reported.await.map_err(report)?;
        applied?;
        match plan.faults.into_iter().next() {
            Some(text) => Err(Error::Fault { name: name.clone(), text }),
            None => Ok(outcome.soonest(report::probe_again(&seen))),
        }
    }
}

impl Clusters {
    /// Connects while a connection is wanted. What just happened to the Cluster may be what a connection
    /// that is being retried waits for.
    fn connect(&self, pass: &Pass, wanted: bool) {
        if !wanted {
            self.workloads.forget(&pass.key);
            return;
        }
        self.workloads.want(&pass.key);
        if self.workloads.get(&pass.key).is_err() {
            self.workloads.nudge(&pass.key);
        }
    }
}
