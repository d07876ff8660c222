//! Kubernetes' protobuf envelope: to JSON values and back.
//!
//! Go clients send built-in kinds this way, and some accept nothing else. One
//! table of messages drives the translation; zero values, which Go always
//! writes, mean "absent" except where the table says otherwise.

mod encode;
#[cfg(test)]
mod fuzz;
mod wire;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub use encode::{encode, encode_event};
pub(crate) use wire::{Parts, Wire, put_bytes, put_double, put_integer};

use crate::negotiate::{JSON, YAML};
use crate::status::ApiError;

/// First bytes of every body in the envelope.
const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may be nested.
const DEPTH: usize = 64;

/// How a message is written in JSON.
#[derive(Debug)]
enum Message {
    Object(BTreeMap<u64, Field>),
    /// `Quantity`: a text.
    Quantity,
    /// `IntOrString`.
    IntOrString,
    /// `Time`: whole seconds.
    Time,
    /// `MicroTime`.
    MicroTime,
    /// JSON in a field.
    Raw,
    /// A list in a message of its own.
    List,
    /// A schema or a boolean.
    OrBool,
    /// A schema or a list of schemas.
    OrList,
    /// A schema or a list of texts.
    OrTexts,
}

/// The schema within the three.
const SCHEMA: &str = "apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

#[derive(Debug)]
struct Field {
    name: &'static str,
    shape: Shape,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Absent when zero.
    Single,
    /// A value even when zero.
    Pointer,
    List,
    Map,
    /// The members of the message are members of the object.
    Inline,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Bool,
    Integer,
    Bytes,
    Double,
    Message(&'static str),
}

/// The table of messages.
#[derive(Debug)]
struct Table {
    /// `apiVersion kind` → message.
    kinds: BTreeMap<&'static str, &'static str>,
    messages: BTreeMap<&'static str, Message>,
}

/// The compiled-in table: constant data, parsed once.
fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| parse(include_str!("../../data/protobuf.txt")))
}

fn parse(text: &'static str) -> Table {
    let mut table = Table { kinds: BTreeMap::new(), messages: BTreeMap::new() };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(kind) = line.strip_prefix('=') {
            if let Some((kind, message)) = kind.rsplit_once(' ') {
                table.kinds.insert(kind, message);
            }
        } else {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            table.messages.insert(name, message(rest));
        }
    }
    table
}

fn message(text: &'static str) -> Message {
    match text {
        "!quantity" => Message::Quantity,
        "!intstr" => Message::IntOrString,
        "!time" => Message::Time,
        "!microtime" => Message::MicroTime,
        "!raw" => Message::Raw,
        "!list" => Message::List,
        "!orbool" => Message::OrBool,
        "!orlist" => Message::OrList,
        "!ortexts" => Message::OrTexts,
        fields => Message::Object(fields.split(' ').filter_map(field).collect()),
    }
}

fn field(text: &'static str) -> Option<(u64, Field)> {
    let mut parts = text.splitn(3, ':');
    let (tag, name, kind) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
    let (shape, kind) = match kind.split_at_checked(1)? {
        ("*", rest) => (Shape::List, rest),
        ("%", rest) => (Shape::Map, rest),
        ("?", rest) => (Shape::Pointer, rest),
        ("^", rest) => (Shape::Inline, rest),
        _ => (Shape::Single, kind),
    };
    let kind = match kind {
        "s" => Kind::Text,
        "b" => Kind::Bool,
        "i" => Kind::Integer,
        "y" => Kind::Bytes,
        "d" => Kind::Double,
        message => Kind::Message(message.strip_prefix('@')?),
    };
    Some((tag, Field { name, shape, kind }))
}

