//! The entries of `metadata.managedFields`.

use serde_json::{Map, Value, json};

use super::Writer;
use crate::fields::Set;

/// Most entries of operation `Update` an object keeps, as kube-apiserver.
const MAX_UPDATERS: usize = 10;
/// The manager that the oldest updates beyond that are put under.
const OLD_UPDATES: &str = "ancient-changes";

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// One manager and the fields it owns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: Option<String>,
    pub(super) set: Set,
    /// The JSON this was read from, as long as it is still true.
    raw: Option<Value>,
}

impl Entry {
    pub(super) fn new(writer: &Writer<'_>, operation: Operation, set: Set) -> Self {
        let manager = if writer.manager.is_empty() { "unknown" } else { writer.manager };
        Self {
            manager: manager.to_owned(),
            operation,
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: Some(writer.now.to_owned()),
            set,
            raw: None,
        }
    }

    /// Whether both are entries of one manager: the API version tells updates apart, not applies.
    pub(super) fn same_manager(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    pub(super) fn changed(&mut self) {
        self.raw = None;
    }

    /// Removes fields; the time stays.
    pub(super) fn subtract(&mut self, set: &Set) {
        if self.set.subtract(set) {
            self.changed();
        }
    }

    fn decode(raw: Value) -> Option<Self> {
        let text = |name: &str| raw.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let operation = match raw.get("operation").and_then(Value::as_str) {
            Some("Apply") => Operation::Apply,
            Some("Update") => Operation::Update,
            _ => return None,
        };
        if raw.get("fieldsType").and_then(Value::as_str) != Some("FieldsV1") || text("apiVersion").is_empty()
        {
            return None;
        }
        let set = raw.get("fieldsV1").map_or(Ok(Set::new()), Set::from_json).ok()?;
        Some(Self {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: raw.get("time").and_then(Value::as_str).map(str::to_owned),
            set,
            raw: Some(raw),
        })
    }

    fn encode(self) -> Value {
        if let Some(raw) = self.raw {
            return raw;
        }
        let mut out = Map::new();
        out.insert("manager".to_owned(), Value::String(self.manager));
        out.insert("operation".to_owned(), Value::String(self.operation.name().to_owned()));
        out.insert("apiVersion".to_owned(), Value::String(self.api_version));
        out.insert("fieldsType".to_owned(), json!("FieldsV1"));
        out.insert("fieldsV1".to_owned(), self.set.to_json());
        if let Some(time) = self.time {
            out.insert("time".to_owned(), Value::String(time));
        }
        if !self.subresource.is_empty() {
            out.insert("subresource".to_owned(), Value::String(self.subresource));
        }
        Value::Object(out)
    }

    /// `"manager"`, with what tells it from others of that name: as in conflicts.
    pub(super) fn display(&self) -> String {
        let mut out = crate::quote(&self.manager);
        if !self.subresource.is_empty() {
            out.push_str(" with subresource ");
            out.push_str(&crate::quote(&self.subresource));
        }
        if self.operation == Operation::Update {
            out.push_str(" using ");
            out.push_str(&self.api_version);
        }
        out
    }
}

/// The list of an object, or nothing if it has none or one that cannot be read.
pub(super) fn read(object: Option<&Value>) -> Vec<Entry> {
    let list = object.and_then(|object| object.get("metadata")?.get("managedFields")?.as_array());
    list.and_then(|list| decode(list.clone())).unwrap_or_default()
}

pub(super) fn decode(list: Vec<Value>) -> Option<Vec<Entry>> {
    list.into_iter().map(Entry::decode).collect()
}

/// Writes the list in its order: applies first, then by time, manager, version, subresource.
pub(super) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.set.is_empty());
    let late = |entry: &Entry| entry.time.is_none();
    entries.sort_by(|a, b| {
        (a.operation, late(a), &a.time, &a.manager, &a.api_version, &a.subresource).cmp(&(
            b.operation,
            late(b),
            &b.time,
            &b.manager,
            &b.api_version,
            &b.subresource,
        ))
    });
    let Some(object) = object.as_object_mut() else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), entries.into_iter().map(Entry::encode).collect());
    }
}

/// Puts the oldest updates beyond the limit together, by version.
pub(super) fn cap(entries: &mut Vec<Entry>) {
    let updaters =
        |entries: &[Entry]| entries.iter().filter(|entry| entry.operation == Operation::Update).count();
    if updaters(entries) <= MAX_UPDATERS {
        return;
    }
    let late = |entry: &Entry| entry.time.is_none();
    entries.sort_by(|a, b| {
        (a.operation, late(a), &a.time, &a.manager).cmp(&(b.operation, late(b), &b.time, &b.manager))
    });
    let mut at =
        entries.iter().position(|entry| entry.operation == Operation::Update).unwrap_or(entries.len());
    while at < entries.len() && updaters(entries) > MAX_UPDATERS {
        let older = (0..at).find(|older| {
            let older = &entries[*older];
            older.operation == Operation::Update && older.api_version == entries[at].api_version
        });
        let Some(older) = older else {
            at += 1;
            continue;
        };
        let newer = entries.remove(at);
        let bucket = &mut entries[older];
        OLD_UPDATES.clone_into(&mut bucket.manager);
        bucket.subresource = String::new();
        bucket.set.unite(&newer.set);
        bucket.time = newer.time;
        bucket.changed();
    }
}
