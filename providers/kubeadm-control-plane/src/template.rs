//! Whom the machine template belongs to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;
use windlass_runtime::{Lookup, Pass};

use crate::controller::KubeadmControlPlaneError as Error;
use crate::intents;
use crate::observe::Scene;

/// Makes the Cluster an owner of the machine template, so that the template goes with it (as upstream).
pub(crate) async fn belong(scene: &Scene, pass: &Pass) -> Result<(), Error> {
    let (kind, cluster) = (scene.template_kind(), scene.cluster_uid());
    let reference = &scene.object.spec.machine_template.spec.infrastructure_ref;
    let key = pass.key.sibling(reference.name.clone());
    let Lookup::Found(template) = pass.cache.external(&kind, &key) else { return Ok(()) };
    let meta = &template.metadata;
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    let known = owners.iter().any(|owner| owner.uid == cluster.0);
    if known || scene.world.deleting || meta.deletion_timestamp.is_some() {
        return Ok(());
    }
    owners.push(OwnerReference {
        controller: None,
        block_owner_deletion: None,
        ..intents::owner_of(scene.cluster.as_ref())
    });
    let patch = json!({ "metadata": { "ownerReferences": owners } });
    let resource = pass.management.resource(&kind).await.map_err(Error::Template)?;
    let version = meta.resource_version.as_deref();
    let owned = pass.management.patch_external(&resource, &key, patch, version).await;
    owned.map(drop).map_err(Error::OwnTemplate)
}
