//! How objects of custom kinds are read at a version other than the one they
//! are stored at.
//!
//! Stored bytes stay as they were written. What was written before the
//! definition last changed is pruned and defaulted on its way out, and what is
//! stored at another version is converted: by its `apiVersion` alone, by a
//! webhook, or by a [`Converter`] of this process.

mod webhook;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use windlass_apimachinery::schema::Schema;
use windlass_store::{Entry, Event};

use crate::flow;
use crate::kinds::{Kind, api_version};
use crate::object::{Stored, encode, metadata_mut};
use crate::server::{Inner, Server};
use crate::status::ApiError;

/// Most converted objects of a kind that are kept.
const KEPT: usize = 4096;

/// Converts objects of a kind between its versions, in this process.
pub trait Converter: Send + Sync {
    /// The object at `api_version`. Name, namespace, UID and kind must stay;
    /// other metadata than labels and annotations is taken from the original.
    ///
    /// # Errors
    /// Why it cannot be converted, for people.
    fn convert(&self, object: Value, api_version: &str) -> Result<Value, String>;
}

/// The converters of a server, by group and kind.
pub(crate) type Converters = HashMap<(String, String), Arc<dyn Converter>>;

/// Who converts.
enum Strategy {
    /// Nobody: only `apiVersion` differs.
    Rename,
    Webhook(Box<webhook::Webhook>),
    Process(Arc<dyn Converter>),
}

/// One version of a kind, served or not.
struct Form {
    api_version: String,
    schema: Arc<Schema>,
    /// Whether its schema says the same as that of the storage version.
    as_stored: bool,
}

/// How objects of a custom kind are read and stored.
pub struct Custom {
    kind: String,
    storage: String,
    forms: Vec<Form>,
    strategy: Strategy,
    /// What was written after this revision has the form of the storage version.
    since: AtomicU64,
    /// Converted objects: by revision and version.
    kept: Mutex<Kept>,
}

/// Bytes by revision, key and version.
type Kept = HashMap<(u64, Arc<str>, String), Bytes>;

/// An object without its resource version, which is no part of what is stored.
fn unversioned(object: &Value) -> Value {
    let mut object = object.clone();
    metadata_mut(&mut object).remove("resourceVersion");
    object
}

impl std::fmt::Debug for Custom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Custom")
            .field("kind", &self.kind)
            .field("storage", &self.storage)
            .finish_non_exhaustive()
    }
}

