//! Schemas: compiling, pruning, defaulting, validating, with the texts of kube-apiserver.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "helpers of tests fail the test; tables of `json!` are long and given away"
)]

use serde_json::{Value, json};
use windlass_apimachinery::schema::{CheckOptions, Schema, check};

fn compile(properties: Value) -> Schema {
    Schema::compile(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}),
    )
    .unwrap()
}

fn errors(schema: &Schema, spec: Value, old: Option<Value>) -> Vec<String> {
    let old = old.map(|old| json!({"spec": old}));
    schema
        .validate(&json!({"spec": spec}), old.as_ref())
        .iter()
        .map(|error| format!("{error} ({})", error.reason()))
        .collect()
}

#[test]
fn values() {
    let text = json!({"type": "string"});
    let named = json!({"type": "object", "required": ["name"], "properties": {"name": text}});
    let schema = compile(json!({
        "n": {"type": "integer", "minimum": 0, "maximum": 9}, "x": {"type": "number", "minimum": 0, "exclusiveMinimum": true, "multipleOf": 2},
        "i32": {"type": "integer", "format": "int32"}, "s": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
        "e": {"type": "string", "enum": ["A", "B"]}, "b": {"type": "boolean"}, "null": {"type": "string", "nullable": true},
        "size": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "bytes": {"type": "string", "format": "byte"}, "time": {"type": "string", "format": "date-time"}, "list": {"type": "array", "items": text, "maxItems": 2, "minItems": 1},
        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "map": {"type": "array", "items": named, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        "o": {"type": "object", "required": ["r"], "maxProperties": 2, "properties": {"r": text}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
        "one": {"type": "object", "properties": {"a": text, "b": text}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "any": {"type": "object", "properties": {"a": text}, "anyOf": [{"required": ["a"]}]},
        "all": {"type": "integer", "allOf": [{"minimum": 5}]}, "not": {"type": "string", "not": {"enum": ["x"]}},
        "free": {"x-kubernetes-preserve-unknown-fields": true},
    }));
    let cases: &[(Value, &str)] = &[
        (
            json!({"n": 3, "x": 4.0, "s": "abc", "e": "A", "b": true, "null": null, "size": 1, "list": ["a"], "free": [1, {}], "o": {"r": "1"}, "one": {"a": "1"}, "time": "2026-01-01T00:00:00Z"}),
            "",
        ),
        (json!({"size": "1"}), ""),
        (json!({"n": 3.0}), ""),
        (
            json!({"n": "3"}),
            r#"spec.n: Invalid value: "string": spec.n in body must be of type integer: "string" (FieldValueTypeInvalid)"#,
        ),
        (
            json!({"n": 3.5}),
            r#"spec.n: Invalid value: "number": spec.n in body must be of type integer: "number" (FieldValueTypeInvalid)"#,
        ),
        (
            json!({"s": null}),
            r#"spec.s: Invalid value: "null": spec.s in body must be of type string: "null" (FieldValueTypeInvalid)"#,
        ),
        (
            json!({"size": true}),
            r#"spec.size: Invalid value: "boolean": spec.size in body must be of type integer,string: "boolean" (FieldValueTypeInvalid)"#,
        ),
        (
            json!({"n": -1}),
            "spec.n: Invalid value: -1: spec.n in body should be greater than or equal to 0 (FieldValueInvalid)",
        ),
        (
            json!({"n": 10}),
            "spec.n: Invalid value: 10: spec.n in body should be less than or equal to 9 (FieldValueInvalid)",
        ),
        (
            json!({"x": 0}),
            "spec.x: Invalid value: 0: spec.x in body should be greater than 0 (FieldValueInvalid)",
        ),
        (
            json!({"x": 3}),
            "spec.x: Invalid value: 3: spec.x in body should be a multiple of 2 (FieldValueInvalid)",
        ),
        (json!({"i32": 3_000_000_000_u64}), ""),
        (
            json!({"s": "a"}),
            r#"spec.s: Invalid value: "a": spec.s in body should be at least 2 chars long (FieldValueInvalid)"#,
        ),
        (json!({"s": "abcde"}), "spec.s: Too long: may not be more than 4 bytes (FieldValueTooLong)"),
        (
            json!({"s": "AB"}),
            r#"spec.s: Invalid value: "AB": spec.s in body should match '^[a-z]+$' (FieldValueInvalid)"#,
        ),
        (
            json!({"e": "C"}),
            r#"spec.e: Unsupported value: "C": supported values: "A", "B" (FieldValueNotSupported)"#,
        ),
        (
            json!({"time": "today"}),
            r#"spec.time: Invalid value: "today": spec.time in body must be of type date-time: "today" (FieldValueTypeInvalid)"#,
        ),
        (
            json!({"bytes": "p4ss!"}),
            r#"spec.bytes: Invalid value: "p4ss!": spec.bytes in body must be of type byte: "p4ss!" (FieldValueTypeInvalid)"#,
        ),
        (
            json!({"list": ["a", "b", "c"]}),
            "spec.list: Too many: 3: must have at most 2 items (FieldValueTooMany)",
        ),
        (
            json!({"list": []}),
            "spec.list: Invalid value: 0: spec.list in body should have at least 1 items (FieldValueInvalid)",
        ),
        (
            json!({"list": ["a", 1]}),
            r#"spec.list[1]: Invalid value: "integer": spec.list[1] in body must be of type string: "integer" (FieldValueTypeInvalid)"#,
        ),
        (json!({"set": ["a", "b", "a"]}), r#"spec.set[2]: Duplicate value: "a" (FieldValueDuplicate)"#),
        (
            json!({"map": [{"name": "a"}, {"name": "a"}]}),
            r#"spec.map[1]: Duplicate value: {"name":"a"} (FieldValueDuplicate)"#,
        ),
        (json!({"map": [{}]}), "spec.map[0].name: Required value (FieldValueRequired)"),
        (json!({"o": {}}), "spec.o.r: Required value (FieldValueRequired)"),
        (
            json!({"m": {"k": "v"}}),
            r#"spec.m.k: Invalid value: "string": spec.m.k in body must be of type integer: "string" (FieldValueTypeInvalid)"#,
        ),
        (
            json!({"one": {}}),
            r#"<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found none valid (FieldValueInvalid)
spec.one.a: Required value (FieldValueRequired)"#,
        ),
        (
            json!({"one": {"a": "1", "b": "1"}}),
            r#"<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found 2 valid alternatives (FieldValueInvalid)"#,
        ),
        (
            json!({"any": {}}),
            r#"<nil>: Invalid value: "": "spec.any" must validate at least one schema (anyOf) (FieldValueInvalid)
spec.any.a: Required value (FieldValueRequired)"#,
        ),
        (
            json!({"all": 1}),
            "spec.all: Invalid value: 1: spec.all in body should be greater than or equal to 5 (FieldValueInvalid)\n<nil>: Invalid value: \"\": \"spec.all\" must validate all the schemas (allOf). None validated (FieldValueInvalid)",
        ),
        (
            json!({"not": "x"}),
            r#"<nil>: Invalid value: "": "spec.not" must not validate the schema (not) (FieldValueInvalid)"#,
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(errors(&schema, spec.clone(), None).join("\n"), *expected, "{spec}");
    }
}

#[test]
fn patterns_mean_what_re2_means() {
    let cases = [
        (r"^\d+$", "12", true),
        (r"^\d+$", "\u{664}", false),
        (r"^\w+$", "ä", false),
        (r"^[\w-]+$", "a_1-", true),
        (r"^[^\s]$", "\u{a0}", true),
        (r"^[a[b]+$", "a[b", true),
        (r"^[a&&b]+$", "a&b", true),
        (r"^[]a]+$", "a]", true),
        (r"^[[:alpha:]]+$", "ab", true),
        ("a", "bab", true),
        (r"^a{2}{$", "aa{", true),
        (r"^\$\{.*}$", "${a}", true),
        (r"^{a}$", "{a}", true),
        (r"^\p{Greek}{1,2}$", "αβ", true),
        (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", "a.b-c", true),
    ];
    for (pattern, text, matches) in cases {
        let schema = compile(json!({"s": {"type": "string", "pattern": pattern}}));
        assert_eq!(errors(&schema, json!({"s": text}), None).is_empty(), matches, "{pattern} {text}");
    }
}

#[test]
fn formats() {
    let cases: [(&str, &[&str], &[&str]); 11] = [
        (
            "date-time",
            &["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+02:00"],
            &["2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "x"],
        ),
        ("date", &["2026-02-28"], &["2026-02-30", "2026-2-1", "2026-01-01T00:00:00Z"]),
        ("duration", &["1h30m", "-1.5s", "0", "10ms", "1h 2m", "3 days"], &["1", "1x", "", "h"]),
        ("ipv4", &["10.0.0.1"], &["10.0.0", "::1", "10.0.0.256"]),
        ("ipv6", &["::1", "fe80::1"], &["10.0.0.1", ":::"]),
        ("cidr", &["10.0.0.0/8", "fd00::/64"], &["10.0.0.0", "10.0.0.0/33", "fd00::/129"]),
        (
            "uuid",
            &["13b18c35-1015-4747-88c2-e2fa11eadb4d"],
            &["13b18c35", "zzb18c35-1015-4747-88c2-e2fa11eadb4d"],
        ),
        ("byte", &["YWJj", ""], &["a", "YW Jj"]),
        ("hostname", &["a.bc", "node1"], &["-a", "a..b", ""]),
        ("uri", &["https://a/b", "/x"], &["a b", "x"]),
        ("mac", &["00:11:22:aa:bb:cc"], &["00:11:22:aa:bb", "gg:11:22:aa:bb:cc"]),
    ];
    for (format, good, bad) in cases {
        let schema = compile(json!({"s": {"type": "string", "format": format}}));
        for (texts, valid) in [(good, true), (bad, false)] {
            for text in texts {
                assert_eq!(errors(&schema, json!({"s": text}), None).is_empty(), valid, "{format} {text}");
            }
        }
    }
}

#[test]
fn what_did_not_change_is_not_held_against_an_update() {
    let item = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "n": {"type": "integer", "maximum": 1}}});
    let schema = compile(json!({
        "n": {"type": "integer", "maximum": 1}, "s": {"type": "string", "maxLength": 1},
        "map": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        "list": {"type": "array", "items": item},
    }));
    let count = |new: Value, old: Value| errors(&schema, new, Some(old)).len();
    assert_eq!(count(json!({"n": 5, "s": "a"}), json!({"n": 5})), 0);
    assert_eq!(count(json!({"n": 6}), json!({"n": 5})), 1);
    // Items of list maps are followed by key, those of other lists are not.
    let old = json!([{"name": "a", "n": 5}, {"name": "b", "n": 0}]);
    let new = json!([{"name": "b", "n": 1}, {"name": "a", "n": 5}]);
    assert_eq!(count(json!({"map": new}), json!({"map": old})), 0);
    assert_eq!(count(json!({"list": new}), json!({"list": old})), 1);
    assert_eq!(count(json!({"list": old, "s": "a"}), json!({"list": old})), 0);
}

#[test]
fn pruning() {
    let cases = [
        (
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"x": 1}, "spec": {"a": 1, "b": {"c": 2, "d": 3}}, "zzz": 1}),
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"x": 1}, "spec": {"a": 1, "b": {"c": 2}}}),
            "spec.b.d zzz",
        ),
        (
            json!({"spec": {"list": [{"a": 1}, {"x": {}}], "map": {"k": {"a": 1, "x": 1}}}}),
            json!({"spec": {"list": [{"a": 1}, {}], "map": {"k": {"a": 1}}}}),
            "spec.list[1].x spec.map.k.x",
        ),
        (
            json!({"spec": {"keep": {"x": {"y": 1}, "known": {"a": 1, "x": 1}}}}),
            json!({"spec": {"keep": {"x": {"y": 1}, "known": {"a": 1}}}}),
            "spec.keep.known.x",
        ),
        (
            json!({"spec": {"embedded": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "x": 1}, "metadata": 1, "kind": 2}}),
            json!({"spec": {"embedded": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}}}}),
            "spec.embedded.x spec.kind spec.metadata",
        ),
    ];
    let a = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let schema = compile(json!({
        "a": {"type": "integer"}, "b": {"type": "object", "properties": {"c": {"type": "integer"}}},
        "list": {"type": "array", "items": a}, "map": {"type": "object", "additionalProperties": a},
        "keep": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": a}},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true},
    }));
    for (mut object, pruned, paths) in cases {
        let removed = schema.prune(&mut object);
        assert_eq!((object, removed.join(" ").as_str()), (pruned, paths));
    }
    let mut anything = json!({"spec": {"x": [1]}, "y": 1});
    assert!(Schema::schemaless().prune(&mut anything).is_empty());
}