/// The object in a protobuf body.
///
/// # Errors
/// 415 for kinds whose messages are not known here, 400 for broken messages.
pub fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let broken = || ApiError::bad_request("error decoding the body: not a protobuf message of Kubernetes");
    let envelope = body.strip_prefix(MAGIC).ok_or_else(broken)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for part in Parts(envelope) {
        match part.ok_or_else(broken)? {
            (1, Wire::Bytes(meta)) => {
                for part in Parts(meta) {
                    match part.ok_or_else(broken)? {
                        (1, Wire::Bytes(text)) => api_version = String::from_utf8_lossy(text).into_owned(),
                        (2, Wire::Bytes(text)) => kind = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let kinds = &table().kinds;
    let name = kinds
        .get(format!("{api_version} {kind}").as_str())
        // Delete options travel under the version of what is deleted.
        .or_else(|| kinds.get(format!("* {kind}").as_str()))
        .ok_or_else(|| ApiError::unsupported_media_type(&[JSON, YAML]))?;
    let mut object = value(name, raw, DEPTH).ok_or_else(broken)?;
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".to_owned(), Value::from(api_version));
        map.insert("kind".to_owned(), Value::from(kind));
    }
    Ok(object)
}

/// A message as JSON; `None` when it is broken.
fn value(name: &str, bytes: &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    match table().messages.get(name)? {
        Message::Object(fields) => object(fields, bytes, depth).map(Value::Object),
        Message::Quantity => Some(texts(bytes)?.pop().unwrap_or_default()),
        Message::List => texts(bytes).map(Value::Array),
        Message::Raw => {
            let raw = Parts(bytes).find_map(|part| match part {
                Some((1, Wire::Bytes(raw))) => Some(raw),
                _ => None,
            });
            raw.map_or(Some(Value::Null), |raw| serde_json::from_slice(raw).ok())
        }
        Message::IntOrString => {
            let (mut is_text, mut number, mut text) = (false, 0, Value::from(""));
            for part in Parts(bytes) {
                match part? {
                    (1, Wire::Varint(kind)) => is_text = kind == 1,
                    (2, Wire::Varint(value)) => number = signed(value),
                    (3, Wire::Bytes(value)) => text = utf8(value)?,
                    _ => {}
                }
            }
            Some(if is_text { text } else { json!(number) })
        }
        Message::OrBool => or_bool(bytes, depth),
        Message::OrList => or_many(bytes, depth, |bytes| value(SCHEMA, bytes, depth)),
        Message::OrTexts => or_many(bytes, depth, utf8),
        Message::Time => time(bytes, "%Y-%m-%dT%H:%M:%SZ"),
        Message::MicroTime => time(bytes, "%Y-%m-%dT%H:%M:%S%.6fZ"),
    }
}

fn or_bool(bytes: &[u8], depth: usize) -> Option<Value> {
    let mut found = Value::Bool(false);
    for part in Parts(bytes) {
        match part? {
            (1, Wire::Varint(allows)) if !found.is_object() => found = Value::Bool(allows != 0),
            (2, Wire::Bytes(schema)) => found = value(SCHEMA, schema, depth)?,
            _ => {}
        }
    }
    Some(found)
}

/// A schema, or a list of what `one` reads.
fn or_many(bytes: &[u8], depth: usize, one: impl Fn(&[u8]) -> Option<Value>) -> Option<Value> {
    let mut list = Vec::new();
    for part in Parts(bytes) {
        match part? {
            (1, Wire::Bytes(schema)) => return value(SCHEMA, schema, depth),
            (2, Wire::Bytes(item)) => list.push(one(item)?),
            _ => {}
        }
    }
    Some(Value::Array(list))
}

/// All texts of a message whose only field is one.
fn texts(bytes: &[u8]) -> Option<Vec<Value>> {
    Parts(bytes)
        .map(|part| match part? {
            (1, Wire::Bytes(text)) => utf8(text),
            _ => Some(Value::Null),
        })
        .collect()
}

fn time(bytes: &[u8], format: &str) -> Option<Value> {
    let (mut seconds, mut nanoseconds) = (None, 0);
    for part in Parts(bytes) {
        match part? {
            (1, Wire::Varint(value)) => seconds = Some(signed(value)),
            (2, Wire::Varint(value)) => nanoseconds = i32::try_from(signed(value)).ok()?,
            _ => {}
        }
    }
    // No time at all is how Go writes its zero time.
    let Some(seconds) = seconds else { return Some(Value::Null) };
    let time = Timestamp::new(seconds, nanoseconds).ok()?;
    Some(Value::from(time.strftime(format).to_string()))
}

fn object(fields: &BTreeMap<u64, Field>, bytes: &[u8], depth: usize) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    for part in Parts(bytes) {
        let (tag, wire) = part?;
        let Some(field) = fields.get(&tag) else { continue };
        match field.shape {
            Shape::Map => {
                let Wire::Bytes(entry) = wire else { return None };
                let (key, value) = map_entry(field.kind, entry, depth)?;
                slot(&mut map, field.name, json!({}))[key] = value;
            }
            Shape::List => {
                let value = single(field.kind, &wire, depth)?;
                slot(&mut map, field.name, json!([])).as_array_mut()?.push(value);
            }
            Shape::Inline => match single(field.kind, &wire, depth)? {
                Value::Object(inner) => map.extend(inner),
                _ => return None,
            },
            Shape::Pointer => {
                map.insert(field.name.to_owned(), single(field.kind, &wire, depth)?);
            }
            Shape::Single => {
                let value = single(field.kind, &wire, depth)?;
                if !is_zero(&value) {
                    map.insert(field.name.to_owned(), value);
                }
            }
        }
    }
    Some(map)
}

fn slot<'a>(map: &'a mut Map<String, Value>, name: &str, empty: Value) -> &'a mut Value {
    map.entry(name.to_owned()).or_insert(empty)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => false,
    }
}