impl Custom {
    /// Reads how a definition wants its objects converted. The last of its
    /// versions wins where two have one name, which is not valid.
    pub(crate) fn of(
        definition: &Value,
        schemas: &HashMap<String, Arc<Schema>>,
        converters: &Converters,
    ) -> Self {
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, kind) = (text("/spec/group"), text("/spec/names/kind"));
        let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
        let versions = versions.map(Vec::as_slice).unwrap_or_default();
        let storage = versions.iter().find(|version| version["storage"] == true).unwrap_or(&Value::Null);
        let forms = versions.iter().filter_map(|version| {
            let name = version["name"].as_str()?;
            Some(Form {
                api_version: api_version(group, name),
                schema: Arc::clone(schemas.get(name)?),
                as_stored: version["schema"] == storage["schema"],
            })
        });
        let strategy = match converters.get(&(group.to_owned(), kind.to_owned())) {
            Some(converter) => Strategy::Process(Arc::clone(converter)),
            None if text("/spec/conversion/strategy") == "Webhook" => Strategy::Webhook(Box::new(
                webhook::Webhook::of(&definition["spec"]["conversion"]["webhook"]),
            )),
            None => Strategy::Rename,
        };
        Self {
            kind: kind.to_owned(),
            storage: api_version(group, storage["name"].as_str().unwrap_or_default()),
            forms: forms.collect(),
            strategy,
            since: AtomicU64::new(u64::MAX),
            kept: Mutex::default(),
        }
    }

    /// Notes that what is written from now on has the form of the storage version.
    pub(crate) fn settle(&self, revision: u64) {
        self.since.store(revision, Ordering::Release);
    }

    /// What was written after this revision has the form of the storage version.
    pub(crate) fn since(&self) -> u64 {
        self.since.load(Ordering::Acquire)
    }

    /// The schemas of all versions, by `group/version`.
    pub(crate) fn schemas(&self) -> impl Iterator<Item = (String, Arc<Schema>)> {
        self.forms.iter().map(|form| (form.api_version.clone(), Arc::clone(&form.schema)))
    }

    /// Whether stored bytes read as they are at a version.
    fn is_ready(&self, entry: &Entry, version: &str) -> bool {
        if entry.mod_revision <= self.since() {
            return false;
        }
        let stored = Stored::of(&entry.value).map(|stored| stored.api_version().to_owned());
        match (stored, &self.strategy) {
            (Ok(stored), _) if stored == version => true,
            (Ok(stored), Strategy::Rename) => {
                stored == self.storage && self.form(version).is_some_and(|form| form.as_stored)
            }
            (Ok(_), Strategy::Webhook(_) | Strategy::Process(_)) => false,
            // What cannot be read is for the reader to report.
            (Err(_), _) => true,
        }
    }

    fn form(&self, version: &str) -> Option<&Form> {
        self.forms.iter().find(|form| form.api_version == version)
    }

    /// Whether stored bytes are what a write of the same object would store.
    pub(crate) fn is_current(&self, entry: &Entry) -> bool {
        self.is_ready(entry, &self.storage)
            && Stored::of(&entry.value).is_ok_and(|stored| stored.api_version() == self.storage)
    }

    fn in_form(&self, object: &mut Value, version: &str, defaults: bool) {
        let Some(form) = self.form(version) else { return };
        form.schema.prune(object);
        if defaults {
            form.schema.default(object);
        }
    }

    /// Converts objects to a version.
    async fn convert(
        &self,
        server: &Server,
        objects: Vec<Value>,
        version: &str,
        list: bool,
    ) -> Result<Vec<Value>, ApiError> {
        let kind = self.kind.as_str();
        let broken = |text: String| ApiError::new(500, "", text);
        match &self.strategy {
            Strategy::Rename => Ok(objects
                .into_iter()
                .map(|mut object| {
                    object["apiVersion"] = Value::from(version);
                    object
                })
                .collect()),
            Strategy::Process(converter) => objects
                .into_iter()
                .map(|object| {
                    let metadata = object["metadata"].clone();
                    let from = object["apiVersion"].as_str().unwrap_or_default().to_owned();
                    let converted = converter.convert(object, version).map_err(|error| {
                        broken(format!("conversion of {from}, Kind={kind} to {version} failed: {error}"))
                    })?;
                    webhook::restored(converted, &metadata).map_err(broken)
                })
                .collect(),
            Strategy::Webhook(webhook) => {
                let answer = webhook.convert(server, objects, version, kind, list);
                Box::pin(flow::standing(async { answer.await.map_err(broken) })).await
            }
        }
    }
}

/// Reads the changes a watch sees. It does not keep the server alive.
#[derive(Clone)]
pub(crate) struct Conversion {
    server: Weak<Inner>,
    kind: Arc<Kind>,
    version: Arc<str>,
}

impl Conversion {
    /// A change in a version.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub(crate) async fn event(&self, event: Arc<Event>) -> Result<Arc<Event>, ApiError> {
        let Some(inner) = self.server.upgrade() else { return Ok(event) };
        Server { inner }.readable_event(&self.kind, &self.version, event).await
    }
}

impl Server {
    /// What a watch of a kind at a version needs to read changes, if it needs
    /// anything: what is written while it lasts has the stored form.
    pub(crate) fn conversion(&self, kind: &Arc<Kind>, version: &str) -> Option<Conversion> {
        let custom = kind.custom.as_ref()?;
        let as_stored = version == custom.storage
            || (matches!(custom.strategy, Strategy::Rename)
                && custom.form(version).is_some_and(|form| form.as_stored));
        let server = Arc::downgrade(&self.inner);
        (!as_stored).then(|| Conversion { server, kind: Arc::clone(kind), version: version.into() })
    }