#[test]
fn defaulting() {
    let schema = compile(json!({
        "n": {"type": "integer", "default": 1},
        "o": {"type": "object", "default": {}, "properties": {"x": {"type": "string", "default": "d"}}},
        "p": {"type": "object", "properties": {"x": {"type": "string", "default": "d"}}},
        "nullable": {"type": "string", "nullable": true, "default": "d"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string", "default": "d"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string", "default": "d"}}}},
        "zero": {"type": "boolean", "default": false},
    }));
    let base = json!({"n": 1, "o": {"x": "d"}, "nullable": "d", "zero": false});
    let cases = [
        (json!({}), json!({})),
        (json!({"p": {}}), json!({"p": {"x": "d"}})),
        (json!({"p": null}), json!({})),
        (json!({"n": null}), json!({})),
        (json!({"nullable": null}), json!({"nullable": null})),
        (json!({"n": 5, "zero": true}), json!({"n": 5, "zero": true})),
        (
            json!({"list": [{}, {"x": "y"}], "map": {"k": {}}}),
            json!({"list": [{"x": "d"}, {"x": "y"}], "map": {"k": {"x": "d"}}}),
        ),
    ];
    for (spec, extra) in cases {
        let mut object = json!({"spec": spec});
        schema.default(&mut object);
        let mut expected = base.clone();
        for (name, value) in extra.as_object().unwrap() {
            expected[name] = value.clone();
        }
        assert_eq!(object["spec"], expected, "{spec}");
        let once = object.clone();
        schema.default(&mut object);
        assert_eq!(object, once);
    }
}

