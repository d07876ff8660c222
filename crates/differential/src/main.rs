//! `differential check | record | drift`: the same as `cargo xtask differential`, built faster.

use std::process::ExitCode;

use clap::Parser;
use windlass_differential::commands::{Differential, say};

fn main() -> ExitCode {
    match Differential::parse().run(None) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by returning it: diffs are long enough without a backtrace.
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
