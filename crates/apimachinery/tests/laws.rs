//! Laws that hold for every configuration, whoever applies it in which order.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "helpers of tests fail the test; tables of `json!` are long and given away"
)]

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use windlass_apimachinery::fields::Set;
use windlass_apimachinery::json;
use windlass_apimachinery::managed::{self, ApplyError, Versions, Writer};
use windlass_apimachinery::patch;
use windlass_apimachinery::schema::Schema;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let inner = json!({"type": "object", "required": ["k"], "properties": {"k": text, "v": text}});
    let item = json!({"type": "object", "required": ["k"], "properties": {"k": text, "v": text, "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "sub": {"type": "array", "items": inner, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}}});
    Schema::compile(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": text, "b": text,
        "deep": {"type": "object", "properties": {"a": text, "map": {"type": "object", "additionalProperties": text}}},
        "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": text, "b": text}},
        "list": {"type": "array", "items": text},
        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "items": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}}}))
    .unwrap()
});

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!("x")), Just(json!("y"))]
}

/// An object with some of the fields, never none: what is emptied below an
/// owner of the whole becomes null (as upstream), so that the laws do not hold.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    let values: Vec<_> = values.into_iter().map(|value| proptest::option::of(value).boxed()).collect();
    let build = move |values: Vec<Option<Value>>| {
        names
            .iter()
            .zip(values)
            .filter_map(|(name, value)| Some(((*name).to_owned(), value?)))
            .collect::<Map<_, _>>()
            .into()
    };
    let some = |object: &Value| object.as_object().is_some_and(|map| !map.is_empty());
    values.prop_map(build).prop_filter("an empty object", some).boxed()
}

/// Items with distinct keys, in any order; never none, since nobody owns an
/// empty list that is merged (as upstream), so that the laws do not hold for it.
fn items(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let keys = proptest::sample::subsequence(vec!["p", "q", "r", "s"], 1..=4).prop_shuffle();
    (keys, proptest::collection::vec(item, 4))
        .prop_map(|(keys, items)| {
            let key = |(key, mut item): (&str, Value)| {
                item["k"] = json!(key);
                item
            };
            keys.into_iter().zip(items).map(key).collect()
        })
        .boxed()
}

fn set() -> BoxedStrategy<Value> {
    proptest::sample::subsequence(vec!["p", "q", "r", "s"], 1..=4)
        .prop_shuffle()
        .prop_map(|list| json!(list))
        .boxed()
}

fn spec() -> BoxedStrategy<Value> {
    let text = || text().boxed();
    let map = || object(vec![("m", text()), ("n", text())]);
    let sub = || items(object(vec![("v", text())]));
    object(vec![
        ("a", text()),
        ("b", text()),
        ("deep", object(vec![("a", text()), ("map", map())])),
        ("atomic", map().prop_map(|map| patched(json!({"a": "x"}), &map)).boxed()),
        ("list", set()),
        ("set", set()),
        ("items", items(object(vec![("v", text()), ("set", set()), ("sub", sub())]))),
        ("any", object(vec![("u", map()), ("w", set())])),
    ])
}

fn patched(mut value: Value, patch: &Value) -> Value {
    patch::merge(&mut value, patch);
    if let Some(map) = value.as_object_mut() {
        map.retain(|name, _| name == "a" || name == "b");
    }
    value
}

/// A step: who, what, and whether as an update.
fn steps() -> impl Strategy<Value = Vec<(usize, Value, bool)>> {
    proptest::collection::vec((0..3_usize, spec(), any::<bool>()), 1..6)
}

const NAMES: [&str; 3] = ["m", "n", "o"];

fn config(spec: &Value) -> Value {
    json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec})
}

fn writer<'a>(manager: &'a str, now: &'a str) -> Writer<'a> {
    Writer { manager, api_version: "x.io/v1", subresource: "", now, reset: &[], versions: Versions::Any }
}

fn apply(
    manager: &str,
    now: usize,
    live: Option<&Value>,
    spec: &Value,
    force: bool,
) -> Result<Value, ApplyError> {
    let now = format!("2026-01-01T00:00:{now:02}Z");
    managed::apply(&writer(manager, &now), &SCHEMA, live, &config(spec), force)
}

fn run(steps: &[(usize, Value, bool)]) -> Option<Value> {
    let mut live: Option<Value> = None;
    for (at, (who, spec, as_update)) in steps.iter().enumerate() {
        let name = NAMES[*who];
        if *as_update {
            let now = format!("2026-01-01T00:00:{at:02}Z");
            let mut new = live.clone().unwrap_or_else(|| config(&json!({})));
            patch::merge(&mut new, &json!({"spec": spec}));
            managed::update(&writer(name, &now), &SCHEMA, live.as_ref(), &mut new);
            live = Some(new);
        } else {
            live = Some(apply(name, at, live.as_ref(), spec, true).unwrap());
        }
    }
    live
}

