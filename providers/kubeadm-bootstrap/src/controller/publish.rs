//! The Secret that hands the bootstrap data to whoever makes the host.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use windlass_api::bootstrap::Format;
use windlass_api::names::{LABEL_CLUSTER_NAME, secret};
use windlass_model::Secret;
use windlass_plan::kubeadm_config::Progress;
use windlass_runtime::{Created, Pass, Propagation, uid_of};

use super::observe::Scene;
use super::{Halt, KubeadmConfigError};

/// Creates the Secret, complete. One that is ours already holds data made of the same spec and is kept:
/// the host may have started with it.
pub(super) async fn publish(scene: &Scene, pass: &Pass, data: Secret<Vec<u8>>) -> Result<String, Halt> {
    let key = scene.key();
    let failed = KubeadmConfigError::Publish;
    let object = build(scene, data);
    if let Created::Made(_) = pass.management.create(&object).await.map_err(failed)? {
        return Ok(key.name);
    }
    let Some(found) = pass.management.get::<KubeSecret>(&key).await.map_err(failed)? else {
        return Err(Halt::Report(Progress::Failed(format!("Secret {key} has just been deleted"))));
    };
    let ours = uid_of(&scene.config).0;
    let owners = found.metadata.owner_references.iter().flatten();
    match owners.clone().find(|owner| owner.kind == "KubeadmConfig") {
        Some(owner) if owner.uid == ours => Ok(key.name),
        // Left over from an earlier config of this name, on its way to the garbage collector.
        Some(_) => {
            let uid = uid_of(&found);
            pass.management
                .delete::<KubeSecret>(&key, &uid, Propagation::Background)
                .await
                .map_err(failed)?;
            Err(Halt::Report(Progress::Failed(format!("Waiting for an older Secret {key} to go"))))
        }
        None => Err(Halt::Report(Progress::Failed(format!(
            "Secret {key} exists and belongs to something else: delete or rename it"
        )))),
    }
}

fn build(scene: &Scene, data: Secret<Vec<u8>>) -> KubeSecret {
    let key = scene.key();
    KubeSecret {
        metadata: ObjectMeta {
            name: Some(key.name),
            namespace: Some(key.namespace),
            labels: Some(BTreeMap::from([(LABEL_CLUSTER_NAME.to_owned(), scene.cluster_key().name)])),
            owner_references: Some(vec![scene.as_owner()]),
            ..ObjectMeta::default()
        },
        type_: Some(secret::TYPE.to_owned()),
        data: Some(BTreeMap::from([
            (secret::KEY_VALUE.to_owned(), ByteString(data.into_exposed())),
            (secret::KEY_FORMAT.to_owned(), ByteString(Format::CloudConfig.as_str().as_bytes().to_vec())),
        ])),
        ..KubeSecret::default()
    }
}
