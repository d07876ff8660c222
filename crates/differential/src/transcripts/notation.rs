//! How a transcript is written.
//!
//! ```text
//! # What it is about. Also between commands.
//! @namespace none          <- only if it makes no use of the namespace of its name
//!
//! $ kubectl create -f - <<EOF      <- until a line EOF, which belongs to the command
//! …
//! EOF
//! configmap/a created      <- its output, as recorded: lines of standard output,
//! ! Warning: …             <- then of standard error,
//! [exit 1]                 <- then the code, if it is not 0
//! [1.36]                   <- what another version of the client prints instead
//! configmap/a made
//! ```
//!
//! A backslash goes before a line of output that would be taken for something else.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail, ensure};

use super::clients::{CLIENTS, RECORDED};

/// The word that a command's documents end with.
const END: &str = "EOF";

/// Commands with what they print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// The name of the file, and of the namespace.
    pub name: String,
    /// What it is about.
    pub about: Vec<String>,
    /// Whether it has a namespace.
    pub namespace: bool,
    /// The commands.
    pub steps: Vec<Step>,
}

/// A command with what it prints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Comments before it.
    pub before: Vec<String>,
    /// For the shell; several lines with documents.
    pub command: String,
    /// What it prints.
    pub lines: Vec<String>,
    /// What it prints with other versions of the client.
    pub instead: BTreeMap<String, Vec<String>>,
}

impl Step {
    /// What this version of the client prints.
    pub fn expected(&self, version: &str) -> &[String] {
        self.instead.get(version).unwrap_or(&self.lines)
    }

    /// Keeps what a version of the client prints.
    pub fn keep(&mut self, version: &str, lines: Vec<String>) {
        if version == RECORDED {
            self.instead.clear();
            self.lines = lines;
        } else if lines == self.lines {
            self.instead.remove(version);
        } else {
            self.instead.insert(version.to_owned(), lines);
        }
    }
}

impl Transcript {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it does not begin with what it is about, or a command does not end.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut lines = text.lines().peekable();
        let mut read = Self { name: name.to_owned(), about: Vec::new(), namespace: true, steps: Vec::new() };
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
            match line {
                "@namespace none" => read.namespace = false,
                line if line.starts_with('#') => read.about.push(line.to_owned()),
                "" => {}
                other => bail!("{other:?} is neither a comment nor a command"),
            }
        }
        ensure!(!read.about.is_empty(), "the first line must say what this is about: # …");
        let mut comments = Vec::new();
        let mut version = None;
        while let Some(line) = lines.next() {
            if let Some(first) = line.strip_prefix("$ ") {
                let mut command = first.to_owned();
                if first.contains(&format!("<<{END}")) || first.contains(&format!("<<'{END}'")) {
                    loop {
                        let Some(line) = lines.next() else { bail!("{first:?} does not end with {END}") };
                        command.push('\n');
                        command.push_str(line);
                        if line == END {
                            break;
                        }
                    }
                }
                version = None;
                read.steps.push(Step { before: std::mem::take(&mut comments), command, ..Step::default() });
            } else if line.starts_with("# ") {
                comments.push(line.to_owned());
            } else if let Some(other) = version_of(line) {
                version = Some(other);
            } else if let Some(step) = read.steps.last_mut() {
                let output = match &version {
                    None => &mut step.lines,
                    Some(version) => step.instead.entry(version.clone()).or_default(),
                };
                output.push(line.strip_prefix('\\').unwrap_or(line).to_owned());
            }
        }
        for step in &mut read.steps {
            trim(&mut step.lines);
            step.instead.values_mut().for_each(trim);
        }
        Ok(read)
    }
}

/// Empty lines at the end of what was printed are for the eye.
pub(super) fn trim(lines: &mut Vec<String>) {
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
}

/// The version of a line `[1.36]`.
fn version_of(line: &str) -> Option<String> {
    let version = line.strip_prefix('[')?.strip_suffix(']')?;
    CLIENTS.iter().any(|known| known.version == version).then(|| version.to_owned())
}

impl fmt::Display for Transcript {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.about {
            writeln!(out, "{line}")?;
        }
        if !self.namespace {
            writeln!(out, "@namespace none")?;
        }
        for step in &self.steps {
            writeln!(out)?;
            for line in &step.before {
                writeln!(out, "{line}")?;
            }
            writeln!(out, "$ {}", step.command)?;
            write_lines(out, &step.lines)?;
            for (version, lines) in &step.instead {
                writeln!(out, "[{version}]")?;
                write_lines(out, lines)?;
            }
        }
        Ok(())
    }
}

fn write_lines(out: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    for line in lines {
        let mistaken = line.starts_with("$ ")
            || line.starts_with("# ")
            || line.starts_with('\\')
            || version_of(line).is_some();
        writeln!(out, "{}{line}", if mistaken { "\\" } else { "" })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# About this.

$ kubectl get x
NAME
\\# not a comment

after an empty line
! and an error
[exit 1]
[1.36]
other

# A comment.
$ kubectl create -f - <<EOF
kind: X
EOF
x created
";

    #[test]
    fn what_is_read_is_written_again() {
        let read = Transcript::parse("a", TEXT).unwrap();
        assert_eq!(read.to_string(), TEXT);
        assert_eq!(read.steps.len(), 2);
        let first = ["NAME", "# not a comment", "", "after an empty line", "! and an error", "[exit 1]"];
        assert_eq!(read.steps[0].expected("1.34"), first);
        assert_eq!(read.steps[0].expected("1.36"), ["other"]);
        assert_eq!(read.steps[1].command, "kubectl create -f - <<EOF\nkind: X\nEOF");
    }

    #[test]
    fn what_is_no_transcript_is_refused() {
        for text in ["$ kubectl get", "# a\nb", "# a\n$ kubectl create -f - <<EOF\nkind: X\n"] {
            assert!(Transcript::parse("a", text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_is_printed_differently_is_kept() {
        let mut step = Step::default();
        step.keep(RECORDED, vec!["a".to_owned()]);
        step.keep("1.36", vec!["b".to_owned()]);
        step.keep("1.34", vec!["a".to_owned()]);
        assert_eq!(step.instead.keys().collect::<Vec<_>>(), ["1.36"]);
    }
}
