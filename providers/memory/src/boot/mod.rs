//! The first boot of a machine: what cloud-init and kubeadm would read out of its bootstrap data.
//!
//! Pure: bytes in, [`Boot`] or a [`Refusal`] out. Nothing here knows the cluster; what a boot means for
//! one is decided by the world.

mod cloud_init;
mod kubeadm;
mod refusal;

pub use cloud_init::CloudInit;
pub use kubeadm::{Boot, Init, Join, Pki, Registration, Taint};
pub use refusal::Refusal;

/// Reads the bootstrap data of the machine `hostname`.
///
/// # Errors
/// A [`Refusal`] that says what is missing or cannot be read.
pub fn read(data: &[u8], hostname: &str) -> Result<Boot, Refusal> {
    kubeadm::read(&CloudInit::parse(data, hostname)?, hostname)
}
