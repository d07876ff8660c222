//! Carries out a Cluster's plan, one attempt a step.

use std::sync::Arc;

use kube::ResourceExt;
use windlass_api::core::{ApiEndpoint, Cluster, ContractRef, Machine, MachineDeployment, MachineSet};
use windlass_model::Uid;
use windlass_plan::cluster::{Action, ChildKind, Plan};
use windlass_plan::referent::Referent;
use windlass_runtime::{Cached, External, ManagementError, Pass, Propagation, key_of, uid_of};

use super::Error;
use super::observe::Scene;
use crate::references::{group_kind, own_external, owner};

/// Stops at the first step that fails; the next pass plans again. `cluster` becomes what was written.
pub(super) async fn apply(
    cluster: &mut Arc<Cluster>,
    scene: &Scene,
    plan: &Plan,
    pass: &Pass,
) -> Result<(), Error> {
    for action in &plan.actions {
        let (step, done) = step(cluster, scene, action, pass).await;
        done.map_err(|error| Error::Apply { step, name: pass.key.name.clone(), source: Box::new(error) })?;
    }
    Ok(())
}

async fn step(
    cluster: &mut Arc<Cluster>,
    scene: &Scene,
    action: &Action,
    pass: &Pass,
) -> (&'static str, Result<(), ManagementError>) {
    let infrastructure = cluster.spec.infrastructure_ref.clone().zip(scene.infrastructure.as_ref());
    let control_plane = cluster.spec.control_plane_ref.clone().zip(scene.control_plane.as_ref());
    match action {
        Action::OwnInfrastructure => ("own the infrastructure of", own(cluster, infrastructure, pass).await),
        Action::OwnControlPlane => ("own the control plane of", own(cluster, control_plane, pass).await),
        Action::SetEndpoint(endpoint) => {
            let mut after = Cluster::clone(cluster);
            let port = i32::from(endpoint.port);
            after.spec.control_plane_endpoint = ApiEndpoint::new(&*endpoint.host, port);
            let written = pass.management.update(&**cluster, &after).await;
            let kept = written.map(|written| {
                if let Some(written) = written {
                    *cluster = Arc::new(written);
                }
            });
            ("set the endpoint of", kept)
        }
        Action::DeleteChild { kind, name } => {
            ("delete a child of", delete_child(scene, *kind, name, pass).await)
        }
        Action::DeleteControlPlane => ("delete the control plane of", delete_half(control_plane, pass).await),
        Action::DeleteInfrastructure => {
            ("delete the infrastructure of", delete_half(infrastructure, pass).await)
        }
    }
}

type Half<'a> = Option<(ContractRef, &'a Referent<Arc<External>>)>;

async fn own(cluster: &Cluster, half: Half<'_>, pass: &Pass) -> Result<(), ManagementError> {
    let Some((reference, target)) = half else { return Ok(()) };
    let Some(object) = target.present() else { return Ok(()) };
    own_external(pass, &group_kind(&reference), object, owner(cluster), Some(&cluster.name_any())).await
}

async fn delete_half(half: Half<'_>, pass: &Pass) -> Result<(), ManagementError> {
    let Some((reference, target)) = half else { return Ok(()) };
    let Some(object) = target.present() else { return Ok(()) };
    let kind = group_kind(&reference);
    let resource = match pass.cache.resource(&kind) {
        Some(resource) => resource,
        None => pass.management.resource(&kind).await?,
    };
    let key = pass.key.sibling(&*reference.name);
    let uid = Uid(object.metadata.uid.clone().unwrap_or_default());
    pass.management.delete_as(&resource, &key, &uid, Propagation::Background).await.map(drop)
}

async fn delete_child(
    scene: &Scene,
    kind: ChildKind,
    name: &str,
    pass: &Pass,
) -> Result<(), ManagementError> {
    match kind {
        ChildKind::MachineDeployment => delete::<MachineDeployment>(scene.deployments.get(name), pass).await,
        ChildKind::MachineSet => delete::<MachineSet>(scene.sets.get(name), pass).await,
        ChildKind::Machine => delete::<Machine>(scene.machines.get(name), pass).await,
    }
}

async fn delete<K: Cached>(object: Option<&Arc<K>>, pass: &Pass) -> Result<(), ManagementError> {
    let Some(object) = object else { return Ok(()) };
    let (key, uid) = (key_of(&**object), uid_of(&**object));
    pass.management.delete::<K>(&key, &uid, Propagation::Background).await.map(drop)
}
