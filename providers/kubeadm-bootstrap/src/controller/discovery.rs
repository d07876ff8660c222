//! How a joining host finds its cluster and trusts it: a bootstrap token and the authority's hash.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use windlass_api::bootstrap::{JoinConfiguration, KubeadmConfig, KubeadmConfigSpec};
use windlass_model::Time;
use windlass_pki::{KeySource, Purpose, public_key_hash};
use windlass_plan::kubeadm_config::token::{self, Upkeep};
use windlass_plan::kubeadm_config::{Hosts, Progress};
use windlass_runtime::{Pass, time};

use super::observe::Scene;
use super::{Halt, KubeadmConfigError};
use crate::render::Certificates;

/// Where kubeadm looks for tokens.
const NAMESPACE: &str = "kube-system";
/// The group that may join as a node.
const GROUPS: &str = "system:bootstrappers:kubeadm:default-node-token";

/// Fills in what the spec leaves open, and records it there.
pub(super) async fn complete(
    scene: &mut Scene,
    certificates: &Certificates,
    keys: &dyn KeySource,
    pass: &Pass,
) -> Result<(), Halt> {
    let mut after = scene.config.clone();
    let join = &mut after.spec.join_configuration;
    if join.discovery.file.is_none() {
        fill(join, scene.endpoint(), certificates, || new_token(scene, keys, ""))?;
    }
    if scene.owner.is_control_plane() {
        join.control_plane.get_or_insert_default();
    }
    record(scene, after, pass).await?;
    Ok(())
}

/// Writes a changed config.
async fn record(scene: &mut Scene, after: KubeadmConfig, pass: &Pass) -> Result<(), KubeadmConfigError> {
    let updated = pass.management.update(&scene.config, &after).await;
    scene.config = updated.map_err(KubeadmConfigError::Discovery)?.unwrap_or(after);
    Ok(())
}

/// A token that nobody can guess, another one for each `after`.
fn new_token(scene: &Scene, keys: &dyn KeySource, after: &str) -> Result<String, KubeadmConfigError> {
    let purpose = format!("{}/{}{after}", scene.key(), windlass_runtime::uid_of(&scene.config));
    let random = keys.random(&purpose).map_err(KubeadmConfigError::Random)?;
    let mut letters = [0; 22];
    letters.copy_from_slice(&random.expose()[..22]);
    let (id, secret) = token::token(&letters);
    Ok(format!("{id}.{secret}"))
}

fn fill(
    join: &mut JoinConfiguration,
    endpoint: &str,
    certificates: &Certificates,
    new_token: impl FnOnce() -> Result<String, KubeadmConfigError>,
) -> Result<(), Halt> {
    let discovery = &mut join.discovery.bootstrap_token;
    if discovery.api_server_endpoint.is_none() {
        discovery.api_server_endpoint = Some(endpoint.to_owned());
    }
    if discovery.ca_cert_hashes.is_empty() && discovery.unsafe_skip_ca_verification != Some(true) {
        let authority = certificates.pairs.iter().find(|(purpose, _)| *purpose == Purpose::Cluster);
        let pem = authority.map(|(_, pair)| pair.certificate.as_str()).unwrap_or_default();
        // As many as there are: an authority may be in the middle of its rotation.
        let end = "-----END CERTIFICATE-----";
        for certificate in pem.split_inclusive(end).filter(|part| part.ends_with(end)) {
            let hash = public_key_hash(certificate);
            let hash = hash.map_err(|error| Halt::Report(Progress::Certificates(error.to_string())))?;
            discovery.ca_cert_hashes.push(hash);
        }
        if discovery.ca_cert_hashes.is_empty() {
            let message = "the certificate authority of the Cluster holds no certificate: correct its Secret";
            return Err(Halt::Report(Progress::Certificates(message.to_owned())));
        }
    }
    if discovery.token.as_ref().is_none_or(windlass_api::Sensitive::is_empty) {
        discovery.token = Some(new_token()?.into());
    }
    Ok(())
}

/// The spec as it is rendered: a discovery file also gets its server and authority.
pub(super) fn for_rendering(scene: &Scene, certificates: &Certificates) -> KubeadmConfigSpec {
    let mut spec = scene.config.spec.clone();
    let discovery = &mut spec.join_configuration.discovery;
    if let Some(config) = discovery.file.as_mut().and_then(|file| file.kube_config.as_mut()) {
        let cluster = &mut config.cluster;
        cluster.server.get_or_insert_with(|| format!("https://{}", scene.endpoint()));
        if cluster.certificate_authority_data.is_none() && cluster.insecure_skip_tls_verify != Some(true) {
            let authority = certificates.pairs.iter().find(|(purpose, _)| *purpose == Purpose::Cluster);
            cluster.certificate_authority_data =
                authority.map(|(_, pair)| ByteString(pair.certificate.clone().into_bytes()));
        }
    }
    spec
}

