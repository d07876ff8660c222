//! The reduced recording: what a user did and what upstream made of it.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::roles::Roles;

/// `recording/upstream.jsonl`, written by `recording/reduce.py`.
pub struct Recording {
    /// The user's objects.
    pub created: Vec<Value>,
    /// Each phase with the objects that stood at its end, in the order of their creation.
    pub phases: Vec<(String, Vec<Value>)>,
    /// Objects deleted in the last phase, `Kind/<role>` in order.
    pub deleted: Vec<String>,
}

impl Recording {
    pub fn read(text: &str) -> Result<Self> {
        let mut recording = Self { created: Vec::new(), phases: Vec::new(), deleted: Vec::new() };
        let mut objects: Vec<Value> = Vec::new();
        let mut roles = Roles::default();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)?;
            let (what, value) =
                line.as_object().and_then(|line| line.iter().next()).context("an empty line")?;
            match (what.as_str(), value.as_str()) {
                ("phase", Some(phase)) => {
                    roles = Roles::of(objects.iter());
                    recording.phases.push((phase.to_owned(), objects.clone()));
                }
                ("created", None) => recording.created.push(value.clone()),
                ("settled", None) => {
                    let id = name(value);
                    match objects.iter_mut().find(|object| name(object) == id) {
                        Some(object) => *object = value.clone(),
                        None => objects.push(value.clone()),
                    }
                }
                ("gone", Some(gone)) => objects.retain(|object| name(object) != gone),
                ("deleted", Some(deleted)) => {
                    objects.retain(|object| name(object) != deleted);
                    recording.deleted.push(roles.replace(deleted));
                }
                _ => bail!("a line that says {what}"),
            }
            if let Some((_, standing)) = recording.phases.last_mut() {
                standing.clone_from(&objects);
            }
        }
        Ok(recording)
    }
}

/// `Kind/name`.
pub fn name(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", text("/kind"), text("/metadata/name"))
}
