//! Replays `docs/tutorial.md` against the real binary and real kubectls.
//!
//! In blocks that begin with ```` ```console ````, `$ ` begins a command, `> ` continues it, and what follows is what it
//! must say, on both streams. A line `...` stands for any number of lines. Compared is what stays the same: random
//! suffixes, ages, ports, process numbers, the home directory and the width of columns do not count. A command must
//! succeed unless the page shows an error.
//!
//! `WINDLASS_UPDATE=1 cargo test -p windlass-cli --test tutorial` writes what was said into the page.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{Home, Process, WINDLASS};
use regex::Regex;
use windlass_testkit::tools::{KUBECTL_1_35, KUBECTL_1_36, Program};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tutorial.md");

/// The home directory that the page shows.
const SHOWN_HOME: &str = "/home/kim";

/// No command of the page takes longer.
const LONGEST: Duration = Duration::from_mins(2);

#[test]
fn with_kubectl_1_35() {
    replay(KUBECTL_1_35, std::env::var_os("WINDLASS_UPDATE").is_some());
}

#[test]
fn with_kubectl_1_36() {
    replay(KUBECTL_1_36, false);
}

fn replay(kubectl: Program, update: bool) {
    let Some(kubectl) = kubectl.or_skip() else { return };
    let page = std::fs::read_to_string(PAGE).unwrap();
    let home = Home::new();
    let mut shell = Shell::start(&home, &kubectl);
    let (mut out, mut faults) = (String::new(), String::new());
    for part in parts(&page) {
        match part {
            Part::Prose(line) => writeln!(out, "{line}").unwrap(),
            Part::Command { lines, script, expected } => {
                let (said, code) = shell.run(&script);
                let same = matches(
                    &normal(&expected, SHOWN_HOME),
                    &normal(&said, &home.path().display().to_string()),
                );
                let fails = expected.iter().any(|line| is_error(line));
                if !same || (code == 0) == fails {
                    write!(faults, "\n{}\nexit code {code}, said:\n{}\n", lines.join("\n"), said.join("\n"))
                        .unwrap();
                }
                let kept = if same { expected } else { shown(&said, &home) };
                for line in lines.iter().chain(&kept) {
                    writeln!(out, "{line}").unwrap();
                }
            }
        }
    }
    if update {
        std::fs::write(PAGE, out).unwrap();
    } else {
        assert!(faults.is_empty(), "these commands did not say what the page says:{faults}");
    }
}

/// Whether a line of the page tells of a failure.
fn is_error(line: &str) -> bool {
    line.starts_with("error:") || line.starts_with("Error from server") || line.contains(" is invalid: ")
}

fn shown(said: &[String], home: &Home) -> Vec<String> {
    let path = home.path().display().to_string();
    said.iter().map(|line| line.replace(&path, SHOWN_HOME).trim_end().to_owned()).collect()
}

enum Part {
    Prose(String),
    Command { lines: Vec<String>, script: String, expected: Vec<String> },
}

/// Prose and commands in their order.
fn parts(page: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut in_block = false;
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = line == "```console";
            parts.push(Part::Prose(line.to_owned()));
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| in_block) {
            let (lines, script) = (vec![line.to_owned()], command.to_owned());
            parts.push(Part::Command { lines, script, expected: Vec::new() });
        } else if in_block && let Some(Part::Command { lines, script, expected }) = parts.last_mut() {
            match line.strip_prefix("> ") {
                Some(more) if expected.is_empty() => {
                    lines.push(line.to_owned());
                    script.push('\n');
                    script.push_str(more);
                }
                Some(_) | None => expected.push(line.to_owned()),
            }
        } else {
            parts.push(Part::Prose(line.to_owned()));
        }
    }
    parts
}

/// One bash for the whole page, so that `export` lasts.
struct Shell {
    _process: Process,
    input: ChildStdin,
    output: Receiver<String>,
}

impl Shell {
    const MARK: &str = "the command has ended with";

    fn start(home: &Home, kubectl: &Path) -> Self {
        let bin = home.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        symlink(kubectl, bin.join("kubectl")).unwrap();
        symlink(WINDLASS, bin.join("windlass")).unwrap();
        let mut command = home.command("bash");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        command.args(["--noprofile", "--norc"]).env("PATH", path).env_remove("WINDLASS_DATA_DIR");
        let mut process =
            Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()));
        let mut input = process.0.stdin.take().unwrap();
        writeln!(input, "exec 2>&1").unwrap();
        let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let (sender, output) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { _process: process, input, output }
    }

    /// What a command says, and its exit code.
    fn run(&mut self, script: &str) -> (Vec<String>, i32) {
        writeln!(self.input, "{{ {script}\n}} </dev/null; echo \"{} $?\"", Self::MARK).unwrap();
        let mut said = Vec::new();
        loop {
            let line =
                self.output.recv_timeout(LONGEST).unwrap_or_else(|_| panic!("no end of: {script}\n{said:?}"));
            if let Some((last, code)) = line.split_once(Self::MARK) {
                said.extend((!last.is_empty()).then(|| last.to_owned()));
                return (said, code.trim().parse().unwrap());
            }
            said.push(line);
        }
    }
}

/// What stays the same from run to run.
fn normal(lines: &[String], home: &str) -> Vec<String> {
    static VOLATILE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "-xxxxx"),
            (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
            (r"process \d+", "process PID"),
            (r"\b\d+[smhd](\d+[smh])?\b", "AGE"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
            (r"\s+", " "),
        ]
        .map(|(volatile, shown)| (Regex::new(volatile).unwrap(), shown))
        .into()
    });
    let one = |line: &String| {
        let line = line.replace(home, "~");
        let line =
            VOLATILE.iter().fold(line, |line, (volatile, shown)| volatile.replace_all(&line, *shown).into());
        line.trim().to_owned()
    };
    let mut lines: Vec<_> = lines.iter().map(one).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// Whether the lines are the expected ones; `...` stands for any number of lines.
fn matches(expected: &[String], said: &[String]) -> bool {
    match expected {
        [] => said.is_empty(),
        [any, rest @ ..] if any == "..." => (0..=said.len()).any(|at| matches(rest, &said[at..])),
        [first, rest @ ..] => said.first() == Some(first) && matches(rest, &said[1..]),
    }
}

#[test]
fn only_what_stays_the_same_is_compared() {
    let same = |page: &str, said: &str| {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        matches(&normal(&lines(page), SHOWN_HOME), &normal(&lines(said), "/tmp/x"))
    };
    assert!(same("md-0-88skn-s88h9   Ready   2m3s", "md-0-wrr4n-j78h8 Ready 4s"));
    assert!(same("in /home/kim/a", "in /tmp/x/a"));
    assert!(same("...\nb", "1\n2\nb"));
    assert!(!same("a\n...\nb", "1\n2\nb"));
    assert!(!same("Ready", "NotReady"));
    assert!(!same("5 Machines", "4 Machines"));
    assert!(!same("a", "a\nb"));
}
