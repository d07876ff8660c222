//! `cargo xtask bench clusters`: what clusters cost, measured on the real binary with a durable store.
//!
//! Two processes: the plane under measurement, and the loader (`bench-load`), which speaks HTTPS to it as any
//! client would. A cluster counts once its Cluster is Available, its Machines are Ready and its Nodes have been
//! read with the workload kubeconfig.

mod apiserver;
mod load;
mod metrics;
mod plane;
mod report;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::command::{root, run, say};
pub use load::LoadArgs;
use load::{Created, Deleted};
use metrics::Sample;
use plane::Plane;
use report::{Figures, Phase};

/// What to measure
#[derive(Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Clusters(Clusters),
    #[command(name = "apiserver")]
    ApiServer(apiserver::ApiServer),
}

/// Create N clusters at once with zero delays, look at them idle, restart the plane, delete them
#[derive(Args)]
struct Clusters {
    /// Clusters
    #[arg(long, default_value_t = 50)]
    n: usize,
    /// Workers of each cluster, beside one control plane machine
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Key algorithm of the clusters (RSA-2048, ECDSA-P256, …)
    #[arg(long, default_value = "RSA-2048")]
    algorithm: String,
    /// Seconds of idling that are measured
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Measure this binary instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Write the figures as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Fail if a figure misses the bound that `docs/performance.md` promises
    #[arg(long)]
    enforce: bool,
}

impl Bench {
    /// Runs the measurement.
    pub fn run(&self) -> Result<()> {
        match &self.what {
            What::Clusters(clusters) => clusters.run(),
            What::ApiServer(servers) => servers.run(),
        }
    }
}

impl Clusters {
    fn run(&self) -> Result<()> {
        if self.binary.is_none() {
            run("cargo", &["build", "--release", "--quiet", "--package", "windlass-cli"])?;
        }
        let folder = std::env::temp_dir().join(format!("windlass-bench-{}", std::process::id()));
        let result = self.measure(&folder);
        // The folder holds nothing that the report does not.
        let _ = std::fs::remove_dir_all(&folder);
        let figures = result?;
        say("done");
        crate::command::print(&report::table(&figures));
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_string_pretty(&figures)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.enforce { report::enforce(&figures) } else { Ok(()) }
    }

    fn measure(&self, folder: &std::path::Path) -> Result<Figures> {
        say(&format!("starting a plane in {}", folder.display()));
        let plane = Plane::start(folder, &self.binary.clone().unwrap_or_else(plane::binary))?;
        let empty = plane.sample()?;

        say(&format!("creating {} clusters of 1+{}", self.n, self.workers));
        let created: Created = self.load(&plane, "create")?;
        let settled = plane.sample_when_quiet(Duration::from_secs(3), Duration::from_mins(1))?;
        let create = Phase::between(&empty, &settled, created.wall, self.n);

        say(&format!("idling for {} s", self.idle));
        std::thread::sleep(Duration::from_secs(self.idle));
        let rested = plane.sample()?;
        let idle = Phase::between(&settled, &rested, Duration::from_secs(self.idle).as_secs_f64(), self.n);

        say("restarting the plane");
        let peak_rss = rested.peak_rss_kib;
        let (plane, restart_seconds) = plane.restart()?;
        let restarted = plane.sample_when_quiet(Duration::from_secs(3), Duration::from_mins(1))?;
        let restart = Phase::between(&Sample::default(), &restarted, restart_seconds, self.n);

        say("deleting them");
        let deleted: Deleted = self.load(&plane, "delete")?;
        let gone = plane.sample_when_quiet(Duration::from_secs(3), Duration::from_mins(1))?;
        let delete = Phase::between(&restarted, &gone, deleted.wall, self.n);
        plane.stop()?;

        Ok(Figures {
            clusters: self.n,
            workers: self.workers,
            algorithm: self.algorithm.clone(),
            slowest: created.slowest,
            median: created.median,
            create,
            idle,
            restart,
            delete,
            peak_rss_mib: report::mib(peak_rss),
        })
    }

    /// Runs the loader in a process of its own and reads its answer.
    fn load<T: serde::de::DeserializeOwned>(&self, plane: &Plane, phase: &str) -> Result<T> {
        let output = Command::new(std::env::current_exe()?)
            .arg("bench-load")
            .arg(phase)
            .arg("--kubeconfig")
            .arg(plane.kubeconfig())
            .args(["--n", &self.n.to_string(), "--workers", &self.workers.to_string()])
            .args(["--algorithm", &self.algorithm])
            .arg("--binary")
            .arg(plane.binary())
            .current_dir(root())
            .stderr(std::process::Stdio::inherit())
            .output()
            .context("cannot start the loader")?;
        if !output.status.success() {
            bail!("the loader failed in phase {phase}: {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("cannot read the loader's answer")
    }
}
