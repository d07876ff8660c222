//! TLS of a cluster's etcd members: clients must show a certificate of etcd's authority.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use windlass_provider::Token;
use windlass_runtime::Clock;

use crate::world::{Serving, WorldSite};

/// How the member on a machine serves; `None` where there is none.
pub(super) fn of_member(site: &WorldSite, machine: &Token) -> Option<Arc<ServerConfig>> {
    match config(&site.etcd_pki(machine)?, site.clock()) {
        Ok(config) => Some(Arc::new(config)),
        Err(error) => {
            tracing::error!(cluster = %site.cluster(), error, "an etcd has unusable certificates");
            None
        }
    }
}

fn config(pki: &Serving, clock: &Clock) -> Result<ServerConfig, String> {
    let chain = |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let mut roots = RootCertStore::empty();
    for authority in chain(&pki.ca).map_err(|error| format!("its CA: {error}"))? {
        roots.add(authority).map_err(|error| format!("its CA: {error}"))?;
    }
    let certificates = chain(&pki.certificate).map_err(|error| format!("its certificate: {error}"))?;
    // What is wrong with a key might show the key.
    let key = PrivateKeyDer::from_pem_slice(pki.key.expose().as_bytes()).map_err(|_| "its key")?;
    let provider = Arc::new(default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| format!("its CA: {error}"))?;
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(Now(clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates, key)
        .map_err(|_| "key and certificate do not fit together")?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The time that certificates are judged by.
#[derive(Debug)]
struct Now(Clock);

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.0.now().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}
