//! A cluster as a tree: what exists, how far it is, and what it waits for.
//!
//! [`gather`] reads, [`build`] arranges (pure), [`render`] writes text. JSON and YAML are [`Branch`] itself.

pub mod build;
pub mod gather;
pub mod render;

use serde::Serialize;

/// One condition of an object, as far as the tree shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownCondition {
    /// `type`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase.
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// RFC 3339; empty where the object does not say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_transition_time: String,
}

impl ShownCondition {
    /// Conditions where `True` asks for attention (clusterctl's list).
    const NEGATIVE: [&'static str; 7] =
        ["Paused", "Deleting", "RollingOut", "ScalingUp", "ScalingDown", "Updating", "Remediating"];

    /// Whether this is as it should be.
    pub fn is_good(&self) -> bool {
        let wanted = if Self::NEGATIVE.contains(&self.r#type.as_str()) { "False" } else { "True" };
        self.status == wanted
    }
}

/// Replica counters; `None` where the kind has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<i64>,
    /// Existing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Ready for long enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<i64>,
    /// Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<i64>,
    /// As the spec wants them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to_date: Option<i64>,
}

/// An object (or a heading, or several alike machines) and what hangs below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Branch {
    /// `Cluster/prod`, `Workers`, `3 Machines...`.
    pub name: String,
    /// Kind of the object; empty for headings.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Whether the object is going away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
    /// `status.phase`, where the kind has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Replica counters.
    pub replicas: Counters,
    /// The condition that sums the object up: Available, or Ready for machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main: Option<ShownCondition>,
    /// The object's other conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ShownCondition>,
    /// What hangs below.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Self>,
}
