//! Running the CEL rules of an object: top down, within a budget of steps.

use serde_json::Value;

use super::cel::{self, Outcome};
use super::node::{Additional, Node};
use super::validate::{Findings, old_item};
use super::{push_index, push_name};
use crate::FieldError;

/// Runs all rules of an object. Rules about what did not change cannot refuse
/// it; clients are warned of those.
pub(super) fn run(root: &Node, object: &Value, old: Option<&Value>, found: &mut Findings) {
    let mut pass = Pass { path: String::new(), budget: cel::BUDGET, found };
    // The end of the budget is reported where it is reached.
    let _ = pass.value(root, object, old, old == Some(object) && old.is_some());
}

/// No further rules are run.
struct Exhausted;

struct Pass<'f> {
    path: String,
    budget: u64,
    found: &'f mut Findings,
}

impl Pass<'_> {
    fn value(
        &mut self,
        node: &Node,
        value: &Value,
        old: Option<&Value>,
        unchanged: bool,
    ) -> Result<(), Exhausted> {
        if !node.below.rules || value.is_null() {
            return Ok(());
        }
        let unchanged = unchanged || old == Some(value);
        self.own(node, value, old, unchanged)?;
        let len = self.path.len();
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    let child = match (node.property(name), &node.additional) {
                        (Some(child), _) => {
                            push_name(&mut self.path, name);
                            child
                        }
                        (None, Additional::Schema(child)) => {
                            self.path.extend(["[", name, "]"]);
                            child
                        }
                        (None, Additional::None | Additional::Any) => continue,
                    };
                    let result = self.value(child, value, old.and_then(|old| old.get(name)), unchanged);
                    self.path.truncate(len);
                    result?;
                }
            }
            Value::Array(list) => {
                let Some(items) = &node.items else { return Ok(()) };
                for (index, item) in list.iter().enumerate() {
                    push_index(&mut self.path, index);
                    let result = self.value(items, item, old_item(node, item, old), unchanged);
                    self.path.truncate(len);
                    result?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }

    /// The rules of one node.
    fn own(
        &mut self,
        node: &Node,
        value: &Value,
        old: Option<&Value>,
        unchanged: bool,
    ) -> Result<(), Exhausted> {
        let runs = |rule: &cel::Rule| !rule.transition || old.is_some() || rule.optional_old;
        if !node.rules.iter().any(runs) {
            return Ok(());
        }
        cel::scoped(node, value, old, |scopes| {
            for rule in node.rules.iter().filter(|rule| runs(rule)) {
                let steps = rule.steps(scopes);
                match rule.run(scopes, value, &self.path) {
                    Outcome::Holds => {}
                    Outcome::Broken(error) if unchanged && !rule.transition => {
                        self.found.tolerated.push(error);
                    }
                    Outcome::Broken(error) => self.found.errors.push(error),
                    Outcome::TooCostly(error) => {
                        self.found.errors.push(error);
                        return Err(Exhausted);
                    }
                }
                self.budget = if let Some(left) = self.budget.checked_sub(steps) {
                    left
                } else {
                    let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
                    let field = if self.path.is_empty() { "<nil>" } else { &self.path };
                    self.found.errors.push(FieldError::invalid(field, scopes.type_name(), detail));
                    return Err(Exhausted);
                };
            }
            Ok(())
        })
    }
}
