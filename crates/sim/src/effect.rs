//! Effects: everything the manager does to the world outside, each from a site that can be counted.

use std::fmt;

use windlass_model::Time;

/// The place in the code from which an effect comes, as far as the outside can tell: seam, verb, what it is
/// done to, who does it. `management: patch machines/status by machine`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(pub String);

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// How many came before it in this life.
    pub number: usize,
    /// When it began.
    pub at: Time,
    /// Where it comes from.
    pub site: Site,
    /// What it is done to.
    pub object: String,
    /// What is changed, where that is known and no secret.
    pub change: String,
    /// The answer of the other side; empty as long as there is none.
    pub answer: String,
}

/// The two sides of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// It has not happened.
    Before,
    /// It has happened, and nobody has heard.
    After,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// What can go wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Somebody else writes the object just before. Whether that is a conflict (409) is up to the server: one
    /// that is not true would make the manager wait for news that never come.
    Conflict,
    /// Too many requests (429).
    Throttled,
    /// The other side has a bad moment (500).
    Internal,
    /// No answer.
    Timeout,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "conflict",
            Self::Throttled => "throttled",
            Self::Internal => "internal error",
            Self::Timeout => "no answer",
        })
    }
}