/// The two parts of the token that the spec names, if it is one of kubeadm's.
fn token_of(scene: &Scene) -> Option<(String, String)> {
    let discovery = &scene.config.spec.join_configuration.discovery;
    let token = discovery.bootstrap_token.token.as_ref()?;
    token::parse(token.expose()).map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

/// Makes the token in the workload cluster; one that is there gets a new life if its own comes to an end.
pub(super) async fn make_token(
    scene: &Scene,
    client: &Client,
    ttl: Duration,
    pass: &Pass,
) -> Result<(), KubeadmConfigError> {
    let Some((id, secret)) = token_of(scene) else { return Ok(()) };
    let made =
        create(client, &id, &secret, pass.now.after(ttl)).await.map_err(|source| failed(scene, source));
    if made? {
        return Ok(());
    }
    keep_token(scene, Hosts::Machine { joined: false }, client, ttl, pass).await.map(drop)
}

/// Whether the hosts join with a token, and not with a kubeconfig of the user's.
pub(super) fn has_token(scene: &Scene) -> bool {
    token_of(scene).is_some()
}

/// What came of a look at the token.
pub(super) enum Kept {
    /// It is as it should be: look again after this long.
    Again(Duration),
    /// Hosts that start from now on need another one.
    Rotate,
}

/// Keeps the token of hosts that have not joined yet alive.
pub(super) async fn keep_token(
    scene: &Scene,
    hosts: Hosts,
    client: &Client,
    ttl: Duration,
    pass: &Pass,
) -> Result<Kept, KubeadmConfigError> {
    let check = Kept::Again(token::check(ttl));
    let Some((id, secret)) = token_of(scene) else { return Ok(check) };
    let failed = |source| failed(scene, source);
    let api: Api<KubeSecret> = Api::namespaced(client.clone(), NAMESPACE);
    let found = api.get_opt(&name(&id)).await.map_err(failed)?;
    match token::upkeep(hosts, found.as_ref().map(expiry), ttl, pass.now) {
        Upkeep::Later(after) => return Ok(Kept::Again(after)),
        Upkeep::Rotate => return Ok(Kept::Rotate),
        Upkeep::Extend(until) => {
            let expiration = ByteString(time::format(until).into_bytes());
            let patch = Patch::Merge(json!({ "data": { "expiration": expiration } }));
            api.patch(&name(&id), &PatchParams::default(), &patch).await.map_err(failed)?;
        }
        Upkeep::Restore(until) => {
            create(client, &id, &secret, until).await.map_err(failed)?;
        }
    }
    Ok(check)
}

/// Puts a new token into the config as it is in memory; gives the config as it was. It is written last
/// ([`remember`]), after the token has been made and the data published: a pass that is cut short leaves the
/// old token there, and the next pass rotates again.
pub(super) fn rotate(scene: &mut Scene, keys: &dyn KeySource) -> Result<KubeadmConfig, KubeadmConfigError> {
    let before = scene.config.clone();
    let last = token_of(scene).map(|(id, _)| format!("/{id}")).unwrap_or_default();
    let token = new_token(scene, keys, &last)?;
    scene.config.spec.join_configuration.discovery.bootstrap_token.token = Some(token.into());
    Ok(before)
}

/// Writes the token that [`rotate`] has made into the config.
pub(super) async fn remember(
    scene: &mut Scene,
    before: KubeadmConfig,
    pass: &Pass,
) -> Result<(), KubeadmConfigError> {
    let after = std::mem::replace(&mut scene.config, before);
    record(scene, after, pass).await
}

fn failed(scene: &Scene, source: kube::Error) -> KubeadmConfigError {
    KubeadmConfigError::Token(scene.cluster_key(), Box::new(source))
}

fn name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

/// When a token ends. A user's may live for ever; one whose end cannot be read has ended.
fn expiry(secret: &KubeSecret) -> Time {
    let Some(text) = secret.data.as_ref().and_then(|data| data.get("expiration")) else {
        return Time(i64::MAX);
    };
    std::str::from_utf8(&text.0).ok().and_then(time::parse).unwrap_or_default()
}

/// Whether it is new.
async fn create(client: &Client, id: &str, secret: &str, expires: Time) -> Result<bool, kube::Error> {
    let data = [
        ("token-id", id),
        ("token-secret", secret),
        ("expiration", &time::format(expires)),
        ("usage-bootstrap-signing", "true"),
        ("usage-bootstrap-authentication", "true"),
        ("auth-extra-groups", GROUPS),
        ("description", "made for hosts that join the cluster"),
    ];
    let token = KubeSecret {
        metadata: ObjectMeta {
            name: Some(name(id)),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some("bootstrap.kubernetes.io/token".to_owned()),
        data: Some(
            data.into_iter()
                .map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())))
                .collect::<BTreeMap<_, _>>(),
        ),
        ..KubeSecret::default()
    };
    match Api::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &token).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
