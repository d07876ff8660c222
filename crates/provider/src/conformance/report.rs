//! What a run of the suite found.

use std::fmt;

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider keeps the rule.
    Kept,
    /// The provider breaks the rule: what happened.
    Broken(String),
    /// The world cannot try it: why.
    NotTried(String),
}

/// One case of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The case's name.
    pub case: &'static str,
    /// How it ended.
    pub outcome: Outcome,
}

/// A run of the suite, case by case.
///
/// Shown, it is a table for people. [`Self::verdict`] is what a test asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(pub Vec<Line>);

impl Report {
    /// Names of the cases that were not tried, if no rule was broken. A test compares them with the list it
    /// expects, so that a case which silently stops being tried is noticed.
    ///
    /// # Errors
    /// The report itself, where a rule was broken.
    pub fn verdict(self) -> Result<Vec<&'static str>, Self> {
        if self.broken().is_empty() { Ok(self.not_tried()) } else { Err(self) }
    }

    /// Names of the cases whose rules the provider breaks.
    pub fn broken(&self) -> Vec<&'static str> {
        self.names(|outcome| matches!(outcome, Outcome::Broken(_)))
    }

    /// Names of the cases that were not tried.
    pub fn not_tried(&self) -> Vec<&'static str> {
        self.names(|outcome| matches!(outcome, Outcome::NotTried(_)))
    }

    fn names(&self, which: fn(&Outcome) -> bool) -> Vec<&'static str> {
        self.0.iter().filter(|line| which(&line.outcome)).map(|line| line.case).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { case, outcome } in &self.0 {
            match outcome {
                Outcome::Kept => writeln!(f, "kept       {case}")?,
                Outcome::Broken(what) => writeln!(f, "BROKEN     {case}: {what}")?,
                Outcome::NotTried(why) => writeln!(f, "not tried  {case}: {why}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Report {}
