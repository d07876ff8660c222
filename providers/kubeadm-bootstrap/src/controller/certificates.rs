//! The cluster's certificates, read from their Secrets.

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use windlass_api::names::secret;
use windlass_model::{Key, Secret};
use windlass_pki::{KeyPair, Purpose};
use windlass_plan::kubeadm_config::Progress;
use windlass_runtime::Pass;

use super::observe::Scene;
use super::{Halt, KubeadmConfigError};
use crate::render::Certificates;

/// The user's own client certificate for an external etcd.
const ETCD_CLIENT: &str = "apiserver-etcd-client";

/// Reads what a host of the cluster needs: a worker the authority's certificate, others everything.
pub(super) async fn read(scene: &Scene, pass: &Pass) -> Result<Certificates, Halt> {
    let external = scene.config.spec.cluster_configuration.etcd.external.is_some();
    let purposes: &[Purpose] = if scene.is_control_plane() { &Purpose::ALL } else { &[Purpose::Cluster] };
    let mut certificates = Certificates::default();
    for &purpose in purposes {
        let key_needed = !(external && purpose == Purpose::Etcd);
        certificates.pairs.push((purpose, read_pair(scene, pass, purpose.suffix(), key_needed).await?));
    }
    if external && scene.is_control_plane() {
        certificates.etcd_client = Some(read_pair(scene, pass, ETCD_CLIENT, true).await?);
    }
    Ok(certificates)
}

async fn read_pair(scene: &Scene, pass: &Pass, suffix: &str, key_needed: bool) -> Result<KeyPair, Halt> {
    let cluster = scene.cluster_key();
    let key: Key = cluster.sibling(secret::name(&cluster.name, suffix));
    let missing = |what: &str| {
        let advice = match &scene.cluster.spec.control_plane_ref {
            Some(_) => "the control plane provider makes it",
            None => "create it, for a cluster without controlPlaneRef nobody else does",
        };
        Halt::Report(Progress::Certificates(format!("Waiting for {what} of Secret {key}: {advice}")))
    };
    let found = pass.management.get::<KubeSecret>(&key).await;
    let found = found.map_err(KubeadmConfigError::Certificates)?;
    let text = |member: &str| {
        let bytes = found.as_ref()?.data.as_ref()?.get(member)?;
        String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.is_empty())
    };
    let certificate = text(secret::KEY_TLS_CERT).ok_or_else(|| missing(secret::KEY_TLS_CERT))?;
    let private = text(secret::KEY_TLS_KEY).map(Secret::new);
    if private.is_none() && key_needed {
        return Err(missing(secret::KEY_TLS_KEY));
    }
    Ok(KeyPair { certificate, key: private })
}
