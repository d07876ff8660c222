//! Random bytes of the operating system, for everything that must not be guessed or met twice.

use std::sync::Arc;

/// Fills a buffer with random bytes.
pub fn system() -> Arc<dyn Fn(&mut [u8]) + Send + Sync> {
    Arc::new(|buffer| {
        aws_lc_rs::rand::fill(buffer)
            .expect("the system's random source must work: nothing can be made without it");
    })
}
