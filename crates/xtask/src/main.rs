//! Development tasks:
//! `cargo xtask gen | check | test | differential | webhooks | bench | sim | fuzz | e2e | nightly`.
//!
//! `.ci/run` calls `check` and then `test`; a person runs the same two.

mod bench;
mod check;
mod command;
mod differential;
mod e2e;
mod fuzz;
mod generate;
mod kinds;
mod layers;
mod links;
mod node_image;
mod sim;
mod webhooks;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Development tasks of Windlass
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the generated files: CRDs and the command line reference
    Gen {
        /// Change nothing; fail if a file is not up to date
        #[arg(long)]
        check: bool,
    },
    /// Write the schemas and messages of Kubernetes' own kinds anew, from a running kube-apiserver and the Go types
    Kinds(kinds::Kinds),
    /// Everything that needs no test run: format, lints, layers, generated files, links, licences
    Check,
    /// Run all tests
    Test {
        /// Passed on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Measure what clusters cost
    Bench(bench::Bench),
    /// Play request scripts against a real kube-apiserver and against ours
    Differential(windlass_differential::commands::Differential),
    /// Make the images that tests run nodes of, and give them to the container engine
    NodeImage(node_image::NodeImage),
    /// Run the whole system under paused time, with crashes
    Sim(sim::Sim),
    /// Hold the laws of decoders, patches and apply against hostile inputs
    Fuzz(fuzz::Fuzz),
    /// Let controllers written in Go work our server, for longer than the tests do
    Churn {
        /// For how long
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// Make real clusters with the real binary
    E2e(e2e::E2e),
    /// Let a real kube-apiserver call our webhooks, while their certificates are changed
    Webhooks,
    /// What takes longer than a change may wait: all crashes, many seeds, the benchmark with its bounds, real clusters
    Nightly,
    /// The loader of `bench`, in a process of its own
    #[command(hide = true)]
    BenchLoad(bench::LoadArgs),
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Gen { check } => generate::run(check),
        Task::Kinds(kinds) => kinds.run(),
        Task::Check => check::run_checks(),
        Task::Test { rest } => check::test(&rest),
        Task::Bench(bench) => bench.run(),
        Task::Differential(task) => differential::run(&task),
        Task::NodeImage(images) => images.run(),
        Task::Sim(sim) => sim.run(),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Churn { seconds } => check::churn(seconds),
        Task::E2e(e2e) => e2e.run(),
        Task::Webhooks => webhooks::run(),
        Task::Nightly => check::nightly(),
        Task::BenchLoad(load) => load.run(),
    }
}
