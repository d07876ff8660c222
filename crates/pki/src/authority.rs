//! Certificate authorities and the certificates they sign.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use windlass_model::Time;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::key::encode;
use crate::{PkiError, PrivateKey};

/// Certificates are valid from a little earlier, for machines whose clocks lag (as upstream).
const CLOCK_SKEW: i64 = 5 * 60;

/// What a certificate may be used for in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Its holder dials.
    Client,
    /// Its holder listens.
    Server,
    /// Both, as etcd's members need.
    Both,
}

/// What a signed certificate says.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Kubernetes' user name.
    pub common_name: String,
    /// Kubernetes' groups.
    pub organizations: Vec<String>,
    /// Names of a server.
    pub dns_names: Vec<String>,
    /// Addresses of a server.
    pub ip_addresses: Vec<IpAddr>,
    /// Client, server or both.
    pub usage: Usage,
    /// How long it is valid from now on.
    pub valid_for: Duration,
}

impl Leaf {
    /// A client certificate for `common_name` in `organizations`.
    pub fn client(common_name: &str, organizations: &[&str], valid_for: Duration) -> Self {
        Self {
            common_name: common_name.to_owned(),
            organizations: organizations.iter().map(|&name| name.to_owned()).collect(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usage: Usage::Client,
            valid_for,
        }
    }

    /// A server certificate for `names`, each a DNS name or an IP address.
    pub fn server(common_name: &str, names: &[String], valid_for: Duration) -> Self {
        let (ip_addresses, dns_names) =
            names.iter().fold((Vec::new(), Vec::new()), |(mut ips, mut dns), name| {
                match name.parse() {
                    Ok(ip) => ips.push(ip),
                    Err(_) => dns.push(name.clone()),
                }
                (ips, dns)
            });
        Self {
            common_name: common_name.to_owned(),
            organizations: Vec::new(),
            dns_names,
            ip_addresses,
            usage: Usage::Server,
            valid_for,
        }
    }
}

/// A certificate authority: a CA certificate with its key.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, PrivateKey>,
}

impl Authority {
    /// A new self-signed authority.
    ///
    /// # Errors
    /// [`PkiError`] if the name or time cannot be encoded, or signing fails.
    pub fn self_signed(
        key: &PrivateKey,
        common_name: &str,
        validity_days: u32,
        now: Time,
    ) -> Result<Self, PkiError> {
        let day = Duration::from_hours(24);
        Self::self_signed_for(key, common_name, day.saturating_mul(validity_days), now)
    }

    /// A new self-signed authority that is valid for a time in whole seconds.
    ///
    /// # Errors
    /// As [`Authority::self_signed`].
    pub fn self_signed_for(
        key: &PrivateKey,
        common_name: &str,
        valid_for: Duration,
        now: Time,
    ) -> Result<Self, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = vec![dns_name(common_name)?];
        params.not_before = moment(now.as_secs() - CLOCK_SKEW)?;
        params.not_after = moment(now.after(valid_for).as_secs())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        params.serial_number = Some(serial(&[common_name.as_bytes(), &key.subject_public_key_info()], now));
        let certificate = params.self_signed(key).map_err(|_| PkiError::Sign(common_name.to_owned()))?;
        Ok(Self {
            certificate: encode("CERTIFICATE", certificate.der().to_vec()),
            issuer: Issuer::new(params, key.clone()),
        })
    }

    /// An existing authority.
    ///
    /// # Errors
    /// [`PkiError`] if one of the two cannot be read, the certificate is no CA's, or they do not belong
    /// together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, PkiError> {
        let key = PrivateKey::from_pem(key)?;
        let der = first_certificate(certificate)?;
        let parsed = parse(&der)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(PkiError::Mismatch);
        }
        if !parsed.is_ca() {
            return Err(PkiError::Certificate("it is not the certificate of an authority".into()));
        }
        let issuer = Issuer::from_ca_cert_der(&der.as_slice().into(), key)
            .map_err(|error| PkiError::Certificate(error.to_string()))?;
        Ok(Self { certificate: certificate.to_owned(), issuer })
    }

    /// The authority's own certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// Signs a certificate for the holder of `key`.
    ///
    /// # Errors
    /// [`PkiError`] if a name or time cannot be encoded, or signing fails.
    pub fn issue(&self, key: &PrivateKey, leaf: &Leaf, now: Time) -> Result<String, PkiError> {
        let Leaf { common_name, organizations, dns_names, ip_addresses, usage, valid_for } = leaf;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for organization in organizations {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = dns_names
            .iter()
            .map(|name| dns_name(name))
            .chain(ip_addresses.iter().map(|&ip| Ok(SanType::IpAddress(ip))))
            .collect::<Result<_, _>>()?;
        params.not_before = moment(now.as_secs() - CLOCK_SKEW)?;
        params.not_after = moment(now.after(*valid_for).as_secs())?;
        params.is_ca = IsCa::NoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = match usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        let authority = self.issuer.key().subject_public_key_info();
        params.serial_number =
            Some(serial(&[common_name.as_bytes(), &key.subject_public_key_info(), &authority], now));
        let certificate =
            params.signed_by(key, &self.issuer).map_err(|_| PkiError::Sign(common_name.clone()))?;
        Ok(encode("CERTIFICATE", certificate.der().to_vec()))
    }
}