/// Whether everything a configuration says is so in the object.
fn says(config: &Value, object: &Value) -> bool {
    match (config, object) {
        (Value::Object(config), Value::Object(object)) => {
            config.iter().all(|(name, value)| object.get(name).is_some_and(|other| says(value, other)))
        }
        (Value::Array(config), Value::Array(object)) => config.iter().all(|item| {
            let same = |other: &&Value| item.get("k") == other.get("k") && says(item, other);
            object.iter().any(|other| same(&other))
        }),
        _ => config == object,
    }
}

/// A value without what is null: lists that have lost their last item are, as
/// upstream, and nobody owns them.
fn filled(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name.clone(), filled(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => list.iter().map(filled).collect(),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_again_changes_nothing(before in steps(), spec in spec()) {
        let once = apply("m", 50, run(&before).as_ref(), &spec, true).unwrap();
        let twice = apply("m", 51, Some(&once), &spec, false).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn what_is_applied_is_so(before in steps(), spec in spec()) {
        let object = apply("m", 50, run(&before).as_ref(), &spec, true).unwrap();
        prop_assert!(says(&spec, &object["spec"]), "{spec} {}", object["spec"]);
    }

    #[test]
    fn a_lone_applier_gets_exactly_its_last_configuration(first in spec(), second in spec()) {
        let one = apply("m", 1, None, &first, false).unwrap();
        let two = apply("m", 2, Some(&one), &second, false).unwrap();
        let fresh = apply("m", 2, None, &second, false).unwrap();
        prop_assert_eq!(two, fresh);
    }

    #[test]
    fn giving_up_everything_leaves_what_others_own(before in steps(), spec in spec()) {
        let others: Vec<_> = before.into_iter().filter(|(who, ..)| *who != 0).collect();
        prop_assume!(!others.is_empty());
        let without = run(&others).unwrap();
        if let Ok(with) = apply("m", 50, Some(&without), &spec, false) {
            let after = managed::apply(&writer("m", "2026-01-01T00:00:51Z"), &SCHEMA, Some(&with), &json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}}), false).unwrap();
            let managers: Vec<&Value> = after["metadata"]["managedFields"].as_array().into_iter().flatten().map(|entry| &entry["manager"]).collect();
            prop_assert!(!managers.contains(&&json!("m")));
            prop_assert!(says(&filled(&without["spec"]), &after["spec"]), "{} {}", without["spec"], after["spec"]);
        }
    }

    #[test]
    fn owners_own_only_what_is_there(steps in steps()) {
        let object = run(&steps).unwrap();
        // Everything there is, as one creator would own it.
        let mut all = config(&object["spec"]);
        managed::update(&writer("all", "2026-01-01T00:00:00Z"), &SCHEMA, None, &mut all);
        let all = Set::from_json(&all["metadata"]["managedFields"][0]["fieldsV1"]).unwrap();
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let mut set = Set::from_json(&entry["fieldsV1"]).unwrap();
            prop_assert!(!set.is_empty());
            set.subtract(&all);
            prop_assert!(set.is_empty(), "{}: {:?}", entry["manager"], set.paths().iter().map(ToString::to_string).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_update_of_nothing_is_nothing(steps in steps()) {
        let object = run(&steps).unwrap();
        let mut new = object.clone();
        managed::update(&writer("z", "2026-02-01T00:00:00Z"), &SCHEMA, Some(&object), &mut new);
        prop_assert_eq!(object, new);
    }

    #[test]
    fn sets_survive_their_json(a in steps(), b in steps()) {
        let sets = |steps| {
            let object: Value = run(steps).unwrap();
            object["metadata"]["managedFields"].as_array().into_iter().flatten().map(|entry| Set::from_json(&entry["fieldsV1"]).unwrap()).collect::<Vec<_>>()
        };
        for a in &sets(&a) {
            prop_assert_eq!(&Set::from_json(&a.to_json()).unwrap(), a);
            for b in &sets(&b) {
                let both = a.intersection(b);
                let mut union = a.clone();
                union.unite(b);
                let mut only_a = a.clone();
                only_a.subtract(b);
                prop_assert_eq!(union.len(), only_a.len() + b.len());
                prop_assert_eq!(only_a.len() + both.len(), a.len());
                prop_assert_eq!(both, b.intersection(a));
            }
        }
    }

    #[test]
    fn strict_decoding_reads_what_was_written(spec in spec()) {
        let decoded = json::decode(spec.to_string().as_bytes()).unwrap();
        prop_assert_eq!(decoded.value, spec);
        prop_assert!(!decoded.duplicates);
    }

    #[test]
    fn pruning_and_defaulting_settle(spec in spec()) {
        let mut object = config(&spec);
        prop_assert!(SCHEMA.prune(&mut object).is_empty());
        prop_assert_eq!(&object, &config(&spec));
        SCHEMA.default(&mut object);
        prop_assert_eq!(object, config(&spec));
        prop_assert!(SCHEMA.validate(&config(&spec), None).is_empty());
    }
}
