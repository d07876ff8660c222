//! A process under measurement.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// `USER_HZ`: ticks of `/proc/<pid>/stat` per second, 100 on every Linux that we run on (proc(5)).
const TICKS: f64 = 100.0;

/// A child that is stopped when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with its output in a file.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    /// CPU seconds so far, of user and system.
    pub fn cpu(&self) -> f64 {
        cpu(self.child.id()).unwrap_or_default()
    }

    /// Resident memory in MiB.
    pub fn rss_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib =
            line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    }

    /// Fails with the end of its log if it has ended by itself.
    pub fn alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        bail!("{} ended ({status}):\n{}", self.log.display(), crate::e2e::tail(&log, 15))
    }

    /// Interrupts it and waits for its end.
    pub fn stop(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-INT", &pid]).status().context("cannot stop a process")?;
        anyhow::ensure!(status.success(), "cannot stop process {pid}");
        self.child.wait().context("cannot wait for a process")?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended after `stop`; otherwise the measurement is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU seconds of a process.
pub fn cpu(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    // Fields 14 and 15 of the line, counted from the state (field 3) here.
    let fields = after_name.split_whitespace().skip(11).take(2);
    Some(fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS)
}
