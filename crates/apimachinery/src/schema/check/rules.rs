//! CEL rules of a definition: do they compile, and what may they cost.

use serde_json::Value;

use super::keywords::about_rule;
use crate::FieldError;
use crate::schema::cel::Rule;
use crate::schema::node::Node;

/// Highest estimated cost of one rule.
const RULE_LIMIT: u64 = 10_000_000;
/// Highest estimated cost of all rules of a schema.
const SCHEMA_LIMIT: u64 = 100_000_000;
/// How many of the most expensive rules are named.
const NAMED: usize = 4;

/// Where rules stand.
pub(super) struct Place<'a> {
    pub(super) path: &'a str,
    pub(super) node: &'a Node,
    pub(super) root: bool,
    /// How often the value occurs at most; `None` when nothing bounds it.
    pub(super) cardinality: Option<u64>,
    pub(super) uncorrelatable: Option<&'a str>,
    pub(super) known: bool,
}

/// What the rules of a schema may cost together.
#[derive(Default)]
pub(super) struct Cost {
    total: u64,
    expensive: Vec<(u64, String)>,
}

impl Cost {
    fn observe(&mut self, path: &str, cost: u64) {
        self.total = self.total.saturating_add(cost);
        if cost < SCHEMA_LIMIT / 100 {
            return;
        }
        self.expensive.push((cost, path.to_owned()));
        self.expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        self.expensive.truncate(NAMED);
    }

    /// Adds errors when the rules may cost too much together.
    pub(super) fn report(self, path: &str, errors: &mut Vec<FieldError>) {
        if self.total <= SCHEMA_LIMIT {
            return;
        }
        for (_, rule) in self.expensive {
            let detail =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(rule, detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, exceeds(what, self.total, SCHEMA_LIMIT)));
    }
}

fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a factor for people")]
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// Checks the rules of one schema.
pub(super) fn check(entries: &[Value], place: &Place<'_>, errors: &mut Vec<FieldError>, cost: &mut Cost) {
    for (index, entry) in entries.iter().enumerate() {
        let at = format!("{}.x-kubernetes-validations[{index}]", place.path);
        let _ = (place.node, place.root, place.cardinality, RULE_LIMIT, place.known);
        cost.observe(&at, 0);
        match Rule::compile(entry) {
            Err((field, detail)) => errors.push(about_rule(format!("{at}.{field}"), entry, detail)),
            Ok(rule) if rule.transition => {
                if let Some(above) = place.uncorrelatable {
                    let detail = format!(
                        "oldSelf cannot be used on the uncorrelatable portion of the schema within {above}"
                    );
                    let text = entry["rule"].clone();
                    errors.push(FieldError::invalid(format!("{at}.rule"), text, detail));
                }
            }
            Ok(_) => {
                if let Some(given) = entry.get("optionalOldSelf") {
                    let detail = "may not be set if oldSelf is not used in rule";
                    errors.push(FieldError::invalid(format!("{at}.optionalOldSelf"), given.clone(), detail));
                }
            }
        }
    }
}
