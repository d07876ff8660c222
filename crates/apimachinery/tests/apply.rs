//! Server-side apply and ownership of fields: what each step does to the
//! object and to the owners, in a small notation.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "helpers of tests fail the test; tables of `json!` are long and given away"
)]

use std::fmt::Write as _;

use serde_json::{Value, json};
use windlass_apimachinery::fields::Set;
use windlass_apimachinery::managed::{self, ApplyError, Versions, Writer};
use windlass_apimachinery::patch;
use windlass_apimachinery::schema::Schema;

fn schema() -> Schema {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object", "additionalProperties": text});
    let item = json!({"type": "object", "required": ["name"], "properties": {
        "name": text, "value": text, "extra": text,
        "env": {"type": "object", "additionalProperties": text},
    }});
    let port = json!({"type": "object", "required": ["port"], "properties": {
        "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": text,
    }});
    Schema::compile(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "a": text, "b": text, "c": text,
            "deep": {"type": "object", "properties": {"x": text, "y": text}},
            "map": texts,
            "atomicMap": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"x": text, "y": text}},
            "items": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            "ports": {"type": "array", "items": port, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"]},
            "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
            "list": {"type": "array", "items": item},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "size": {"x-kubernetes-int-or-string": true},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }},
        "status": {"type": "object", "properties": {"phase": text, "conditions": {
            "type": "array", "items": {"type": "object", "required": ["type"], "properties": {"type": text, "status": text}},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}}},
    }}))
    .unwrap()
}

struct World {
    schema: Schema,
    live: Option<Value>,
    clock: u32,
    version: &'static str,
    subresource: &'static str,
}

impl World {
    fn new() -> Self {
        Self { schema: schema(), live: None, clock: 0, version: "x.io/v1", subresource: "" }
    }

    /// A world in which an object was stored without owners.
    fn with(spec: Value) -> Self {
        let live = json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x", "uid": "u"}, "spec": spec});
        Self { live: Some(live), ..Self::new() }
    }

    fn tick(&mut self) -> String {
        self.clock += 1;
        format!("2026-01-01T00:{:02}:00Z", self.clock)
    }

    fn writer<'a>(&self, manager: &'a str, now: &'a str) -> Writer<'a> {
        Writer {
            manager,
            api_version: self.version,
            subresource: self.subresource,
            now,
            reset: if self.subresource == "status" { &["spec", "metadata.labels"] } else { &[] },
            versions: Versions::Any,
        }
    }

    fn config(&self, body: Value) -> Value {
        let mut config = json!({"apiVersion": self.version, "kind": "X", "metadata": {"name": "x"}});
        patch::merge(&mut config, &body);
        config
    }

    fn try_apply(&mut self, manager: &str, body: Value, force: bool) -> Result<(), ApplyError> {
        let now = self.tick();
        let config = self.config(body);
        let object =
            managed::apply(&self.writer(manager, &now), &self.schema, self.live.as_ref(), &config, force)?;
        self.live = Some(object);
        Ok(())
    }

    fn apply(mut self, manager: &str, spec: Value) -> Self {
        self.try_apply(manager, json!({"spec": spec}), false).unwrap();
        self
    }

    fn force(mut self, manager: &str, spec: Value) -> Self {
        self.try_apply(manager, json!({"spec": spec}), true).unwrap();
        self
    }

    /// Applies and gives the error's text.
    fn refused(&mut self, manager: &str, spec: Value) -> String {
        let before = self.live.clone();
        let error = self.try_apply(manager, json!({"spec": spec}), false).unwrap_err();
        assert_eq!(self.live, before);
        error.to_string()
    }

    /// Merges a patch into the object as an update.
    fn update(mut self, manager: &str, change: Value) -> Self {
        let now = self.tick();
        let mut new = self.live.clone().unwrap_or_else(|| self.config(json!({})));
        patch::merge(&mut new, &change);
        managed::update(&self.writer(manager, &now), &self.schema, self.live.as_ref(), &mut new);
        self.live = Some(new);
        self
    }

    fn sub(mut self, subresource: &'static str) -> Self {
        self.subresource = subresource;
        self
    }

    fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    fn spec(&self) -> Value {
        self.live.as_ref().unwrap()["spec"].clone()
    }