/// kubeadm's `discovery-token-ca-cert-hash`: `sha256:` and the digest of the certificate's public key
/// (SubjectPublicKeyInfo), of the first certificate in `pem`.
///
/// # Errors
/// [`PkiError::Certificate`] if there is none.
pub fn public_key_hash(pem: &str) -> Result<String, PkiError> {
    let der = first_certificate(pem)?;
    let digest = Sha256::digest(parse(&der)?.public_key().raw);
    Ok(format!("sha256:{}", hex::encode(digest)))
}

/// From when until when the first certificate in `pem` is valid.
///
/// # Errors
/// [`PkiError::Certificate`] if there is none.
pub fn certificate_times(pem: &str) -> Result<(Time, Time), PkiError> {
    let der = first_certificate(pem)?;
    let validity = parse(&der)?.validity().clone();
    Ok((Time::from_secs(validity.not_before.timestamp()), Time::from_secs(validity.not_after.timestamp())))
}

/// The DER of the first certificate of a PEM bundle.
fn first_certificate(text: &str) -> Result<Vec<u8>, PkiError> {
    pem::parse_many(text)
        .map_err(|error| PkiError::Certificate(error.to_string()))?
        .into_iter()
        .find(|block| block.tag() == "CERTIFICATE")
        .map(pem::Pem::into_contents)
        .ok_or_else(|| PkiError::Certificate("there is no CERTIFICATE block in it".into()))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| PkiError::Certificate(error.to_string()))
}

fn dns_name(name: &str) -> Result<SanType, PkiError> {
    let ascii = name.try_into().map_err(|_| PkiError::Name {
        name: name.to_owned(),
        problem: "it has characters outside ASCII".into(),
    })?;
    Ok(SanType::DnsName(ascii))
}

fn moment(seconds: i64) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| PkiError::Time(seconds))
}

