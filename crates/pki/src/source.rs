//! Where private keys come from: the operating system, or fixtures in the simulator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cpu_time::ThreadTime;
use sha2::{Digest, Sha256};
use windlass_model::{Secret, short_hash};

use crate::{Algorithm, PkiError, PrivateKey};

/// Makes private keys. Randomness is an argument of everything that needs it; for keys, this is it.
pub trait KeySource: Send + Sync {
    /// A key for `purpose`, a name such as `default/prod/ca` that is unique among the keys of one plane.
    ///
    /// Random sources ignore the purpose; [`FixtureKeys`] chooses by it.
    ///
    /// # Errors
    /// [`PkiError::Generate`] if the library refuses.
    fn generate(&self, algorithm: Algorithm, purpose: &str) -> Result<PrivateKey, PkiError>;

    /// 32 bytes that nobody can guess, for tokens; `purpose` as in [`generate`](Self::generate).
    ///
    /// # Errors
    /// [`PkiError::Random`] if the operating system has no randomness.
    fn random(&self, purpose: &str) -> Result<Secret<[u8; 32]>, PkiError>;

    /// Whether `generate` costs next to nothing, so that it may be called where blocking is forbidden.
    fn is_instant(&self) -> bool {
        false
    }
}

/// Random keys, counted: what they cost is reported apart from everything else.
#[derive(Debug, Default)]
pub struct SystemKeys {
    made: AtomicU64,
    nanoseconds: AtomicU64,
}

impl SystemKeys {
    /// How many keys were generated.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// CPU time of the generating threads inside the generator.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

impl KeySource for SystemKeys {
    fn generate(&self, algorithm: Algorithm, _purpose: &str) -> Result<PrivateKey, PkiError> {
        // A kernel without thread clocks costs us the figure, not the key.
        let before = ThreadTime::try_now().ok();
        let key = PrivateKey::generate(algorithm);
        let spent = before.and_then(|before| before.try_elapsed().ok()).unwrap_or_default();
        self.made.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        key
    }

    fn random(&self, _purpose: &str) -> Result<Secret<[u8; 32]>, PkiError> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| PkiError::Random)?;
        Ok(Secret::new(bytes))
    }
}

/// Fixed keys, published with the source: for simulations and tests only, worthless as secrets.
///
/// The same purpose always gets the same key; different purposes may share one.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixtureKeys;

const RSA_2048: [&str; 8] = [
    include_str!("fixtures/rsa2048-0.pem"),
    include_str!("fixtures/rsa2048-1.pem"),
    include_str!("fixtures/rsa2048-2.pem"),
    include_str!("fixtures/rsa2048-3.pem"),
    include_str!("fixtures/rsa2048-4.pem"),
    include_str!("fixtures/rsa2048-5.pem"),
    include_str!("fixtures/rsa2048-6.pem"),
    include_str!("fixtures/rsa2048-7.pem"),
];
const RSA_3072: [&str; 1] = [include_str!("fixtures/rsa3072.pem")];
const RSA_4096: [&str; 1] = [include_str!("fixtures/rsa4096.pem")];
const P256: [&str; 4] = [
    include_str!("fixtures/p256-0.pem"),
    include_str!("fixtures/p256-1.pem"),
    include_str!("fixtures/p256-2.pem"),
    include_str!("fixtures/p256-3.pem"),
];
const P384: [&str; 2] = [include_str!("fixtures/p384-0.pem"), include_str!("fixtures/p384-1.pem")];

impl KeySource for FixtureKeys {
    fn generate(&self, algorithm: Algorithm, purpose: &str) -> Result<PrivateKey, PkiError> {
        let fixtures: &[&str] = match algorithm {
            Algorithm::Rsa2048 => &RSA_2048,
            Algorithm::Rsa3072 => &RSA_3072,
            Algorithm::Rsa4096 => &RSA_4096,
            Algorithm::EcdsaP256 => &P256,
            Algorithm::EcdsaP384 => &P384,
        };
        let hash: usize = short_hash(&[purpose]).bytes().map(usize::from).sum();
        PrivateKey::from_pem(fixtures[hash % fixtures.len()])
    }

    fn random(&self, purpose: &str) -> Result<Secret<[u8; 32]>, PkiError> {
        Ok(Secret::new(Sha256::digest(purpose.as_bytes()).into()))
    }

    fn is_instant(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixtures_depend_on_the_purpose_alone() {
        let public = |purpose: &str| FixtureKeys.generate(Algorithm::Rsa2048, purpose).unwrap().public_pem();
        assert_eq!(public("default/a/ca"), public("default/a/ca"));
        let distinct: std::collections::BTreeSet<_> =
            (0..50).map(|n| public(&format!("default/c{n}/ca"))).collect();
        assert_eq!(distinct.len(), RSA_2048.len());
    }

    #[test]
    fn random_bytes_are_random_only_where_they_should_be() {
        let bytes = |keys: &dyn KeySource| *keys.random("default/prod/token").unwrap().expose();
        assert_eq!(bytes(&FixtureKeys), bytes(&FixtureKeys));
        assert_ne!(bytes(&SystemKeys::default()), bytes(&SystemKeys::default()));
    }

    #[test]
    fn system_keys_differ_and_are_counted() {
        let keys = SystemKeys::default();
        let one = keys.generate(Algorithm::Rsa2048, "x").unwrap();
        let other = keys.generate(Algorithm::Rsa2048, "x").unwrap();
        assert_ne!(one.public_pem(), other.public_pem());
        assert_eq!(keys.made(), 2);
        assert!(keys.cpu_time() > Duration::ZERO);
    }
}
