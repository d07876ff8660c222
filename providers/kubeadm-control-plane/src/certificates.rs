//! The Secrets of the cluster: four key pairs and the kubeconfig.
//!
//! They are made until the control plane is initialized. Afterwards they are only looked for: a new
//! authority would lock everybody out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use windlass_api::names::{LABEL_CLUSTER_NAME, secret};
use windlass_model::{Key, Secret};
use windlass_pki::{
    Authority, CA_VALIDITY_DAYS, Identity, KeyPair, Kubeconfig, Leaf, PkiError, Purpose, certificate_times,
};
use windlass_plan::control_plane::Certificates;
use windlass_runtime::{Created, Pass, uid_of};
use windlass_workload::EtcdIdentity;

use crate::controller::{KubeadmControlPlaneError as Error, KubeadmControlPlanes};
use crate::intents::owner_of;
use crate::observe::Scene;

/// Secrets do not wake us: how long a complete set counts as complete.
const TRUST: Duration = Duration::from_mins(5);
/// How long the certificate of a kubeconfig lives, and with how much left it is renewed (as upstream).
const KUBECONFIG_LIFE: Duration = Duration::from_hours(365 * 24);
const RENEW_BEFORE: Duration = Duration::from_hours(365 * 12);
/// How long our own certificates for etcd live, and how long one is used (as upstream).
const ETCD_CLIENT_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
const ETCD_CLIENT_USE: Duration = Duration::from_hours(24);

/// Makes what is missing, as long as that is allowed, and notes in the scene what there is.
pub(crate) async fn ensure(
    controller: &KubeadmControlPlanes,
    scene: &mut Scene,
    pass: &Pass,
) -> Result<(), Error> {
    if scene.world.deleting || !scene.world.infrastructure_provisioned {
        return Ok(());
    }
    let Some(endpoint) = scene.endpoint() else { return Ok(()) };
    let uid = scene.cluster_uid();
    let known = controller.keys.known(&uid).complete;
    if known.is_some_and(|at| pass.now.since(at) < TRUST) {
        scene.world.certificates = Certificates::Available;
        return Ok(());
    }
    let found = try_join_all(Purpose::ALL.map(|purpose| read(scene, pass, purpose))).await?;
    let missing: Vec<Purpose> = Purpose::ALL
        .into_iter()
        .zip(&found)
        .filter(|(_, pair)| pair.is_none())
        .map(|(purpose, _)| purpose)
        .collect();
    if !missing.is_empty() && (scene.world.initialized || is_users(scene, &missing)) {
        scene.world.certificates = Certificates::Missing(advice(scene, &missing));
        return Ok(());
    }
    if let Some(advice) = client_advice(scene, pass).await? {
        scene.world.certificates = Certificates::Missing(advice);
        return Ok(());
    }
    let mut pairs: BTreeMap<Purpose, KeyPair> = BTreeMap::new();
    for (purpose, found) in Purpose::ALL.into_iter().zip(found) {
        if let Some((secret, pair)) = found {
            take_over(scene, pass, secret).await?;
            pairs.insert(purpose, pair);
        }
    }
    let made =
        try_join_all(missing.into_iter().map(|purpose| make(controller, scene, pass, purpose))).await?;
    pairs.extend(made);
    kubeconfig(controller, scene, pass, &pairs[&Purpose::Cluster], &endpoint).await?;
    scene.world.certificates = Certificates::Available;
    controller.keys.remember(&uid, |known| known.complete = Some(pass.now));
    controller.workloads.nudge(&scene.cluster_key());
    Ok(())
}

/// The certificate of an external etcd is the user's to give.
fn is_users(scene: &Scene, missing: &[Purpose]) -> bool {
    scene.external_etcd() && missing.contains(&Purpose::Etcd)
}

fn advice(scene: &Scene, missing: &[Purpose]) -> String {
    let names: Vec<_> = missing.iter().map(|purpose| key(scene, purpose.suffix()).to_string()).collect();
    format!("Secret {} is missing or incomplete: restore it from a backup", names.join(", "))
}

fn key(scene: &Scene, suffix: &str) -> Key {
    let cluster = scene.cluster_key();
    cluster.sibling(secret::name(&cluster.name, suffix))
}

fn text(secret: &KubeSecret, member: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(member)?;
    String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.is_empty())
}

