//! Command lines of real clients, with what they print: `tests/transcripts`.
//!
//! ```text
//! transcript ─▶ shell (kubectl, helm) ─▶ server (real: `record`; ours: `check`)
//!                 │
//!                 ▼
//!              normalise ─▶ lines ─▶ compared with the recorded ones
//! ```

pub mod clients;
pub mod normalise;
pub mod notation;
pub mod shell;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use similar::{ChangeTag, TextDiff};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::target::Target;
use clients::{CLIENTS, Clients};
use notation::Transcript;

/// How many transcripts are played at a time: clients are processes.
const AT_ONCE: usize = 4;

/// The folder of the transcripts.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .join("tests/transcripts")
}

/// The transcripts of these names, sorted. No names mean all.
///
/// # Errors
/// When a file is not a transcript, or a name is unknown.
pub fn transcripts(wanted: &[String]) -> Result<Vec<Transcript>> {
    let folder = folder();
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let file = entry?.path();
        let Some(name) = file.file_stem().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        if file.extension().is_none_or(|end| end != "txt") {
            continue;
        }
        let text = std::fs::read_to_string(&file)?;
        let transcript =
            Transcript::parse(&name, &text).with_context(|| format!("cannot read {}", file.display()))?;
        found.insert(name, transcript);
    }
    if wanted.is_empty() {
        return Ok(found.into_values().collect());
    }
    let known = |name: &str| found.get(name).cloned().with_context(|| format!("no transcript {name}"));
    wanted.iter().map(|name| known(name)).collect()
}

/// What the commands of a transcript printed, in their order.
pub type Printed = Vec<Vec<String>>;

/// Plays transcripts with one version of the clients, several at a time.
///
/// # Errors
/// When one cannot be played; what it prints is no reason.
pub async fn play(
    target: &Arc<Target>,
    clients: &Clients,
    transcripts: &[Transcript],
) -> Result<BTreeMap<String, Printed>> {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for transcript in transcripts.iter().cloned() {
        let (target, clients, at_once) = (Arc::clone(target), clients.clone(), Arc::clone(&at_once));
        tasks.spawn(async move {
            let _turn = at_once.acquire().await;
            let printed = shell::play(&target, &clients, &transcript).await;
            let printed = printed.with_context(|| format!("cannot play {}", transcript.name))?;
            anyhow::Ok((transcript.name, printed))
        });
    }
    let mut played = BTreeMap::new();
    while let Some(one) = tasks.join_next().await {
        let (name, printed) = one.context("a transcript could not be played")??;
        played.insert(name, printed);
    }
    Ok(played)
}

/// Plays transcripts with one version of the clients and compares.
///
/// # Errors
/// With everything that is different, or why a transcript could not be played.
pub async fn check(target: &Arc<Target>, clients: &Clients, transcripts: &[Transcript]) -> Result<String> {
    let played = play(target, clients, transcripts).await?;
    let mut faults = String::new();
    let mut commands = 0;
    for transcript in transcripts {
        let printed = &played[&transcript.name];
        ensure!(!transcript.steps.is_empty(), "{} has no commands", transcript.name);
        for (step, lines) in transcript.steps.iter().zip(printed) {
            commands += 1;
            let expected = step.expected(clients.version);
            if expected != lines {
                let _ = writeln!(faults, "{} $ {}\n{}", transcript.name, step.command, diff(expected, lines));
            }
        }
    }
    if !faults.is_empty() {
        bail!("with kubectl {}: (- recorded, + ours)\n{faults}", clients.version);
    }
    let count = transcripts.len();
    Ok(format!("kubectl {}: {count} transcripts, {commands} commands", clients.version))
}

/// Plays transcripts against a real server with each version of the clients: the same transcripts, with what they
/// print now. `start` gives a new server for each version.
///
/// # Errors
/// When one cannot be played.
pub async fn record<F, R>(
    start: impl Fn() -> F,
    target: impl Fn(&R) -> Arc<Target>,
    programs: &Path,
    mut transcripts: Vec<Transcript>,
) -> Result<Vec<Transcript>>
where
    F: Future<Output = Result<R>>,
{
    // The version of the yardstick first: others are recorded only where they print something else.
    for clients in CLIENTS.iter().map(|version| version.find(programs)) {
        let clients = clients?;
        let server = start().await?;
        let mut played = play(&target(&server), &clients, &transcripts).await?;
        for transcript in &mut transcripts {
            let printed = played.remove(&transcript.name).unwrap_or_default();
            for (step, lines) in transcript.steps.iter_mut().zip(printed) {
                step.keep(clients.version, lines);
            }
        }
    }
    Ok(transcripts)
}

/// Writes transcripts.
///
/// # Errors
/// When one cannot be written.
pub fn write(transcripts: &[Transcript]) -> Result<()> {
    for transcript in transcripts {
        let file = folder().join(format!("{}.txt", transcript.name));
        std::fs::write(&file, transcript.to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Compares transcripts with those that were written.
///
/// # Errors
/// With everything that is different.
pub fn compare(transcripts: &[Transcript]) -> Result<()> {
    let mut faults = String::new();
    for transcript in transcripts {
        let file = folder().join(format!("{}.txt", transcript.name));
        let written =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let (old, new) = (Transcript::parse(&transcript.name, &written)?, transcript);
        for (old, new) in old.steps.iter().zip(&new.steps).filter(|(old, new)| old != new) {
            for version in CLIENTS.map(|clients| clients.version) {
                let (recorded, now) = (old.expected(version), new.expected(version));
                if recorded != now {
                    let diff = diff(recorded, now);
                    let _ = writeln!(faults, "{} $ {} [{version}]\n{diff}", transcript.name, old.command);
                }
            }
        }
    }
    if !faults.is_empty() {
        bail!("clients of the real server do not print what was recorded (- recorded, + now):\n{faults}");
    }
    Ok(())
}

fn diff(expected: &[String], printed: &[String]) -> String {
    let (old, new) = (expected.join("\n"), printed.join("\n"));
    let mut text = String::new();
    for change in TextDiff::from_lines(&old, &new).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        let _ = writeln!(text, "  {sign} {}", change.value().trim_end_matches('\n'));
    }
    text
}
