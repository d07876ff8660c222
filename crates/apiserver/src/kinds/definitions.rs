//! OpenAPI definitions of the compiled-in kinds.
//!
//! `data/builtin-schemas.json` holds what kube-apiserver 1.35 (Apache-2.0)
//! says of its kinds, without descriptions; `cargo xtask kinds` writes it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Value, json};
use windlass_apimachinery::schema::Schema;

use super::rows::CRD;

/// Definitions by short name, parsed at first use.
#[derive(Debug, Default)]
pub(super) struct Definitions(OnceLock<BTreeMap<String, Value>>);

impl Definitions {
    /// All of them, references and all.
    pub(super) fn get(&self) -> &BTreeMap<String, Value> {
        self.0.get_or_init(|| {
            serde_json::from_str(include_str!("../../data/builtin-schemas.json"))
                .expect("the compiled-in schemas are JSON: a test reads them")
        })
    }

    /// A definition as it stands, with references; null when there is none.
    pub(super) fn raw(&self, definition: &str) -> &Value {
        self.get().get(definition).unwrap_or(&Value::Null)
    }

    /// The OpenAPI schema of a definition, all references replaced by what they name.
    pub(super) fn document(&self, definition: &str) -> Value {
        self.whole(definition, Keep::All)
    }

    /// The schema that prunes, defaults and types objects.
    pub(super) fn schema(&self, definition: &str) -> Schema {
        Schema::compile(&self.whole(definition, Keep::Shape))
            .expect("compiled-in schemas are structural: a test compiles them all")
    }

    fn whole(&self, definition: &str, keep: Keep) -> Value {
        if definition == CRD {
            return crd_document();
        }
        let mut document = self.named(definition, keep);
        if keep == Keep::Shape {
            for (path, value) in defaults(definition).filter(|(path, _)| path.contains('.')) {
                set_default(&mut document, path, value);
            }
        }
        // What every object has is checked by code.
        document["properties"]["metadata"] = json!({"type": "object"});
        for meta in ["apiVersion", "kind"] {
            document["properties"][meta] = json!({"type": "string"});
        }
        document
    }

    fn named(&self, name: &str, keep: Keep) -> Value {
        let mut schema = self.get().get(name).map_or_else(anything, |schema| self.inline(schema, keep));
        if keep == Keep::Shape {
            match name {
                QUANTITY => schema["x-go"] = json!({"quantity": true}),
                RAW => schema["x-kubernetes-map-type"] = json!("atomic"),
                MICRO_TIME => schema["x-go"] = json!({"micro": true}),
                _ => {}
            }
            for (field, value) in defaults(name).filter(|(path, _)| !path.contains('.')) {
                set_default(&mut schema, field, value);
            }
        }
        schema
    }

    fn inline(&self, schema: &Value, keep: Keep) -> Value {
        let Some(map) = schema.as_object() else { return schema.clone() };
        let mut out = match map.get("$ref").and_then(Value::as_str) {
            Some(name) => self.named(name, keep),
            None => json!({}),
        };
        for (key, value) in map {
            match key.as_str() {
                "$ref" => {}
                "properties" => {
                    out[key] = value
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(name, schema)| {
                            let mut inlined = self.inline(schema, keep);
                            if keep == Keep::Shape && is_always(map, name, schema) {
                                inlined["x-windlass-always"] = json!(true);
                            }
                            (name.clone(), inlined)
                        })
                        .collect();
                }
                "items" | "additionalProperties" => out[key] = self.inline(value, keep),
                "required" | "enum" if keep == Keep::Shape => {}
                "x-go" if keep == Keep::All => {}
                "x-go" => merge(&mut out["x-go"], value),
                _ => out[key] = value.clone(),
            }
        }
        // Keys of list maps must be there, or items could not be told apart.
        if let (Keep::Shape, Some(keys)) = (keep, map.get("x-kubernetes-list-map-keys")) {
            out["items"]["required"] = keys.clone();
            out["items"].as_object_mut().map(|items| items.remove("default"));
        }
        out
    }
}

/// What of a definition is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// What clients may read.
    All,
    /// Typed objects have zero values where something is missing, and what
    /// may stand in them is said by code: neither is the schema's business.
    Shape,
}

/// Whether a field of a Go type is there even when nobody set it: a struct
/// that is no pointer, or a list or map that is not left out when empty. The
/// rules of a role are the one such list that need not be given.
fn is_always(owner: &serde_json::Map<String, Value>, name: &str, schema: &Value) -> bool {
    let required = owner.get("required").and_then(Value::as_array);
    let required = required.is_some_and(|names| names.iter().any(|required| required == name));
    schema["default"] == json!({})
        || (required && schema["type"] == "array")
        || (name == "rules" && schema["type"] == "array")
}