/// What to do about the certificate that API servers show an external etcd, if it is missing: only its owner
/// can give one.
async fn client_advice(scene: &Scene, pass: &Pass) -> Result<Option<String>, Error> {
    if !scene.external_etcd() {
        return Ok(None);
    }
    let name = key(scene, secret::API_SERVER_ETCD_CLIENT);
    let found = pass.management.get::<KubeSecret>(&name).await.map_err(Error::Certificates)?;
    let complete = found.is_some_and(|found| {
        text(&found, secret::KEY_TLS_CERT).is_some() && text(&found, secret::KEY_TLS_KEY).is_some()
    });
    let advice = "create it with tls.crt and tls.key of a client of your etcd";
    Ok((!complete).then(|| format!("Secret {name} is missing or incomplete: {advice}")))
}

/// Makes a Secret of the cluster ours that was made for a machine before there was a control plane, or that
/// belongs to nobody or to the Cluster. Secrets of another type are the user's own.
async fn take_over(scene: &Scene, pass: &Pass, found: KubeSecret) -> Result<KubeSecret, Error> {
    let owners = found.metadata.owner_references.as_deref().unwrap_or_default();
    let controller = owners.iter().find(|owner| owner.controller == Some(true));
    let replaceable = controller.is_none_or(|owner| ["KubeadmConfig", "Cluster"].contains(&&*owner.kind));
    if found.type_.as_deref() != Some(secret::TYPE) || !replaceable {
        return Ok(found);
    }
    let mut after = found.clone();
    let owners = after.metadata.owner_references.get_or_insert_default();
    owners.retain(|owner| !["KubeadmConfig", "Cluster"].contains(&&*owner.kind));
    owners.push(owner_of(scene.object.as_ref()));
    let written = pass.management.update(&found, &after).await.map_err(Error::Certificates)?;
    Ok(written.unwrap_or(after))
}

/// The key pair of a purpose and the Secret it is in, if that is there and complete.
async fn read(scene: &Scene, pass: &Pass, purpose: Purpose) -> Result<Option<(KubeSecret, KeyPair)>, Error> {
    let found = pass.management.get::<KubeSecret>(&key(scene, purpose.suffix())).await;
    let Some(found) = found.map_err(Error::Certificates)? else { return Ok(None) };
    let key = text(&found, secret::KEY_TLS_KEY).map(Secret::new);
    let certificate_alone = scene.external_etcd() && purpose == Purpose::Etcd;
    if key.is_none() && !certificate_alone {
        return Ok(None);
    }
    let certificate = text(&found, secret::KEY_TLS_CERT);
    Ok(certificate.map(|certificate| (found, KeyPair { certificate, key })))
}

/// Makes the key pair of a purpose; if somebody else was faster, theirs is taken.
async fn make(
    controller: &KubeadmControlPlanes,
    scene: &Scene,
    pass: &Pass,
    purpose: Purpose,
) -> Result<(Purpose, KeyPair), Error> {
    let days =
        scene.object.spec.kubeadm_config_spec.cluster_configuration.ca_certificate_validity_period_days;
    let days = days.and_then(|days| u32::try_from(days).ok()).unwrap_or(CA_VALIDITY_DAYS);
    let name = key(scene, purpose.suffix());
    let private = controller.keys.generate(scene.algorithm(), name.to_string()).await.map_err(Error::Keys)?;
    let now = pass.now;
    let pair = controller.keys.blocking(move || KeyPair::make(purpose, &private, days, now)).await;
    let pair = pair.map_err(Error::Keys)?;
    let private = pair.key.as_ref().map(|key| key.expose().as_str()).unwrap_or_default();
    let object = build(
        scene,
        purpose.suffix(),
        &[(secret::KEY_TLS_CERT, &pair.certificate), (secret::KEY_TLS_KEY, private)],
    );
    match pass.management.create(&object).await.map_err(Error::Certificates)? {
        Created::Made(_) => Ok((purpose, pair)),
        Created::Existed => match read(scene, pass, purpose).await? {
            Some((_, theirs)) => Ok((purpose, theirs)),
            None => Err(Error::Keys(PkiError::Certificate(format!("Secret {name} is incomplete")))),
        },
    }
}

fn build(scene: &Scene, suffix: &str, data: &[(&str, &str)]) -> KubeSecret {
    let Key { namespace, name } = key(scene, suffix);
    let labels = BTreeMap::from([(LABEL_CLUSTER_NAME.to_owned(), scene.cluster_key().name)]);
    KubeSecret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            labels: Some(labels),
            owner_references: Some(vec![owner_of(scene.object.as_ref())]),
            ..ObjectMeta::default()
        },
        type_: Some(secret::TYPE.to_owned()),
        data: Some(
            data.iter()
                .map(|(name, text)| ((*name).to_owned(), ByteString(text.as_bytes().to_vec())))
                .collect(),
        ),
        ..KubeSecret::default()
    }
}

