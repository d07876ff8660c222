//! The stores as the oracle reads them: the provider's ledger, the API server's objects and their history.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use windlass_memory::{ClusterRow, MachineRow};
use windlass_store::{Engine, Event, Store};

/// The store of the management API.
pub const MANAGEMENT: &str = "management";
/// The store of the provider's ledger.
pub const WORLD: &str = "world";
/// The stores of workload clusters begin like this.
pub const WORKLOAD: &str = "workload/";

/// The revision of a store in which nothing has happened yet.
const FIRST: u64 = 1;

/// How far each store has come.
pub type Revisions = BTreeMap<String, u64>;

/// How far each store of `engine` has come.
pub fn revisions(engine: &Engine) -> Revisions {
    engine.names().into_iter().map(|name| (name.clone(), engine.store(&name).revision())).collect()
}

/// One row of the ledger.
pub fn row<T: DeserializeOwned>(engine: &Engine, key: &str) -> Option<T> {
    decode(&engine.store(WORLD).get(key)?.value)
}

/// All machines that ever were.
pub fn machines(engine: &Engine) -> Vec<MachineRow> {
    rows(&engine.store(WORLD), "machine/", None)
}

/// All clusters that ever were.
pub fn clusters(engine: &Engine) -> Vec<ClusterRow> {
    rows(&engine.store(WORLD), "cluster/", None)
}

/// The rows below a prefix, at a revision or now.
pub fn rows<T: DeserializeOwned>(store: &Store, prefix: &str, at: Option<u64>) -> Vec<T> {
    let range = store.range(prefix, None, None, at).map(|range| range.entries).unwrap_or_default();
    range.iter().filter_map(|entry| decode(&entry.value)).collect()
}

/// Whether a store still knows everything that ever happened in it.
pub fn is_complete(engine: &Engine, store: &str) -> bool {
    let store = engine.store(store);
    store.oldest() <= FIRST
}

/// What happened in a store after a revision, which is 0 for everything.
pub fn history(engine: &Engine, store: &str, prefix: &str, since: u64) -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    if let Ok(mut watch) = engine.store(store).watch(prefix, since.max(FIRST)) {
        while let Ok(Some(event)) = watch.try_next() {
            events.push(event);
        }
    }
    events
}

/// Bytes of a store as what they are.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// All objects of a store that people or controllers made; definitions and events are left out.
pub fn objects(engine: &Engine, store: &str) -> Vec<Value> {
    let range =
        engine.store(store).range("", None, None, None).map(|range| range.entries).unwrap_or_default();
    let entries = range.iter().filter(|entry| !is_background(&entry.key));
    entries.filter_map(|entry| decode(&entry.value)).collect()
}

/// Definitions and events: many, large, and of no interest.
pub fn is_background(key: &str) -> bool {
    ["/customresourcedefinitions/", "/events/"].iter().any(|part| key.contains(part))
}

/// A text in an object; empty where it is missing.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number in an object.
pub fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// `Kind namespace/name`, for people.
pub fn name(object: &Value) -> String {
    let [kind, namespace, name] =
        ["/kind", "/metadata/namespace", "/metadata/name"].map(|at| text(object, at));
    format!("{kind} {namespace}/{name}")
}

/// The status of a condition; empty where it is missing.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let mut found = conditions.filter(|condition| condition["type"] == kind);
    found.next().map_or("", |condition| text(condition, "/status"))
}
