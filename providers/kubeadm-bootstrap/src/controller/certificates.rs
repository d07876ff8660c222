//! The cluster's certificates: read from their Secrets, and made where no control plane object does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use windlass_api::bootstrap::EncryptionAlgorithm;
use windlass_api::names::{LABEL_CLUSTER_NAME, secret};
use windlass_model::{Key, Secret};
use windlass_pki::{
    Algorithm, Authority, CA_VALIDITY_DAYS, KeyPair, KeySource, Kubeconfig, Leaf, PkiError, Purpose,
};
use windlass_plan::kubeadm_config::Progress;
use windlass_runtime::{Created, Pass};

use super::observe::Scene;
use super::{Halt, KubeadmConfigError as Error};
use crate::render::Certificates;

/// The user's own client certificate for an external etcd.
const ETCD_CLIENT: &str = "apiserver-etcd-client";
/// How long the certificate of a kubeconfig lives (as upstream).
const KUBECONFIG_LIFE: Duration = Duration::from_hours(365 * 24);

/// Reads what a host of the cluster needs: a worker the authority's certificate, without its key; others
/// everything.
pub(super) async fn read(scene: &Scene, pass: &Pass) -> Result<Certificates, Halt> {
    let (external, control_plane) = (is_external(scene), scene.owner.is_control_plane());
    let purposes: &[Purpose] = if control_plane { &Purpose::ALL } else { &[Purpose::Cluster] };
    let mut certificates = Certificates::default();
    for &purpose in purposes {
        let key_needed = control_plane && !(external && purpose == Purpose::Etcd);
        let pair = find(scene, pass, purpose.suffix(), key_needed).await?;
        certificates.pairs.push((purpose, pair.map_err(|missing| missing.report(scene))?));
    }
    if external && control_plane {
        let pair = find(scene, pass, ETCD_CLIENT, true).await?;
        certificates.etcd_client = Some(pair.map_err(|missing| missing.report(scene))?);
    }
    Ok(certificates)
}

/// Makes what the first host needs and nobody else makes: key pairs whose Secrets are not there, and the
/// kubeconfig. What a user has made is taken as it is, and stays theirs. Whether there is a new kubeconfig.
///
/// They belong to the Cluster. (Upstream gives them to the first KubeadmConfig, so that the certificate
/// authority of the cluster goes when its first machine goes.)
pub(super) async fn ensure(scene: &Scene, keys: &Arc<dyn KeySource>, pass: &Pass) -> Result<bool, Halt> {
    if scene.cluster.spec.control_plane_ref.is_some() {
        return Ok(false);
    }
    let mut authority = None;
    for purpose in Purpose::ALL {
        let users = is_external(scene) && purpose == Purpose::Etcd;
        let pair = match find(scene, pass, purpose.suffix(), !users).await? {
            Ok(pair) => pair,
            Err(missing) if users || missing.exists => return Err(missing.report(scene)),
            Err(_) => make(scene, keys, pass, purpose).await?,
        };
        if purpose == Purpose::Cluster {
            authority = Some(pair);
        }
    }
    match authority {
        Some(authority) => kubeconfig(scene, keys, pass, authority).await,
        None => Ok(false),
    }
}

fn is_external(scene: &Scene) -> bool {
    scene.config.spec.cluster_configuration.etcd.external.is_some()
}

fn key(scene: &Scene, suffix: &str) -> Key {
    let cluster = scene.cluster_key();
    cluster.sibling(secret::name(&cluster.name, suffix))
}

/// A member of a Secret that is not there.
struct Missing {
    secret: Key,
    member: &'static str,
    /// The Secret itself is there.
    exists: bool,
}

impl Missing {
    fn report(self, scene: &Scene) -> Halt {
        let Self { secret, member, exists: _ } = self;
        let advice = match &scene.cluster.spec.control_plane_ref {
            Some(_) => "the control plane provider makes it",
            None => "it is yours to give: create it, or restore it from a backup",
        };
        Halt::Report(Progress::Certificates(format!("Waiting for {member} of Secret {secret}: {advice}")))
    }
}

async fn find(
    scene: &Scene,
    pass: &Pass,
    suffix: &str,
    key_needed: bool,
) -> Result<Result<KeyPair, Missing>, Error> {
    let key: Key = key(scene, suffix);
    let found = pass.management.get::<KubeSecret>(&key).await.map_err(Error::Certificates)?;
    let text = |member: &str| {
        let bytes = found.as_ref()?.data.as_ref()?.get(member)?;
        String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.is_empty())
    };
    let missing = |member| Missing { secret: key.clone(), member, exists: found.is_some() };
    let Some(certificate) = text(secret::KEY_TLS_CERT) else {
        return Ok(Err(missing(secret::KEY_TLS_CERT)));
    };
    let private = text(secret::KEY_TLS_KEY).map(Secret::new);
    if private.is_none() && key_needed {
        return Ok(Err(missing(secret::KEY_TLS_KEY)));
    }
    Ok(Ok(KeyPair { certificate, key: private }))
}

