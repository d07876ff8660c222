//! Carries a plan out: one attempt per action, each safe to repeat.

use std::sync::Arc;

use kube::core::ApiResource;
use serde_json::{Value, json};
use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::core::Machine;
use windlass_api::names::{ANNOTATION_KCP_PRE_TERMINATE_DELETE_HOOK, manager};
use windlass_contract::{CloneTarget, clone_template, hand_over};
use windlass_plan::control_plane::{Action, Etcd, Plan};
use windlass_runtime::{GroupKind, Lookup, Pass, Propagation, key_of, management::resource_of, uid_of};

use crate::certificates;
use crate::controller::{KubeadmControlPlaneError as Error, KubeadmControlPlanes};
use crate::intents;
use crate::observe::Scene;
use crate::{addons, ahead};

/// Name of our events.
pub(crate) const COMPONENT: &str = "kubeadmcontrolplane";

pub(crate) async fn act(
    controller: &KubeadmControlPlanes,
    scene: &Scene,
    plan: &Plan,
    pass: &Pass,
) -> Result<(), Error> {
    if !scene.world.deleting {
        for machine in &scene.machines {
            if machine.metadata.deletion_timestamp.is_none() {
                complete(scene, machine, pass).await?;
            }
        }
    }
    for action in &plan.actions {
        match action {
            Action::Initialize { domain } => add(scene, domain.as_deref(), pass).await?,
            Action::ScaleUp { domain } => {
                ahead::prepare(controller, scene).await?;
                add(scene, domain.as_deref(), pass).await?;
            }
            Action::Delete { machine } => delete(scene, machine, pass).await?,
            Action::MoveLeader { candidates } => move_leader(controller, scene, candidates, pass).await?,
            Action::RemoveMember { id } => remove_member(controller, scene, *id, pass).await?,
            Action::ReleaseHook { machine } => release_hook(scene, machine, pass).await?,
            Action::Release => {}
        }
    }
    if plan.actions.is_empty() && plan.waits.is_empty() {
        addons::keep(controller, scene, pass).await?;
    }
    Ok(())
}

/// Makes a machine: the Machine first, so that everything else can have it as its owner from the start.
async fn add(scene: &Scene, domain: Option<&str>, pass: &Pass) -> Result<(), Error> {
    // Without a template there is no use in a Machine.
    template(scene, pass).await?;
    let name = intents::next_name(scene, |key| pass.cache.get::<Machine>(key).is_some());
    let intent = intents::machine(scene, &name, domain);
    let machine: Machine =
        pass.management.apply_typed(manager::KUBEADM_CONTROL_PLANE, &intent).await.map_err(Error::Machine)?;
    make_bootstrap(scene, &machine, pass).await?;
    let clone = clone_of_template(scene, &machine, pass).await?;
    let reference = &machine.spec.infrastructure_ref;
    make_infrastructure(&GroupKind::new(reference.api_group.clone(), reference.kind.clone()), &clone, pass)
        .await
}

/// What a pass that was cut short left out, and what may change in place.
async fn complete(scene: &Scene, machine: &Arc<Machine>, pass: &Pass) -> Result<(), Error> {
    let intent = intents::existing(scene, machine);
    if !intents::in_place(&intent, machine) || intents::may_have_lost(scene, &machine.metadata) {
        let applied = pass.management.apply_typed::<Machine>(manager::KUBEADM_CONTROL_PLANE, &intent).await;
        applied.map(drop).map_err(Error::Machine)?;
    }
    complete_bootstrap(scene, machine, pass).await?;
    complete_infrastructure(scene, machine, pass).await
}

async fn complete_bootstrap(scene: &Scene, machine: &Machine, pass: &Pass) -> Result<(), Error> {
    let Some(reference) = &machine.spec.bootstrap.config_ref else { return Ok(()) };
    match pass.cache.get::<KubeadmConfig>(&pass.key.sibling(reference.name.clone())) {
        Some(config) if intents::labelled(scene, &config.metadata) => Ok(()),
        Some(_) => label(scene, &resource_of::<KubeadmConfig>(), &reference.name, pass).await,
        // Once the data is out, nobody needs the config again.
        None if machine.spec.bootstrap.data_secret_name.is_some() => Ok(()),
        None => make_bootstrap(scene, machine, pass).await,
    }
}

async fn complete_infrastructure(scene: &Scene, machine: &Machine, pass: &Pass) -> Result<(), Error> {
    let reference = &machine.spec.infrastructure_ref;
    let kind = GroupKind::new(reference.api_group.clone(), reference.kind.clone());
    let provisioned = machine.status.as_ref().and_then(|s| s.initialization.infrastructure_provisioned);
    match pass.cache.external(&kind, &pass.key.sibling(reference.name.clone())) {
        Lookup::Found(found) if intents::labelled(scene, &found.metadata) => Ok(()),
        Lookup::Found(_) => {
            let resource = pass.management.resource(&kind).await.map_err(Error::Machine)?;
            label(scene, &resource, &reference.name, pass).await
        }
        // A host that was there is not made a second time.
        Lookup::Absent if provisioned == Some(true) => Ok(()),
        Lookup::Absent => {
            let clone = clone_of_template(scene, machine, pass).await?;
            make_infrastructure(&kind, &clone, pass).await
        }
        Lookup::Unsynced => Ok(()),
    }
}

