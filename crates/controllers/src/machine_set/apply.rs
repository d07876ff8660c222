//! Carries out a MachineSet's plan, one attempt a step.

use kube::ResourceExt;
use serde_json::{Value, json};
use windlass_api::core::{ContractRef, Machine, MachineSet};
use windlass_api::names::{LABEL_CLUSTER_NAME, manager};
use windlass_contract::{CloneTarget, hand_over};
use windlass_plan::machine_set::{Action, Plan};
use windlass_plan::referent::Referent;
use windlass_runtime::{ManagementError, Pass, Propagation, key_of, uid_of};

use super::observe::Scene;
use super::{Error, intent, stands_alone};
use crate::references::{controller, group_kind, is_leaving, is_owned_by, look, owner, put_owner};
use crate::templates;

/// A set that stands alone belongs to the Cluster, and its templates do too.
pub(super) async fn belong(set: &MachineSet, scene: &Scene, pass: &Pass) -> Result<(), ManagementError> {
    let Some(cluster) = scene.cluster.as_deref().filter(|_| stands_alone(set) && !is_leaving(set)) else {
        return Ok(());
    };
    let mut after = set.clone();
    if !is_owned_by(&set.metadata, &uid_of(cluster)) {
        put_owner(&mut after.metadata.owner_references, owner(cluster));
    }
    let labels = after.metadata.labels.get_or_insert_default();
    labels.insert(LABEL_CLUSTER_NAME.to_owned(), set.spec.cluster_name.clone());
    pass.management.update(set, &after).await?;
    let template = &set.spec.template.spec;
    if let (Some(reference), Some(target)) = (&template.bootstrap.config_ref, &scene.bootstrap_template) {
        templates::belong_to(pass, cluster, reference, target).await?;
    }
    let target = &scene.infrastructure_template;
    templates::belong_to(pass, cluster, &template.infrastructure_ref, target).await
}

