//! The suite every provider passes: what "may be repeated" means, case by case.
//!
//! A provider's tests implement a bench ([`MachineBench`], [`ClusterBench`]) over their world (a fake, an
//! emulator, a real cloud) and call [`machines`] and [`clusters`]. The suite brings no runtime and no
//! clock: the bench lets time pass.

mod cluster_cases;
mod machine_cases;

use std::fmt;

pub use cluster_cases::{ClusterBench, ClusterCase, clusters};
pub use machine_cases::{MachineBench, MachineCase, machines};

use crate::Error;

/// How often the suite lets time pass before it gives up waiting.
const PATIENCE: usize = 200;

/// What a provider did against a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The case that found it.
    pub case: &'static str,
    /// What happened instead.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.what)
    }
}

/// All that a suite found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(pub Vec<Violation>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// What happened against a rule, before the case's name is added.
type Check = Result<(), String>;

/// Fails with the text unless the condition holds.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}

/// A call that had to succeed.
fn works<T>(call: &str, answer: Result<T, Error>) -> Result<T, String> {
    answer.map_err(|error| format!("{call} failed as {}: {error}", error.kind.as_str()))
}

/// The result of a suite from the results of its cases.
fn verdict(results: impl IntoIterator<Item = (&'static str, Check)>) -> Result<(), Violations> {
    let found: Vec<_> = results
        .into_iter()
        .filter_map(|(case, check)| check.err().map(|what| Violation { case, what }))
        .collect();
    if found.is_empty() { Ok(()) } else { Err(Violations(found)) }
}
