//! Programs and their answers, waiting with a deadline, and the time.

use std::fmt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::say;

/// What a program said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether it ended with 0.
    pub good: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { good: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Runs a program to its end, whatever it ends with. Its standard error is kept unless the caller has directed it.
pub fn ask(command: &mut Command) -> Result<Said> {
    let output = command.stdin(Stdio::null()).output();
    output.map(Said::from).with_context(|| format!("cannot start {}", shown(command)))
}

/// Runs a program that has to succeed, and returns its standard output.
pub fn must(command: &mut Command) -> Result<String> {
    let said = ask(command)?;
    if !said.good {
        bail!("`{}` failed: {}", shown(command), tail(&said.err, 20));
    }
    Ok(said.out)
}

/// A command as a person would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().replace('\n', " ")).collect();
    words.join(" ")
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Wall time: scenarios measure what a person would wait.
pub fn now() -> Instant {
    crate::command::now()
}

/// Waiting on is useless.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// A wait that takes longer is reported, with what was missing last.
const WORTH_SAYING: Duration = Duration::from_secs(3);

/// Looks again and again until `look` succeeds. What it fails with says what is missing; the last of it is part of
/// the error at the deadline. A [`Hopeless`] failure ends the wait at once.
pub fn until<T>(what: &str, longest: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let start = now();
    let mut missing = String::new();
    loop {
        match look() {
            Ok(found) => {
                if start.elapsed() > WORTH_SAYING {
                    say(&format!("{:.1} s until {what}; last: {missing}", start.elapsed().as_secs_f64()));
                }
                return Ok(found);
            }
            Err(error) if error.is::<Hopeless>() => {
                return Err(error.context(format!("gave up waiting until {what}")));
            }
            Err(error) if start.elapsed() > longest => {
                return Err(error.context(format!("waited {} s until {what}", longest.as_secs())));
            }
            Err(error) => {
                missing = format!("{error:#}");
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }
}

/// A port of this machine that nobody listens on.
pub fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_says_what_is_missing() {
        let mut left = 2;
        let mut look = || {
            left -= 1;
            anyhow::ensure!(left == 0, "{left} left");
            Ok(left)
        };
        assert_eq!(until("none is left", Duration::from_secs(5), &mut look).unwrap(), 0);
        let error = until("pigs fly", Duration::ZERO, || -> Result<()> { bail!("no wings") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 0 s until pigs fly: no wings");
        let look = || -> Result<()> { Err(Hopeless("extinct".into()).into()) };
        let error = until("dodos fly", Duration::from_mins(1), look).unwrap_err();
        assert_eq!(format!("{error:#}"), "gave up waiting until dodos fly: extinct");
    }

    #[test]
    fn failures_quote_the_program() {
        let error = must(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "`sh -c echo why >&2; exit 3` failed: why");
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
    }
}
