//! Private keys: algorithms, and the PEM forms that kubeadm and Cluster API write.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
    SigningKey,
};
use windlass_model::Secret;

use crate::PkiError;

/// What private keys are read from.
const READABLE: &str = "RSA PRIVATE KEY, EC PRIVATE KEY (P-256 or P-384) or PRIVATE KEY";

/// The key algorithms of `encryptionAlgorithm`; RSA-2048 is kubeadm's and Cluster API's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSA, 2048 bits.
    #[default]
    Rsa2048,
    /// RSA, 3072 bits.
    Rsa3072,
    /// RSA, 4096 bits.
    Rsa4096,
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
}

impl Algorithm {
    /// The spelling of kubeadm's `encryptionAlgorithm`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
            Self::Rsa4096 => "RSA-4096",
            Self::EcdsaP256 => "ECDSA-P256",
            Self::EcdsaP384 => "ECDSA-P384",
        }
    }

    /// From kubeadm's spelling; the empty string means the default.
    pub fn parse(text: &str) -> Option<Self> {
        let known = [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::EcdsaP256, Self::EcdsaP384];
        if text.is_empty() {
            return Some(Self::default());
        }
        known.into_iter().find(|algorithm| algorithm.as_str() == text)
    }
}

/// The library's key, by family.
enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// A private key. Cheap to clone; its `Debug` shows the algorithm only.
#[derive(Clone)]
pub struct PrivateKey {
    pair: Arc<Pair>,
    algorithm: Algorithm,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.algorithm.as_str())
    }
}

impl PrivateKey {
    /// A new random key from the operating system's randomness.
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Self, PkiError> {
        let failed = |_| PkiError::Generate(algorithm.as_str());
        let pair = match algorithm {
            Algorithm::Rsa2048 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?),
            Algorithm::Rsa3072 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa3072).map_err(failed)?),
            Algorithm::Rsa4096 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa4096).map_err(failed)?),
            Algorithm::EcdsaP256 => {
                Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?)
            }
            Algorithm::EcdsaP384 => {
                Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(failed)?)
            }
        };
        Ok(Self { pair: Arc::new(pair), algorithm })
    }

    /// Reads a PKCS#1, SEC 1 or PKCS#8 PEM.
    ///
    /// # Errors
    /// [`PkiError::Key`] if it is anything else, encrypted, or of an algorithm that is not ours.
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        let refused = || PkiError::Key { expected: READABLE };
        // An EC key file of openssl starts with a block of curve parameters.
        let block = pem::parse_many(text)
            .map_err(|_| refused())?
            .into_iter()
            .find(|block| block.tag().ends_with("PRIVATE KEY"))
            .ok_or_else(refused)?;
        let der = block.contents();
        let rsa = match block.tag() {
            "RSA PRIVATE KEY" => Some(RsaKeyPair::from_der(der).map_err(|_| refused())?),
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(der).ok(),
            "EC PRIVATE KEY" => None,
            _ => return Err(refused()),
        };
        if let Some(pair) = rsa {
            let algorithm = match pair.public_modulus_len() {
                256 => Algorithm::Rsa2048,
                384 => Algorithm::Rsa3072,
                512 => Algorithm::Rsa4096,
                _ => return Err(refused()),
            };
            return Ok(Self { pair: Arc::new(Pair::Rsa(pair)), algorithm });
        }
        [
            (Algorithm::EcdsaP256, &ECDSA_P256_SHA256_ASN1_SIGNING),
            (Algorithm::EcdsaP384, &ECDSA_P384_SHA384_ASN1_SIGNING),
        ]
        .into_iter()
        .find_map(|(algorithm, curve)| {
            let pair = EcdsaKeyPair::from_private_key_der(curve, der).ok()?;
            Some(Self { pair: Arc::new(Pair::Ecdsa(pair)), algorithm })
        })
        .ok_or_else(refused)
    }

    /// Which algorithm the key is of.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The form kubeadm writes: PKCS#1 for RSA, SEC 1 for ECDSA.
    ///
    /// # Errors
    /// [`PkiError::Key`] if the library cannot encode its own key.
    pub fn to_pem(&self) -> Result<Secret<String>, PkiError> {
        let refused = || PkiError::Key { expected: READABLE };
        let (tag, der) = match &*self.pair {
            Pair::Rsa(pair) => {
                let pkcs8 = pair.as_der().map_err(|_| refused())?;
                ("RSA PRIVATE KEY", pkcs1_of(pkcs8.as_ref()).ok_or_else(refused)?.to_vec())
            }
            Pair::Ecdsa(pair) => {
                ("EC PRIVATE KEY", pair.private_key().as_der().map_err(|_| refused())?.as_ref().to_vec())
            }
        };
        Ok(Secret::new(encode(tag, der)))
    }

    /// PKCS#8, as rustls and most other software like it best.
    ///
    /// # Errors
    /// [`PkiError::Key`] if the library cannot encode its own key.
    pub fn to_pkcs8_pem(&self) -> Result<Secret<String>, PkiError> {
        let refused = |_| PkiError::Key { expected: READABLE };
        let der = match &*self.pair {
            Pair::Rsa(pair) => pair.as_der().map_err(refused)?.as_ref().to_vec(),
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(refused)?.as_ref().to_vec(),
        };
        Ok(Secret::new(encode("PRIVATE KEY", der)))
    }

    /// The public half as a `PUBLIC KEY` PEM (SubjectPublicKeyInfo), the form of `sa.pub`.
    pub fn public_pem(&self) -> String {
        encode("PUBLIC KEY", self.subject_public_key_info())
    }
}

