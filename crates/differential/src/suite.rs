//! All scripts with their answers, and the differences that are explained.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::answer::{self, Recorded};
use crate::compare::{self, Difference};
use crate::normalise::Rules;
use crate::player;
use crate::script::Script;
use crate::target::Target;

/// How many differences may be explained.
const EXPLAINED: usize = 15;
/// How many scripts a real server plays at a time: more, and it takes longer than scripts wait.
const AT_ONCE: usize = 10;
/// How many ours plays at a time: one user's requests wait behind each other, and are refused beyond a limit.
const OURS_AT_ONCE: usize = 20;

/// The folder of the scripts.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .join("tests/differential")
}

/// The committed normalisations.
///
/// # Errors
/// When the file cannot be read.
pub fn rules() -> Result<Rules> {
    let file = folder().join("normalisations.toml");
    Rules::parse(&std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?)
}

/// A difference that has a reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explained {
    /// `area/name`.
    pub script: String,
    /// The title of the step.
    pub step: String,
    /// What is different.
    pub what: String,
    /// Why it stays.
    pub reason: String,
}

/// The committed differences.
///
/// # Errors
/// When the file cannot be read, or has too many.
pub fn explained() -> Result<Vec<Explained>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        differences: Vec<Explained>,
    }
    let file = folder().join("differences.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let found: File = toml::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
    let found = found.differences;
    ensure!(found.len() <= EXPLAINED, "{} differences are explained; {EXPLAINED} may be", found.len());
    for row in &found {
        ensure!(!row.what.is_empty() && !row.reason.is_empty(), "{}: {} has no reason", row.script, row.step);
    }
    Ok(found)
}

/// The folders of scripts.
///
/// # Errors
/// When the folder cannot be read.
pub fn areas() -> Result<BTreeSet<String>> {
    let files = files(&folder())?;
    Ok(files
        .iter()
        .filter_map(|file| Some(file.parent()?.file_name()?.to_string_lossy().into_owned()))
        .collect())
}

/// The scripts that `wanted` name: areas, `area/name`, or paths of files. None means all.
///
/// # Errors
/// When a file is not a script, or a word names nothing.
pub fn scripts(wanted: &[String]) -> Result<Vec<Script>> {
    let files = files(&folder())?;
    let mut found = BTreeSet::new();
    for word in wanted {
        let word = word.trim_end_matches('/').trim_end_matches(".http").trim_end_matches(".answers");
        let named = |file: &&PathBuf| {
            let stem = file.with_extension("");
            stem.ends_with(word)
                || file.parent().is_some_and(|area| area.ends_with(word))
                || Path::new(word).ends_with(short(&stem))
                || file.parent().is_some_and(|area| {
                    Path::new(word)
                        .ends_with(Path::new("differential").join(area.file_name().unwrap_or_default()))
                })
        };
        let before = found.len();
        found.extend(files.iter().filter(named).cloned());
        ensure!(found.len() > before, "{word} is neither an area nor a script");
    }
    let files: Vec<PathBuf> = if wanted.is_empty() { files } else { found.into_iter().collect() };
    files.iter().map(|file| Script::read(file)).collect()
}

/// `area/name` of a path.
fn short(stem: &Path) -> PathBuf {
    let name = stem.file_name().unwrap_or_default();
    stem.parent().and_then(Path::file_name).map(PathBuf::from).unwrap_or_default().join(name)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for area in entries(folder)? {
        if area.is_dir() {
            found.extend(
                entries(&area)?.into_iter().filter(|file| file.extension().is_some_and(|e| e == "http")),
            );
        }
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path()).collect())
}

/// Where the answers of a script are.
pub fn answers_file(script: &Script) -> PathBuf {
    folder().join(format!("{}.answers", script.name))
}

/// The recorded answers of a script.
///
/// # Errors
/// When there are none.
pub fn recorded(script: &Script) -> Result<Vec<Recorded>> {
    let file = answers_file(script);
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("{} has no answers; run `cargo xtask differential record {}`", script.name, script.name)
    })?;
    answer::read(&text).with_context(|| format!("cannot read {}", file.display()))
}

/// A script that was played, with its answers or why there are none.
pub type Played = (Script, Result<Vec<Recorded>>);

