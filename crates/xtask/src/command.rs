//! Running other programs, and knowing where the workspace is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The root of the workspace: two folders above this package.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// Runs a program in the workspace root and fails if it fails.
pub fn run(program: &str, args: &[&str]) -> Result<()> {
    run_with(&[], program, args)
}

/// The same with more variables in its environment.
pub fn run_with(variables: &[(&str, &str)], program: &str, args: &[&str]) -> Result<()> {
    say(&format!("{program} {}", args.join(" ")));
    let status = Command::new(program)
        .args(args)
        .envs(variables.iter().copied())
        .current_dir(root())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("`{program} {}` failed: {status}", args.join(" "));
    }
    Ok(())
}

/// Whether `program --version` (or `version_flag`) answers.
pub fn answers(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).current_dir(root()).output().is_ok_and(|output| output.status.success())
}

/// A line about what happens next.
#[expect(clippy::print_stderr, reason = "progress of a command line tool")]
pub fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Data for whoever reads standard output.
#[expect(clippy::print_stdout, reason = "output of a command line tool")]
pub fn print(text: &str) {
    println!("{text}");
}

/// Wall time, for measurements and deadlines.
pub fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "tasks measure what a person would wait")]
    Instant::now()
}
