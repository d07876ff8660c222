//! `cargo xtask sim`: the simulator from the command line.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;
use windlass_sim::defect::Defect;
use windlass_sim::exhaustive::{self, Report};
use windlass_sim::run::{self, Outcome};
use windlass_sim::scenario::{self, Scenario};

use crate::command::{print, say};

/// How many failures of random seeds are printed with their transcript.
const SHOWN: usize = 3;

/// The whole system in one thread under paused time
#[derive(Args)]
pub struct Sim {
    /// Crash before and after every effect of each scenario
    #[arg(long, conflicts_with = "seeds")]
    exhaustive: bool,
    /// Run this many seeds of random crashes, faults and delays
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 1)]
    first_seed: u64,
    /// Only this scenario; may be given several times
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Plant a defect that the run should find: no-token, early-finalizer or stale-cache
    #[arg(long, value_name = "DEFECT", conflicts_with = "seeds")]
    plant: Option<String>,
    /// Print what the system logs, as in RUST_LOG; use it with one seed of one scenario
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

impl Sim {
    /// Runs what was asked for; without anything, each scenario once, and prints what happens.
    pub fn run(&self) -> Result<()> {
        if let Some(filter) = &self.log {
            let filter: tracing_subscriber::EnvFilter = filter.parse().context("cannot read --log")?;
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .without_time()
                .init();
        }
        let scenarios = self.scenarios()?;
        let plant = self.plant.as_deref();
        let defect =
            plant.map(|name| Defect::named(name).with_context(|| format!("no defect is called {name}")));
        let defect = defect.transpose()?;
        match (self.exhaustive, self.seeds) {
            (true, _) => exhaustive(&scenarios, self.first_seed, defect),
            (false, Some(seeds)) => random(&scenarios, self.first_seed, seeds),
            (false, None) => plain(&scenarios, self.first_seed, defect),
        }
    }

    fn scenarios(&self) -> Result<Vec<Scenario>> {
        if self.scenario.is_empty() {
            return Ok(scenario::all());
        }
        let names = self.scenario.iter();
        let known = || scenario::all().iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
        names
            .map(|name| {
                scenario::named(name)
                    .with_context(|| format!("no scenario is called {name}; there are {}", known()))
            })
            .collect()
    }
}

fn plain(scenarios: &[Scenario], seed: u64, defect: Option<Defect>) -> Result<()> {
    let mut failed = false;
    for scenario in scenarios {
        let Outcome { violations, transcript, .. } = run::plain(scenario, seed, false, defect);
        print(&format!("== {}\n{transcript}", scenario.name));
        failed |= !violations.is_empty();
        for violation in violations {
            print(&format!("!! {violation}"));
        }
    }
    if failed {
        bail!("a scenario went wrong without anybody's help");
    }
    Ok(())
}

fn exhaustive(scenarios: &[Scenario], seed: u64, defect: Option<Defect>) -> Result<()> {
    let reports: Vec<Report> = thread::scope(|scope| {
        let runs: Vec<_> = scenarios
            .iter()
            .map(|scenario| scope.spawn(move || exhaustive::run(scenario, seed, defect)))
            .collect();
        runs.into_iter().filter_map(|run| run.join().ok()).collect()
    });
    if reports.len() != scenarios.len() {
        bail!("the simulator itself panicked");
    }
    let mut sum = Report::default();
    for (scenario, report) in scenarios.iter().zip(reports) {
        say(&format!("{}: {} crashes, {} failures", scenario.name, report.crashes, report.failures.len()));
        sum.add(report);
    }
    print(&sum.to_string());
    if !sum.is_good() {
        bail!("not every crash was survived, or not every site was crashed");
    }
    Ok(())
}

/// Runs the seeds on all cores, each run in one thread.
fn random(scenarios: &[Scenario], first: u64, seeds: u64) -> Result<()> {
    let next = AtomicU64::new(first);
    let end = first.saturating_add(seeds);
    let worker = || {
        let mut failures = Vec::new();
        let mut lives = 0;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return (failures, lives);
            }
            for scenario in scenarios {
                let outcome = run::random(scenario, seed);
                lives += u64::from(outcome.lives);
                if !outcome.violations.is_empty() {
                    failures.push((seed, scenario.name, outcome));
                }
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let ends: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    });
    if ends.len() != cores {
        bail!("the simulator itself panicked");
    }
    let lives: u64 = ends.iter().map(|(_, lives)| lives).sum();
    let mut failures: Vec<_> = ends.into_iter().flat_map(|(failures, _)| failures).collect();
    failures.sort_by_key(|(seed, name, _)| (*seed, *name));
    for (index, (seed, name, outcome)) in failures.iter().enumerate() {
        if index < SHOWN {
            print(&outcome.transcript);
        }
        for violation in &outcome.violations {
            print(&format!("!! {violation}"));
        }
        print(&format!("!! replay: cargo xtask sim --seeds 1 --first-seed {seed} --scenario {name}\n"));
    }
    let runs = seeds * scenarios.len() as u64;
    print(&format!("{runs} runs, {lives} lives, {} failures", failures.len()));
    if !failures.is_empty() {
        bail!("{} of {runs} runs failed", failures.len());
    }
    Ok(())
}
