//! Carries out a MachineDeployment's plan, one attempt a step.

use windlass_api::core::{MachineDeployment, MachineSet};
use windlass_api::names::{self, manager};
use windlass_plan::machine_deployment::{Action, Plan};
use windlass_runtime::{ManagementError, Pass, Propagation, key_of, uid_of};

use super::observe::Scene;
use super::{Error, intent};
use crate::references::{controller, is_leaving, is_owned_by, owner, put_owner};
use crate::templates;

/// The deployment's own metadata in one write: finalizer, Cluster as owner, label, revision. Its templates
/// belong to the Cluster too.
pub(super) async fn belong(
    deployment: &MachineDeployment,
    scene: &Scene,
    revision: Option<u64>,
    pass: &Pass,
) -> Result<(), ManagementError> {
    let Some(cluster) = scene.cluster.as_deref().filter(|_| !is_leaving(deployment)) else {
        return Ok(());
    };
    let mut after = deployment.clone();
    let meta = &mut after.metadata;
    if !is_owned_by(meta, &uid_of(cluster)) {
        put_owner(&mut meta.owner_references, owner(cluster));
    }
    let finalizers = meta.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|name| name == names::finalizer::MACHINE_DEPLOYMENT) {
        finalizers.push(names::finalizer::MACHINE_DEPLOYMENT.to_owned());
    }
    let labels = meta.labels.get_or_insert_default();
    labels.insert(names::LABEL_CLUSTER_NAME.to_owned(), deployment.spec.cluster_name.clone());
    if let Some(revision) = revision {
        let annotations = meta.annotations.get_or_insert_default();
        annotations.insert(names::ANNOTATION_REVISION.to_owned(), revision.to_string());
    }
    pass.management.update(deployment, &after).await?;
    let template = &deployment.spec.template.spec;
    if let (Some(reference), Some(target)) = (&template.bootstrap.config_ref, &scene.bootstrap_template) {
        templates::belong_to(pass, cluster, reference, target).await?;
    }
    let target = &scene.infrastructure_template;
    templates::belong_to(pass, cluster, &template.infrastructure_ref, target).await
}

/// Stops at the first step that fails; the next pass plans again.
pub(super) async fn apply(
    deployment: &MachineDeployment,
    scene: &Scene,
    plan: &Plan,
    pass: &Pass,
) -> Result<(), Error> {
    for action in &plan.actions {
        match action {
            Action::Create(wanted) => {
                let intent = intent::set(deployment, scene.strategy, wanted, None);
                let applied = pass.management.apply_typed::<MachineSet>(manager::MACHINE_DEPLOYMENT, &intent);
                applied.await.map_err(failed("create", &wanted.name))?;
            }
            Action::Write { intent: wanted, from } => {
                let existing = scene.sets.get(&wanted.name).map(|set| &**set);
                let intent = intent::set(deployment, scene.strategy, wanted, existing);
                let applied = pass.management.apply_typed::<MachineSet>(manager::MACHINE_DEPLOYMENT, &intent);
                applied.await.map_err(failed("update", &wanted.name))?;
                tracing::debug!(set = wanted.name, from, to = wanted.replicas, "MachineSet written");
            }
            Action::Adopt { name } => {
                if let Some(set) = scene.adoptable.get(name) {
                    let mut after = MachineSet::clone(set);
                    put_owner(&mut after.metadata.owner_references, controller(deployment));
                    pass.management.update(&**set, &after).await.map_err(failed("adopt", name))?;
                }
            }
            Action::Delete { name } => {
                if let Some(set) = scene.sets.get(name) {
                    let (key, uid) = (key_of(&**set), uid_of(&**set));
                    let deleted = pass.management.delete::<MachineSet>(&key, &uid, Propagation::Background);
                    deleted.await.map_err(failed("delete", name))?;
                }
            }
        }
    }
    Ok(())
}

fn failed(step: &'static str, name: &str) -> impl FnOnce(ManagementError) -> Error {
    let name = name.to_owned();
    move |source| Error::Apply { step, name, source: Box::new(source) }
}
