//! Random bytes of the operating system, for everything that must not be guessed or met twice.

use std::sync::Arc;

use windlass_apiserver::Random;

/// Fills a buffer with random bytes.
pub fn system() -> Random {
    Arc::new(|buffer| {
        aws_lc_rs::rand::fill(buffer)
            .expect("the system's random source must work: nothing can be made without it");
    })
}
