//! Carries out a Machine's plan, one attempt a step.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Taint as NodeTaint};
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use windlass_api::core::{ContractRef, Machine};
use windlass_api::names;
use windlass_model::Uid;
use windlass_plan::machine::{Action, Alignment, Plan, Taint};
use windlass_plan::referent::Referent;
use windlass_runtime::{External, ManagementError, Pass, Propagation};

use super::Error;
use super::observe::Scene;
use crate::references::{controller, group_kind, own_external, owner, put_owner};

/// Stops at the first step that fails; the next pass plans again. `machine` becomes what was written.
pub(super) async fn apply(
    machine: &mut Arc<Machine>,
    scene: &Scene,
    plan: &Plan,
    pass: &Pass,
) -> Result<(), Error> {
    for action in &plan.actions {
        match action {
            Action::AlignNode(alignment) => {
                in_workload(scene, pass, "update", &alignment.node, |client| {
                    let patch = node_patch(alignment, scene.node.as_deref());
                    async move { patch_node(client, &alignment.node, &patch).await }
                })
                .await?;
            }
            Action::Cordon { node } => {
                in_workload(scene, pass, "cordon", node, |client| async move {
                    patch_node(client, node, &json!({ "spec": { "unschedulable": true } })).await
                })
                .await?;
            }
            Action::Evict(pod) => {
                in_workload(scene, pass, "drain", &pod.name, |client| async move {
                    let pods = Api::<Pod>::namespaced(client, &pod.namespace);
                    settled(pods.evict(&pod.name, &EvictParams::default()).await.map(drop))
                })
                .await?;
            }
            Action::DeleteNode { node } => {
                in_workload(scene, pass, "delete", node, |client| async move {
                    settled(Api::<Node>::all(client).delete(node, &DeleteParams::default()).await.map(drop))
                })
                .await?;
            }
            Action::Adopt
            | Action::OwnBootstrap
            | Action::OwnInfrastructure
            | Action::Fill { .. }
            | Action::DeleteInfrastructure
            | Action::DeleteBootstrap => in_management(machine, scene, action, pass).await?,
        }
    }
    Ok(())
}

/// Writes to the management cluster.
async fn in_management(
    machine: &mut Arc<Machine>,
    scene: &Scene,
    action: &Action,
    pass: &Pass,
) -> Result<(), Error> {
    let bootstrap = machine.spec.bootstrap.config_ref.clone().zip(scene.bootstrap.as_ref());
    let infrastructure = (machine.spec.infrastructure_ref.clone(), &scene.infrastructure);
    let (step, done) = match action {
        Action::Adopt => ("adopt", adopt(machine, scene, pass).await),
        Action::Fill { data_secret, provider_id, failure_domain } => {
            let mut after = Machine::clone(machine);
            let fill = |slot: &mut Option<String>, value: &Option<String>| {
                if value.is_some() {
                    slot.clone_from(value);
                }
            };
            fill(&mut after.spec.bootstrap.data_secret_name, data_secret);
            fill(&mut after.spec.provider_id, provider_id);
            fill(&mut after.spec.failure_domain, failure_domain);
            ("update", update(machine, &after, pass).await)
        }
        Action::OwnBootstrap => match bootstrap {
            Some((reference, target)) => {
                ("own the bootstrap of", own(machine, &reference, target, pass).await)
            }
            None => return Ok(()),
        },
        Action::OwnInfrastructure => {
            ("own the infrastructure of", own(machine, &infrastructure.0, infrastructure.1, pass).await)
        }
        Action::DeleteBootstrap => match bootstrap {
            Some((reference, target)) => ("delete the bootstrap of", delete(&reference, target, pass).await),
            None => return Ok(()),
        },
        Action::DeleteInfrastructure => {
            ("delete the infrastructure of", delete(&infrastructure.0, infrastructure.1, pass).await)
        }
        Action::AlignNode(_) | Action::Cordon { .. } | Action::Evict(_) | Action::DeleteNode { .. } => {
            return Ok(());
        }
    };
    done.map_err(|error| Error::Apply { step, name: pass.key.name.clone(), source: Box::new(error) })
}

