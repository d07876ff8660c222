//! Decoding as Go does into the structs of a compiled-in kind: null is absence
//! or a zero value, unknown fields are dropped, values of another type are an
//! error. The hot path changes a decoded object and says only whether there is
//! something to say; what that is, [`complaints`] finds in the bytes.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::node::{Additional, Field, Kind, Node, OBJECT_META};
use super::{push_index, push_name};
use crate::json::Walk;

/// What was found in an object while it was brought into the shape of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shaped {
    /// Fields were dropped that the kind does not have.
    pub unknown: bool,
    /// A value is of another type than its field.
    pub mismatch: bool,
}

pub(super) fn shape(root: &Node, object: &mut Value) -> Shaped {
    let mut shaped = Shaped::default();
    if let Value::Object(map) = object {
        map.retain(|name, value| match name.as_str() {
            "apiVersion" | "kind" => true,
            "metadata" => {
                if value.is_object() {
                    shaped.value(&OBJECT_META, value);
                }
                !value.is_null()
            }
            name => shaped.member(root, name, value),
        });
    }
    shaped
}

impl Shaped {
    /// Whether the member stays.
    fn member(&mut self, node: &Node, name: &str, value: &mut Value) -> bool {
        match node.field(name) {
            Field::Declared(child) => {
                if value.is_null() && !child.nullable && !child.preserve {
                    return false;
                }
                self.value(child, value);
            }
            Field::Entry(Some(child)) => self.entry(child, value),
            Field::Entry(None) => {}
            Field::Unknown => {
                self.unknown = true;
                return false;
            }
        }
        true
    }

    /// An entry of a map or list: there is no absence, so null is zero.
    fn entry(&mut self, node: &Node, value: &mut Value) {
        if value.is_null() {
            *value = match node.kind {
                Kind::String => Value::String(String::new()),
                Kind::Integer | Kind::Number => Value::from(0),
                Kind::Boolean => Value::Bool(false),
                Kind::Object => Value::Object(serde_json::Map::new()),
                Kind::Any | Kind::IntOrString | Kind::Array => return,
            };
        }
        self.value(node, value);
    }

    fn value(&mut self, node: &Node, value: &mut Value) {
        if !fits(node, value) {
            self.mismatch = true;
            return;
        }
        match value {
            Value::Object(map) if !node.preserve => {
                map.retain(|name, value| self.member(node, name, value));
            }
            Value::Array(list) => {
                let Some(items) = node.items.as_deref() else { return };
                for item in list {
                    self.entry(items, item);
                }
            }
            _ => {}
        }
    }
}

fn fits(node: &Node, value: &Value) -> bool {
    match (node.kind, value) {
        (_, Value::Null) | (Kind::Any | Kind::IntOrString, _) => true,
        (Kind::Object, value) => value.is_object(),
        (Kind::Array, value) => value.is_array(),
        (Kind::String, value) => value.is_string(),
        (Kind::Integer, value) => value.is_i64(),
        (Kind::Number, value) => value.is_number(),
        (Kind::Boolean, value) => value.is_boolean(),
    }
}

/// What is to be said about a document of a compiled-in kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaints {
    /// Unknown and duplicate fields in their order, as `unknown field "spec.x"`.
    pub strict: Vec<String>,
    /// The first value of a wrong type, in the words of Go's `encoding/json`.
    pub mismatch: Option<String>,
}

/// What of the metadata of a custom object is of a wrong type.
pub fn metadata_mismatch(metadata: &Value) -> Option<String> {
    let mut copy = metadata.clone();
    let mut shaped = Shaped::default();
    shaped.value(&OBJECT_META, &mut copy);
    if !shaped.mismatch {
        return None;
    }
    let mut pass = Pass {
        walk: Walk { path: String::new(), found: Vec::new() },
        structs: vec!["ObjectMeta".to_owned()],
        plain: String::new(),
        mismatch: None,
    };
    let at = Place { node: Some(&OBJECT_META), root: false, entry: false };
    // What was decoded before decodes again.
    let _ = Look(&mut pass, at).deserialize(metadata);
    pass.mismatch
}

