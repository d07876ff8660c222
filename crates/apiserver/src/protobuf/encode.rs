//! JSON values as messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::Value;

use super::wire::{put_bytes, put_double, put_integer};
use super::{DEPTH, Field, Kind, MAGIC, Message, SCHEMA, Shape, table};

/// An object in the envelope; `None` when the messages of its kind are not
/// known, or it is not an object of its kind.
pub fn encode(object: &Value) -> Option<Vec<u8>> {
    let (api_version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
    let name = table().kinds.get(format!("{api_version} {kind}").as_str())?;
    let raw = message(name, object, DEPTH)?;
    Some(envelope(api_version, kind, &raw))
}

/// An event of a watch, framed by its length; only its object is in the
/// envelope. `None` like [`encode`].
pub fn encode_event(event: &Value) -> Option<Vec<u8>> {
    let mut inner = Vec::new();
    put_bytes(&mut inner, 1, event["type"].as_str()?.as_bytes());
    let mut extension = Vec::new();
    put_bytes(&mut extension, 1, &encode(&event["object"])?);
    put_bytes(&mut inner, 2, &extension);
    let mut framed = u32::try_from(inner.len()).ok()?.to_be_bytes().to_vec();
    framed.extend_from_slice(&inner);
    Some(framed)
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = Vec::new();
    put_bytes(&mut meta, 1, api_version.as_bytes());
    put_bytes(&mut meta, 2, kind.as_bytes());
    let mut out = MAGIC.to_vec();
    put_bytes(&mut out, 1, &meta);
    put_bytes(&mut out, 2, raw);
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out
}

fn message(name: &str, value: &Value, depth: usize) -> Option<Vec<u8>> {
    let depth = depth.checked_sub(1)?;
    let mut out = Vec::new();
    match table().messages.get(name)? {
        Message::Object(fields) => {
            let map = value.as_object()?;
            for (tag, field) in fields {
                match (field.shape, map.get(field.name)) {
                    (Shape::Inline, _) => single(&mut out, *tag, field.kind, value, depth)?,
                    (_, None | Some(Value::Null)) => {}
                    (_, Some(value)) => put(&mut out, *tag, field, value, depth)?,
                }
            }
        }
        Message::Quantity => put_bytes(&mut out, 1, quantity(value)?.as_bytes()),
        Message::IntOrString => match value {
            Value::String(text) => {
                put_integer(&mut out, 1, 1);
                put_bytes(&mut out, 3, text.as_bytes());
            }
            number => {
                put_integer(&mut out, 1, 0);
                put_integer(&mut out, 2, number.as_i64()?.cast_unsigned());
            }
        },
        Message::Time | Message::MicroTime => {
            let time: Timestamp = value.as_str()?.parse().ok()?;
            put_integer(&mut out, 1, time.as_second().cast_unsigned());
            put_integer(&mut out, 2, i64::from(time.subsec_nanosecond()).cast_unsigned());
        }
        Message::Raw => put_bytes(&mut out, 1, value.to_string().as_bytes()),
        Message::List => {
            for text in value.as_array()? {
                put_bytes(&mut out, 1, text.as_str()?.as_bytes());
            }
        }
        Message::OrBool => match value {
            Value::Bool(allows) => put_integer(&mut out, 1, u64::from(*allows)),
            schema => {
                put_integer(&mut out, 1, 1);
                put_bytes(&mut out, 2, &message(SCHEMA, schema, depth)?);
            }
        },
        Message::OrList | Message::OrTexts => match value {
            Value::Array(list) => {
                for item in list {
                    match item {
                        Value::String(text) => put_bytes(&mut out, 2, text.as_bytes()),
                        schema => put_bytes(&mut out, 2, &message(SCHEMA, schema, depth)?),
                    }
                }
            }
            schema => put_bytes(&mut out, 1, &message(SCHEMA, schema, depth)?),
        },
    }
    Some(out)
}

/// Quantities may be written as numbers.
fn quantity(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn put(out: &mut Vec<u8>, tag: u64, field: &Field, value: &Value, depth: usize) -> Option<()> {
    match field.shape {
        Shape::List => {
            for item in value.as_array()? {
                single(out, tag, field.kind, item, depth)?;
            }
        }
        Shape::Map => {
            for (key, item) in value.as_object()? {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                single(&mut entry, 2, field.kind, item, depth)?;
                put_bytes(out, tag, &entry);
            }
        }
        Shape::Single | Shape::Pointer | Shape::Inline => single(out, tag, field.kind, value, depth)?,
    }
    Some(())
}

fn single(out: &mut Vec<u8>, tag: u64, kind: Kind, value: &Value, depth: usize) -> Option<()> {
    match kind {
        Kind::Text => put_bytes(out, tag, value.as_str()?.as_bytes()),
        Kind::Bytes => put_bytes(out, tag, &BASE64.decode(value.as_str()?).ok()?),
        Kind::Bool => put_integer(out, tag, u64::from(value.as_bool()?)),
        Kind::Integer => put_integer(out, tag, value.as_i64()?.cast_unsigned()),
        Kind::Double => put_double(out, tag, value.as_f64()?),
        Kind::Message(name) => put_bytes(out, tag, &message(name, value, depth)?),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protobuf::decode;

    #[test]
    fn what_is_encoded_is_decoded() {
        for object in [
            json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"k": "AQID"},
                "metadata": {"name": "s", "creationTimestamp": "2026-01-02T03:04:05Z",
                    "managedFields": [{"manager": "m", "fieldsV1": {"f:data": {}}}]}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{
                "name": "c", "resources": {"limits": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"port": "web", "path": "/"}},
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]}],
                "volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "x"}]}}]}, "status": {}}),
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
                "spec": {"renewTime": "2026-01-02T03:04:05.000600Z", "leaseDurationSeconds": 15}}),
            json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "code": 404, "message": "no"}),
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "a"}, "spec": {"group": "g", "names": {"plural": "as", "kind": "A"},
                    "versions": [{"name": "v1", "served": true, "subresources": {"status": {}},
                        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                            "a": {"type": "array", "items": {"type": "string", "default": "x", "minLength": 0}},
                            "b": {"additionalProperties": {"type": "integer"}},
                            "c": {"additionalProperties": true}}}}}]},
                "status": {"acceptedNames": {"plural": "", "kind": ""}}}),
        ] {
            let mut decoded = decode(&encode(&object).unwrap()).unwrap();
            let mut object = object;
            drop_empty(&mut object);
            drop_empty(&mut decoded);
            assert_eq!(decoded, object);
        }
        assert_eq!(encode(&json!({"apiVersion": "x/v1", "kind": "Thing"})), None);
        assert_eq!(encode(&json!({"apiVersion": "v1", "kind": "Secret", "data": []})), None);
    }

    /// Zero values are the same as none.
    fn drop_empty(value: &mut Value) {
        if let Value::Object(map) = value {
            map.values_mut().for_each(drop_empty);
            map.retain(|_, value| *value != json!({}) && *value != json!(""));
        } else if let Value::Array(items) = value {
            items.iter_mut().for_each(drop_empty);
        }
    }
}