/// Brings labels and annotations of a part in line, by the manager that does only that: what others have
/// completed in the spec is not applied again.
async fn label(scene: &Scene, resource: &ApiResource, name: &str, pass: &Pass) -> Result<(), Error> {
    let key = pass.key.sibling(name);
    let found = pass.management.get_value(resource, &key).await.map_err(Error::Machine)?;
    let Some(found) = found else { return Ok(()) };
    let (creator, keeper) = (manager::KUBEADM_CONTROL_PLANE, manager::KUBEADM_CONTROL_PLANE_METADATA);
    if let Some(fields) = hand_over(&found, creator, keeper) {
        let version = found.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let patch = json!({ "metadata": { "managedFields": fields } });
        let handed = pass.management.patch_external(resource, &key, patch, version).await;
        handed.map(drop).map_err(Error::Machine)?;
    }
    let intent = intents::metadata(scene, &found);
    let applied = pass.management.apply(resource, keeper, &intent).await;
    applied.map(drop).map_err(Error::Machine)
}

/// The infrastructure machine as the template has it, for `machine`.
async fn clone_of_template(scene: &Scene, machine: &Machine, pass: &Pass) -> Result<Value, Error> {
    let template = template(scene, pass).await?;
    let cluster = scene.cluster_key();
    let target = CloneTarget {
        name: &machine.spec.infrastructure_ref.name,
        namespace: &cluster.namespace,
        cluster_name: &cluster.name,
        labels: intents::labels(scene),
        annotations: intents::annotations(scene),
        owner: Some(intents::owner_of(machine)),
    };
    clone_template(&template, &target).map_err(Error::Clone)
}

async fn template(scene: &Scene, pass: &Pass) -> Result<Value, Error> {
    let reference = &scene.object.spec.machine_template.spec.infrastructure_ref;
    let key = pass.key.sibling(reference.name.clone());
    let template =
        pass.management.get_external(&scene.template_kind(), &key).await.map_err(Error::Template)?;
    template.ok_or_else(|| Error::TemplateMissing { kind: reference.kind.clone(), key: key.clone() })
}

/// Only a machine that is alone before the control plane is up gets data for `kubeadm init`.
fn is_first(scene: &Scene, machine: &Machine) -> bool {
    let name = key_of(machine).name;
    !scene.world.initialized && scene.machines.iter().all(|other| key_of(other.as_ref()).name == name)
}

async fn make_bootstrap(scene: &Scene, machine: &Machine, pass: &Pass) -> Result<(), Error> {
    let intent = intents::bootstrap(scene, machine, is_first(scene, machine));
    let resource = resource_of::<KubeadmConfig>();
    let applied = pass.management.apply(&resource, manager::KUBEADM_CONTROL_PLANE, &intent).await;
    applied.map(drop).map_err(Error::Machine)
}

async fn make_infrastructure(kind: &GroupKind, clone: &Value, pass: &Pass) -> Result<(), Error> {
    let resource = pass.management.resource(kind).await.map_err(Error::Machine)?;
    let applied = pass.management.apply(&resource, manager::KUBEADM_CONTROL_PLANE, clone).await;
    applied.map(drop).map_err(Error::Machine)
}

async fn delete(scene: &Scene, name: &str, pass: &Pass) -> Result<(), Error> {
    let Some(machine) = scene.machine(name) else { return Ok(()) };
    let uid = uid_of(machine.as_ref());
    let deleted =
        pass.management.delete::<Machine>(&key_of(machine.as_ref()), &uid, Propagation::Background).await;
    deleted.map(drop).map_err(Error::Delete)
}

/// Takes our hook off, so that the machine's host may go.
async fn release_hook(scene: &Scene, name: &str, pass: &Pass) -> Result<(), Error> {
    let Some(machine) = scene.machine(name) else { return Ok(()) };
    let mut after = machine.as_ref().clone();
    after.metadata.annotations.get_or_insert_default().remove(ANNOTATION_KCP_PRE_TERMINATE_DELETE_HOOK);
    match pass.management.update(machine.as_ref(), &after).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(Error::Machine(error)),
    }
}

/// Hands etcd's leadership to the first candidate that takes it.
async fn move_leader(
    controller: &KubeadmControlPlanes,
    scene: &Scene,
    candidates: &[String],
    pass: &Pass,
) -> Result<(), Error> {
    let Etcd::Seen(membership) = &scene.world.etcd else { return Ok(()) };
    let Some(identity) = certificates::etcd_identity(controller, scene, pass).await? else { return Ok(()) };
    // Only the leader itself can hand over.
    let leader = membership.members.iter().find(|member| Some(member.id) == membership.leader);
    let nodes: Vec<String> = leader.iter().map(|member| member.name.clone()).collect();
    let etcd = controller.etcd.connect(&scene.cluster_key(), &nodes, &identity).await.map_err(Error::Etcd)?;
    let mut refused = None;
    for member in candidates.iter().filter_map(|node| membership.on(node)) {
        match etcd.move_leader(member.id).await {
            Ok(()) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(()), |error| Err(Error::Etcd(error)))
}

/// Removes a member, through another one.
async fn remove_member(
    controller: &KubeadmControlPlanes,
    scene: &Scene,
    id: u64,
    pass: &Pass,
) -> Result<(), Error> {
    let Etcd::Seen(membership) = &scene.world.etcd else { return Ok(()) };
    let Some(identity) = certificates::etcd_identity(controller, scene, pass).await? else { return Ok(()) };
    let others = membership.members.iter().filter(|member| member.id != id && !member.name.is_empty());
    let nodes: Vec<String> = others.map(|member| member.name.clone()).collect();
    let etcd = controller.etcd.connect(&scene.cluster_key(), &nodes, &identity).await.map_err(Error::Etcd)?;
    etcd.remove_member(id).await.map_err(Error::Etcd)?;
    let name = membership.members.iter().find(|member| member.id == id).map(|member| member.name.as_str());
    let message = format!("Removed etcd member {} ({id:x})", name.unwrap_or_default());
    pass.events.normal(COMPONENT, scene.object.as_ref(), "EtcdMemberRemoved", message);
    Ok(())
}
