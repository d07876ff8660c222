//! `recording/differences.txt`: the differences from upstream that are meant.

use anyhow::{Context as _, Result, ensure};

/// At most so many are allowed.
const MOST: usize = 15;

struct Line {
    kind: String,
    path: String,
}

impl Line {
    fn covers(&self, kind: &str, path: &str) -> bool {
        matches(&self.kind, kind) && matches(&self.path, path)
    }
}

/// Lines `kind path  reason`; `*` stands for any text, `#` starts a comment.
pub struct Listed(Vec<Line>);

impl Listed {
    pub fn read(text: &str) -> Result<Self> {
        let mut lines = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (pattern, reason) = line.split_once("  ").with_context(|| format!("no reason: {line}"))?;
            let (kind, path) = pattern.split_once(' ').with_context(|| format!("no path: {line}"))?;
            ensure!(reason.trim().len() > 20, "no reason: {line}");
            lines.push(Line { kind: kind.to_owned(), path: path.to_owned() });
        }
        ensure!(lines.len() <= MOST, "{} differences, {MOST} are allowed", lines.len());
        Ok(Self(lines))
    }

    /// Whether a line says so.
    pub fn covers(&self, kind: &str, path: &str) -> bool {
        self.0.iter().any(|line| line.covers(kind, path))
    }

    /// The lines that cover none of these kinds and paths.
    pub fn unused<'a>(&self, found: &(impl Iterator<Item = (&'a str, &'a str)> + Clone)) -> Vec<String> {
        let unused = self.0.iter().filter(|line| !found.clone().any(|(kind, path)| line.covers(kind, path)));
        unused.map(|line| format!("{} {}", line.kind, line.path)).collect()
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|end| matches(rest, end)))
        }),
    }
}

#[test]
fn a_star_stands_for_any_text() {
    for (pattern, text, same) in [
        ("status.deprecated*", "status.deprecated.v1beta1", true),
        ("*.reason", "status.conditions.Ready.reason", true),
        ("*.reason", "status.conditions.Ready.status", false),
        ("*", "", true),
        ("spec", "spec.x", false),
    ] {
        assert_eq!(matches(pattern, text), same, "{pattern} {text}");
    }
}
