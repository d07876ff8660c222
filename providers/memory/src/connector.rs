//! Into workload clusters without sockets: the same credentials, the same checks.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use kube::client::Body;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use windlass_apiserver::UserInfo;
use windlass_model::{Key, Time};
use windlass_pki::{Identity, Kubeconfig, PrivateKey, public_key_hash};
use windlass_workload::{ConnectError, Connector, USER_AGENT};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::World;
use crate::world::WorldSite;

/// Connects to the clusters of a world in process, and to all others as `others` does.
#[derive(Clone)]
pub struct InProcess {
    world: World,
    others: Option<Arc<dyn Connector>>,
}

impl InProcess {
    /// Connects to the clusters of this world only.
    pub fn new(world: World) -> Self {
        Self { world, others: None }
    }

    /// Leaves clusters that are not of this world to another connector.
    #[must_use]
    pub fn or(mut self, others: Arc<dyn Connector>) -> Self {
        self.others = Some(others);
        self
    }
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess").field("world", &self.world).finish_non_exhaustive()
    }
}

#[async_trait]
impl Connector for InProcess {
    async fn connect(&self, cluster: &Key, kubeconfig: &Kubeconfig) -> Result<Client, ConnectError> {
        let uri: http::Uri =
            kubeconfig.server.parse().map_err(|_| ConnectError::Kubeconfig("the server is no address"))?;
        let local = matches!(uri.host(), Some("127.0.0.1" | "localhost"));
        let port = uri.port_u16().filter(|_| local);
        let Some(site) = port.and_then(|port| self.world.site_on_port(port)) else {
            return match &self.others {
                Some(others) => others.connect(cluster, kubeconfig).await,
                None => Err(unreachable(format!("nothing of this world listens at {}", kubeconfig.server))),
            };
        };
        let Some(server) = site.open_server() else {
            return Err(unreachable(format!("connection refused by {}", kubeconfig.server)));
        };
        let user = match &kubeconfig.identity {
            Identity::Token(token) => server.token_user(token.expose()).ok_or(ConnectError::Unauthorized)?,
            Identity::Certificate { certificate_pem, key_pem } => {
                let ca = trusted(&site, kubeconfig)?;
                let user = certificate_user(certificate_pem, &ca, self.world.now());
                let key = PrivateKey::from_pem(key_pem.expose()).ok();
                let fits = key.is_some_and(|key| is_key_of(&key, certificate_pem));
                user.filter(|_| fits).ok_or(ConnectError::Unauthorized)?
            }
        };
        let door = Door { site: Arc::downgrade(&site), server: server.service(user, USER_AGENT) };
        Ok(Client::new(door, "default"))
    }
}

/// The way to a cluster's API server. As with a socket, nobody answers while none runs.
#[derive(Clone)]
struct Door {
    site: Weak<WorldSite>,
    server: windlass_apiserver::InProcess,
}

impl tower::Service<http::Request<Body>> for Door {
    type Response = <windlass_apiserver::InProcess as tower::Service<http::Request<Body>>>::Response;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let open = self.site.upgrade().is_some_and(|site| site.is_open());
        let answer = open.then(|| self.server.call(request));
        Box::pin(async move {
            match answer {
                Some(answer) => answer.await.map_err(|never| match never {}),
                None => Err(io::Error::new(io::ErrorKind::ConnectionRefused, "no API server runs")),
            }
        })
    }
}

fn unreachable(why: String) -> ConnectError {
    ConnectError::Unreachable(why.into())
}

/// The cluster's CA, if it is the one that the kubeconfig expects to sign the server's certificate.
fn trusted(site: &WorldSite, kubeconfig: &Kubeconfig) -> Result<String, ConnectError> {
    let pki = site.pki().ok_or_else(|| unreachable("the cluster has no certificates yet".to_owned()))?;
    let ca = pki.api_server.ca.clone();
    let expected = kubeconfig.ca_pem.as_deref().and_then(|pem| public_key_hash(pem).ok());
    if expected.is_some() && expected == public_key_hash(&ca).ok() {
        return Ok(ca);
    }
    Err(unreachable("the API server's certificate is signed by an unknown authority".to_owned()))
}

/// The user that a client certificate names, if `ca` signed it and its time has not passed.
fn certificate_user(certificate: &str, ca: &str, now: Time) -> Option<UserInfo> {
    let (certificate, ca) = (der(certificate)?, der(ca)?);
    let (certificate, ca) = (CertificateDer::from(certificate), CertificateDer::from(ca));
    let anchor: TrustAnchor<'_> = webpki::anchor_from_trusted_cert(&ca).ok()?;
    let at = UnixTime::since_unix_epoch(Duration::from_micros(u64::try_from(now.0).ok()?));
    EndEntityCert::try_from(&certificate)
        .ok()?
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            &[],
            at,
            KeyUsage::client_auth(),
            None,
            None,
        )
        .ok()?;
    let (_, parsed) = X509Certificate::from_der(&certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<_> = subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    Some(UserInfo::new(name, &groups))
}

/// Whether this is the private key of the certificate.
fn is_key_of(key: &PrivateKey, certificate: &str) -> bool {
    let public = pem::parse(key.public_pem()).map(pem::Pem::into_contents).ok();
    let der = der(certificate);
    let parsed = der.as_deref().and_then(|der| X509Certificate::from_der(der).ok());
    let named = parsed.map(|(_, certificate)| certificate.public_key().raw.to_vec());
    public.is_some() && public == named
}

fn der(pem: &str) -> Option<Vec<u8>> {
    pem::parse(pem).ok().map(pem::Pem::into_contents)
}
