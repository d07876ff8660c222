//! TLS with what runs on a control plane node, through a port-forward.
//!
//! There is no host name to check: a member is dialled as a pod, not under one of the names in its
//! certificate, and which pod that is has been decided by the API server on whose connection it all runs.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use windlass_runtime::Clock;

use crate::etcd::EtcdIdentity;
use crate::tunnel::{Opened, Stream};

/// Why no TLS session came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsTrouble {
    /// One of our own PEMs cannot be used. What exactly is wrong with a key might show the key.
    #[error("cannot read the {0} in the cluster's etcd Secret; write the Secret again")]
    Identity(&'static str),
    /// The handshake failed.
    #[error("cannot agree on TLS")]
    Handshake(#[source] std::io::Error),
    /// The other end of the port-forward is not there.
    #[error("the port-forward was refused: {0}")]
    Refused(String),
}

/// TLS as a client of a cluster's etcd: our certificate shown, the members' verified against its authority.
pub(crate) fn of_etcd(identity: &EtcdIdentity, clock: &Clock) -> Result<TlsConnector, TlsTrouble> {
    let chain = certificates(&identity.certificate_pem, "client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.expose().as_bytes())
        .map_err(|_| TlsTrouble::Identity("client key"))?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(&identity.ca_pem, "certificate authority")? {
        roots.add(authority).map_err(|_| TlsTrouble::Identity("certificate authority"))?;
    }
    let provider = provider();
    let verifier = Verifier { trust: Trust::Authority(roots), provider: provider.clone() };
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(Now(clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|_| TlsTrouble::Identity("client key"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(|_| TlsTrouble::Identity("client key"))?;
    config.enable_sni = false;
    // gRPC in Go insists on it.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// TLS with a server whose certificate is what we want to see, whoever signed it and however old it is.
pub(crate) fn to_look_at_the_certificate() -> Result<TlsConnector, TlsTrouble> {
    let provider = provider();
    let verifier = Verifier { trust: Trust::AsItIs, provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsTrouble::Handshake(std::io::Error::other(error)))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.enable_sni = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The handshake over an opened tunnel; what the tunnel has to complain about is the better explanation.
pub(crate) async fn agree(
    connector: &TlsConnector,
    opened: Opened,
) -> Result<TlsStream<Box<dyn Stream>>, TlsTrouble> {
    let Opened { stream, complaint } = opened;
    // Never sent: SNI is off. Never checked: see the verifier.
    let name = ServerName::try_from("node").map_err(|_| TlsTrouble::Identity("name"))?;
    let handshake = connector.connect(name, stream);
    tokio::pin!(handshake, complaint);
    tokio::select! {
        biased;
        Some(refusal) = &mut complaint => Err(TlsTrouble::Refused(refusal)),
        agreed = &mut handshake => agreed.map_err(TlsTrouble::Handshake),
    }
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsTrouble> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or(TlsTrouble::Identity(what))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The time that certificates are judged by, which a simulation makes up.
#[derive(Debug)]
struct Now(Clock);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.0.now().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}

/// Verifies the servers that port-forwards lead to; that a server has its certificate's key is always checked.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

/// Which certificates are accepted, under whatever name.
#[derive(Debug)]
enum Trust {
    /// Those that one of these authorities has signed. That is all there is to check: the authority is the
    /// cluster's own and signs nothing but its etcd members and their clients.
    Authority(RootCertStore),
    /// Every one, because an expired one is the very thing to find out. Nothing is sent over such a session and
    /// nothing but the certificate's dates is taken from it; the way to the node is the API server's own,
    /// verified connection.
    AsItIs,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Trust::Authority(roots) = &self.trust {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
