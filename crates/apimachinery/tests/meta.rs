//! Names, labels and the rest of `metadata`; selectors; merge and JSON patches.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "helpers of tests fail the test; tables of `json!` are long and given away"
)]

use serde_json::{Value, json};
use windlass_apimachinery::meta::{self, NameRule};
use windlass_apimachinery::patch::{self, PatchError};
use windlass_apimachinery::selector::{FieldSelector, LabelSelector};

#[test]
fn names() {
    let long = "a".repeat(64);
    let longer = "a".repeat(254);
    let cases: [(NameRule, &str, bool); 17] = [
        (NameRule::Subdomain, "a", true),
        (NameRule::Subdomain, "a-1.b", true),
        (NameRule::Subdomain, "A", false),
        (NameRule::Subdomain, "a_b", false),
        (NameRule::Subdomain, "-a", false),
        (NameRule::Subdomain, "a..b", false),
        (NameRule::Subdomain, "", false),
        (NameRule::Subdomain, &long, true),
        (NameRule::Subdomain, &longer, false),
        (NameRule::Label, "a-1", true),
        (NameRule::Label, "a.b", false),
        (NameRule::Label, &long, false),
        (NameRule::PathSegment, "system:node:A", true),
        (NameRule::PathSegment, "a/b", false),
        (NameRule::PathSegment, "a%b", false),
        (NameRule::PathSegment, "..", false),
        (NameRule::PathSegment, ".", false),
    ];
    for (rule, name, valid) in cases {
        assert_eq!(meta::name(rule, name).is_empty(), valid, "{rule:?} {name}");
    }
}

#[test]
fn generated_names() {
    assert_eq!(meta::generate_name("web-", [0, 1, 26, 27, 255]), "web-bc9bq");
    let long = meta::generate_name(&"a".repeat(80), [0; 5]);
    assert_eq!((long.len(), long.ends_with("abbbbb")), (63, true));
    assert_eq!(meta::generate_name(&"ä".repeat(40), [0; 5]).chars().count(), 34);
}

#[test]
fn metadata() {
    let long = "a".repeat(64);
    let base = || json!({"name": "x", "namespace": "n"});
    let owner = |controller: bool| json!({"apiVersion": "v1", "kind": "K", "name": "o", "uid": "u", "controller": controller});
    let cases = [
        (json!({}), ""),
        (
            json!({"labels": {"a.b/c": "d", "e": ""}, "annotations": {"X/Y_z": "any thing"}, "finalizers": ["a/b"], "ownerReferences": [owner(true), owner(false)]}),
            "",
        ),
        (json!({"name": ""}), "metadata.name: Required value: name or generateName is required"),
        (json!({"name": "A"}), "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain"),
        (json!({"namespace": ""}), "metadata.namespace: Required value"),
        (json!({"namespace": "a.b"}), "metadata.namespace: Invalid value: \"a.b\": must not contain dots"),
        (json!({"generateName": "AB-"}), "metadata.generateName: Invalid value: \"AB-\""),
        (json!({"labels": {"a": "b c"}}), "metadata.labels: Invalid value: \"b c\": a valid label must be"),
        (json!({"labels": {"a": long}}), "metadata.labels: Invalid value: \"aaaa"),
        (
            json!({"labels": {"/a": "b"}}),
            "metadata.labels: Invalid value: \"/a\": prefix part must be non-empty",
        ),
        (json!({"labels": {"a/b/c": "b"}}), "metadata.labels: Invalid value: \"a/b/c\": a valid label key"),
        (json!({"labels": {"": "b"}}), "metadata.labels: Invalid value: \"\": name part must be non-empty"),
        (
            json!({"annotations": {"a b": "c"}}),
            "metadata.annotations: Invalid value: \"a b\": name part must consist",
        ),
        (
            json!({"annotations": {"a": "b".repeat(256 * 1024)}}),
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (json!({"finalizers": ["a b"]}), "metadata.finalizers: Invalid value: \"a b\""),
        (
            json!({"finalizers": ["orphan", "foregroundDeletion"]}),
            "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
        ),
        (
            json!({"ownerReferences": [{"kind": "K", "name": "o", "uid": "u"}]}),
            "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
        ),
        (json!({"ownerReferences": [owner(true), owner(true)]}), "metadata.ownerReferences: Invalid value: "),
    ];
    for (change, expected) in cases {
        let mut metadata = base();
        for (name, value) in change.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        let errors = meta::validate(metadata.as_object().unwrap(), NameRule::Subdomain, true);
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.starts_with(expected) && text.is_empty() == expected.is_empty(), "{change}\n{text}");
    }
    let errors = meta::validate(base().as_object().unwrap(), NameRule::Subdomain, false);
    assert_eq!(errors[0].to_string(), "metadata.namespace: Forbidden: not allowed on this type");
}