/// A serial number derived from what is signed: positive, 128 bits (RFC 5280 allows 160).
fn serial(parts: &[&[u8]], now: Time) -> SerialNumber {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.update(now.0.to_be_bytes());
    let mut bytes = hash.finalize()[..16].to_vec();
    bytes[0] = (bytes[0] & 0x7f) | 0x01;
    SerialNumber::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, FixtureKeys, KeySource};

    const NOW: Time = Time(1_790_000_000_000_000);
    const YEAR: Duration = Duration::from_hours(24 * 365);

    fn key(algorithm: Algorithm, purpose: &str) -> PrivateKey {
        FixtureKeys.generate(algorithm, purpose).unwrap()
    }

    /// Checks `leaf` as a TLS stack would.
    fn verify(ca: &str, leaf: &str, at: Time, usage: webpki::KeyUsage) -> Result<(), webpki::Error> {
        let der = |pem| rustls_pki_types::CertificateDer::from(first_certificate(pem).unwrap());
        let (ca, leaf) = (der(ca), der(leaf));
        let anchor = webpki::anchor_from_trusted_cert(&ca).unwrap();
        webpki::EndEntityCert::try_from(&leaf)
            .unwrap()
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor],
                &[],
                rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(
                    at.as_secs().try_into().unwrap(),
                )),
                usage,
                None,
                None,
            )
            .map(|_| ())
    }

    #[test]
    fn a_tls_stack_accepts_what_an_authority_signs_and_nothing_else() {
        for algorithm in [Algorithm::Rsa2048, Algorithm::EcdsaP256, Algorithm::EcdsaP384] {
            let ca_key = key(algorithm, "ca");
            let ca = Authority::self_signed(&ca_key, "kubernetes", 3650, NOW).unwrap();
            let other =
                Authority::self_signed(&key(Algorithm::Rsa3072, "b"), "kubernetes", 3650, NOW).unwrap();
            let leaf = Leaf::client("kubernetes-admin", &["system:masters"], YEAR);
            let signed = ca.issue(&key(algorithm, "leaf"), &leaf, NOW).unwrap();
            let client = webpki::KeyUsage::client_auth;
            assert!(verify(ca.certificate_pem(), &signed, NOW, client()).is_ok(), "{algorithm:?}");
            assert!(verify(other.certificate_pem(), &signed, NOW, client()).is_err());
            assert!(verify(ca.certificate_pem(), &signed, NOW, webpki::KeyUsage::server_auth()).is_err());
            let late = NOW.after(YEAR + Duration::from_secs(1));
            assert!(verify(ca.certificate_pem(), &signed, late, client()).is_err());
            // Read back from PEM it signs the same bytes (RSA signatures are deterministic).
            let again = Authority::from_pem(ca.certificate_pem(), ca_key.to_pem().unwrap().expose()).unwrap();
            let second = again.issue(&key(algorithm, "leaf"), &leaf, NOW).unwrap();
            assert!(verify(ca.certificate_pem(), &second, NOW, client()).is_ok());
            assert_eq!(second == signed, algorithm == Algorithm::Rsa2048);
        }
    }

    #[test]
    fn an_authority_needs_its_own_key() {
        let ca = Authority::self_signed(&key(Algorithm::Rsa2048, "ca"), "kubernetes", 3650, NOW).unwrap();
        let foreign = key(Algorithm::Rsa4096, "x").to_pem().unwrap();
        let error = Authority::from_pem(ca.certificate_pem(), foreign.expose()).unwrap_err();
        assert_eq!(error, PkiError::Mismatch);
        let leaf_key = key(Algorithm::EcdsaP256, "leaf");
        let leaf = ca.issue(&leaf_key, &Leaf::client("x", &[], YEAR), NOW).unwrap();
        let error = Authority::from_pem(&leaf, leaf_key.to_pem().unwrap().expose()).unwrap_err();
        assert!(matches!(error, PkiError::Certificate(_)), "{error}");
    }

    #[test]
    fn says_how_long_a_certificate_is_valid() {
        let ca = Authority::self_signed(&key(Algorithm::Rsa2048, "ca"), "kubernetes", 3650, NOW).unwrap();
        let (from, to) = certificate_times(ca.certificate_pem()).unwrap();
        assert_eq!(from, Time::from_secs(NOW.as_secs() - 300));
        assert_eq!(to, Time::from_secs(NOW.as_secs() + 3650 * 86_400));
        assert!(certificate_times("nonsense").is_err());
    }

    #[test]
    fn hashes_the_public_key_as_kubeadm_does() {
        // openssl pkey -in rsa4096.pem -pubout -outform der | openssl dgst -sha256
        let key = key(Algorithm::Rsa4096, "ca");
        let ca = Authority::self_signed(&key, "kubernetes", 3650, NOW).unwrap();
        assert_eq!(
            public_key_hash(ca.certificate_pem()).unwrap(),
            include_str!("fixtures/rsa4096.hash").trim()
        );
    }
}