#[test]
fn schemas_must_be_structural() {
    let text = json!({"type": "string"});
    let cases = [
        (json!({}), "s.type: Required value: must not be empty at the root"),
        (
            json!({"type": "object", "properties": {"a": {}}}),
            "s.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array"}}}),
            "s.properties[a].items: Required value: must be specified",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {}}}}),
            "s.properties[a].items.type: Required value: must not be empty for specified array items",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "text"}}}),
            r#"s.properties[a].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string""#,
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            "s.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": text}, "additionalProperties": text}}}),
            "s.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": text, "uniqueItems": true}}}),
            "s.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {"k": text}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}}}),
            "s.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
            "s.properties[a].default: Invalid value: \"string\"",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "anyOf": [{"default": "x"}]}}}),
            "s.properties[a].anyOf[0].default: Forbidden: must be undefined to be structural",
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.a >"}]}),
            "s.x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self.a \\u003e\"",
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "nope(self)"}]}),
            "s.x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"nope(self)\"",
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.all(x, y)"}]}),
            "s.x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self.all(x, y)\"",
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": ""}]}),
            "s.x-kubernetes-validations[0].rule: Required value: rule is not specified",
        ),
    ];
    for (schema, error) in cases {
        let text = refusal(&schema);
        assert!(text.starts_with(error), "{schema}\n{text}");
    }
    let mut deep = json!({"type": "string"});
    for _ in 0..200 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    assert_eq!(refusal(&deep), "s: Forbidden: schema is nested too deeply");
    assert!(Schema::compile(&deep).is_err());
}

