//! CEL rules of a definition: do they compile, and what may they cost.

use serde_json::Value;

use super::keywords::about_rule;
use crate::schema::cel::{Rule, Subject, Unfit, Wanted};
use crate::schema::node::Node;
use crate::{FieldError, FieldErrorKind};

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
    let Some(subject) = Subject::of(place.node) else {
        let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
        errors.push(FieldError {
            field: format!("{}.x-kubernetes-validations", place.path),
            kind: FieldErrorKind::Internal,
            bad_value: None,
            detail: detail.to_owned(),
            printed: None,
        });
        return;
    };
    for (index, entry) in entries.iter().enumerate() {
        let at = format!("{}.x-kubernetes-validations[{index}]", place.path);
        let mut pass = Pass { at, entry, place, errors: &mut *errors, cost: &mut *cost };
        let fits = pass.expressions(&subject);
        pass.evaluated(fits);
    }
}

/// Which expressions of a rule fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fits {
    Nothing,
    Rule,
    All,
}

struct Pass<'a> {
    at: String,
    entry: &'a Value,
    place: &'a Place<'a>,
    errors: &'a mut Vec<FieldError>,
    cost: &'a mut Cost,
}

impl Pass<'_> {
    /// The types and the cost of the expressions of a rule.
    fn expressions(&mut self, subject: &Subject) -> Fits {
        let text = |name: &str| self.entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let (rule, message) = (text("rule"), text("messageExpression"));
        let optional_old = self.entry.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or(false);
        let often = self.place.cardinality.unwrap_or_else(|| subject.cardinality());
        match subject.judge(rule, optional_old, Wanted::Condition) {
            Ok(cost) => self.costs("rule", "estimated rule cost", cost.saturating_mul(often)),
            Err(Unfit::Broken(detail)) => {
                self.about("rule", detail);
                return Fits::Nothing;
            }
            Err(Unfit::OtherType) => {
                self.about("rule", "cel expression must evaluate to a bool".to_owned());
                return Fits::Nothing;
            }
        }
        if message.is_empty() {
            return Fits::All;
        }
        let detail = match subject.judge(message, optional_old, Wanted::Text) {
            Ok(cost) => {
                self.costs("messageExpression", "estimated messageExpression cost", cost);
                return Fits::All;
            }
            Err(Unfit::Broken(detail)) => format!("messageExpression {detail}"),
            Err(Unfit::OtherType) => "messageExpression must evaluate to a string".to_owned(),
        };
        self.about("messageExpression", detail);
        Fits::Rule
    }

    fn about(&mut self, field: &str, detail: String) {
        self.errors.push(about_rule(format!("{}.{field}", self.at), self.entry, detail));
    }

    fn costs(&mut self, field: &str, what: &str, cost: u64) {
        let path = format!("{}.{field}", self.at);
        if !self.place.known && cost > RULE_LIMIT {
            self.errors.push(FieldError::forbidden(path.clone(), exceeds(what, cost, RULE_LIMIT)));
        }
        self.cost.observe(&path, cost);
    }

    /// Whether the rule can be run here, and what it says about old values.
    fn evaluated(&mut self, fits: Fits) {
        let compiled = Rule::compile(self.entry);
        if fits == Fits::All
            && let Err((field, detail)) = &compiled
        {
            self.about(field, detail.clone());
            return;
        }
        // A rule that does not fit is not known to use anything.
        let transition = match compiled {
            _ if fits == Fits::Nothing => false,
            Ok(rule) => rule.transition,
            Err(_) => Rule::is_transition(self.entry),
        };
        if transition {
            if let Some(above) = self.place.uncorrelatable {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {above}"
                );
                let text = self.entry["rule"].clone();
                self.errors.push(FieldError::invalid(format!("{}.rule", self.at), text, detail));
            }
        } else if let Some(given) = self.entry.get("optionalOldSelf") {
            let detail = "may not be set if oldSelf is not used in rule";
            let path = format!("{}.optionalOldSelf", self.at);
            self.errors.push(FieldError::invalid(path, given.clone(), detail));
        }
    }
}
