//! The certificate authority that both servers, the webhooks and the clients of a run share.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use windlass_model::Time;
use windlass_pki::{Algorithm, Authority, KeySource, Leaf, PrivateKey, SystemKeys};

/// Longer than any run.
const VALID: Duration = Duration::from_hours(24);

/// An authority made for one run.
#[derive(Debug)]
pub struct Trust {
    authority: Authority,
    authority_key: PrivateKey,
    key: PrivateKey,
}

/// A certificate chain and its key, as PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Trust {
    /// A new authority.
    ///
    /// # Errors
    /// When the library makes no keys.
    pub fn new() -> Result<Self> {
        let keys = SystemKeys::default();
        let key = || keys.generate(Algorithm::EcdsaP256, "differential").context("cannot make a key");
        let authority_key = key()?;
        let authority = Authority::self_signed(&authority_key, "differential-ca", 2, moment())?;
        Ok(Self { authority, authority_key, key: key()? })
    }

    /// The authority's certificate, as PEM.
    pub fn ca(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// The authority's key, as PEM: what a signer of certificates needs.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn ca_key(&self) -> Result<String> {
        Ok(self.authority_key.to_pkcs8_pem()?.expose().clone())
    }

    /// The certificate of a server on this machine, also known by `names`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn server(&self, names: &[&str]) -> Result<Pair> {
        let names: Vec<String> =
            ["127.0.0.1", "localhost"].iter().chain(names).map(|n| (*n).to_owned()).collect();
        self.issue(&Leaf::server("differential", &names, VALID))
    }

    /// The certificate of a client.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn client(&self, name: &str, groups: &[&str]) -> Result<Pair> {
        self.issue(&Leaf::client(name, groups, VALID))
    }

    fn issue(&self, leaf: &Leaf) -> Result<Pair> {
        let certificate = self.authority.issue(&self.key, leaf, moment())?;
        Ok(Pair { certificate, key: self.key.to_pkcs8_pem()?.expose().clone() })
    }
}

impl Pair {
    /// As rustls takes them.
    ///
    /// # Errors
    /// When the PEM cannot be read.
    pub fn der(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain =
            CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        Ok((chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes())?))
    }
}

/// The time of the machine: certificates are checked against it by others.
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "real servers know no other time")]
    Timestamp::now()
}

fn moment() -> Time {
    Time(now().as_microsecond())
}