/// What is wrong with a schema that stands at `s`.
fn refusal(schema: &Value) -> String {
    let errors = check(schema, "s", CheckOptions::default());
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn rules() {
    let text = json!({"type": "string"});
    let rule = |rule: &str| json!([{"rule": rule, "message": "no"}]);
    let condition = json!({"type": "object", "required": ["type"], "properties": {"type": text, "n": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "shrinks"}]}}});
    let schema = compile(json!({
        "frozen": {"type": "string", "x-kubernetes-validations": rule("self == oldSelf")},
        "once": {"type": "string", "x-kubernetes-validations": [{"rule": "!oldSelf.hasValue() || self == oldSelf.value()", "optionalOldSelf": true, "reason": "FieldValueForbidden"}]},
        "ip": {"type": "string", "x-kubernetes-validations": rule("isIP(self) || isCIDR(self)")},
        "pair": {"type": "object", "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "a-b": text, "c__d": text, "e_f": text, "namespace": text},
            "x-kubernetes-validations": [
                {"rule": "!has(self.min) || !has(self.max) || self.min <= self.max", "messageExpression": "'min ' + string(self.min) + ' above max'", "fieldPath": ".max"},
                {"rule": "!has(self.a__dash__b) || self.a__dash__b == 'x'"},
                {"rule": "!has(self.c__underscores__d) || self.c__underscores__d == 'x'"},
                {"rule": "!has(self.e_f) || self.e_f == 'x'"},
                {"rule": "!has(self.__namespace__) || self.__namespace__ == 'x'"},
            ]},
        "list": {"type": "array", "items": condition, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            "x-kubernetes-validations": rule("self.all(x, self.exists_one(y, x.type == y.type))")},
        "time": {"type": "string", "format": "date-time", "x-kubernetes-validations": rule("self > timestamp('2026-01-01T00:00:00Z')")},
        "wait": {"type": "string", "format": "duration", "x-kubernetes-validations": rule("self <= duration('1h')")},
        "ratio": {"type": "number", "x-kubernetes-validations": rule("self < 0.5 && self * 2.0 < 1.0")},
        "map": {"type": "object", "additionalProperties": {"type": "string", "x-kubernetes-validations": rule("self.startsWith('v')")}},
        "needs": {"type": "object", "required": ["r"], "properties": {"r": text}},
        "size": {"x-kubernetes-int-or-string": true, "x-kubernetes-validations": rule("type(self) == int ? self > 0 : self.matches('^[0-9]+%$')")},
    }));
    let cases: &[(Value, Option<Value>, &str)] = &[
        (json!({"frozen": "a"}), None, ""),
        (json!({"frozen": "a"}), Some(json!({"frozen": "a"})), ""),
        (
            json!({"frozen": "b"}),
            Some(json!({"frozen": "a"})),
            r#"spec.frozen: Invalid value: "b": no (FieldValueInvalid)"#,
        ),
        (json!({"frozen": "b"}), Some(json!({})), ""),
        (json!({"once": "a"}), Some(json!({})), ""),
        (
            json!({"once": "b"}),
            Some(json!({"once": "a"})),
            "spec.once: Forbidden: failed rule: !oldSelf.hasValue() || self == oldSelf.value() (FieldValueForbidden)",
        ),
        (json!({"ip": "10.0.0.1"}), None, ""),
        (json!({"ip": "x"}), None, r#"spec.ip: Invalid value: "x": no (FieldValueInvalid)"#),
        (json!({"ip": "x"}), Some(json!({"ip": "x"})), ""),
        (
            json!({"pair": {"min": 3, "max": 2}}),
            None,
            r"spec.pair.max: Invalid value: min 3 above max (FieldValueInvalid)",
        ),
        (json!({"pair": {"a-b": "x", "c__d": "x", "e_f": "x", "namespace": "x"}}), None, ""),
        (
            json!({"pair": {"e_f": "y"}}),
            None,
            r"spec.pair: Invalid value: failed rule: !has(self.e_f) || self.e_f == 'x' (FieldValueInvalid)",
        ),
        (
            json!({"list": [{"type": "a", "n": 2}, {"type": "b", "n": 1}]}),
            Some(json!({"list": [{"type": "b", "n": 1}, {"type": "a", "n": 1}]})),
            "",
        ),
        (
            json!({"list": [{"type": "a", "n": 0}]}),
            Some(json!({"list": [{"type": "b", "n": 0}, {"type": "a", "n": 1}]})),
            r"spec.list[0].n: Invalid value: 0: shrinks (FieldValueInvalid)",
        ),
        (json!({"time": "2027-01-01T00:00:00Z", "wait": "30m", "ratio": 0}), None, ""),
        (
            json!({"time": "2025-01-01T00:00:00Z"}),
            None,
            r#"spec.time: Invalid value: "2025-01-01T00:00:00Z": no (FieldValueInvalid)"#,
        ),
        (json!({"wait": "2h"}), None, r#"spec.wait: Invalid value: "2h": no (FieldValueInvalid)"#),
        (
            json!({"map": {"a": "v", "b": "w"}}),
            None,
            r#"spec.map[b]: Invalid value: "w": no (FieldValueInvalid)"#,
        ),
        (
            json!({"needs": {}, "ip": "x"}),
            None,
            "spec.needs.r: Required value (FieldValueRequired)\n<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation (FieldValueInvalid)",
        ),
        (json!({"size": 1}), None, ""),
        (json!({"size": "5%"}), None, ""),
        (json!({"size": "5"}), None, r#"spec.size: Invalid value: "5": no (FieldValueInvalid)"#),
    ];
    for (spec, old, expected) in cases {
        assert_eq!(errors(&schema, spec.clone(), old.clone()).join("\n"), *expected, "{spec}");
    }
}

#[test]
fn rules_that_loop_too_long_are_refused_at_once() {
    let schema = compile(json!({"list": {"type": "array", "items": {"type": "integer"},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, self.all(z, x == y || y == z || x == z)))"}]}}));
    assert!(errors(&schema, json!({"list": [1, 2]}), None).is_empty());
    let long: Vec<u32> = (0..20_000).collect();
    let text = errors(&schema, json!({"list": long}), None).join("\n");
    assert!(text.contains("actual cost limit exceeded"), "{text}");
}

#[test]
fn rules_of_real_definitions_are_taken() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../api/crds");
    let mut rules = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let definition = windlass_apimachinery::yaml::decode(&std::fs::read(&path).unwrap()).unwrap().value;
        for version in definition["spec"]["versions"].as_array().unwrap() {
            let schema = &version["schema"]["openAPIV3Schema"];
            rules += schema.to_string().matches("\"x-kubernetes-validations\"").count();
            let options =
                CheckOptions { status: version["subresources"]["status"].is_object(), known: false };
            assert_eq!(check(schema, "schema", options), [], "{}", path.display());
            assert!(Schema::compile(schema).is_ok(), "{}", path.display());
        }
    }
    assert!(rules > 20, "{rules}");
}
