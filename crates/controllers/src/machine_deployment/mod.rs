//! MachineDeployment: replaces the Machines of a set when their template changes.
//!
//! The deployment writes MachineSets only, as server-side applies of the whole intent by
//! `capi-machinedeployment`: created complete, with finalizer and owner. How many machines a set has and
//! how many are available is counted from the Machines themselves, so that a rollout does not wait for the
//! sets' statuses.

mod apply;
mod intent;
mod observe;
mod report;

use std::sync::Arc;

use windlass_api::core::{Cluster, Machine, MachineDeployment, MachineSet};
use windlass_api::names;
use windlass_model::Key;
use windlass_plan::machine_deployment::{lint, plan, status};
use windlass_runtime::{Cache, Controller, ManagementError, Outcome, Pass, StepError, Watches, key_of};

use crate::patience::Patience;
use crate::references::{controller_of, label};

/// The MachineDeployment controller.
#[derive(Debug, Default)]
pub struct MachineDeployments {
    patience: Patience,
}

/// Why a pass failed; the variant is the event's reason.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum Error {
    /// The spec cannot be used.
    #[error("cannot use spec.{field} of MachineDeployment {name}: {text}; correct it")]
    InvalidSpec {
        /// Name of the deployment.
        name: String,
        /// The field.
        field: &'static str,
        /// What is wrong.
        text: String,
    },
    /// The deployment's own metadata or its templates could not be written.
    #[error("cannot record the owner of MachineDeployment {0} or of its templates")]
    Adopt(String, #[source] Box<ManagementError>),
    /// A set could not be written.
    #[error("cannot {step} MachineSet {name}")]
    Apply {
        /// The verb.
        step: &'static str,
        /// Name of the set.
        name: String,
        /// The server's answer.
        source: Box<ManagementError>,
    },
    /// The plan broke an invariant and was not executed.
    #[error("refused an unsafe plan for MachineDeployment {name}: {notes}; please report this")]
    Unsafe {
        /// Name of the deployment.
        name: String,
        /// What is wrong with it.
        notes: String,
    },
    /// The status could not be written.
    #[error("cannot report the status of MachineDeployment {0}")]
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

impl MachineDeployments {
    /// A controller whose statuses wait as `patience` says.
    pub fn new(patience: Patience) -> Self {
        Self { patience }
    }
}

impl Controller for MachineDeployments {
    type Object = MachineDeployment;
    type Error = Error;
    const NAME: &'static str = "machinedeployment";

    fn finalizer() -> Option<&'static str> {
        Some(names::finalizer::MACHINE_DEPLOYMENT)
    }

    /// It goes with the first write of the deployment's own metadata, which comes before any set.
    fn finalizer_up_front() -> bool {
        false
    }

    fn watches(&self, watches: &mut Watches<'_, Self>) {
        watches
            .kind::<MachineSet>(|set, cache| match controller_of(&set.metadata) {
                Some(owner) if owner.kind == "MachineDeployment" => vec![key_of(set).sibling(&*owner.name)],
                Some(_) => Vec::new(),
                None => deployments_of(cache, &key_of(set).namespace, &set.spec.cluster_name),
            })
            .kind::<Machine>(|machine, cache| {
                let named = label(&machine.metadata, names::LABEL_DEPLOYMENT_NAME);
                let key = named.map(|name| key_of(machine).sibling(name));
                key.filter(|key| cache.get::<MachineDeployment>(key).is_some()).into_iter().collect()
            })
            .kind::<Cluster>(|cluster, cache| {
                let key = key_of(cluster);
                deployments_of(cache, &key.namespace, &key.name)
            });
    }

    async fn reconcile(&self, deployment: Arc<MachineDeployment>, pass: &Pass) -> Result<Outcome, Error> {
        let Some(scene) = observe::observe(&deployment, pass)? else { return Ok(Outcome::Rest) };
        let name = &pass.key.name;
        let report = |error| Error::Report(name.clone(), Box::new(error));
        if scene.paused.is_true() {
            let after = report::paused(&deployment, &scene, pass.now);
            return self.patience.report(pass, &*deployment, &after, true).await.map_err(report);
        }
        let seen = scene.observed(&deployment);
        let plan = plan(&seen);
        let notes = lint(&seen, &plan);
        if !notes.is_empty() {
            return Err(Error::Unsafe { name: name.clone(), notes: notes.join(", ") });
        }
        let belongs = apply::belong(&deployment, &scene, plan.revision, pass).await;
        belongs.map_err(|error| Error::Adopt(name.clone(), Box::new(error)))?;
        let applied = apply::apply(&deployment, &scene, &plan, pass).await;
        if plan.released {
            self.patience.forget(&pass.key);
            return applied.map(|()| Outcome::Released);
        }
        if applied.is_ok() && !plan.actions.is_empty() {
            // What was written comes back as events, and the status follows from what it will be then.
            return Ok(Outcome::Rest);
        }
        let said = status(&seen, scene.reported());
        let failed = applied.as_ref().is_err_and(|error| !error.is_conflict());
        let (told, urgent) = report::report(&deployment, &scene, said, pass.now);
        let reported = self.patience.report(pass, &*deployment, &told, urgent || failed);
        let outcome = reported.await.map_err(report)?;
        applied.map(|()| outcome.soonest(scene.next_rollout()))
    }
}

/// Keys of all deployments of a cluster.
fn deployments_of(cache: &Cache, namespace: &str, cluster: &str) -> Vec<Key> {
    let all = cache.of_cluster::<MachineDeployment>(namespace, cluster);
    all.iter().map(|deployment| key_of(&**deployment)).collect()
}