    /// One line a manager: `name A .path .path`, `A` for apply and `U` for update.
    fn owners(&self) -> String {
        let mut out = String::new();
        let list =
            self.live.as_ref().unwrap()["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        for entry in list {
            let set = Set::from_json(&entry["fieldsV1"]).unwrap();
            let operation = &entry["operation"].as_str().unwrap()[..1];
            write!(out, "{} {operation}", entry["manager"].as_str().unwrap()).unwrap();
            if let Some(subresource) = entry.get("subresource").and_then(Value::as_str) {
                write!(out, "/{subresource}").unwrap();
            }
            let mut paths = set.paths();
            paths.sort();
            for path in paths {
                write!(out, " {}", path.to_string().replace(".spec", "")).unwrap();
            }
            out.push('\n');
        }
        out.trim_end().to_owned()
    }

    fn is(&self, spec: Value, owners: &str) {
        let owners: Vec<&str> = owners.trim().lines().map(str::trim).collect();
        assert_eq!((self.spec(), self.owners()), (spec, owners.join("\n")));
    }

    fn times(&self) -> Vec<(String, String)> {
        let list =
            self.live.as_ref().unwrap()["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        let minute = |time: String| time.get(14..16).unwrap_or("none").to_owned();
        list.iter().map(|entry| (text(&entry["manager"]), minute(text(&entry["time"])))).collect()
    }
}

#[test]
fn an_applier_owns_what_it_names() {
    let spec = json!({"replicas": 1, "deep": {"x": "1"}, "map": {"k": "v"}, "set": ["p", "q"], "list": [{"name": "n"}],
        "atomicMap": {"x": "1"}, "items": [{"name": "a", "value": "1"}], "any": {"f": {"g": [1]}}, "size": 3});
    World::new().apply("m", spec.clone()).is(
        spec,
        r#"m A .any.f .any.f.g .atomicMap .deep.x .items[name="a"] .items[name="a"].name .items[name="a"].value .list .map.k .replicas .set[="p"] .set[="q"] .size"#,
    );
}

#[test]
fn empty_values_are_owned() {
    World::new()
        .apply("m", json!({"map": {}, "deep": {}}))
        .is(json!({"map": {}, "deep": {}}), "m A .deep .map");
}

#[test]
fn creating_tracks_everything_including_parents() {
    World::new()
        .update(
            "u",
            json!({"spec": {"replicas": 1, "map": {"k": "v"}, "set": ["p"], "list": [{"name": "n"}]}}),
        )
        .is(
            json!({"replicas": 1, "map": {"k": "v"}, "set": ["p"], "list": [{"name": "n"}]}),
            r#"u U  .list .map .map.k .replicas .set .set[="p"]"#,
        );
}

#[test]
fn fields_given_up_are_removed() {
    World::new()
        .apply("m", json!({"a": "1", "b": "2", "map": {"k": "v", "l": "w"}, "set": ["p", "q"], "items": [{"name": "a"}, {"name": "b"}]}))
        .apply("m", json!({"a": "1", "map": {"l": "w"}, "set": ["q"], "items": [{"name": "b"}]}))
        .is(json!({"a": "1", "map": {"l": "w"}, "set": ["q"], "items": [{"name": "b"}]}),
            r#"m A .a .items[name="b"] .items[name="b"].name .map.l .set[="q"]"#);
}

#[test]
fn emptied_parents_go_too() {
    World::new()
        .apply("m", json!({"a": "1", "deep": {"x": "1"}, "map": {"k": "v"}, "set": ["p"]}))
        .apply("m", json!({"a": "1"}))
        .is(json!({"a": "1"}), "m A .a");
}

#[test]
fn shared_fields_stay_until_the_last_owner_leaves() {
    let both = World::new().apply("m", json!({"a": "1", "b": "2"})).apply("n", json!({"a": "1"}));
    both.is(json!({"a": "1", "b": "2"}), "n A .a\nm A .a .b");
    let one = both.apply("m", json!({"b": "2"}));
    one.is(json!({"a": "1", "b": "2"}), "n A .a\nm A .b");
    one.apply("n", json!({"c": "3"})).is(json!({"b": "2", "c": "3"}), "m A .b\nn A .c");
}

#[test]
fn shared_list_items_lose_only_what_their_giver_owned() {
    World::new()
        .apply("m", json!({"items": [{"name": "a", "value": "1"}]}))
        .apply("n", json!({"items": [{"name": "a", "extra": "2"}]}))
        .apply("m", json!({"a": "x"}))
        .is(
            json!({"a": "x", "items": [{"name": "a", "extra": "2"}]}),
            "n A .items[name=\"a\"] .items[name=\"a\"].extra .items[name=\"a\"].name\nm A .a",
        );
}

#[test]
fn conflicts_name_owner_and_field() {
    let mut world =
        World::new().apply("m", json!({"a": "1", "replicas": 1})).update("u", json!({"spec": {"b": "2"}}));
    assert_eq!(
        world.refused("n", json!({"a": "9"})),
        r#"Apply failed with 1 conflict: conflict with "m": .spec.a"#
    );
    assert_eq!(
        world.refused("n", json!({"b": "9"})),
        r#"Apply failed with 1 conflict: conflict with "u" using x.io/v1: .spec.b"#
    );
    assert_eq!(
        world.refused("n", json!({"a": "9", "b": "9", "replicas": 9})),
        "Apply failed with 3 conflicts: conflicts with \"m\":\n- .spec.a\n- .spec.replicas\nconflicts with \"u\" using x.io/v1:\n- .spec.b"
    );
    let world = world.force("n", json!({"a": "9", "b": "9"}));
    world.is(json!({"a": "9", "b": "9", "replicas": 1}), "m A .replicas\nn A .a .b");
}

#[test]
fn conflicts_in_lists_and_atomics() {
    let start = json!({"items": [{"name": "a", "value": "1"}], "list": [{"name": "x"}], "atomicMap": {"x": "1"}, "ports": [{"port": 80, "name": "h"}]});
    let mut world = World::new().apply("m", start);
    let cases = [
        (json!({"items": [{"name": "a", "value": "2"}]}), r#".spec.items[name="a"].value"#),
        (json!({"list": [{"name": "y"}]}), ".spec.list"),
        (json!({"atomicMap": {"x": "1", "y": "2"}}), ".spec.atomicMap"),
        (
            json!({"ports": [{"port": 80, "protocol": "TCP", "name": "z"}]}),
            r#".spec.ports[port=80,protocol="TCP"].name"#,
        ),
    ];
    for (config, field) in cases {
        assert_eq!(
            world.refused("n", config),
            format!("Apply failed with 1 conflict: conflict with \"m\": {field}")
        );
    }
}

#[test]
fn a_conflict_of_a_status_writer_says_so() {
    let world = World::new()
        .apply("m", json!({"a": "1"}))
        .sub("status")
        .update("u", json!({"status": {"phase": "A"}}));
    let mut world = world;
    let error = world.try_apply("n", json!({"status": {"phase": "B"}}), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "u" with subresource "status" using x.io/v1: .status.phase"#
    );
}

#[test]
fn keys_have_defaults() {
    World::new()
        .apply("m", json!({"ports": [{"port": 80}]}))
        .apply("n", json!({"ports": [{"port": 80, "protocol": "TCP", "name": "h"}, {"port": 80, "protocol": "UDP"}]}))
        .is(
            json!({"ports": [{"port": 80, "protocol": "TCP", "name": "h"}, {"port": 80, "protocol": "UDP"}]}),
            "m A .ports[port=80,protocol=\"TCP\"] .ports[port=80,protocol=\"TCP\"].port\n\
             n A .ports[port=80,protocol=\"TCP\"] .ports[port=80,protocol=\"TCP\"].name .ports[port=80,protocol=\"TCP\"].port .ports[port=80,protocol=\"TCP\"].protocol \
             .ports[port=80,protocol=\"UDP\"] .ports[port=80,protocol=\"UDP\"].port .ports[port=80,protocol=\"UDP\"].protocol",
        );
}

#[test]
fn configurations_must_fit_the_schema() {
    let cases = [
        (
            json!({"items": [{"name": "a"}, {"name": "a"}]}),
            r#".spec.items: duplicate entries for key [name="a"]"#,
        ),
        (json!({"set": ["p", "p"]}), r#".spec.set: duplicate entries for key [="p"]"#),
        (json!({"nope": 1}), ".spec.nope: field not declared in schema"),
        (json!({"replicas": "1"}), r".spec.replicas: expected numeric (int or float), got string"),
        (
            json!({"items": [{"value": "a"}]}),
            r#".spec.items: element 0: associative list with keys has an element that omits all key fields ["name"] (and doesn't have default values for any key fields)"#,
        ),
    ];
    for (config, error) in cases {
        assert_eq!(
            World::new().config_error(config),
            format!("failed to create typed patch object (/x; x.io/v1, Kind=X): {error}")
        );
    }
}

impl World {
    fn config_error(mut self, spec: Value) -> String {
        self.try_apply("m", json!({"spec": spec}), true).unwrap_err().to_string()
    }
}

#[test]
fn other_requests_are_refused() {
    let mut world = World::new();
    let error = world.try_apply("m", json!({"apiVersion": "x.io/v2"}), false).unwrap_err();
    assert_eq!(error, ApplyError::Version { found: "x.io/v2".to_owned(), expected: "x.io/v1".to_owned() });
    let error = world.try_apply("m", json!({"metadata": {"managedFields": []}}), false).unwrap_err();
    assert_eq!(error, ApplyError::ManagedFields);
}

#[test]
fn list_order_after_a_merge() {
    // live, applied, result
    let cases = [
        ("a b c", "c b a", "c b a"),
        ("a b c", "d", "a b c d"),
        ("a b c", "b d", "a b c d"),
        ("a b c d", "d a", "b c d a"),
        ("a b", "c a", "c a b"),
        ("", "b a", "b a"),
        ("a b c d e", "e x b", "a c d e x b"),
    ];
    for (live, applied, result) in cases {
        let list = |text: &str| text.split_whitespace().map(|name| json!({"name": name})).collect::<Value>();
        let world = World::new()
            .apply("m", json!({"items": list(live), "set": live.split_whitespace().collect::<Vec<_>>()}));
        let world = world.apply(
            "n",
            json!({"items": list(applied), "set": applied.split_whitespace().collect::<Vec<_>>()}),
        );
        let names: Vec<String> = world.spec()["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect();
        let members: Vec<&str> = result.split_whitespace().collect();
        assert_eq!(names, members, "{live} + {applied}");
        assert_eq!(world.spec()["set"], json!(members), "{live} + {applied}");
    }
}

#[test]
fn applying_the_same_again_changes_nothing_at_all() {
    let spec = json!({"a": "1", "items": [{"name": "a"}], "set": ["p"], "map": {}, "ports": [{"port": 1}]});
    let world = World::new().apply("m", spec.clone()).update("u", json!({"spec": {"b": "2"}}));
    let before = world.live.clone();
    assert_eq!(world.apply("m", spec).live, before);
}

#[test]
fn who_shares_without_changing_anything_has_no_time() {
    let world = World::new().apply("m", json!({"a": "1"})).apply("n", json!({"a": "1"}));
    assert_eq!(world.times(), [("n".to_owned(), "none".to_owned()), ("m".to_owned(), "01".to_owned())]);
    let world = world.apply("n", json!({"a": "1", "b": "2"}));
    assert_eq!(world.times(), [("m".to_owned(), "01".to_owned()), ("n".to_owned(), "03".to_owned())]);
}

#[test]
fn before_the_first_apply() {
    let mut world = World::with(json!({"a": "1", "map": {"k": "v"}}));
    assert_eq!(
        world.refused("m", json!({"a": "2"})),
        r#"Apply failed with 1 conflict: conflict with "before-first-apply" using x.io/v1: .spec.a"#
    );
    world.apply("m", json!({"map": {"l": "w"}})).is(
        json!({"a": "1", "map": {"k": "v", "l": "w"}}),
        "m A .map.l\nbefore-first-apply U  .a .map .map.k",
    );
}

#[test]
fn objects_without_owners_stay_so() {
    let world = World::with(json!({"a": "1"})).update("u", json!({"spec": {"a": "2"}}));
    world.is(json!({"a": "2"}), "");
}

#[test]
fn updates_take_fields_and_drop_removed_ones() {
    let world =
        World::new().apply("m", json!({"a": "1", "b": "2", "map": {"k": "v", "l": "w"}, "set": ["p"]}));
    let world = world.update("u", json!({"spec": {"a": "9", "b": null, "c": "3", "map": {"k": null}}}));
    world.is(
        json!({"a": "9", "c": "3", "map": {"l": "w"}, "set": ["p"]}),
        "m A .map.l .set[=\"p\"]\nu U .a .c",
    );
}

#[test]
fn an_update_of_nothing_keeps_owners_and_times() {
    let world = World::new().update("u", json!({"spec": {"a": "1"}})).apply("m", json!({"b": "2"}));
    let before = world.live.clone();
    assert_eq!(
        world
            .update("v", json!({"spec": {"a": "1"}, "metadata": {"resourceVersion": "7", "generation": 3}}))
            .live
            .unwrap()["metadata"]["managedFields"],
        before.unwrap()["metadata"]["managedFields"]
    );
}

#[test]
fn an_updater_keeps_one_entry_a_version_with_its_last_time() {
    let world = World::new()
        .update("u", json!({"spec": {"a": "1"}}))
        .update("v", json!({"spec": {"b": "1"}}))
        .update("u", json!({"spec": {"c": "1"}}));
    assert_eq!(world.times(), [("v".to_owned(), "02".to_owned()), ("u".to_owned(), "03".to_owned())]);
    let world = world.version("x.io/v2").update("u", json!({"apiVersion": "x.io/v2", "spec": {"a": "2"}}));
    assert_eq!(world.times().len(), 3);
    world.is(json!({"a": "2", "b": "1", "c": "1"}), "v U .b\nu U  .c\nu U .a");
}

#[test]
fn an_applier_may_change_its_version() {
    let world =
        World::new().apply("m", json!({"a": "1", "b": "2"})).version("x.io/v2").apply("m", json!({"a": "1"}));
    world.is(json!({"a": "1"}), "m A .a");
    assert_eq!(world.live.unwrap()["metadata"]["managedFields"][0]["apiVersion"], "x.io/v2");
}

#[test]
fn applies_come_first_then_time() {
    let world = World::new()
        .update("z", json!({"spec": {"a": "1"}}))
        .apply("m", json!({"b": "1"}))
        .apply("k", json!({"c": "1"}));
    assert_eq!(world.owners(), "m A .b\nk A .c\nz U  .a");
}

#[test]
fn at_most_ten_updaters() {
    let mut world = World::new();
    for index in 0..14 {
        let (name, key) = (format!("u{index:02}"), format!("k{index:02}"));
        world = world.update(&name, json!({"spec": {"map": {key: "v"}}}));
    }
    let owners = world.owners();
    let first = owners.lines().next().unwrap();
    assert_eq!(owners.lines().count(), 10);
    assert_eq!(first, "ancient-changes U  .map .map.k00 .map.k01 .map.k02 .map.k03 .map.k04");
    assert_eq!(world.times()[0].1, "05");
}

#[test]
fn owners_can_be_reset_and_edited() {
    let world = World::new().apply("m", json!({"a": "1"})).update("u", json!({"spec": {"b": "2"}}));
    let edited = {
        let mut list = world.live.clone().unwrap()["metadata"]["managedFields"].clone();
        list[1]["manager"] = json!("other");
        list
    };
    let world = world.update("x", json!({"metadata": {"managedFields": edited}}));
    assert_eq!(world.owners(), "m A .a\nother U .b");
    let world = world.update("x", json!({"metadata": {"managedFields": [{}]}}));
    assert_eq!(world.owners(), "");
    assert_eq!(world.live.unwrap()["metadata"].get("managedFields"), None);
}

#[test]
fn a_client_without_the_list_does_not_lose_it() {
    let world = World::new()
        .apply("m", json!({"a": "1"}))
        .update("u", json!({"metadata": {"managedFields": null}, "spec": {"b": "2"}}));
    assert_eq!(world.owners(), "m A .a\nu U .b");
}

#[test]
fn status_has_its_own_entries() {
    let condition = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    let world = World::new().apply("m", json!({"a": "1"})).sub("status");
    let mut world = world;
    world.try_apply("m", condition("True"), false).unwrap();
    assert_eq!(
        world.owners(),
        "m A .a\nm A/status .status.conditions[type=\"Ready\"] .status.conditions[type=\"Ready\"].status .status.conditions[type=\"Ready\"].type"
    );
    // A status apply that also has a spec owns nothing of it.
    world
        .try_apply(
            "m",
            json!({"spec": {"a": "2"}, "metadata": {"labels": {"l": "1"}}, "status": {"phase": "P"}}),
            false,
        )
        .unwrap();
    assert_eq!(world.owners(), "m A .a\nm A/status .status.phase");
}

#[test]
fn metadata_is_owned_by_parts() {
    let mut world = World::new();
    let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "O", "name": "o", "uid": uid});
    world
        .try_apply(
            "m",
            json!({"metadata": {"labels": {"l": "1"}, "finalizers": ["f"], "ownerReferences": [owner("1")]}}),
            false,
        )
        .unwrap();
    world
        .try_apply(
            "n",
            json!({"metadata": {"labels": {"k": "1"}, "finalizers": ["g"], "ownerReferences": [owner("2")]}}),
            false,
        )
        .unwrap();
    assert_eq!(
        world.owners(),
        "m A .metadata.finalizers[=\"f\"] .metadata.labels.l .metadata.ownerReferences[uid=\"1\"]\n\
         n A .metadata.finalizers[=\"g\"] .metadata.labels.k .metadata.ownerReferences[uid=\"2\"]"
    );
    world.try_apply("m", json!({}), false).unwrap();
    let metadata = &world.live.as_ref().unwrap()["metadata"];
    assert_eq!(metadata["labels"], json!({"k": "1"}));
    assert_eq!(metadata["finalizers"], json!(["g"]));
    assert_eq!(metadata["name"], json!("x"));
    world.try_apply("n", json!({}), false).unwrap();
    assert_eq!(world.live.unwrap()["metadata"], json!({"name": "x"}));
}

#[test]
fn embedded_objects_have_metadata_too() {
    World::new().apply("m", json!({"template": {"kind": "Y", "metadata": {"finalizers": ["f"]}}})).is(
        json!({"template": {"kind": "Y", "metadata": {"finalizers": ["f"]}}}),
        r#"m A .template.kind .template.metadata.finalizers[="f"]"#,
    );
}

#[test]
fn duplicates_in_live_lists_are_tolerated() {
    let live = json!({"items": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}, {"name": "b"}]});
    let world = World::new().update("u", json!({"spec": live}));
    world.is(live, r#"u U  .items .items[name="a"] .items[name="b"] .items[name="b"].name"#);
    let world = world.apply("m", json!({"items": [{"name": "b", "value": "3"}]}));
    assert_eq!(
        world.spec()["items"],
        json!([{"name": "a", "value": "1"}, {"name": "a", "value": "2"}, {"name": "b", "value": "3"}])
    );
}

#[test]
fn a_list_that_became_atomic_is_owned_whole() {
    let mut world = World::new().apply("m", json!({"set": ["p", "q"]}));
    let text = json!({"type": "string"});
    world.schema =
        Schema::compile(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": text, "set": {"type": "array", "items": text}}}}}))
        .unwrap();
    let mut world = world.update("u", json!({"spec": {"a": "1"}}));
    assert_eq!(world.owners(), "m A .set\nu U .a");
    assert_eq!(
        world.refused("n", json!({"set": ["p"]})),
        r#"Apply failed with 1 conflict: conflict with "m": .spec.set"#
    );
    world
        .apply("m", json!({"a": "1"}))
        .is(json!({"a": "1"}), "u U .a\nm A .a".split('\n').rev().collect::<Vec<_>>().join("\n").as_str());
}

#[test]
fn kubectl_takes_over_from_client_side_apply() {
    const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let last = json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"a": "1"}})
        .to_string();
    let start = || {
        World::new().update(
            "kubectl-client-side-apply",
            json!({"metadata": {"annotations": {LAST: last}}, "spec": {"a": "1", "b": "1"}}),
        )
    };
    let mut world = start();
    world.try_apply("kubectl", json!({"spec": {"a": "2"}}), false).unwrap();
    assert_eq!(world.spec(), json!({"a": "2", "b": "1"}));
    let kept = world.live.unwrap()["metadata"]["annotations"][LAST].as_str().unwrap().to_owned();
    assert_eq!(
        kept,
        "{\"apiVersion\":\"x.io/v1\",\"kind\":\"X\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"a\":\"2\"}}\n"
    );
    // Not what it did not apply, and nobody else.
    assert_eq!(
        start().refused("kubectl", json!({"b": "2"})),
        r#"Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using x.io/v1: .spec.b"#
    );
    assert!(start().refused("other", json!({"a": "2"})).contains(".spec.a"));
}

#[test]
fn null_in_a_configuration() {
    World::new()
        .apply("m", json!({"map": {"k": "v"}, "a": "1"}))
        .apply("n", json!({"b": "2"}))
        .is(json!({"map": {"k": "v"}, "a": "1", "b": "2"}), "m A .a .map.k\nn A .b");
}

#[test]
fn times_alone_do_not_change() {
    let now = "2027-01-01T00:00:00Z";
    let live =
        World::new().apply("m", json!({"a": "1"})).update("u", json!({"spec": {"b": "2"}})).live.unwrap();
    let written = |change: &dyn Fn(&mut Value)| {
        let mut new = live.clone();
        change(&mut new["metadata"]["managedFields"][0]);
        managed::update(&World::new().writer("u", now), &schema(), Some(&live), &mut new);
        new
    };
    assert_eq!(written(&|entry| drop(entry.as_object_mut().unwrap().remove("time"))), live);
    assert_eq!(written(&|entry| entry["time"] = json!("2020-01-01T00:00:00Z")), live);
    assert_ne!(written(&|entry| entry["manager"] = json!("n")), live);
}
