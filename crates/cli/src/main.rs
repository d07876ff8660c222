//! The `windlass` binary: parses flags, calls the library, prints the result.

mod cli;
mod commands;
mod failure;
mod live;
mod logs;
mod management;
mod network;
mod output;
mod tree;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::from(failure::exit::DONE),
        Err(failure) => {
            output::note(&failure.render());
            ExitCode::from(failure::exit::FAILED)
        }
    }
}
