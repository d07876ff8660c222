//! The key pairs of a kubeadm cluster.

use windlass_model::{Secret, Time};

use crate::{Authority, PkiError, PrivateKey};

/// Days that a certificate authority lives unless the cluster says otherwise (kubeadm's default).
pub const CA_VALIDITY_DAYS: u32 = 3650;

/// What a key pair is for. Each is kept in a Secret `<cluster>-<suffix>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Signs for the API server.
    Cluster,
    /// Signs service account tokens: a bare key pair, no certificate.
    ServiceAccount,
    /// Signs for aggregated API servers.
    FrontProxy,
    /// Signs for etcd.
    Etcd,
}

impl Purpose {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::ServiceAccount, Self::FrontProxy, Self::Etcd];

    /// The end of the Secret's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Cluster => "ca",
            Self::ServiceAccount => "sa",
            Self::FrontProxy => "proxy",
            Self::Etcd => "etcd",
        }
    }

    /// Where kubeadm looks for the two files, below its certificates directory.
    pub fn files(self) -> (&'static str, &'static str) {
        match self {
            Self::Cluster => ("ca.crt", "ca.key"),
            Self::ServiceAccount => ("sa.pub", "sa.key"),
            Self::FrontProxy => ("front-proxy-ca.crt", "front-proxy-ca.key"),
            Self::Etcd => ("etcd/ca.crt", "etcd/ca.key"),
        }
    }
}

/// A key pair as PEM texts: `tls.crt` and `tls.key` of its Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate; the public key for service accounts.
    pub certificate: String,
    /// The private key; absent where only the certificate is known (external etcd).
    pub key: Option<Secret<String>>,
}

impl KeyPair {
    /// The key pair of `purpose` from a fresh key.
    ///
    /// # Errors
    /// [`PkiError`] if signing or encoding fails.
    pub fn make(purpose: Purpose, key: &PrivateKey, validity_days: u32, now: Time) -> Result<Self, PkiError> {
        let certificate = match purpose {
            Purpose::ServiceAccount => key.public_pem(),
            Purpose::Cluster | Purpose::FrontProxy | Purpose::Etcd => {
                Authority::self_signed(key, "kubernetes", validity_days, now)?.certificate_pem().to_owned()
            }
        };
        Ok(Self { certificate, key: Some(key.to_pem()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, FixtureKeys, KeySource};

    #[test]
    fn service_accounts_get_a_public_key_and_the_others_an_authority() {
        for purpose in Purpose::ALL {
            let key = FixtureKeys.generate(Algorithm::Rsa2048, purpose.suffix()).unwrap();
            let pair =
                KeyPair::make(purpose, &key, CA_VALIDITY_DAYS, Time::from_secs(1_790_000_000)).unwrap();
            let private = pair.key.unwrap();
            assert!(private.expose().starts_with("-----BEGIN RSA PRIVATE KEY-----"));
            let authority = Authority::from_pem(&pair.certificate, private.expose());
            assert_eq!(authority.is_ok(), purpose != Purpose::ServiceAccount, "{purpose:?}");
            if purpose == Purpose::ServiceAccount {
                // As long as upstream's `sa.pub` in the recording.
                assert_eq!(pair.certificate.len(), 451);
                assert!(pair.certificate.starts_with("-----BEGIN PUBLIC KEY-----"));
            }
        }
    }
}
