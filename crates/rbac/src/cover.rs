//! What somebody may hand out: only what they hold themselves.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::rule::PolicyRule;

/// The parts of `wanted` that no rule of `held` allows, merged into few rules.
/// Nothing is missing when the answer is empty.
///
/// Each wanted rule is broken down into single permissions first, as upstream
/// does: permissions that are covered only by two rules together are not held.
pub fn missing<'a>(
    held: &[&PolicyRule],
    wanted: impl IntoIterator<Item = &'a PolicyRule>,
) -> Vec<PolicyRule> {
    let mut gaps: Vec<PolicyRule> = Vec::new();
    for rule in wanted {
        for one in single(rule) {
            if !held.iter().any(|held| held.covers(&one)) {
                add(&mut gaps, one);
            }
        }
    }
    gaps
}

/// The rule as permissions of one verb on one thing.
fn single(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut out = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let one = PolicyRule {
                    verbs: vec![verb.clone()],
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    out.push(one);
                    continue;
                }
                for name in &rule.resource_names {
                    out.push(PolicyRule { resource_names: vec![name.clone()], ..one.clone() });
                }
            }
        }
    }
    for url in &rule.non_resource_urls {
        for verb in &rule.verbs {
            out.push(PolicyRule {
                verbs: vec![verb.clone()],
                non_resource_urls: vec![url.clone()],
                ..PolicyRule::default()
            });
        }
    }
    out
}

/// Adds a permission, to the rule about the same thing where there is one.
fn add(rules: &mut Vec<PolicyRule>, one: PolicyRule) {
    let same = |rule: &&mut PolicyRule| {
        rule.non_resource_urls.is_empty()
            && one.non_resource_urls.is_empty()
            && rule.api_groups == one.api_groups
            && rule.resources == one.resources
            && rule.resource_names == one.resource_names
    };
    match rules.iter_mut().find(same) {
        Some(rule) => {
            for verb in one.verbs {
                if !rule.verbs.contains(&verb) {
                    rule.verbs.push(verb);
                }
            }
        }
        None => rules.push(one),
    }
}

/// Rules one to a line, sorted, in the words of upstream's refusals:
/// `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`.
pub fn describe(rules: &[PolicyRule]) -> String {
    let lines: BTreeSet<String> = rules.iter().map(line).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn line(rule: &PolicyRule) -> String {
    let mut out = String::from("{");
    for (name, list) in [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ] {
        if list.is_empty() {
            continue;
        }
        let separator = if out.len() > 1 { ", " } else { "" };
        let texts: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
        // Writing to a String cannot fail.
        let _ = write!(out, "{separator}{name}:[{}]", texts.join(" "));
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::rule;

    #[test]
    fn what_is_not_held_is_named() {
        for (held, wanted, expected) in [
            ("get,list - pods", "get - pods", ""),
            (
                "get,list - pods",
                "get,list,delete - pods",
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#,
            ),
            ("* * *", "* * *", ""),
            ("* * *", "get /x", r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#),
            ("get - pods a", "get - pods", r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#),
            ("get - pods", "get - pods a", ""),
            ("get /api/*", "get /api/v1", ""),
            ("get /api/*", "get /api/*", ""),
            ("get * */scale", "get apps deployments/scale", ""),
            (
                "get - pods",
                "get -,apps pods,jobs a,b",
                concat!(
                    r#"{APIGroups:[""], Resources:["jobs"], ResourceNames:["a"], Verbs:["get"]}"#,
                    "\n",
                    r#"{APIGroups:[""], Resources:["jobs"], ResourceNames:["b"], Verbs:["get"]}"#,
                    "\n",
                    r#"{APIGroups:["apps"], Resources:["jobs"], ResourceNames:["a"], Verbs:["get"]}"#,
                    "\n",
                    r#"{APIGroups:["apps"], Resources:["jobs"], ResourceNames:["b"], Verbs:["get"]}"#,
                    "\n",
                    r#"{APIGroups:["apps"], Resources:["pods"], ResourceNames:["a"], Verbs:["get"]}"#,
                    "\n",
                    r#"{APIGroups:["apps"], Resources:["pods"], ResourceNames:["b"], Verbs:["get"]}"#,
                ),
            ),
        ] {
            let (held, wanted_rule) = (rule(held), rule(wanted));
            assert_eq!(describe(&missing(&[&held], [&wanted_rule])), expected, "{wanted}");
        }
    }

    #[test]
    fn two_rules_together_do_not_cover_one_permission() {
        let (a, b) = (rule("get - pods a"), rule("get - pods b"));
        assert!(missing(&[&a, &b], [&rule("get - pods a,b")]).is_empty());
        assert!(!missing(&[&a, &b], [&rule("get - pods")]).is_empty());
    }
}
