//! `cargo xtask differential`: the suite of `tests/differential`, with the programs that `node-image` keeps.

use anyhow::Result;
use windlass_differential::commands::Differential;
use windlass_differential::real::{Programs, VERSION};

use crate::node_image;

/// Builds the real server if it is needed and not there yet, then does what was asked.
pub fn run(task: &Differential) -> Result<()> {
    let programs = if task.needs_programs() {
        let kubernetes = node_image::programs(VERSION)?;
        let etcd = kubernetes.with_file_name("etcd");
        Some(Programs { kubernetes, etcd })
    } else {
        None
    };
    task.run(programs)
}