/// PEM with Unix line ends.
pub(crate) fn encode(tag: &str, der: Vec<u8>) -> String {
    pem::encode_config(&Pem::new(tag, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// The `RSAPrivateKey` inside a PKCS#8 document: version, algorithm and then one octet string (RFC 5208 §5).
fn pkcs1_of(pkcs8: &[u8]) -> Option<&[u8]> {
    let (body, _) = element(pkcs8, 0x30)?;
    let (_, rest) = element(body, 0x02)?;
    let (_, rest) = element(rest, 0x30)?;
    Some(element(rest, 0x04)?.0)
}

/// Splits the DER element with `tag` at the head of `input` into its content and what follows.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (bytes.iter().try_fold(0_usize, |sum, byte| Some(sum.checked_mul(256)? + usize::from(*byte)))?, rest)
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

impl PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        match &*self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref(),
            Pair::Ecdsa(pair) => pair.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.algorithm {
            Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => &PKCS_RSA_SHA256,
            Algorithm::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
        }
    }
}

impl SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let random = SystemRandom::new();
        match &*self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| rcgen::Error::RemoteKeyError)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&random, message).map_err(|_| rcgen::Error::RemoteKeyError)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FixtureKeys, KeySource};

    const ALL: [Algorithm; 5] = [
        Algorithm::Rsa2048,
        Algorithm::Rsa3072,
        Algorithm::Rsa4096,
        Algorithm::EcdsaP256,
        Algorithm::EcdsaP384,
    ];

    #[test]
    fn every_pem_form_reads_back_as_the_same_key() {
        for algorithm in ALL {
            let key = FixtureKeys.generate(algorithm, "x").unwrap();
            let classic = key.to_pem().unwrap().into_exposed();
            let head = if algorithm < Algorithm::EcdsaP256 { "RSA PRIVATE KEY" } else { "EC PRIVATE KEY" };
            assert!(classic.starts_with(&format!("-----BEGIN {head}-----\n")), "{algorithm:?}");
            for form in [classic.clone(), key.to_pkcs8_pem().unwrap().into_exposed()] {
                let read = PrivateKey::from_pem(&form).unwrap();
                assert_eq!(read.algorithm(), algorithm);
                assert_eq!(read.to_pem().unwrap().expose(), &classic);
                assert_eq!(read.public_pem(), key.public_pem());
            }
        }
    }

    #[test]
    fn refuses_what_is_no_private_key() {
        let public = FixtureKeys.generate(Algorithm::EcdsaP256, "x").unwrap().public_pem();
        for text in
            ["", "hello", public.as_str(), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
        {
            assert!(PrivateKey::from_pem(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn algorithms_are_spelled_as_kubeadm_spells_them() {
        for algorithm in ALL {
            assert_eq!(Algorithm::parse(algorithm.as_str()), Some(algorithm));
        }
        assert_eq!(Algorithm::parse(""), Some(Algorithm::Rsa2048));
        assert_eq!(Algorithm::parse("DSA"), None);
    }

    #[test]
    fn debug_shows_no_key() {
        let key = FixtureKeys.generate(Algorithm::EcdsaP256, "x").unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(ECDSA-P256)");
    }
}