/// The kubeconfig of the cluster's administrator; renewed in time if it is ours.
async fn kubeconfig(
    controller: &KubeadmControlPlanes,
    scene: &Scene,
    pass: &Pass,
    ca: &KeyPair,
    endpoint: &str,
) -> Result<(), Error> {
    let name = key(scene, secret::KUBECONFIG);
    let found = pass.management.get::<KubeSecret>(&name).await.map_err(Error::Certificates)?;
    let Some(found) = found else {
        let yaml = issue(controller, scene, pass, ca, format!("https://{endpoint}")).await?;
        let object = build(scene, secret::KUBECONFIG, &[(secret::KEY_VALUE, yaml.expose())]);
        return pass.management.create(&object).await.map(drop).map_err(Error::Certificates);
    };
    let found = take_over(scene, pass, found).await?;
    let ours = uid_of(scene.object.as_ref()).0;
    let mut owners = found.metadata.owner_references.iter().flatten();
    if !owners.any(|owner| owner.controller == Some(true) && owner.uid == ours) {
        return Ok(());
    }
    let yaml = text(&found, secret::KEY_VALUE).unwrap_or_default();
    let parsed = Kubeconfig::parse(&yaml).map_err(Error::Kubeconfig)?;
    let Identity::Certificate { certificate_pem, .. } = &parsed.identity else { return Ok(()) };
    let (_, until) = certificate_times(certificate_pem).map_err(Error::Keys)?;
    if until.until(pass.now) >= RENEW_BEFORE {
        return Ok(());
    }
    let yaml = issue(controller, scene, pass, ca, parsed.server).await?;
    let mut after = found.clone();
    let value = ByteString(yaml.into_exposed().into_bytes());
    after.data.get_or_insert_default().insert(secret::KEY_VALUE.to_owned(), value);
    pass.management.update(&found, &after).await.map(drop).map_err(Error::Certificates)
}

async fn issue(
    controller: &KubeadmControlPlanes,
    scene: &Scene,
    pass: &Pass,
    ca: &KeyPair,
    server: String,
) -> Result<Secret<String>, Error> {
    let cluster = scene.cluster_key();
    let purpose = format!("{cluster}-{}", secret::KUBECONFIG);
    let key = controller.keys.generate(scene.algorithm(), purpose).await.map_err(Error::Keys)?;
    let authority = open(ca);
    let (now, ca, leaf_key) = (pass.now, ca.certificate.clone(), key.clone());
    let leaf = Leaf::client("kubernetes-admin", &["system:masters"], KUBECONFIG_LIFE);
    let certificate = controller.keys.blocking(move || authority?.issue(&leaf_key, &leaf, now)).await;
    let certificate = certificate.map_err(Error::Keys)?;
    Kubeconfig::with_certificate(server, ca, certificate, &key)
        .and_then(|config| config.to_yaml(&cluster.name, &format!("{}-admin", cluster.name)))
        .map_err(Error::Kubeconfig)
}

fn open(pair: &KeyPair) -> Result<Authority, PkiError> {
    let key = pair.key.as_ref().map(|key| key.expose().as_str()).unwrap_or_default();
    Authority::from_pem(&pair.certificate, key)
}

/// Who we are for the cluster's etcd.
pub(crate) async fn etcd_identity(
    controller: &KubeadmControlPlanes,
    scene: &Scene,
    pass: &Pass,
) -> Result<Option<Arc<EtcdIdentity>>, Error> {
    let uid = scene.cluster_uid();
    if let Some((made, identity)) = controller.keys.known(&uid).etcd
        && pass.now.since(made) < ETCD_CLIENT_USE
    {
        return Ok(Some(identity));
    }
    let Some((_, pair)) = read(scene, pass, Purpose::Etcd).await? else { return Ok(None) };
    let key = controller.keys.client().await.map_err(Error::Keys)?;
    let (now, leaf_key, authority) = (pass.now, key.clone(), open(&pair));
    let leaf = Leaf::client("cluster-api.x-k8s.io", &[], ETCD_CLIENT_LIFE);
    let certificate = controller.keys.blocking(move || authority?.issue(&leaf_key, &leaf, now)).await;
    let identity = Arc::new(EtcdIdentity {
        ca_pem: pair.certificate,
        certificate_pem: certificate.map_err(Error::Keys)?,
        key_pem: key.to_pem().map_err(Error::Keys)?,
    });
    controller.keys.remember(&uid, |known| known.etcd = Some((pass.now, identity.clone())));
    Ok(Some(identity))
}
