//! Control plane machines that nobody owns: made by hand, or left over from another control plane object.

use std::sync::Arc;

use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::control_plane::KubeadmControlPlane;
use windlass_api::core::Machine;
use windlass_model::{Key, Version};
use windlass_runtime::{Pass, key_of};

use crate::controller::KubeadmControlPlaneError as Error;
use crate::intents::owner_of;

/// Makes the control plane the owner of `orphans`, all or none: with half of the machines under management, etcd
/// would be looked after by two.
///
/// Their KubeadmConfigs and infrastructure machines belong to the Machines themselves and come with them; the
/// cluster's Secrets are taken over by whoever looks after the certificates.
pub(crate) async fn adopt(
    object: &KubeadmControlPlane,
    version: &Version,
    orphans: &[Arc<Machine>],
    pass: &Pass,
) -> Result<(), Error> {
    for machine in orphans {
        if let Some(why) = unfit(machine, version) {
            return Err(Error::AdoptionFailed { machine: key_of(machine.as_ref()), why });
        }
    }
    // A cache that is behind must not revive what is going.
    let live = pass.management.get::<KubeadmControlPlane>(&key_of(object)).await.map_err(Error::Machine)?;
    if live.is_none_or(|live| {
        live.metadata.deletion_timestamp.is_some() || live.metadata.uid != object.metadata.uid
    }) {
        return Ok(());
    }
    for machine in orphans {
        let mut after = machine.as_ref().clone();
        after.metadata.owner_references.get_or_insert_default().push(owner_of(object));
        let written = pass.management.update(machine.as_ref(), &after).await;
        written.map_err(Error::Machine)?;
    }
    Ok(())
}

/// Why a machine cannot be adopted.
fn unfit(machine: &Machine, version: &Version) -> Option<String> {
    let reference = machine.spec.bootstrap.config_ref.as_ref();
    let kubeadm = reference.is_some_and(|reference| {
        reference.api_group == windlass_api::bootstrap::GROUP
            && reference.kind == <KubeadmConfig as kube::Resource>::kind(&())
    });
    if !kubeadm {
        return Some(
            "its spec.bootstrap.configRef is no KubeadmConfig: replace it by a machine that has one"
                .to_owned(),
        );
    }
    let has = machine.spec.version.as_deref().unwrap_or_default();
    let near = has
        .parse::<Version>()
        .is_ok_and(|has| has.major == version.major && has.minor.abs_diff(version.minor) <= 1);
    (!near).then(|| {
        format!(
            "its version {has} is more than one minor version away from {version}: set spec.version of the \
             KubeadmControlPlane to the version of the machines"
        )
    })
}

/// Says which of the control plane machines belong to whom.
pub(crate) enum Owned {
    /// All are ours.
    Ours,
    /// These belong to nobody.
    Orphans(Vec<Arc<Machine>>),
    /// This one belongs to somebody else.
    Foreign(Key),
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_kubeadm_machines_of_about_the_same_version_are_taken() {
        let cases = [
            ("KubeadmConfig", "v1.35.4", None),
            ("KubeadmConfig", "v1.34.0", None),
            ("KubeadmConfig", "v1.36.1", None),
            ("KubeadmConfig", "v1.33.1", Some("more than one minor version away")),
            ("KubeadmConfig", "", Some("more than one minor version away")),
            ("OtherConfig", "v1.35.4", Some("is no KubeadmConfig")),
        ];
        for (kind, version, refused) in cases {
            let machine: Machine = serde_json::from_value(json!({ "metadata": { "name": "m" }, "spec": {
                "clusterName": "c", "version": version,
                "bootstrap": { "configRef": { "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": kind, "name": "m" } },
                "infrastructureRef": { "apiGroup": "g", "kind": "K", "name": "m" },
            } }))
            .unwrap();
            let found = unfit(&machine, &"v1.35.2".parse().unwrap());
            match refused {
                None => assert_eq!(found, None, "{kind} {version}"),
                Some(words) => assert!(
                    found.as_ref().is_some_and(|why| why.contains(words)),
                    "{kind} {version}: {found:?}"
                ),
            }
        }
    }
}