fn map_entry(kind: Kind, bytes: &[u8], depth: usize) -> Option<(String, Value)> {
    let mut key = String::new();
    let mut value = match kind {
        Kind::Text | Kind::Bytes => json!(""),
        Kind::Bool | Kind::Integer | Kind::Double | Kind::Message(_) => Value::Null,
    };
    for part in Parts(bytes) {
        match part? {
            (1, Wire::Bytes(text)) => std::str::from_utf8(text).ok()?.clone_into(&mut key),
            (2, wire) => value = single(kind, &wire, depth)?,
            _ => {}
        }
    }
    Some((key, value))
}

fn single(kind: Kind, wire: &Wire<'_>, depth: usize) -> Option<Value> {
    match (kind, wire) {
        (Kind::Text, Wire::Bytes(text)) => utf8(text),
        (Kind::Bytes, Wire::Bytes(bytes)) => Some(Value::from(BASE64.encode(bytes))),
        (Kind::Bool, Wire::Varint(value)) => Some(Value::from(*value != 0)),
        (Kind::Integer, Wire::Varint(value)) => Some(Value::from(signed(*value))),
        (Kind::Double, Wire::Fixed64(value)) => Some(Value::from(f64::from_bits(*value))),
        (Kind::Message(name), Wire::Bytes(bytes)) => value(name, bytes, depth),
        _ => None,
    }
}

fn utf8(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

/// Integers are written in two's complement.
const fn signed(value: u64) -> i64 {
    value.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag << 3 | 2, u8::try_from(content.len()).unwrap()];
        out.extend_from_slice(content);
        out
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw), bytes(3, b""), bytes(4, b"")].concat()
    }

    #[test]
    fn a_secret_as_go_writes_it() {
        let owner = [bytes(1, b"Thing"), bytes(3, b"o"), vec![6 << 3, 0]].concat();
        let meta = [
            bytes(1, b"s"),
            bytes(2, b""),
            bytes(5, b""),
            vec![7 << 3, 0],
            bytes(8, b""),
            bytes(11, &[bytes(1, b"l"), bytes(2, b"v")].concat()),
            bytes(13, &owner),
        ]
        .concat();
        let data = [bytes(1, b"k"), bytes(2, &[1, 2, 3])].concat();
        let raw = [bytes(1, &meta), bytes(2, &data), bytes(3, b"Opaque"), vec![5 << 3, 0]].concat();
        assert_eq!(
            decode(&body("v1", "Secret", &raw)).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": false,
                "data": {"k": "AQID"},
                "metadata": {"name": "s", "labels": {"l": "v"},
                    "ownerReferences": [{"kind": "Thing", "name": "o", "controller": false}]},
            })
        );
    }

    #[test]
    fn times_have_their_precision() {
        let time = [vec![1 << 3, 0x80, 0x8f, 0xbb, 0xb5, 0x06], vec![2 << 3, 0xc0, 0x84, 0x3d]].concat();
        let spec = [bytes(1, b"me"), bytes(4, &time)].concat();
        let lease = decode(&body("coordination.k8s.io/v1", "Lease", &bytes(2, &spec))).unwrap();
        assert_eq!(lease["spec"]["renewTime"], "2024-08-04T00:12:48.001000Z");
        assert_eq!(lease["spec"]["holderIdentity"], "me");
        let meta = bytes(1, &bytes(8, &time));
        let map = decode(&body("v1", "ConfigMap", &meta)).unwrap();
        assert_eq!(map["metadata"]["creationTimestamp"], "2024-08-04T00:12:48Z");
    }

    #[test]
    fn delete_options_come_under_any_version() {
        let raw = [bytes(4, b"Background"), bytes(2, &bytes(1, b"uid"))].concat();
        let options = decode(&body("apps/v1", "DeleteOptions", &raw)).unwrap();
        assert_eq!(options["propagationPolicy"], "Background");
        assert_eq!(options["preconditions"]["uid"], "uid");
    }

    #[test]
    fn broken_bodies_are_refused() {
        assert_eq!(decode(b"{}").unwrap_err().code, 400);
        assert_eq!(decode(&body("v1", "Unheard", b"")).unwrap_err().code, 415);
        let good = body("v1", "Secret", &bytes(1, &bytes(1, b"s")));
        for end in MAGIC.len()..good.len() - 4 {
            let _ = decode(&good[..end]);
        }
        let cut = body("v1", "Secret", &[1 << 3 | 2, 9, 1]);
        assert_eq!(decode(&cut).unwrap_err().code, 400);
    }

    #[test]
    fn every_message_named_is_there() {
        let table = table();
        let named = table.messages.values().flat_map(|message| match message {
            Message::Object(fields) => fields.values().map(|field| field.kind).collect(),
            _ => Vec::new(),
        });
        for kind in named {
            if let Kind::Message(name) = kind {
                assert!(table.messages.contains_key(name), "{name}");
            }
        }
        assert!(table.kinds.values().all(|name| table.messages.contains_key(name)));
    }
}
