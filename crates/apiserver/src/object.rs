//! Stored objects: JSON bytes with a fixed beginning, so that the resource
//! version and the API version are spliced in without parsing.
//!
//! A stored object reads `{"apiVersion":"…","kind":"…","metadata":{…},…}` and
//! holds no `metadata.resourceVersion`: that is the revision of its entry.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use serde::Deserialize;
use serde_json::{Map, Value};

const HEAD: &[u8] = b"{\"apiVersion\":\"";
const KIND: &[u8] = b"\",\"kind\":\"";
const METADATA: &[u8] = b"\",\"metadata\":{";
const REVISION: &[u8] = b"\"resourceVersion\":\"";

/// Stored bytes that do not have the shape `encode` gives them.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The beginning is not the one written by [`encode`].
    #[error("cannot read a stored object: it does not begin with its apiVersion, kind and metadata")]
    Head,
    /// Not JSON.
    #[error("cannot read a stored object")]
    Json(#[from] serde_json::Error),
}

/// The stored form of `object`, at `api_version`. Members other than the three
/// leading ones keep their order.
///
/// # Errors
/// When `kind` or `metadata` is missing or empty, or the version no plain text.
pub fn encode(object: &Value, api_version: &str) -> Result<Bytes, Malformed> {
    let map = object.as_object().ok_or(Malformed::Head)?;
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !plain(kind) || !plain(api_version) {
        return Err(Malformed::Head);
    }
    let metadata = map.get("metadata").and_then(Value::as_object).ok_or(Malformed::Head)?;
    let mut out = Vec::with_capacity(1024);
    for part in [HEAD, api_version.as_bytes(), KIND, kind.as_bytes(), METADATA] {
        out.extend_from_slice(part);
    }
    let before = out.len();
    members(&mut out, metadata.iter().filter(|(key, _)| *key != "resourceVersion"))?;
    if out.len() == before {
        return Err(Malformed::Head);
    }
    out.push(b'}');
    let rest = map.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
    if rest.clone().next().is_some() {
        out.push(b',');
        members(&mut out, rest)?;
    }
    out.push(b'}');
    Ok(Bytes::from(out))
}

/// Whether the text is written to JSON as it is.
fn plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

fn members<'a>(
    out: &mut Vec<u8>,
    members: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Result<(), serde_json::Error> {
    let mut first = true;
    for (key, value) in members {
        if !first {
            out.push(b',');
        }
        first = false;
        serde_json::to_writer(&mut *out, key)?;
        out.push(b':');
        serde_json::to_writer(&mut *out, value)?;
    }
    Ok(())
}

/// Stored bytes with their parts found.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    bytes: &'a [u8],
    api_version_end: usize,
    /// First byte after `"metadata":{`.
    metadata: usize,
}

impl<'a> Stored<'a> {
    /// Finds the parts; costs a few hundred bytes of scanning.
    ///
    /// # Errors
    /// When the beginning is not the one [`encode`] writes.
    pub fn of(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let text = |from: usize| -> Option<usize> {
            bytes.get(from..)?.iter().position(|b| *b == b'"').map(|at| from + at)
        };
        let find = || {
            bytes.starts_with(HEAD).then_some(())?;
            let api_version_end = text(HEAD.len())?;
            let kind = api_version_end + KIND.len();
            (bytes.get(api_version_end..kind)? == KIND).then_some(())?;
            let kind_end = text(kind)?;
            let metadata = kind_end + METADATA.len();
            (bytes.get(kind_end..metadata)? == METADATA).then_some(())?;
            Some(Self { bytes, api_version_end, metadata })
        };
        find().ok_or(Malformed::Head)
    }

