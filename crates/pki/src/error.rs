//! Why a key or certificate could not be made or read.

use thiserror::Error;

/// Errors of keys and certificates. None of them shows key material.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PkiError {
    /// The operating system or the cryptographic library refused.
    #[error("cannot generate a {0} key")]
    Generate(&'static str),
    /// The operating system has no randomness to give.
    #[error("cannot get random bytes from the operating system")]
    Random,
    /// The worker that should have made a key has ended without one.
    #[error("cannot make a key: its worker has ended")]
    Worker,
    /// Something that should be a private key is not one we know.
    #[error("cannot read the private key: it must be an unencrypted PEM of kind {expected}")]
    Key {
        /// What is accepted.
        expected: &'static str,
    },
    /// Something that should be a certificate is not one.
    #[error("cannot read the certificate: {0}")]
    Certificate(String),
    /// A certificate and a key that do not belong together.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// A name that a certificate cannot carry.
    #[error("cannot put `{name}` into a certificate: {problem}")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A time outside what a certificate can say (years 0 to 9999).
    #[error("cannot put the time {0} s after the epoch into a certificate")]
    Time(i64),
    /// Signing failed.
    #[error("cannot sign the certificate of `{0}`")]
    Sign(String),
}