/// Looks through the bytes of a document; `kind` names the outermost struct.
pub(super) fn complaints(root: &Node, kind: &str, bytes: &[u8]) -> Complaints {
    let mut pass = Pass {
        walk: Walk { path: String::new(), found: Vec::new() },
        structs: vec![kind.to_owned()],
        plain: String::new(),
        mismatch: None,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let at = Place { node: Some(root), root: true, entry: false };
    // A document that does not decode is reported as a whole.
    let _ = Look(&mut pass, at).deserialize(&mut deserializer);
    Complaints { strict: pass.walk.found, mismatch: pass.mismatch }
}

struct Pass {
    walk: Walk,
    /// Names of the Go structs from the outside to here.
    structs: Vec<String>,
    /// The path without indices and keys of maps, as Go has it.
    plain: String,
    mismatch: Option<String>,
}

impl Pass {
    fn mismatch(&mut self, found: &str, node: &Node) {
        if self.mismatch.is_none() {
            let wanted = go_type(node, &self.plain);
            let holder = self.structs.last().map(String::as_str).unwrap_or_default();
            self.mismatch = Some(if self.plain.is_empty() {
                format!("json: cannot unmarshal {found} into Go value of type v1.{holder}")
            } else {
                format!(
                    "json: cannot unmarshal {found} into Go struct field {holder}.{} of type {wanted}",
                    self.plain
                )
            });
        }
    }
}

/// The name of a type in Go, as far as a schema tells.
fn go_type(node: &Node, path: &str) -> String {
    match node.kind {
        Kind::String => "string".to_owned(),
        Kind::Boolean => "bool".to_owned(),
        Kind::Integer => {
            let narrow = node
                .checks
                .as_ref()
                .is_some_and(|checks| checks.format == Some(super::format::Format::Int32));
            if narrow { "int32" } else { "int64" }.to_owned()
        }
        Kind::Number => "float64".to_owned(),
        Kind::Array => {
            format!("[]{}", node.items.as_deref().map_or("interface {}".to_owned(), |i| go_type(i, path)))
        }
        Kind::Object => match &node.additional {
            Additional::Schema(entry) if node.properties.is_empty() => {
                format!("map[string]{}", go_type(entry, path))
            }
            _ => format!("v1.{}", struct_name(path)),
        },
        Kind::Any | Kind::IntOrString => "interface {}".to_owned(),
    }
}

/// The struct at a path; most are named after it.
fn struct_name(path: &str) -> String {
    match path.rsplit('.').next().unwrap_or_default() {
        "metadata" => "ObjectMeta".to_owned(),
        "ownerReferences" => "OwnerReference".to_owned(),
        "managedFields" => "ManagedFieldsEntry".to_owned(),
        name => {
            let mut letters = name.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
                .unwrap_or_default()
        }
    }
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place<'n> {
    node: Option<&'n Node>,
    root: bool,
    /// Whether it is an entry of a map or list.
    entry: bool,
}

struct Look<'p, 'n>(&'p mut Pass, Place<'n>);

impl Look<'_, '_> {
    fn scalar(self, value: &Value) {
        if let Some(node) = self.1.node
            && !fits(node, value)
        {
            let found = match value {
                Value::Bool(_) => "bool".to_owned(),
                // Go shows a number that is of the wrong form.
                Value::Number(number) if node.kind == Kind::Integer => format!("number {number}"),
                Value::Number(_) => "number".to_owned(),
                _ => "string".to_owned(),
            };
            self.0.mismatch(&found, node);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(&Value::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(&Value::from(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(&Value::from(value));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(&Value::from(value));
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.scalar(&Value::String(String::new()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let Self(pass, place) = self;
        if let Some(node) = place.node
            && !matches!(node.kind, Kind::Array | Kind::Any | Kind::IntOrString)
        {
            pass.mismatch("array", node);
            while access.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let items = place.node.and_then(|node| node.items.as_deref());
        let len = pass.walk.path.len();
        for index in 0.. {
            push_index(&mut pass.walk.path, index);
            let more =
                access.next_element_seed(Look(pass, Place { node: items, root: false, entry: true }))?;
            pass.walk.path.truncate(len);
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let Self(pass, place) = self;
        if let Some(node) = place.node
            && !matches!(node.kind, Kind::Object | Kind::Any | Kind::IntOrString)
        {
            pass.mismatch("object", node);
            while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let names_struct =
            place.node.is_some_and(|node| !node.properties.is_empty()) && !pass.plain.is_empty();
        if names_struct && !place.root {
            let parent = pass.structs.last().cloned().unwrap_or_default();
            let name = match struct_name(&pass.plain).as_str() {
                name @ ("Spec" | "Status") => format!("{parent}{name}"),
                name if place.entry => name.trim_end_matches('s').to_owned(),
                name => name.to_owned(),
            };
            pass.structs.push(name);
        }
        let mut seen = HashSet::new();
        let (len, plain) = (pass.walk.path.len(), pass.plain.len());
        while let Some(name) = access.next_key::<String>()? {
            let field = match place.node {
                Some(_) if place.root && matches!(name.as_str(), "apiVersion" | "kind") => Field::Entry(None),
                Some(_) if place.root && name == "metadata" => Field::Declared(&OBJECT_META),
                Some(node) => node.field(&name),
                None => Field::Entry(None),
            };
            push_name(&mut pass.walk.path, &name);
            if matches!(field, Field::Unknown) {
                let finding = format!("unknown field {}", crate::quote(&pass.walk.path));
                pass.walk.note(finding);
                access.next_value::<IgnoredAny>()?;
            } else {
                let entry = !matches!(field, Field::Declared(_));
                if !entry {
                    push_name(&mut pass.plain, &name);
                }
                if !seen.insert(name) {
                    let finding = format!("duplicate field {}", crate::quote(&pass.walk.path));
                    pass.walk.note(finding);
                }
                access.next_value_seed(Look(pass, Place { node: field.node(), root: false, entry }))?;
            }
            pass.walk.path.truncate(len);
            pass.plain.truncate(plain);
        }
        if names_struct && !place.root {
            pass.structs.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::schema::Schema;

    fn schema() -> Schema {
        let text = json!({"type": "string"});
        Schema::compile(&json!({"type": "object", "properties": {
            "data": {"type": "object", "additionalProperties": text},
            "spec": {"type": "object", "properties": {
                "count": {"type": "integer", "format": "int32"},
                "names": {"type": "array", "items": text},
                "ports": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
            }},
        }}))
        .unwrap()
    }

    #[test]
    fn nulls_are_absent_or_zero() {
        let mut object = json!({
            "kind": "K", "metadata": {"labels": null, "annotations": {"a": null}}, "data": {"k": null},
            "spec": {"count": null, "names": [null], "ports": [null, {"port": null}]},
        });
        assert_eq!(schema().shape(&mut object), super::Shaped::default());
        let expected = json!({
            "kind": "K", "metadata": {"annotations": {"a": ""}}, "data": {"k": ""},
            "spec": {"names": [""], "ports": [{}, {}]},
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn findings_stand_in_the_order_of_the_document() {
        let text = r#"{"zulu":1,"data":{"k":"1","k":"2"},"spec":{"nope":{"x":1,"x":2},"ports":[{"port":1},{"nope":1}],"count":1,"count":2},"metadata":{"nope":1},"alfa":1,"alfa":2}"#;
        let found = schema().complaints("K", text.as_bytes());
        let expected = [
            "unknown field \"zulu\"",
            "duplicate field \"data.k\"",
            "unknown field \"spec.nope\"",
            "unknown field \"spec.ports[1].nope\"",
            "duplicate field \"spec.count\"",
            "unknown field \"metadata.nope\"",
            "unknown field \"alfa\"",
        ];
        assert_eq!(found.strict, expected);
        assert_eq!(found.mismatch, None);
    }

    #[test]
    fn the_first_value_of_a_wrong_type_is_named_as_go_names_it() {
        let schema = schema();
        for (object, expected) in [
            (json!({"data": {"k": 1}}), "number into Go struct field K.data of type string"),
            (json!({"data": "x"}), "string into Go struct field K.data of type map[string]string"),
            (json!({"spec": {"count": "1"}}), "string into Go struct field KSpec.spec.count of type int32"),
            (
                json!({"spec": {"count": 1.5}}),
                "number 1.5 into Go struct field KSpec.spec.count of type int32",
            ),
            (json!({"spec": {"names": [1]}}), "number into Go struct field KSpec.spec.names of type string"),
            (json!({"metadata": []}), "array into Go struct field K.metadata of type v1.ObjectMeta"),
            (
                json!({"metadata": {"labels": {"l": {}}}}),
                "object into Go struct field ObjectMeta.metadata.labels of type string",
            ),
        ] {
            let mut shaped = object.clone();
            let mismatch = schema.shape(&mut shaped).mismatch;
            let found = schema.complaints("K", object.to_string().as_bytes()).mismatch;
            assert_eq!(
                found.as_deref(),
                Some(format!("json: cannot unmarshal {expected}").as_str()),
                "{object}"
            );
            assert!(
                mismatch || !object["metadata"].is_object() && object.get("metadata").is_some(),
                "{object}"
            );
        }
    }
}
