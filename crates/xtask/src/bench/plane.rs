//! The process under measurement.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::metrics::{self, Sample};
use crate::command::{now, root};

/// A running plane.
pub struct Plane {
    child: Child,
    folder: PathBuf,
    binary: PathBuf,
}

/// The release binary.
pub fn binary() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release").join("windlass")
}

impl Plane {
    /// Starts a plane in an empty folder and waits until it is ready.
    pub fn start(folder: &Path, binary: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let log = std::fs::File::create(folder.join("bench.log"))?;
        let child = Command::new(binary)
            .arg("--data-dir")
            .arg(folder)
            .args(["up", "--listen", "127.0.0.1:17443"])
            .env("WINDLASS_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the plane")?;
        let mut plane = Self { child, folder: folder.to_path_buf(), binary: binary.to_path_buf() };
        plane.wait_until("it answers", Duration::from_mins(1), |plane| plane.sample().is_ok())?;
        Ok(plane)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("management.kubeconfig")
    }

    /// The program that runs.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// CPU, memory and counters now.
    pub fn sample(&self) -> Result<Sample> {
        metrics::sample(self.child.id(), &self.kubeconfig())
    }

    /// The first sample after which nothing is written for `quiet`.
    pub fn sample_when_quiet(&self, quiet: Duration, longest: Duration) -> Result<Sample> {
        let start = now();
        let mut last = self.sample()?;
        loop {
            std::thread::sleep(quiet);
            let next = self.sample()?;
            if next.writes_total() == last.writes_total() {
                return Ok(last);
            }
            if start.elapsed() > longest {
                bail!("the plane still writes after {} s", longest.as_secs());
            }
            last = next;
        }
    }

    /// Stops it in order and starts it again. Returns the seconds from start to ready.
    pub fn restart(mut self) -> Result<(Self, f64)> {
        self.terminate()?;
        let (folder, binary) = (self.folder.clone(), self.binary.clone());
        drop(self);
        let start = now();
        let mut plane = Self::start(&folder, &binary)?;
        plane.wait_until("it has settled", Duration::from_mins(2), |plane| {
            plane.sample().is_ok_and(|sample| sample.settled)
        })?;
        Ok((plane, start.elapsed().as_secs_f64()))
    }

    /// Stops it in order.
    pub fn stop(mut self) -> Result<()> {
        self.terminate()
    }

    fn terminate(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().context("cannot stop the plane")?;
        anyhow::ensure!(status.success(), "cannot stop process {pid}");
        self.child.wait().context("cannot wait for the plane")?;
        Ok(())
    }

    fn wait_until(&mut self, what: &str, longest: Duration, done: impl Fn(&Self) -> bool) -> Result<()> {
        let start = now();
        while !done(self) {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.folder.join("bench.log")).unwrap_or_default();
                bail!("the plane ended ({status}):\n{log}");
            }
            if start.elapsed() > longest {
                bail!("waited {} s until {what}", longest.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // Already ended after `terminate`; otherwise an error is on its way up and the plane must not stay.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
