//! `cargo xtask e2e docker`: real clusters made by the real binary on a real container engine.

mod cluster;
mod engine;
mod etcd;
mod evidence;
mod floor;
mod manifest;
mod openssl;
mod plane;
mod prober;
mod scenarios;
mod shell;
mod site;
mod stage;
mod streams;
mod workload;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::command::{print, say};
use scenarios::{ALL, Scenario};
use shell::now;
use site::{Choice, Site};
use stage::Stage;

pub use openssl::signing_key;
pub use shell::{free_port, must, tail, until};

/// What to test against
#[derive(Args)]
pub struct E2e {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Docker(Docker),
}

/// Kubernetes nodes in containers: every scenario from creation to the last volume gone
#[derive(Args)]
struct Docker {
    /// Only these scenarios, by number or name [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    scenario: Vec<String>,
    /// Only what decides whether a change lands
    #[arg(long, conflicts_with = "scenario")]
    ci: bool,
    /// Kubernetes version of the clusters
    #[arg(long, value_name = "VERSION", default_value = site::VERSION)]
    version: String,
    /// Node image to use instead of the one that `cargo xtask node-image` makes
    #[arg(long, value_name = "IMAGE")]
    node_image: Option<String>,
    /// Load balancer image to use instead, REPOSITORY/haproxy:TAG
    #[arg(long, value_name = "IMAGE")]
    load_balancer_image: Option<String>,
    /// Network plugin to install instead of tests/cni/pod-routes.yaml, which needs an image made here
    #[arg(long, value_name = "FILE")]
    cni: Option<PathBuf>,
    /// Folder with kubectl, kubeadm and kube-apiserver to use instead; etcd and etcdctl stand in ../etcd
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Test this binary instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Leave clusters and data directories of a failed scenario as they are
    #[arg(long)]
    keep: bool,
    /// List the scenarios
    #[arg(long)]
    list: bool,
    /// Measure creation beside `tests/floor/floor.sh` instead, and fail above the bound
    #[arg(long, conflicts_with_all = ["scenario", "ci"])]
    floor: bool,
    /// Rounds of --floor
    #[arg(long, value_name = "N", default_value_t = 3, requires = "floor")]
    rounds: usize,
}

/// How a scenario went.
struct Outcome {
    scenario: Scenario,
    took: Duration,
    facts: Vec<(String, String)>,
    error: Option<anyhow::Error>,
}

impl Outcome {
    fn brief(&self) -> String {
        let verdict = if self.error.is_none() { "" } else { " FAILED" };
        format!("{} {:.0} s{verdict}", self.scenario.name, self.took.as_secs_f64())
    }
}

impl E2e {
    /// Plays the scenarios.
    pub fn run(&self) -> Result<()> {
        match &self.what {
            What::Docker(docker) => docker.run(),
        }
    }
}

impl Docker {
    fn run(&self) -> Result<()> {
        if self.list {
            for scenario in ALL {
                print(&format!(
                    "{:<16} {}{}",
                    scenario.name,
                    scenario.title,
                    if scenario.ci { " [ci]" } else { "" }
                ));
            }
            return Ok(());
        }
        let chosen = self.chosen()?;
        let start = now();
        let site = Arc::new(Site::prepare(Choice {
            version: self.version.trim_start_matches('v').to_owned(),
            node_image: self.node_image.clone(),
            cni: self.cni.clone(),
            binary: self.binary.clone(),
            binaries: self.binaries.clone(),
            load_balancer_image: self.load_balancer_image.clone(),
            release: self.floor,
        })?);
        say(&format!("ready to play after {:.0} s", start.elapsed().as_secs_f64()));
        if self.floor {
            return floor::run(&site, self.rounds);
        }
        let outcomes: Vec<_> = chosen.into_iter().map(|scenario| self.play(&site, scenario)).collect();
        print(&table(&outcomes));
        print(&self.line(&outcomes, start.elapsed())?);
        let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
        if failed > 0 {
            bail!("{failed} of {} scenarios failed", outcomes.len());
        }
        Ok(())
    }

