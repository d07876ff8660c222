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

    /// What managers are ordered by in messages.
    pub(super) fn identity(&self) -> (&str, Operation, &str, &str) {
        let version = match self.operation {
            Operation::Apply => "",
            Operation::Update => &self.api_version,
        };
        (&self.manager, self.operation, version, &self.subresource)
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
        let set = match raw.get("fieldsV1") {
            None | Some(Value::Null) => Set::new(),
            Some(fields) => Set::from_json(fields).ok()?,
        };
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

/// The entries of a list, or nothing if one of them cannot be read. Of several
/// of one manager the last counts.
pub(super) fn decode(list: Vec<Value>) -> Option<Vec<Entry>> {
    let mut out: Vec<Entry> = Vec::with_capacity(list.len());
    for raw in list {
        let entry = Entry::decode(raw)?;
        match out.iter_mut().find(|other| other.same_manager(&entry)) {
            Some(other) => *other = entry,
            None => out.push(entry),
        }
    }
    Some(out)
}

/// Writes the list in its order: applies first, then by time, manager, version, subresource.
pub(super) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.set.is_empty());
    // No time comes before all times.
    entries.sort_by(|a, b| {
        (a.operation, &a.time, &a.manager, &a.api_version, &a.subresource).cmp(&(
            b.operation,
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

/// Puts the oldest updates beyond the limit together, by version: from the
/// second oldest of a version on, each into the entry of the oldest, unless
/// there is one of that name already.
pub(super) fn cap(entries: &mut Vec<Entry>) {
    let mut updaters: Vec<Entry> = Vec::new();
    entries.retain(|entry| {
        let is_updater = entry.operation == Operation::Update;
        if is_updater {
            updaters.push(entry.clone());
        }
        !is_updater
    });
    updaters.sort_by(|a, b| (&a.time, a.identity()).cmp(&(&b.time, b.identity())));
    let mut at = 0;
    while at < updaters.len() && updaters.len() > MAX_UPDATERS {
        let version = updaters[at].api_version.clone();
        let Some(first) = updaters[..at].iter().position(|other| other.api_version == version) else {
            at += 1;
            continue;
        };
        let newer = updaters.remove(at);
        let named = updaters.iter().position(|other| {
            other.manager == OLD_UPDATES && other.subresource.is_empty() && other.api_version == version
        });
        let bucket = &mut updaters[named.unwrap_or(first)];
        OLD_UPDATES.clone_into(&mut bucket.manager);
        bucket.subresource = String::new();
        bucket.set.unite(&newer.set);
        bucket.time = newer.time;
        bucket.changed();
    }
    entries.append(&mut updaters);
}
