//! How the certificate of a webhook is verified.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// TLS towards webhooks whose certificates `ca_bundle` (PEM) signs; the roots of the system when it
/// is empty.
///
/// # Errors
/// What is wrong with the bundle, in the words of kube-apiserver.
pub fn config(ca_bundle: &[u8]) -> Result<Arc<rustls::ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let mut bundle = Vec::new();
    if ca_bundle.is_empty() {
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
    } else {
        for certificate in CertificateDer::pem_slice_iter(ca_bundle).flatten() {
            if roots.add(certificate.clone()).is_ok() {
                bundle.push(certificate);
            }
        }
    }
    if roots.is_empty() {
        let readable = CertificateDer::pem_slice_iter(ca_bundle).flatten().next().is_some();
        let why = if readable {
            "no valid certificate authority data seen"
        } else {
            "unable to parse bytes as PEM block"
        };
        return Err(format!("unable to load root certificates: {why}"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| format!("unable to load root certificates: {error}"))?;
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { inner, bundle }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The usual rules, except that a certificate which is in the bundle itself is good although it is
/// the certificate of an authority: self-signed ones made with `openssl req -x509` are.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    bundle: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.bundle.iter().any(|known| known.as_ref() == end_entity.as_ref()) =>
            {
                verify_pinned(end_entity, server_name, now)
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Time and name of a certificate that is trusted as it is.
fn verify_pinned(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, rustls::Error> {
    let refuse = |error| Err(rustls::Error::InvalidCertificate(error));
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return refuse(CertificateError::BadEncoding);
    };
    let second = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if second > parsed.validity().not_after.timestamp() {
        return refuse(CertificateError::Expired);
    }
    if second < parsed.validity().not_before.timestamp() {
        return refuse(CertificateError::NotValidYet);
    }
    let names = parsed.subject_alternative_name().ok().flatten();
    let fits = names.as_ref().is_some_and(|names| {
        names.value.general_names.iter().any(|name| match (name, server_name) {
            (GeneralName::DNSName(known), ServerName::DnsName(wanted)) => matches(known, wanted.as_ref()),
            (GeneralName::IPAddress(known), ServerName::IpAddress(wanted)) => match wanted {
                rustls_pki_types::IpAddr::V4(wanted) => *known == wanted.as_ref(),
                rustls_pki_types::IpAddr::V6(wanted) => *known == wanted.as_ref(),
            },
            _ => false,
        })
    });
    if fits {
        return Ok(ServerCertVerified::assertion());
    }
    let presented = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(format!("DnsName({name:?})")),
        _ => None,
    });
    refuse(CertificateError::NotValidForNameContext {
        expected: server_name.to_owned(),
        presented: presented.collect(),
    })
}

/// Whether a DNS name in a certificate, perhaps with a wildcard, is `wanted`.
fn matches(known: &str, wanted: &str) -> bool {
    if known.eq_ignore_ascii_case(wanted) {
        return true;
    }
    match (known.strip_prefix("*."), wanted.split_once('.')) {
        (Some(parent), Some((_, rest))) => parent.eq_ignore_ascii_case(rest),
        _ => false,
    }
}
