//! What a person runs: record, check, drift.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

use crate::answer;
use crate::compare;
use crate::ours::Ours;
use crate::real::{Programs, Real};
use crate::suite::{self, Played};
use crate::transcripts::{self, clients::CLIENTS};

/// Play request scripts against a real kube-apiserver and against ours
#[derive(Debug, Parser)]
#[command(name = "differential")]
pub struct Differential {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Play scripts against a real server and write down its answers
    Record {
        /// Areas, `area/name`, or files; none means all
        scripts: Vec<String>,
    },
    /// Play scripts against ours and show where it answers differently
    Check {
        /// Areas, `area/name`, or files; none means all
        scripts: Vec<String>,
    },
    /// Play scripts against a real server and fail if it answers differently than recorded
    Drift {
        /// Areas, `area/name`, or files; none means all
        scripts: Vec<String>,
    },
    /// Run the command lines of `tests/transcripts` against a real server and write down what kubectl and Helm print
    RecordTranscripts {
        /// Change nothing; fail if clients print something else than what is recorded
        #[arg(long)]
        drift: bool,
        /// Where the clients are: what tests fetched
        #[arg(long, env = "WINDLASS_TOOLS_CACHE", default_value = "target/tools")]
        clients: PathBuf,
        /// Names; none means all
        transcripts: Vec<String>,
    },
    /// Run the command lines of `tests/transcripts` against ours and show where clients print something else
    CheckTranscripts {
        /// Where the clients are: what tests fetched
        #[arg(long, env = "WINDLASS_TOOLS_CACHE", default_value = "target/tools")]
        clients: PathBuf,
        /// Names; none means all
        transcripts: Vec<String>,
    },
}

impl Differential {
    /// Whether real programs are needed.
    pub fn needs_programs(&self) -> bool {
        !matches!(self.task, Task::Check { .. } | Task::CheckTranscripts { .. })
    }

    /// Does what was asked, with these programs or those of the cache.
    ///
    /// # Errors
    /// When anything is different.
    pub fn run(&self, programs: Option<Programs>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match &self.task {
            Task::Check { scripts } => runtime.block_on(check(scripts)),
            Task::Record { scripts } => record(runtime.block_on(real(programs, scripts))?),
            Task::Drift { scripts } => drift(runtime.block_on(real(programs, scripts))?),
            Task::RecordTranscripts { drift, clients, transcripts } => {
                let programs = programs.map_or_else(Programs::find, Ok)?;
                let start = || Real::start(&programs);
                let target = |real: &Real| Arc::clone(&real.target);
                let transcripts = transcripts::transcripts(transcripts)?;
                let recorded = transcripts::record(start, target, clients, transcripts);
                let recorded = runtime.block_on(recorded)?;
                if *drift { transcripts::compare(&recorded) } else { transcripts::write(&recorded) }
            }
            Task::CheckTranscripts { clients, transcripts } => {
                runtime.block_on(check_transcripts(clients, transcripts))
            }
        }
    }
}

async fn check(scripts: &[String]) -> Result<()> {
    let scripts = suite::scripts(scripts)?;
    let ours = Ours::start().await?;
    let played = suite::play(Arc::clone(&ours.target), scripts).await;
    ours.stop().await;
    let verdict = suite::judge(played?)?;
    say(&verdict.summary());
    verdict.into_result()
}

/// All versions of the clients, each against a server of its own; fails with all differences.
async fn check_transcripts(folder: &Path, names: &[String]) -> Result<()> {
    let transcripts = transcripts::transcripts(names)?;
    let mut faults = String::new();
    for version in CLIENTS {
        let ours = Ours::start().await?;
        let checked = transcripts::check(&ours.target, &version.find(folder)?, &transcripts).await;
        ours.stop().await;
        match checked {
            Ok(summary) => say(&summary),
            Err(error) => {
                let _ = writeln!(faults, "{error:#}");
            }
        }
    }
    if !faults.is_empty() {
        bail!("{faults}");
    }
    Ok(())
}

async fn real(programs: Option<Programs>, scripts: &[String]) -> Result<Vec<Played>> {
    let scripts = suite::scripts(scripts)?;
    let programs = programs.map_or_else(Programs::find, Ok)?;
    let real = Real::start(&programs).await?;
    say(&format!("a real server plays {} scripts", scripts.len()));
    suite::play(Arc::clone(&real.target), scripts).await
}

/// Writes all answers there are; scripts that could not be played fail together.
fn record(played: Vec<Played>) -> Result<()> {
    let mut faults = String::new();
    for (script, answers) in played {
        match answers {
            Ok(answers) => {
                let file = suite::answers_file(&script);
                std::fs::write(&file, answer::write(&answers))
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
            Err(error) => {
                let _ = writeln!(faults, "{}: {error:#}", script.name);
            }
        }
    }
    if !faults.is_empty() {
        bail!("not recorded:\n{faults}");
    }
    Ok(())
}

fn drift(played: Vec<Played>) -> Result<()> {
    let mut faults = String::new();
    let mut steps = 0;
    let scripts = played.len();
    for (script, answers) in played {
        let compared = answers.and_then(|answers| {
            steps += answers.len();
            Ok(compare::differences(&suite::recorded(&script)?, &answers))
        });
        match compared {
            Ok(found) => {
                for difference in found {
                    let _ = writeln!(faults, "{} ### {}\n{}", script.name, difference.step, difference.diff);
                }
            }
            Err(error) => {
                let _ = writeln!(faults, "{}: {error:#}", script.name);
            }
        }
    }
    if faults.is_empty() {
        say(&format!("{scripts} scripts, {steps} steps: the real server answers as recorded"));
        return Ok(());
    }
    bail!("the real server does not answer as recorded (- recorded, + now):\n{faults}")
}

/// A line about what happens.
#[expect(clippy::print_stderr, reason = "progress of a command line tool")]
pub fn say(line: &str) {
    eprintln!("differential: {line}");
}