/// Plays scripts at the same time, in the order of their names as far as that goes.
///
/// # Errors
/// When the normalisations cannot be read.
pub async fn play(target: Arc<Target>, scripts: Vec<Script>) -> Result<Vec<Played>> {
    let rules = Arc::new(rules()?);
    let at_once = Arc::new(Semaphore::new(if target.real { AT_ONCE } else { OURS_AT_ONCE }));
    let mut tasks = JoinSet::new();
    for script in scripts {
        let (target, rules, at_once) = (Arc::clone(&target), Arc::clone(&rules), Arc::clone(&at_once));
        tasks.spawn(async move {
            let _turn = at_once.acquire().await;
            let answers = player::play(&target, &script, &rules, &folder().join("fixtures")).await;
            (script, answers)
        });
    }
    let mut played = Vec::new();
    while let Some(one) = tasks.join_next().await {
        played.push(one.context("a script could not be played")?);
    }
    played.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    Ok(played)
}

/// What comparing came to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Scripts that were compared.
    pub scripts: usize,
    /// Steps that were compared.
    pub steps: usize,
    /// Differences that have a reason.
    pub explained: usize,
    /// What is wrong, readable.
    pub faults: Vec<String>,
}

impl Verdict {
    /// One line.
    pub fn summary(&self) -> String {
        let Self { scripts, steps, explained, faults } = self;
        format!(
            "{scripts} scripts, {steps} steps, {explained} explained differences, {} faults",
            faults.len()
        )
    }

    /// Fails with everything that is wrong.
    ///
    /// # Errors
    /// When anything is.
    pub fn into_result(self) -> Result<()> {
        if self.faults.is_empty() {
            return Ok(());
        }
        bail!("{}\n{}", self.faults.join("\n"), self.summary())
    }
}

/// Compares what was played with what was recorded.
///
/// # Errors
/// When the explained differences cannot be read.
pub fn judge(played: Vec<Played>) -> Result<Verdict> {
    let explained = explained()?;
    let mut verdict = Verdict { scripts: played.len(), ..Verdict::default() };
    for (script, answers) in played {
        let compared = answers.and_then(|answers| {
            verdict.steps += answers.len();
            Ok(compare::differences(&recorded(&script)?, &answers))
        });
        let mine = |row: &&Explained| row.script == script.name;
        match compared {
            Ok(found) => {
                let (known, faults) =
                    sort(&script.name, &found, &explained.iter().filter(mine).collect::<Vec<_>>());
                verdict.explained += known;
                verdict.faults.extend(faults);
            }
            Err(error) => verdict.faults.push(format!("{}: {error:#}\n", script.name)),
        }
    }
    Ok(verdict)
}

/// How many differences are explained, and the faults: differences that are not, and explanations without any.
fn sort(script: &str, found: &[Difference], explained: &[&Explained]) -> (usize, Vec<String>) {
    let mut faults = Vec::new();
    let mut known = 0;
    for difference in found {
        if explained.iter().any(|row| row.step == difference.step) {
            known += 1;
            continue;
        }
        let mut text = String::new();
        let _ = writeln!(text, "{script} ### {}", difference.step);
        text.push_str(&difference.diff);
        faults.push(text);
    }
    for row in explained {
        if !found.iter().any(|difference| difference.step == row.step) {
            faults.push(format!(
                "{script} ### {}: there is no difference any more; remove its explanation\n",
                row.step
            ));
        }
    }
    (known, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_without_a_difference_is_a_fault() {
        let row = Explained {
            script: "a/b".to_owned(),
            step: "one".to_owned(),
            what: "x".to_owned(),
            reason: "y".to_owned(),
        };
        let found = [Difference { step: "one".to_owned(), diff: String::new() }];
        assert_eq!(sort("a/b", &found, &[&row]), (1, Vec::new()));
        assert_eq!(sort("a/b", &[], &[&row]).1.len(), 1);
        assert_eq!(sort("a/b", &found, &[]).1.len(), 1);
    }

    #[test]
    fn every_explained_difference_names_a_step() {
        for row in explained().unwrap() {
            let script = &scripts(std::slice::from_ref(&row.script)).unwrap()[0];
            assert!(script.steps.iter().any(|step| step.title == row.step), "{}: {}", row.script, row.step);
        }
    }
}