    /// Stored objects as they are read at a version: the same entries where
    /// the bytes are good as they are, others with new bytes.
    ///
    /// # Errors
    /// 500 when one cannot be converted.
    pub(crate) async fn readable(
        &self,
        kind: &Kind,
        version: &str,
        mut entries: Vec<Arc<Entry>>,
        list: bool,
    ) -> Result<Vec<Arc<Entry>>, ApiError> {
        let Some(custom) = &kind.custom else { return Ok(entries) };
        let mut waiting = Vec::new();
        for (index, entry) in entries.iter_mut().enumerate() {
            if custom.is_ready(entry, version) {
                continue;
            }
            let key = (entry.mod_revision, Arc::clone(&entry.key), version.to_owned());
            if let Some(bytes) = custom.kept.lock().get(&key) {
                *entry = Arc::new(Entry { value: bytes.clone(), ..Entry::clone(entry) });
                continue;
            }
            let stored = Stored::of(&entry.value)?;
            let from = stored.api_version().to_owned();
            let mut object = stored.parse(&from, entry.mod_revision)?;
            metadata_mut(&mut object).remove("resourceVersion");
            custom.in_form(&mut object, &from, true);
            waiting.push((index, from, object));
        }
        let (same, other): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, from, _)| from == version);
        let mut done: Vec<(usize, Value)> =
            same.into_iter().map(|(index, _, object)| (index, object)).collect();
        if !other.is_empty() {
            let indices: Vec<usize> = other.iter().map(|(index, ..)| *index).collect();
            let objects = other.into_iter().map(|(.., object)| object).collect();
            let converted = custom.convert(self, objects, version, list).await?;
            for (index, mut object) in indices.into_iter().zip(converted) {
                custom.in_form(&mut object, version, false);
                done.push((index, object));
            }
        }
        for (index, object) in done {
            let entry = &mut entries[index];
            let bytes = encode(&object, version)?;
            if !matches!(custom.strategy, Strategy::Rename) {
                let mut kept = custom.kept.lock();
                if kept.len() >= KEPT {
                    kept.clear();
                }
                kept.insert((entry.mod_revision, Arc::clone(&entry.key), version.to_owned()), bytes.clone());
            }
            *entry = Arc::new(Entry { value: bytes, ..Entry::clone(entry) });
        }
        Ok(entries)
    }

    /// One stored object as it is read at a version.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub(crate) async fn readable_one(
        &self,
        kind: &Kind,
        version: &str,
        entry: Arc<Entry>,
    ) -> Result<Arc<Entry>, ApiError> {
        if kind.custom.as_ref().is_none_or(|custom| custom.is_ready(&entry, version)) {
            return Ok(entry);
        }
        let mut entries = self.readable(kind, version, vec![entry], false).await?;
        entries.pop().ok_or_else(|| ApiError::internal("a converted object is missing"))
    }

    /// A change of a stored object as it is read at a version.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub(crate) async fn readable_event(
        &self,
        kind: &Kind,
        version: &str,
        event: Arc<Event>,
    ) -> Result<Arc<Event>, ApiError> {
        let Some(custom) = &kind.custom else { return Ok(event) };
        let ready =
            |entry: &Option<Arc<Entry>>| entry.as_ref().is_none_or(|entry| custom.is_ready(entry, version));
        if ready(&event.entry) && ready(&event.previous) {
            return Ok(event);
        }
        let mut sides = [event.entry.clone(), event.previous.clone()];
        for side in &mut sides {
            if let Some(entry) = side.take() {
                *side = Some(self.readable_one(kind, version, entry).await?);
            }
        }
        let [entry, previous] = sides;
        Ok(Arc::new(Event { revision: event.revision, key: Arc::clone(&event.key), entry, previous }))
    }

    /// An object in another version of its resource, as webhooks are shown it: with fields that are not in
    /// its schema, and without defaults.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub(crate) async fn in_version(
        &self,
        from: &Kind,
        to: &Kind,
        version: &str,
        mut object: Value,
    ) -> Result<Value, ApiError> {
        let Some(custom) = &from.custom else {
            from.conversion.store(&mut object, &from.storage_api_version);
            to.conversion.serve(&mut object, version);
            return Ok(object);
        };
        let mut objects = custom.convert(self, vec![object], version, false).await?;
        objects.pop().ok_or_else(|| ApiError::internal("a converted object is missing"))
    }

    /// The stored form of an object of a version.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub(crate) async fn storable(
        &self,
        kind: &Kind,
        version: &str,
        object: &Value,
    ) -> Result<Bytes, ApiError> {
        let storage = kind.storage_api_version.as_str();
        let Some(custom) = kind.custom.as_ref().filter(|_| version != storage) else {
            return Ok(encode(object, storage)?);
        };
        let as_stored = custom.form(version).is_some_and(|form| form.as_stored);
        if as_stored && matches!(custom.strategy, Strategy::Rename) {
            return Ok(encode(object, storage)?);
        }
        let mut objects = custom.convert(self, vec![unversioned(object)], storage, false).await?;
        let mut object = objects.pop().ok_or_else(|| ApiError::internal("a converted object is missing"))?;
        custom.in_form(&mut object, storage, true);
        Ok(encode(&object, storage)?)
    }
}