/// Makes the key pair of a purpose; if somebody else was faster, theirs is taken.
async fn make(
    scene: &Scene,
    keys: &Arc<dyn KeySource>,
    pass: &Pass,
    purpose: Purpose,
) -> Result<KeyPair, Halt> {
    let days = scene.config.spec.cluster_configuration.ca_certificate_validity_period_days;
    let days = days.and_then(|days| u32::try_from(days).ok()).unwrap_or(CA_VALIDITY_DAYS);
    let (algorithm, now, name) = (algorithm(scene), pass.now, key(scene, purpose.suffix()).to_string());
    let made = blocking(keys, move |keys| {
        let private = keys.generate(algorithm, &name)?;
        KeyPair::make(purpose, &private, days, now)
    });
    let pair = made.await?;
    let private = pair.key.as_ref().map(|key| key.expose().as_bytes()).unwrap_or_default();
    let data = [(secret::KEY_TLS_CERT, pair.certificate.as_bytes()), (secret::KEY_TLS_KEY, private)];
    let object = build(scene, purpose.suffix(), &data);
    match pass.management.create(&object).await.map_err(Error::Certificates)? {
        Created::Made(_) => Ok(pair),
        Created::Existed => {
            find(scene, pass, purpose.suffix(), true).await?.map_err(|missing| missing.report(scene))
        }
    }
}

/// The kubeconfig of the cluster's administrator, with which the cluster is reached from here, too. One that
/// exists is left alone.
async fn kubeconfig(
    scene: &Scene,
    keys: &Arc<dyn KeySource>,
    pass: &Pass,
    authority: KeyPair,
) -> Result<bool, Halt> {
    let name = key(scene, secret::KUBECONFIG);
    if pass.management.get::<KubeSecret>(&name).await.map_err(Error::Certificates)?.is_some() {
        return Ok(false);
    }
    let (algorithm, now, purpose) = (algorithm(scene), pass.now, name.to_string());
    let (server, cluster) = (format!("https://{}", scene.endpoint()), scene.cluster_key().name);
    let made = blocking(keys, move |keys| {
        let private = authority.key.as_ref().map(|key| key.expose().as_str()).unwrap_or_default();
        let leaf = Leaf::client("kubernetes-admin", &["system:masters"], KUBECONFIG_LIFE);
        let key = keys.generate(algorithm, &purpose)?;
        let issuer = Authority::from_pem(&authority.certificate, private)?;
        let certificate = issuer.issue(&key, &leaf, now)?;
        Ok((authority.certificate, certificate, key))
    });
    let (ca, certificate, key) = made.await?;
    let yaml = Kubeconfig::with_certificate(server, ca, certificate, &key)
        .and_then(|config| config.to_yaml(&cluster, &format!("{cluster}-admin")))
        .map_err(Error::Kubeconfig)?;
    let object = build(scene, secret::KUBECONFIG, &[(secret::KEY_VALUE, yaml.expose().as_bytes())]);
    let created = pass.management.create(&object).await.map_err(Error::Certificates)?;
    Ok(matches!(created, Created::Made(_)))
}

fn algorithm(scene: &Scene) -> Algorithm {
    let wanted = scene.config.spec.cluster_configuration.encryption_algorithm.unwrap_or_default();
    match wanted {
        EncryptionAlgorithm::EcdsaP256 => Algorithm::EcdsaP256,
        EncryptionAlgorithm::EcdsaP384 => Algorithm::EcdsaP384,
        EncryptionAlgorithm::Rsa2048 => Algorithm::Rsa2048,
        EncryptionAlgorithm::Rsa3072 => Algorithm::Rsa3072,
        EncryptionAlgorithm::Rsa4096 => Algorithm::Rsa4096,
    }
}

/// Runs `work`, which takes its time, beside the loop; in place where keys cost nothing (the simulator has
/// one thread).
async fn blocking<T: Send + 'static>(
    keys: &Arc<dyn KeySource>,
    work: impl FnOnce(&dyn KeySource) -> Result<T, PkiError> + Send + 'static,
) -> Result<T, Error> {
    if keys.is_instant() {
        return work(keys.as_ref()).map_err(Error::Keys);
    }
    let keys = keys.clone();
    let done = tokio::task::spawn_blocking(move || work(keys.as_ref())).await;
    // A worker that panicked has said so.
    done.map_err(|_| Error::Keys(PkiError::Worker))?.map_err(Error::Keys)
}

fn build(scene: &Scene, suffix: &str, data: &[(&str, &[u8])]) -> KubeSecret {
    let Key { namespace, name } = key(scene, suffix);
    let labels = BTreeMap::from([(LABEL_CLUSTER_NAME.to_owned(), scene.cluster_key().name)]);
    KubeSecret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            labels: Some(labels),
            owner_references: Some(vec![scene.cluster_as_owner()]),
            ..ObjectMeta::default()
        },
        type_: Some(secret::TYPE.to_owned()),
        data: Some(
            data.iter().map(|(name, bytes)| ((*name).to_owned(), ByteString(bytes.to_vec()))).collect(),
        ),
        ..KubeSecret::default()
    }
}