#[test]
fn coercion() {
    let mut object = json!({"metadata": {"name": "x", "creationTimestamp": null, "labels": {"a": null}, "annotations": {}, "finalizers": [],
        "managedFields": [], "bogus": 1, "generation": 0}});
    assert_eq!(meta::coerce(&mut object).unwrap(), ["metadata.bogus"]);
    assert_eq!(
        object,
        json!({"metadata": {"name": "x", "labels": {"a": ""}, "managedFields": [], "generation": 0}})
    );
    for wrong in [
        json!({"name": 1}),
        json!({"labels": {"a": 1}}),
        json!({"finalizers": "a"}),
        json!({"ownerReferences": ["a"]}),
        json!({"generation": "1"}),
    ] {
        assert!(meta::coerce(&mut json!({"metadata": wrong})).is_err());
    }
    assert!(meta::coerce(&mut json!({"metadata": "x"})).is_err());
}

#[test]
fn label_selectors() {
    let labels = json!({"app": "web", "tier": "1", "empty": ""});
    let cases = [
        ("", true),
        ("app", true),
        ("!app", false),
        ("nope", false),
        ("!nope", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web", true),
        ("app!=web", false),
        ("nope!=x", true),
        ("empty=", true),
        ("app in (web,api)", true),
        ("app in (api)", false),
        ("app notin (api)", true),
        ("nope notin (api)", true),
        ("nope in (a)", false),
        ("tier>0", true),
        ("tier<1", false),
        ("app>0", false),
        ("app=web,tier=1", true),
        ("app=web, tier in (2)", false),
        ("a.b/c=d", false),
        ("empty in (,x)", true),
    ];
    for (text, matches) in cases {
        let selector = LabelSelector::parse(text).unwrap();
        assert_eq!(selector.matches(labels.as_object()), matches, "{text}");
        let printed = LabelSelector::parse(&selector.to_string()).unwrap();
        assert_eq!(printed, selector, "{text} {selector}");
    }
    for text in [
        "a b", "a=b c", "=b", "a in b", "a in (b", "a,,b", "a,", "a=b=c", "a>b", "a!", "(a)", "a b=c",
        "-a=b", "a=b/c",
    ] {
        assert!(LabelSelector::parse(text).is_err(), "{text}");
    }
}

#[test]
fn label_selector_objects() {
    let labels = json!({"app": "web"});
    let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
    let cases = [
        (json!({}), Some(true)),
        (json!(null), Some(false)),
        (json!({"matchLabels": {"app": "web"}}), Some(true)),
        (json!({"matchLabels": {"app": "api"}}), Some(false)),
        (expression("In", json!(["web"])), Some(true)),
        (expression("NotIn", json!(["web"])), Some(false)),
        (expression("Exists", json!(null)), Some(true)),
        (expression("DoesNotExist", json!(null)), Some(false)),
        (expression("In", json!([])), None),
        (expression("Exists", json!(["x"])), None),
        (expression("Like", json!(["x"])), None),
    ];
    for (object, matches) in cases {
        let selector = LabelSelector::from_object(&object).ok();
        assert_eq!(selector.map(|selector| selector.matches(labels.as_object())), matches, "{object}");
    }
}

#[test]
fn field_selectors() {
    let get = |field: &str| match field {
        "metadata.name" => Some("a"),
        "odd" => Some("x,y=z"),
        _ => None,
    };
    let cases = [
        ("", true),
        ("metadata.name=a", true),
        ("metadata.name==a", true),
        ("metadata.name!=a", false),
        ("metadata.name=b", false),
        ("none=", true),
        ("none!=x", true),
        ("metadata.name=a,none=x", false),
        (r"odd=x\,y\=z", true),
    ];
    for (text, matches) in cases {
        assert_eq!(FieldSelector::parse(text).unwrap().matches_with(get), matches, "{text}");
    }
    assert_eq!(FieldSelector::parse("metadata.name=a,b!=c").unwrap().exact("metadata.name"), Some("a"));
    assert!(FieldSelector::parse("a").is_err());
}

#[test]
fn merge_patches() {
    // RFC 7386, appendix A.
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a"]), json!(["c"]), json!(["c"])),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ];
    for (mut target, patch, result) in cases {
        patch::merge(&mut target, &patch);
        assert_eq!(target, result, "{patch}");
    }
}

#[test]
fn json_patches_do_not_nest_deeper_than_documents() {
    let deep = |depth| (0..depth).fold(json!({}), |inner, _| json!({"x": inner}));
    let nest = [
        json!({"op": "add", "path": "/x", "value": deep(60)}),
        json!({"op": "add", "path": "/x".repeat(60), "value": deep(60)}),
    ];
    assert!(matches!(patch::json(&mut json!({}), &nest), Err(PatchError::Unprocessable(_))));
    let copy =
        |from: usize, to: usize| json!({"op": "copy", "from": "/x".repeat(from), "path": "/x".repeat(to)});
    let doubling = [nest[0].clone(), copy(1, 60)];
    assert!(matches!(patch::json(&mut json!({}), &doubling), Err(PatchError::Unprocessable(_))));
}