async fn update(machine: &mut Arc<Machine>, after: &Machine, pass: &Pass) -> Result<(), ManagementError> {
    if let Some(written) = pass.management.update(&**machine, after).await? {
        *machine = Arc::new(written);
    }
    Ok(())
}

async fn adopt(machine: &mut Arc<Machine>, scene: &Scene, pass: &Pass) -> Result<(), ManagementError> {
    let Some(cluster) = scene.cluster.as_deref() else { return Ok(()) };
    let mut after = Machine::clone(machine);
    put_owner(&mut after.metadata.owner_references, owner(cluster));
    let labels = after.metadata.labels.get_or_insert_default();
    labels.insert(names::LABEL_CLUSTER_NAME.to_owned(), machine.spec.cluster_name.clone());
    update(machine, &after, pass).await
}

async fn own(
    machine: &Machine,
    reference: &ContractRef,
    target: &Referent<Arc<External>>,
    pass: &Pass,
) -> Result<(), ManagementError> {
    let Some(object) = target.present() else { return Ok(()) };
    let cluster = Some(machine.spec.cluster_name.as_str());
    own_external(pass, &group_kind(reference), object, controller(machine), cluster).await
}

async fn delete(
    reference: &ContractRef,
    target: &Referent<Arc<External>>,
    pass: &Pass,
) -> Result<(), ManagementError> {
    let Some(object) = target.present() else { return Ok(()) };
    let kind = group_kind(reference);
    let resource = match pass.cache.resource(&kind) {
        Some(resource) => resource,
        None => pass.management.resource(&kind).await?,
    };
    let key = pass.key.sibling(&*reference.name);
    let uid = Uid(object.metadata.uid.clone().unwrap_or_default());
    pass.management.delete_as(&resource, &key, &uid, Propagation::Background).await.map(drop)
}

/// Runs `step` against the workload cluster; without a connection there is nothing to run it against, and
/// the connection wakes the Machine.
async fn in_workload<F: Future<Output = Result<(), kube::Error>>>(
    scene: &Scene,
    pass: &Pass,
    step: &'static str,
    node: &str,
    run: impl FnOnce(Client) -> F,
) -> Result<(), Error> {
    let Some(connected) = &scene.connected else { return Ok(()) };
    run(connected.client.clone()).await.map_err(|error| Error::Node {
        step,
        name: pass.key.name.clone(),
        node: node.to_owned(),
        source: Box::new(error),
    })
}

/// What is gone needs no deletion, and what a disruption budget refuses is asked for again later.
fn settled(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 429) => Ok(()),
        other => other,
    }
}

async fn patch_node(client: Client, node: &str, patch: &Value) -> Result<(), kube::Error> {
    let params = PatchParams { field_manager: Some("manager".to_owned()), ..PatchParams::default() };
    Api::<Node>::all(client).patch(node, &params, &Patch::Merge(patch)).await.map(drop)
}

/// Taints are a list with several writers: their patch holds only for the Node as it was seen.
fn node_patch(alignment: &Alignment, node: Option<&Node>) -> Value {
    let mut metadata = json!({});
    if !alignment.labels.is_empty() {
        metadata["labels"] = json!(alignment.labels);
    }
    if !alignment.annotations.is_empty() {
        metadata["annotations"] = json!(alignment.annotations);
    }
    let change = &alignment.taints;
    let Some(node) = node.filter(|_| !change.is_empty()) else { return json!({ "metadata": metadata }) };
    metadata["resourceVersion"] = json!(node.metadata.resource_version);
    let mut taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    taints.retain(|taint| {
        let is = |key: &str, effect: &str| taint.key == key && taint.effect == effect;
        !change.gone.iter().any(|(key, effect)| is(key, effect))
            && !change.put.iter().any(|put| is(&put.key, &put.effect))
    });
    let fresh = change.put.iter().cloned();
    taints.extend(fresh.map(|Taint { key, value, effect }| NodeTaint {
        key,
        value,
        effect,
        time_added: None,
    }));
    let taints = if taints.is_empty() { Value::Null } else { json!(taints) };
    json!({ "metadata": metadata, "spec": { "taints": taints } })
}
