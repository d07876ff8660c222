//! The loading program: built once, run for each series of phases.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::process::cpu;
use super::subject::{Subject, TOKEN};
use crate::command::{root, say};

/// The built program.
pub struct Loader(PathBuf);

/// One run of it.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// `client-go` or `raw`.
    pub client: &'a str,
    /// Requests at a time.
    pub workers: usize,
    /// Objects of each phase.
    pub objects: usize,
    /// What is done, in this order.
    pub phases: &'a [&'a str],
}

/// What a phase took.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// How often it was done.
    pub operations: usize,
    /// Wall seconds.
    pub seconds: f64,
    /// Seconds that half of the operations took at most.
    pub p50: f64,
    /// Seconds that 99 of 100 took at most.
    pub p99: f64,
    /// Size of the last answer, of lists.
    #[serde(default)]
    pub bytes: u64,
    /// CPU seconds of the server and its store.
    #[serde(default)]
    pub server_cpu: f64,
    /// CPU seconds of the loader.
    #[serde(default)]
    pub loader_cpu: f64,
}

/// A line of the loader.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Begin {
        begin: String,
    },
    End {
        end: String,
        #[serde(flatten)]
        phase: Phase,
    },
}

impl Loader {
    /// Builds it into a folder.
    pub fn build(folder: &Path) -> Result<Self> {
        say("building the loader");
        let program = folder.join("loader");
        let mut command = Command::new("go");
        command.args(["build", "-o"]).arg(&program).arg("./cmd/loader").current_dir(root().join("tests/go"));
        let status =
            command.env("CGO_ENABLED", "0").status().context("cannot run go: the loader is written in it")?;
        ensure!(status.success(), "cannot build the loader: {status}");
        Ok(Self(program))
    }

    /// Runs phases against a server that runs.
    pub fn run(&self, subject: &Subject, run: &Run<'_>) -> Result<BTreeMap<String, Phase>> {
        let mut loading = self.start(subject, run)?;
        let mut phases = BTreeMap::new();
        for name in run.phases {
            loading.begin(name)?;
            let before = (subject.cpu(), loading.cpu());
            loading.go()?;
            let mut phase = loading.end(name)?;
            phase.server_cpu = subject.cpu() - before.0;
            phase.loader_cpu = loading.cpu() - before.1;
            loading.go()?;
            phases.insert((*name).to_owned(), phase);
        }
        loading.finish()?;
        Ok(phases)
    }

    /// Starts something when the loader is about to begin its only phase; the seconds from then to the phase's end.
    pub fn run_from(
        &self,
        subject: &mut Subject,
        run: &Run<'_>,
        start: impl FnOnce(&mut Subject) -> Result<()>,
    ) -> Result<f64> {
        let mut loading = self.start(subject, run)?;
        let [name] = run.phases else { bail!("one phase is timed at a time") };
        loading.begin(name)?;
        loading.go()?;
        let began = crate::command::now();
        start(subject)?;
        loading.end(name)?;
        let seconds = began.elapsed().as_secs_f64();
        loading.go()?;
        loading.finish()?;
        Ok(seconds)
    }

    fn start(&self, subject: &Subject, run: &Run<'_>) -> Result<Loading> {
        let mut command = Command::new(&self.0);
        command.args(["-server", &subject.url(), "-token", TOKEN, "-client", run.client]);
        command.args(["-workers", &run.workers.to_string(), "-objects", &run.objects.to_string()]);
        command.args(["-phases", &run.phases.join(",")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the loader")?;
        let lines = BufReader::new(child.stdout.take().context("the loader has no output")?);
        Ok(Loading { child, lines })
    }
}

/// A loader that runs.
struct Loading {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Loading {
    fn line(&mut self) -> Result<Line> {
        let mut line = String::new();
        self.lines.read_line(&mut line).context("cannot read from the loader")?;
        ensure!(!line.is_empty(), "the loader ended early: {}", self.child.wait()?);
        serde_json::from_str(&line).with_context(|| format!("the loader said {line:?}"))
    }

    fn begin(&mut self, name: &str) -> Result<()> {
        match self.line()? {
            Line::Begin { begin } if begin == name => Ok(()),
            _ => bail!("the loader did not begin {name}"),
        }
    }

    fn end(&mut self, name: &str) -> Result<Phase> {
        match self.line()? {
            Line::End { end, phase } if end == name => Ok(phase),
            _ => bail!("the loader did not end {name}"),
        }
    }

    fn go(&mut self) -> Result<()> {
        let input = self.child.stdin.as_mut().context("the loader has no input")?;
        input.write_all(b"\n").context("the loader ended early")
    }

    fn cpu(&self) -> f64 {
        cpu(self.child.id()).unwrap_or_default()
    }

    fn finish(mut self) -> Result<()> {
        let status = self.child.wait().context("cannot wait for the loader")?;
        ensure!(status.success(), "the loader failed: {status}");
        Ok(())
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        // Already ended after `finish`; otherwise an error is on its way up.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