/// Stops at the first step that fails; the next pass plans again.
pub(super) async fn apply(set: &MachineSet, scene: &Scene, plan: &Plan, pass: &Pass) -> Result<(), Error> {
    for action in &plan.actions {
        match action {
            Action::Create { name } => {
                // Read before the Machine exists: without them it would only wait.
                let wanted = Wanted::read(set, (true, true), name, pass).await?;
                let intent = intent::machine(set, name, None);
                let created = pass.management.apply_typed::<Machine>(manager::MACHINE_SET, &intent).await;
                wanted.create(set, &created.map_err(failed("create", name))?, pass).await?;
            }
            Action::Complete { name, bootstrap, infrastructure } => {
                if let Some(machine) = scene.machines.get(name) {
                    let wanted = Wanted::read(set, (*bootstrap, *infrastructure), name, pass).await?;
                    wanted.create(set, machine, pass).await?;
                }
            }
            Action::Adopt { name } => {
                if let Some(machine) = scene.adoptable.get(name) {
                    adopt(set, machine, pass).await.map_err(failed("adopt", name))?;
                }
            }
            Action::Align { name } => {
                if let Some(machine) = scene.machines.get(name) {
                    align(set, machine, pass).await.map_err(failed("update", name))?;
                }
            }
            Action::Delete { name } => {
                if let Some(machine) = scene.machines.get(name) {
                    let (key, uid) = (key_of(&**machine), uid_of(&**machine));
                    let deleted = pass.management.delete::<Machine>(&key, &uid, Propagation::Background);
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

/// The templates of what belongs to a Machine, as far as it is wanted.
struct Wanted(Vec<Value>);

impl Wanted {
    /// Reads the templates of the bootstrap configuration and of the infrastructure machine.
    async fn read(
        set: &MachineSet,
        (bootstrap, infrastructure): (bool, bool),
        name: &str,
        pass: &Pass,
    ) -> Result<Self, Error> {
        let template = &set.spec.template.spec;
        let config = template.bootstrap.config_ref.as_ref().filter(|_| bootstrap);
        let host = Some(&template.infrastructure_ref).filter(|_| infrastructure);
        let mut templates = Vec::new();
        for reference in config.into_iter().chain(host) {
            let read = templates::read(pass, reference).await;
            templates.push(read.map_err(|source| Error::Template { name: name.to_owned(), source })?);
        }
        Ok(Self(templates))
    }

    /// Makes what belongs to `machine`.
    async fn create(self, set: &MachineSet, machine: &Machine, pass: &Pass) -> Result<(), Error> {
        let name = machine.name_any();
        for template in self.0 {
            let target = CloneTarget {
                name: &name,
                namespace: &pass.key.namespace,
                cluster_name: &set.spec.cluster_name,
                labels: intent::labels(set),
                annotations: intent::annotations(set),
                owner: Some(controller(machine)),
            };
            let made = templates::instantiate(&template, &target);
            let (resource, object) = made.map_err(|source| Error::Template { name: name.clone(), source })?;
            let applied = pass.management.apply(&resource, manager::MACHINE_SET, &object).await;
            applied.map_err(failed("create what belongs to", &name))?;
        }
        Ok(())
    }
}

async fn adopt(set: &MachineSet, machine: &Machine, pass: &Pass) -> Result<(), ManagementError> {
    let mut after = machine.clone();
    put_owner(&mut after.metadata.owner_references, controller(set));
    pass.management.update(machine, &after).await.map(drop)
}

/// Fields that follow the template in place, on the Machine and on what belongs to it.
async fn align(set: &MachineSet, machine: &Machine, pass: &Pass) -> Result<(), ManagementError> {
    if is_leaving(machine) {
        return pass.management.update(machine, &intent::parting(set, machine)).await.map(drop);
    }
    if intent::machine_drifted(set, machine) {
        let intent = intent::machine(set, &machine.name_any(), Some(machine));
        pass.management.apply_typed::<Machine>(manager::MACHINE_SET, &intent).await?;
    }
    let references = machine.spec.bootstrap.config_ref.iter().chain([&machine.spec.infrastructure_ref]);
    for reference in references {
        align_companion(set, reference, &look(pass, reference), pass).await?;
    }
    Ok(())
}

/// Labels and annotations are applied by a manager of their own, so that the spec, which others complete,
/// is never applied again. The first time, what the creation said of them is handed over to it.
async fn align_companion(
    set: &MachineSet,
    reference: &ContractRef,
    target: &Referent<std::sync::Arc<windlass_runtime::External>>,
    pass: &Pass,
) -> Result<(), ManagementError> {
    let Some(object) = target.present() else { return Ok(()) };
    if !intent::companion_drifted(set, &object.metadata) {
        return Ok(());
    }
    let kind = group_kind(reference);
    let resource = match pass.cache.resource(&kind) {
        Some(resource) => resource,
        None => pass.management.resource(&kind).await?,
    };
    let key = pass.key.sibling(&*reference.name);
    let Some(live) = pass.management.get_value(&resource, &key).await? else { return Ok(()) };
    if let Some(fields) = hand_over(&live, manager::MACHINE_SET, manager::MACHINE_SET_METADATA) {
        let version = live.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let patch = json!({ "metadata": { "managedFields": fields } });
        pass.management.patch_external(&resource, &key, patch, version).await?;
    }
    let mut annotations = intent::annotations(set);
    if intent::cloned(&object.metadata) {
        let kept = object.metadata.annotations.clone().unwrap_or_default();
        annotations.extend(kept.into_iter().filter(|(name, _)| name.contains("cloned-from-")));
    }
    let intent = json!({
        "metadata": {
            "name": reference.name,
            "namespace": pass.key.namespace,
            "labels": intent::labels(set),
            "annotations": annotations,
        },
    });
    pass.management.apply(&resource, manager::MACHINE_SET_METADATA, &intent).await.map(drop)
}