    /// The result as a line of `docs/status.md`.
    fn line(&self, outcomes: &[Outcome], took: Duration) -> Result<String> {
        let date = shell::must(std::process::Command::new("date").args(["-u", "+%F"]))?;
        let each: Vec<_> = outcomes.iter().map(Outcome::brief).collect();
        let good = outcomes.iter().filter(|outcome| outcome.error.is_none()).count();
        Ok(format!(
            "- {}, Kubernetes {}, `cargo xtask e2e docker`: {good} of {} ok in {:.0} min: {}",
            date.trim(),
            self.version,
            outcomes.len(),
            took.as_secs_f64() / 60.0,
            each.join(", ")
        ))
    }

    fn chosen(&self) -> Result<Vec<Scenario>> {
        if self.scenario.is_empty() {
            return Ok(ALL.iter().filter(|scenario| scenario.ci || !self.ci).copied().collect());
        }
        let unknown =
            self.scenario.iter().find(|word| !ALL.iter().any(|scenario| scenario.is_meant_by(word)));
        if let Some(word) = unknown {
            bail!("no scenario is called {word}; --list shows them");
        }
        let meant = |scenario: &&Scenario| self.scenario.iter().any(|word| scenario.is_meant_by(word));
        Ok(ALL.iter().filter(meant).copied().collect())
    }

    /// Plays one scenario, keeps what explains a failure, and removes everything.
    fn play(&self, site: &Arc<Site>, scenario: Scenario) -> Outcome {
        say(&format!("== {}: {}", scenario.name, scenario.title));
        let start = now();
        let stage = match Stage::new(site, scenario.name) {
            Ok(stage) => stage,
            Err(error) => {
                return Outcome { scenario, took: start.elapsed(), facts: Vec::new(), error: Some(error) };
            }
        };
        let cleared = || if scenario.clusters { stage.delete_all() } else { Ok(()) };
        let mut error = (scenario.play)(&stage).and_then(|()| cleared()).err();
        if let Some(error) = &error {
            print(&format!("!! {}: {error:#}", scenario.name));
            evidence::keep(&stage);
        }
        if self.keep && error.is_some() {
            stage.leave();
        } else {
            error = error.or(stage.clear().err());
        }
        Outcome { scenario, took: start.elapsed(), facts: stage.facts(), error }
    }
}

/// For people: each scenario with what was measured.
fn table(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    for Outcome { scenario, took, facts, error } in outcomes {
        let verdict = if error.is_none() { "ok" } else { "FAILED" };
        let _ = writeln!(
            out,
            "{verdict:<7} {:<16} {:>6.1} s  {}",
            scenario.name,
            took.as_secs_f64(),
            scenario.title
        );
        for (what, value) in facts {
            let _ = writeln!(out, "          {what}: {value}");
        }
        if let Some(error) = error {
            let text = format!("{error:#}");
            let _ = writeln!(out, "          !! {}", text.lines().next().unwrap_or_default());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_show_failures() {
        let scenario = ALL[1];
        let facts = vec![("1+1 available".to_owned(), "41.0 s".to_owned())];
        let error = Some(anyhow::anyhow!("no\nmore"));
        let text = table(&[Outcome { scenario, took: Duration::from_millis(61_500), facts, error }]);
        assert!(text.starts_with("FAILED  1                  61.5 s  quickstart"), "{text}");
        assert!(text.ends_with("          1+1 available: 41.0 s\n          !! no\n"), "{text}");
    }

    #[test]
    fn numbers_mean_all_parts() {
        let meant = |word: &str| ALL.iter().filter(|scenario| scenario.is_meant_by(word)).count();
        assert_eq!([meant("1"), meant("3"), meant("6"), meant("6-ca"), meant("9")], [1, 2, 6, 1, 0]);
    }
}