    /// The version the object is stored at.
    pub fn api_version(&self) -> &'a str {
        // Written by [`encode`], which takes plain text only.
        std::str::from_utf8(&self.bytes[HEAD.len()..self.api_version_end]).unwrap_or_default()
    }

    /// Length of the answer [`Stored::write`] appends, at most.
    pub fn size_hint(&self, api_version: &str) -> usize {
        self.bytes.len() + api_version.len() + REVISION.len() + 24
    }

    /// Appends the object as clients see it: with `api_version` and the
    /// resource version in their places.
    pub fn write(&self, out: &mut impl BufMut, api_version: &str, revision: u64) {
        out.put_slice(HEAD);
        out.put_slice(api_version.as_bytes());
        out.put_slice(&self.bytes[self.api_version_end..self.metadata]);
        self.write_metadata(out, revision);
    }

    /// Appends the object without its type, which the list around it says.
    pub fn write_untyped(&self, out: &mut impl BufMut, revision: u64) {
        out.put_slice(b"{\"metadata\":{");
        self.write_metadata(out, revision);
    }

    fn write_metadata(&self, out: &mut impl BufMut, revision: u64) {
        // What is not stored has no version.
        if revision > 0 {
            out.put_slice(REVISION);
            out.put_slice(revision.to_string().as_bytes());
            out.put_slice(b"\",");
        }
        out.put_slice(&self.bytes[self.metadata..]);
    }

    /// The object as clients see it.
    pub fn render(&self, api_version: &str, revision: u64) -> Bytes {
        let mut out = Vec::with_capacity(self.size_hint(api_version));
        self.write(&mut out, api_version, revision);
        Bytes::from(out)
    }

    /// Parses the whole object, with `api_version` and the resource version.
    ///
    /// # Errors
    /// When the bytes are not JSON.
    pub fn parse(&self, api_version: &str, revision: u64) -> Result<Value, Malformed> {
        let mut value: Value = serde_json::from_slice(self.bytes)?;
        let object = value.as_object_mut().ok_or(Malformed::Head)?;
        object.insert("apiVersion".to_owned(), Value::from(api_version));
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut).ok_or(Malformed::Head)?;
        if revision > 0 {
            metadata.insert("resourceVersion".to_owned(), Value::from(revision.to_string()));
        }
        Ok(value)
    }

    /// Parses only the metadata.
    ///
    /// # Errors
    /// When the metadata is not JSON.
    pub fn metadata(&self) -> Result<Meta, Malformed> {
        let from = self.metadata - 1;
        let mut json = serde_json::Deserializer::from_slice(&self.bytes[from..]);
        Ok(Meta::deserialize(&mut json)?)
    }

    /// Parses only the metadata, as it is.
    ///
    /// # Errors
    /// When the metadata is not JSON.
    pub fn metadata_value(&self, revision: u64) -> Result<Map<String, Value>, Malformed> {
        let from = self.metadata - 1;
        let mut json = serde_json::Deserializer::from_slice(&self.bytes[from..]);
        let mut metadata = Map::deserialize(&mut json)?;
        if revision > 0 {
            metadata.insert("resourceVersion".to_owned(), Value::from(revision.to_string()));
        }
        Ok(metadata)
    }
}

/// What the server itself reads of an object's metadata.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Owners.
    pub owner_references: Vec<OwnerRef>,
    /// Finalizers.
    pub finalizers: Vec<String>,
    /// When deletion began.
    pub deletion_timestamp: Option<String>,
}

/// An owner reference.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerRef {
    /// API version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner.
    pub uid: String,
    /// Whether the owner waits for this object in foreground deletion.
    pub block_owner_deletion: bool,
}

/// `metadata` of an object in work; made when it is missing.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    let slot = member(object, "metadata");
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("just made an object")
}

/// A member of an object in work; made null when missing. Anything that is not
/// an object becomes one.
pub fn member<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    object.as_object_mut().expect("just made an object").entry(key.to_owned()).or_insert(Value::Null)
}

/// A text of the metadata; empty when missing.
pub fn meta_str<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// The finalizers of an object in work.
pub fn finalizers(object: &Value) -> Vec<&str> {
    object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// Replaces the finalizers; removes the member when there are none.
pub fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    let metadata = metadata_mut(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), Value::from(finalizers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_encoded_reads_back_with_its_revision_and_version() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "\"metadata\":{"},
            "metadata": {"name": "x", "uid": "u", "resourceVersion": "999", "labels": {"l": "v"}},
        });
        let bytes = encode(&object, "v1").unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("999"));
        let stored = Stored::of(&bytes).unwrap();
        let mut expected = object.clone();
        expected["metadata"]["resourceVersion"] = json!("7");
        expected["apiVersion"] = json!("v2");
        assert_eq!(stored.parse("v2", 7).unwrap(), expected);
        assert_eq!(serde_json::from_slice::<Value>(&stored.render("v2", 7)).unwrap(), expected);
        let mut untyped = Vec::new();
        stored.write_untyped(&mut untyped, 7);
        let mut bare = expected.clone();
        bare.as_object_mut().unwrap().retain(|key, _| key != "apiVersion" && key != "kind");
        assert_eq!(serde_json::from_slice::<Value>(&untyped).unwrap(), bare);
        let meta = stored.metadata().unwrap();
        assert_eq!((meta.name.as_str(), meta.uid.as_str(), meta.labels["l"].as_str()), ("x", "u", "v"));
        assert_eq!(stored.metadata_value(7).unwrap()["resourceVersion"], "7");
    }

    #[test]
    fn an_object_without_a_head_is_refused() {
        for (bad, version) in [
            (json!({"kind": "A", "metadata": {"name": "x"}}), ""),
            (json!({"kind": "A", "metadata": {"name": "x"}}), "v\"1"),
            (json!({"kind": "A", "metadata": {}}), "v1"),
            (json!({"metadata": {"name": "x"}}), "v1"),
            (json!([]), "v1"),
        ] {
            assert!(encode(&bad, version).is_err(), "{bad}");
        }
        assert!(Stored::of(b"{\"kind\":\"A\"}").is_err());
        assert!(Stored::of(b"").is_err());
    }
}
