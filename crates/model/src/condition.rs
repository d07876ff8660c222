//! Conditions as decisions see them; the runtime adds times and generations when it writes them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Status of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// The condition holds.
    True,
    /// It does not.
    False,
    /// Nobody can tell at present.
    #[default]
    Unknown,
}

impl Status {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// From Kubernetes' spelling; anything else is unknown.
    pub fn parse(text: &str) -> Self {
        match text {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }

    /// `True` or `False`.
    pub fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Whether `True` is good news (`Ready`) or a cause for attention (`Deleting`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Polarity {
    /// `True` is good.
    #[default]
    Positive,
    /// `True` needs attention.
    Negative,
}

/// One condition: what a controller says about an object, before it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `type`.
    pub kind: Cow<'static, str>,
    /// `status`.
    pub status: Status,
    /// `reason`, in CamelCase; never empty.
    pub reason: Cow<'static, str>,
    /// For people; empty where there is nothing to say.
    pub message: String,
}

impl Condition {
    /// A condition without a message.
    pub fn new(
        kind: impl Into<Cow<'static, str>>,
        status: Status,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind: kind.into(), status, reason: reason.into(), message: String::new() }
    }

    /// The same with a message.
    #[must_use]
    pub fn because(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Whether the condition holds.
    pub fn is_true(&self) -> bool {
        self.status == Status::True
    }
}
