//! Rules with what kube-apiserver 1.35.4 says to them, recorded: their highest
//! cost, or what is wrong with them.

use serde_json::Value;

use super::{Subject, Unfit, Wanted};
use crate::schema::compile;
use crate::schema::node::Node;

/// `schema` and its document; `old`, whether it is an optional and whether the
/// schema is that of a whole object; else a rule (or `@` and a message), a tab,
/// and its cost, `other` for another type than needed, or the error.
const RECORDED: &str = include_str!("recorded.txt");

#[test]
fn rules_are_judged_as_recorded() {
    let (mut node, mut embedded, mut optional) = (Node::default(), false, false);
    let (mut wrong, mut rules) = (Vec::new(), 0);
    for line in RECORDED.lines() {
        if let Some(schema) = line.strip_prefix("schema ") {
            let schema: Value = serde_json::from_str(schema).unwrap();
            node = compile::nodes(&schema);
            embedded = schema["x-kubernetes-embedded-resource"] == true;
            continue;
        }
        if let Some(how) = line.strip_prefix("old ") {
            optional = how.contains("optional");
            node.embedded = how.contains("root") || embedded;
            continue;
        }
        let (text, said) = line.split_once('\t').unwrap();
        let text = text.replace("\\n", "\n").replace("\\t", "\t");
        let (text, wanted) = match text.strip_prefix('@') {
            Some(message) => (message, Wanted::Text),
            None => (text.as_str(), Wanted::Condition),
        };
        let judged = match Subject::of(&node).unwrap().judge(text, optional, wanted) {
            Ok(cost) => cost.to_string(),
            Err(Unfit::OtherType) => "other".to_owned(),
            Err(Unfit::Broken(error)) => error.strip_prefix("compilation failed: ").unwrap().to_owned(),
        };
        let said = match serde_json::from_str(said) {
            Ok(Value::String(error)) => error,
            _ => said.to_owned(),
        };
        rules += 1;
        if judged != said {
            wrong.push(format!("{text}\n  recorded: {said}\n  judged: {judged}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {rules}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rules > 500, "{rules}");
}

#[test]
fn rules_that_grow_by_powers_of_two_are_judged_at_once() {
    let node =
        compile::nodes(&serde_json::json!({"type": "object", "properties": {"n": {"type": "integer"}}}));
    let subject = Subject::of(&node).unwrap();
    for (start, step, taken) in [
        ("[1]", ".map(x, {x: x})", true),
        ("[[]]", ".map(x, {x: x})", true),
        ("optional.of(1)", ".optMap(x, x + 1)", false),
        ("[1, 2]", ".sortBy(x, x)", true),
    ] {
        let rule = format!("dyn({start}{}) == 1", step.repeat(40));
        assert_eq!(subject.judge(&rule, false, Wanted::Condition).is_ok(), taken, "{rule}");
    }
}
