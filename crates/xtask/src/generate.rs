//! `cargo xtask gen`: files that are made from code and committed.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{root, say};

/// Every generated file: where it stands and what it must say.
fn files() -> Result<Vec<(PathBuf, String)>> {
    let crds = root().join("crates/api/crds");
    let made = windlass_api::crd::crd_yaml().context("cannot write the CRDs as YAML")?;
    let mut files: Vec<_> = made.into_iter().map(|(name, text)| (crds.join(name), text)).collect();
    files.push((root().join("docs/reference/cli.md"), reference()?));
    Ok(files)
}

/// The help of every command, as the program itself tells it.
fn reference() -> Result<String> {
    let mut windlass = Command::new("cargo");
    windlass.args(["run", "--quiet", "--package", "windlass-cli", "--", "reference"]).current_dir(root());
    let output = windlass.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`windlass reference` failed");
    }
    String::from_utf8(output.stdout).context("`windlass reference` wrote no text")
}

/// Writes the files, or with `check` only compares.
pub fn run(check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for (path, text) in files()? {
        let current = fs::read_to_string(&path).unwrap_or_default();
        if current == text {
            continue;
        }
        let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        if check {
            stale.push(shown);
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {shown}"))?;
        say(&format!("wrote {shown}"));
    }
    if !stale.is_empty() {
        bail!("not up to date: {}; run `cargo xtask gen` and commit the result", stale.join(", "));
    }
    Ok(())
}
