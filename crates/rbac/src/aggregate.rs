//! Roles made of other roles.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rule::PolicyRule;

/// Which cluster roles a role is made of: those that any selector matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AggregationRule {
    /// Label selectors, as JSON.
    pub cluster_role_selectors: Vec<serde_json::Value>,
}

/// The rules of the role `name` made of these others, in the order upstream's
/// aggregation controller gives them: selector by selector, role by role, each
/// rule once.
pub fn aggregated(
    name: &str,
    aggregation: &AggregationRule,
    roles: &BTreeMap<String, (BTreeMap<String, String>, Vec<PolicyRule>)>,
    selects: impl Fn(&serde_json::Value, &BTreeMap<String, String>) -> bool,
) -> Vec<PolicyRule> {
    let mut out: Vec<PolicyRule> = Vec::new();
    for selector in &aggregation.cluster_role_selectors {
        for (other, (labels, rules)) in roles {
            if other == name || !selects(selector, labels) {
                continue;
            }
            for rule in rules {
                if !out.contains(rule) {
                    out.push(rule.clone());
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::rule;

    #[test]
    fn rules_of_selected_roles_are_collected_once() {
        let role = |label: &str, rules: &[&str]| {
            let labels = BTreeMap::from([("to".to_owned(), label.to_owned())]);
            (labels, rules.iter().map(|text| rule(text)).collect())
        };
        let roles = BTreeMap::from([
            ("b".to_owned(), role("x", &["get - b", "get - shared"])),
            ("a".to_owned(), role("x", &["get - a", "get - shared"])),
            ("self".to_owned(), role("x", &["get - old"])),
            ("other".to_owned(), role("y", &["get - other"])),
        ]);
        let aggregation = AggregationRule { cluster_role_selectors: vec![serde_json::json!("x")] };
        let selects =
            |selector: &serde_json::Value, labels: &BTreeMap<String, String>| *selector == labels["to"];
        let rules = aggregated("self", &aggregation, &roles, selects);
        assert_eq!(rules, ["get - a", "get - shared", "get - b"].map(rule));
    }
}
