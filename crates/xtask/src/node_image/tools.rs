//! The programs that building needs, and running them with a log.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{answers, root};

/// How much of a log an error quotes.
const QUOTED_LINES: usize = 20;

/// What building takes: the program, and where it comes from.
const IMAGE_TOOLS: &[(&str, &str)] = &[
    ("debootstrap", "the Debian package debootstrap"),
    ("chroot", "the Debian package coreutils"),
    ("unshare", "the Debian package util-linux"),
    ("dpkg", "the Debian package dpkg"),
    ("tar", "the Debian package tar"),
];

/// Fails, naming all that is missing, unless the Go toolchain is there.
pub fn check_go() -> Result<()> {
    if answers("go", &["version"]) {
        return Ok(());
    }
    bail!("go is missing: the programs are built from source; install Go 1.26 or later (https://go.dev/dl)")
}

/// Fails, naming all that is missing, unless file systems can be made.
pub fn check_image_tools() -> Result<()> {
    let missing = missing_tools(|program| {
        // Each of them answers to --version with success.
        answers(program, &["--version"])
    });
    if !missing.is_empty() {
        bail!("programs are missing that make file systems; install them:\n  {}", missing.join("\n  "));
    }
    let user = Command::new("id").arg("-u").output().context("cannot tell who runs this")?;
    if user.stdout.trim_ascii() != b"0" {
        bail!("making a Debian file system takes root: run this as root, such as with `sudo -E`");
    }
    Ok(())
}

fn missing_tools(present: impl Fn(&str) -> bool) -> Vec<String> {
    IMAGE_TOOLS
        .iter()
        .filter(|(program, _)| !present(program))
        .map(|(program, origin)| format!("{program}: {origin}"))
        .collect()
}

/// Runs a command with its output added to a log, and fails, quoting the log's end, if it fails.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let cannot = || format!("cannot write the log {}", log.display());
    let output = File::options().create(true).append(true).open(log).with_context(cannot)?;
    let errors = output.try_clone().with_context(cannot)?;
    let status = command
        .stdin(std::process::Stdio::null())
        .stdout(output)
        .stderr(errors)
        .status()
        .with_context(|| format!("cannot start {name}"))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    bail!("{name} failed ({status}); the end of {}:\n{}", log.display(), tail(&text))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(QUOTED_LINES);
    lines.iter().skip(start).map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// A script of ours.
pub fn script(name: &str) -> Command {
    Command::new(root().join("tests/node-image/scripts").join(name))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::{logged, missing_tools, tail};

    #[test]
    fn names_the_packages_of_missing_tools() {
        assert_eq!(missing_tools(|_| true), Vec::<String>::new());
        let said = missing_tools(|program| program != "debootstrap");
        assert_eq!(said, ["debootstrap: the Debian package debootstrap"]);
    }

    #[test]
    fn quotes_the_end_of_the_log() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("log");
        let sh = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            logged(&mut command, &log)
        };
        sh("echo out; echo err >&2").unwrap();
        let mut lines: Vec<String> = fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["err", "out"]);
        let said = sh("echo last words >&2; exit 3").unwrap_err().to_string();
        assert!(said.contains("exit status: 3") && said.contains("  last words"), "{said}");
        assert!(said.contains("log"), "{said}");
        let long: Vec<String> = (1..=30).map(|line| line.to_string()).collect();
        let quoted = tail(&long.join("\n"));
        assert!(quoted.starts_with("  11\n") && quoted.ends_with("  30"), "{quoted}");
    }
}
