//! The Secret that hands the bootstrap data to whoever makes the host.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use windlass_api::names::{LABEL_CLUSTER_NAME, secret};
use windlass_plan::kubeadm_config::Progress;
use windlass_runtime::{Created, Pass, Propagation, uid_of};

use super::observe::Scene;
use super::{Halt, KubeadmConfigError};
use crate::render::Rendered;

/// Whose a Secret of the right name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Ours.
    Ours,
    /// Made by us, but its owner was lost: by a restored backup, or by moving the objects elsewhere.
    Orphaned,
    /// Left over from an earlier config of this name, on its way to the garbage collector.
    Leftover,
    /// Somebody else's.
    Foreign,
}

/// Creates the Secret, or makes one that is ours say what it should: until the status says that the data is
/// out, nobody has used what is in it.
pub(super) async fn publish(scene: &Scene, pass: &Pass, rendered: &Rendered) -> Result<String, Halt> {
    let key = scene.key();
    let failed = KubeadmConfigError::Publish;
    let object = build(scene, rendered);
    if let Created::Made(_) = pass.management.create(&object).await.map_err(failed)? {
        return Ok(key.name);
    }
    let waiting = |message: String| Halt::Report(Progress::Failed(message));
    let Some(found) = pass.management.get::<KubeSecret>(&key).await.map_err(failed)? else {
        return Err(waiting(format!("Waiting for Secret {key}, which has just been deleted")));
    };
    match standing(&found, &uid_of(&scene.config).0, &scene.cluster_key().name) {
        Standing::Ours | Standing::Orphaned => {
            let mut after = found.clone();
            after.data = object.data;
            own(&mut after, scene);
            pass.management.update(&found, &after).await.map_err(failed)?;
            Ok(key.name)
        }
        Standing::Leftover => {
            let uid = uid_of(&found);
            let deleted = pass.management.delete::<KubeSecret>(&key, &uid, Propagation::Background).await;
            deleted.map_err(failed)?;
            Err(waiting(format!("Waiting for an older Secret {key} to go")))
        }
        Standing::Foreign => {
            Err(waiting(format!("Secret {key} exists and belongs to something else: delete or rename it")))
        }
    }
}

/// Takes a Secret that the owner uses already back into our hands, if we have made it; one that a user has
/// made stays theirs.
pub(super) async fn adopt(scene: &Scene, pass: &Pass, name: &str) -> Result<(), KubeadmConfigError> {
    if name != scene.key().name {
        return Ok(());
    }
    let failed = KubeadmConfigError::Publish;
    let Some(found) = pass.management.get::<KubeSecret>(&scene.key()).await.map_err(failed)? else {
        return Ok(());
    };
    match standing(&found, &uid_of(&scene.config).0, &scene.cluster_key().name) {
        Standing::Orphaned | Standing::Leftover => {
            let mut after = found.clone();
            own(&mut after, scene);
            pass.management.update(&found, &after).await.map(drop).map_err(failed)
        }
        Standing::Ours | Standing::Foreign => Ok(()),
    }
}

fn standing(found: &KubeSecret, config: &str, cluster: &str) -> Standing {
    let owners = found.metadata.owner_references.as_deref().unwrap_or_default();
    if owners.iter().any(|owner| owner.uid == config && owner.controller == Some(true)) {
        return Standing::Ours;
    }
    let labelled = found
        .metadata
        .labels
        .iter()
        .flatten()
        .any(|(name, value)| name == LABEL_CLUSTER_NAME && value == cluster);
    let made_by_us = labelled && found.type_.as_deref() == Some(secret::TYPE);
    let stands_for_hosts =
        |owner: &OwnerReference| ["KubeadmConfig", "Machine", "MachinePool"].contains(&owner.kind.as_str());
    if !made_by_us || !owners.iter().all(stands_for_hosts) {
        Standing::Foreign
    } else if owners.iter().any(|owner| owner.kind == "KubeadmConfig" && owner.uid != config) {
        Standing::Leftover
    } else {
        Standing::Orphaned
    }
}

/// Makes the config the only owner.
fn own(object: &mut KubeSecret, scene: &Scene) {
    let owner = scene.as_owner();
    if object.metadata.owner_references.as_deref().is_none_or(|owners| owners != [owner.clone()]) {
        object.metadata.owner_references = Some(vec![owner]);
    }
}

fn build(scene: &Scene, rendered: &Rendered) -> KubeSecret {
    let key = scene.key();
    let Rendered { data, format, oddities: _ } = rendered;
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
            (secret::KEY_VALUE.to_owned(), ByteString(data.expose().clone())),
            (secret::KEY_FORMAT.to_owned(), ByteString(format.as_str().as_bytes().to_vec())),
        ])),
        ..KubeSecret::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_we_have_made_is_touched() {
        // Type, label, owners (kind and uid), and whose it is.
        let cases = [
            ("ours prod KubeadmConfig/new!", Standing::Ours),
            ("user prod KubeadmConfig/new!", Standing::Ours),
            ("ours prod", Standing::Orphaned),
            ("ours prod KubeadmConfig/new", Standing::Orphaned),
            ("ours prod Machine/m", Standing::Orphaned),
            ("ours prod KubeadmConfig/old!", Standing::Leftover),
            ("user prod", Standing::Foreign),
            ("ours other", Standing::Foreign),
            ("ours prod ConfigMap/x", Standing::Foreign),
        ];
        for (words, expected) in cases {
            let mut words_of = words.split(' ');
            let kind = if words_of.next() == Some("ours") { secret::TYPE } else { "Opaque" };
            let cluster = words_of.next();
            let owner = words_of.next().map(|owner| {
                let (kind, uid) = owner.split_once('/').unwrap();
                let (uid, controller) = uid.strip_suffix('!').map_or((uid, None), |uid| (uid, Some(true)));
                json!({ "apiVersion": "x/v1", "kind": kind, "name": "n", "uid": uid, "controller": controller })
            });
            let found: KubeSecret = serde_json::from_value(json!({
                "metadata": {
                    "labels": { LABEL_CLUSTER_NAME: cluster },
                    "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
                },
                "type": kind,
            }))
            .unwrap();
            assert_eq!(standing(&found, "new", "prod"), expected, "{words}");
        }
    }
}
