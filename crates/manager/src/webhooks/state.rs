//! The authorities of the webhooks, as a Secret keeps them.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use windlass_model::{Secret, Time};
use windlass_pki::{Algorithm, Authority, KeySource, PkiError, PrivateKey, certificate_times};

use super::plan::{Authorities, Policy};

/// An authority's certificate and key, in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    key: Secret<String>,
    /// Until when it is valid.
    pub expires: Time,
}

impl Pair {
    /// A new authority.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn make(keys: &dyn KeySource, policy: &Policy, now: Time) -> Result<Self, PkiError> {
        let key = keys.generate(Algorithm::EcdsaP256, "windlass-webhooks")?;
        let authority = Authority::self_signed_for(&key, "windlass-webhooks", policy.lifetime, now)?;
        let certificate = authority.certificate_pem().to_owned();
        let (_, expires) = certificate_times(&certificate)?;
        Ok(Self { certificate, key: key.to_pem()?, expires })
    }

    fn read(certificate: String, key: String) -> Option<Self> {
        Authority::from_pem(&certificate, &key).ok()?;
        let (_, expires) = certificate_times(&certificate).ok()?;
        Some(Self { certificate, key: Secret::new(key), expires })
    }

    /// Signs with it.
    ///
    /// # Errors
    /// When the pair does not go together.
    pub fn authority(&self) -> Result<Authority, PkiError> {
        Authority::from_pem(&self.certificate, self.key.expose())
    }

    /// A key for a certificate of its own.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new_key(keys: &dyn KeySource) -> Result<PrivateKey, PkiError> {
        keys.generate(Algorithm::EcdsaP256, "windlass-webhooks-serving")
    }
}

/// What a Secret keeps. Parts that cannot be read count as absent: they are made anew.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The authority that signs.
    pub active: Option<Pair>,
    /// The one that will.
    pub next: Option<Pair>,
    /// The certificate of the one that did, and its end.
    pub previous: Option<(String, Time)>,
}

const ACTIVE: [&str; 2] = ["ca.crt", "ca.key"];
const NEXT: [&str; 2] = ["next-ca.crt", "next-ca.key"];
const PREVIOUS: &str = "previous-ca.crt";

impl Kept {
    /// Reads a Secret.
    pub fn of(secret: &SecretObject) -> Self {
        let data = secret.data.clone().unwrap_or_default();
        let text = |key: &str| data.get(key).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
        let pair = |[certificate, key]: [&str; 2]| Pair::read(text(certificate)?, text(key)?);
        let previous = text(PREVIOUS).and_then(|pem| {
            let (_, expires) = certificate_times(&pem).ok()?;
            Some((pem, expires))
        });
        Self { active: pair(ACTIVE), next: pair(NEXT), previous }
    }

    /// The data of the Secret.
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: &str| {
            data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
        };
        for (names, pair) in [(ACTIVE, &self.active), (NEXT, &self.next)] {
            if let Some(pair) = pair {
                put(names[0], &pair.certificate);
                put(names[1], pair.key.expose());
            }
        }
        if let Some((certificate, _)) = &self.previous {
            put(PREVIOUS, certificate);
        }
        data
    }

    /// The ends of the authorities.
    pub fn ends(&self) -> Authorities {
        Authorities {
            active: self.active.as_ref().map(|pair| pair.expires),
            next: self.next.as_ref().map(|pair| pair.expires),
            previous: self.previous.as_ref().map(|(_, expires)| *expires),
        }
    }

    /// Everything API servers must trust, in PEM; in the order of their ends, so that handing authority over
    /// changes nothing.
    pub fn bundle(&self) -> String {
        let pairs = [&self.active, &self.next].into_iter().flatten();
        let mut all: Vec<(Time, &str)> =
            pairs.map(|pair| (pair.expires, pair.certificate.as_str())).collect();
        all.extend(self.previous.iter().map(|(certificate, expires)| (*expires, certificate.as_str())));
        all.sort_unstable();
        all.into_iter().map(|(_, certificate)| certificate).collect()
    }

    /// With a new authority as the only one.
    pub fn begun(active: Pair) -> Self {
        Self { active: Some(active), next: None, previous: None }
    }

    /// With the next authority signing.
    pub fn promoted(self, now: Time) -> Self {
        let previous = self.active.map(|pair| (pair.certificate, pair.expires));
        Self { active: self.next, next: None, previous: previous.filter(|(_, expires)| *expires > now) }
    }

    /// Without what has expired.
    pub fn without_expired(self, now: Time) -> Self {
        Self {
            next: self.next.filter(|pair| pair.expires > now),
            previous: self.previous.filter(|(_, expires)| *expires > now),
            ..self
        }
    }
}
