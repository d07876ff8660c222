//! Certificates, keys and kubeconfigs.
//!
//! Everything here blocks (an RSA key takes 50–300 ms of CPU): callers use a blocking pool, unless the
//! [`KeySource`] says that it is instant. Time is an argument, and serial numbers are derived from what is
//! signed, so that the same inputs give the same certificate.

mod authority;
mod cluster;
mod error;
mod key;
mod kubeconfig;
mod source;

pub use authority::{Authority, Leaf, Usage, certificate_times, public_key_hash};
pub use cluster::{CA_VALIDITY_DAYS, KeyPair, Purpose};
pub use error::PkiError;
pub use key::{Algorithm, PrivateKey};
pub use kubeconfig::{Identity, Kubeconfig, KubeconfigError};
pub use source::{FixtureKeys, KeySource, SystemKeys};