const QUANTITY: &str = "apimachinery.pkg.api.resource.Quantity";
const RAW: &str = "apimachinery.pkg.runtime.RawExtension";
const MICRO_TIME: &str = "apimachinery.pkg.apis.meta.v1.MicroTime";

/// Constant defaults of a definition: path of the field and value.
fn defaults(definition: &str) -> impl Iterator<Item = (&'static str, Value)> {
    let lines = include_str!("../../data/defaults.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(move |line| {
        let (name, rest) = line.split_once(' ')?;
        let (path, value) = rest.split_once(' ')?;
        (name == definition).then(|| (path, serde_json::from_str(value).unwrap_or_default()))
    })
}

fn set_default(schema: &mut Value, path: &str, value: Value) {
    let pointer = path.replace('.', "/properties/");
    if let Some(field) = schema.pointer_mut(&format!("/properties/{pointer}")) {
        field["default"] = value;
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

fn anything() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn crd_document() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"});
    let names = json!({"type": "object", "required": ["plural", "kind"], "properties": {
        "plural": text, "singular": text, "kind": text, "listKind": text,
        "shortNames": texts, "categories": texts,
    }});
    let column = json!({"type": "object", "required": ["name", "type", "jsonPath"], "properties": {
        "name": text, "type": text, "format": text, "description": text, "jsonPath": text,
        "priority": {"type": "integer", "format": "int32"},
    }});
    let scale = json!({"type": "object", "required": ["specReplicasPath", "statusReplicasPath"], "properties": {
        "specReplicasPath": text, "statusReplicasPath": text, "labelSelectorPath": text,
    }});
    let field = json!({"type": "object", "required": ["jsonPath"], "properties": {"jsonPath": text}});
    let version = json!({"type": "object", "required": ["name", "served", "storage"], "properties": {
        "name": text, "served": {"type": "boolean"}, "storage": {"type": "boolean"},
        "deprecated": {"type": "boolean"}, "deprecationWarning": text,
        "schema": {"type": "object", "properties": {"openAPIV3Schema": anything()}},
        "subresources": {"type": "object", "properties": {"status": anything(), "scale": scale}},
        "additionalPrinterColumns": {"type": "array", "items": column, "x-kubernetes-list-type": "atomic"},
        "selectableFields": {"type": "array", "items": field, "x-kubernetes-list-type": "atomic"},
    }});
    let condition = json!({"type": "object", "required": ["type", "status"], "properties": {
        "type": text, "status": text, "reason": text, "message": text,
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "observedGeneration": {"type": "integer", "format": "int64"},
    }});
    json!({"type": "object", "required": ["spec"], "properties": {
        "apiVersion": text, "kind": text, "metadata": {"type": "object"},
        "spec": {"type": "object", "required": ["group", "names", "scope", "versions"], "properties": {
            "group": text, "names": names, "scope": {"type": "string", "enum": ["Cluster", "Namespaced"]},
            "preserveUnknownFields": {"type": "boolean"}, "conversion": anything(),
            "versions": {"type": "array", "items": version, "x-kubernetes-list-type": "atomic"},
        }},
        "status": {"type": "object", "properties": {
            "acceptedNames": names, "storedVersions": texts,
            "observedGeneration": {"type": "integer", "format": "int64"},
            "conditions": {"type": "array", "items": condition,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        }},
    }})
}

#[cfg(test)]
mod tests {
    use super::super::rows::rows;
    use super::*;

    #[test]
    fn every_default_has_its_field() {
        let source = Definitions::default();
        for line in include_str!("../../data/defaults.txt").lines().filter(|line| !line.starts_with('#')) {
            let mut parts = line.splitn(3, ' ');
            let (name, path) = (parts.next().unwrap(), parts.next().unwrap());
            serde_json::from_str::<Value>(parts.next().unwrap())
                .unwrap_or_else(|error| panic!("{line}: {error}"));
            let schema = source.named(name, Keep::All);
            let pointer = format!("/properties/{}", path.replace('.', "/properties/"));
            assert!(schema.pointer(&pointer).is_some(), "{line}");
        }
    }

    #[test]
    fn every_compiled_in_schema_is_structural() {
        let source = Definitions::default();
        let mut broken = Vec::new();
        for row in rows() {
            let known = row.definition == CRD || source.get().contains_key(row.definition);
            assert!(known, "{} is not defined", row.definition);
            let errors =
                Schema::compile(&source.whole(row.definition, Keep::Shape)).err().unwrap_or_default();
            broken.extend(errors.iter().map(|error| format!("{}: {error}", row.kind)));
        }
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    #[test]
    fn list_map_keys_have_their_defaults() {
        let pod = Definitions::default().document("api.core.v1.Pod");
        let port = "/properties/spec/properties/containers/items/properties/ports/items/properties";
        assert_eq!(pod.pointer(&format!("{port}/protocol/default")), Some(&json!("TCP")));
    }
}
