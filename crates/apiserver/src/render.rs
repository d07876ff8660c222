//! The forms objects are answered in: as they are, as rows of a table, or
//! only their metadata; single, in lists and in watch events.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use windlass_store::Entry;

use crate::call::{Call, parse, render};
use crate::kinds::{Cell, Column, Kind, Version};
use crate::lists::Pieces;
use crate::negotiate::Shape;
use crate::object::{Stored, meta_str};
use crate::read::Page;
use crate::request::IncludeObject;
use crate::server::Clock;
use crate::status::ApiError;

/// Marks the bookmark after the initial events of a watch.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// What an event of a watch says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The object came, or came into the selection.
    Added,
    /// The object was changed.
    Modified,
    /// The object went, or left the selection.
    Deleted,
}

impl Change {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// What makes two renderers write the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    prefix: String,
    api_version: String,
    shape: Shape,
    include: IncludeObject,
}

/// Writes objects of a kind in one form.
pub struct Renderer {
    kind: Arc<Kind>,
    served: usize,
    api_version: String,
    shape: Shape,
    include: IncludeObject,
    clock: Clock,
}

impl Call<'_> {
    /// Whether this call can answer in a shape.
    ///
    /// # Errors
    /// 400 when the rows of a table are to carry something unheard of.
    pub fn check_shape(&self, shape: Shape) -> Result<(), ApiError> {
        match (&self.options.include_object, shape) {
            (IncludeObject::Unknown(what), Shape::Table(_)) => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {what:?}: \
                 must be 'Metadata', 'Object', 'None', or empty"
            ))),
            _ => Ok(()),
        }
    }

    /// A renderer of what this call answers with.
    pub fn renderer(&self, shape: Shape) -> Renderer {
        Renderer {
            kind: Arc::clone(&self.kind),
            served: self.served,
            api_version: self.api_version.clone(),
            shape,
            include: self.options.include_object.clone(),
            clock: self.server.clock(),
        }
    }
}

impl Renderer {
    /// The kind of the objects.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The `apiVersion` the objects are served at.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// What it writes the same as others.
    pub fn form(&self) -> Form {
        Form {
            prefix: self.kind.prefix.clone(),
            api_version: self.api_version.clone(),
            shape: self.shape,
            include: self.include.clone(),
        }
    }

    fn version(&self) -> &Version {
        &self.kind.versions[self.served]
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// One stored object.
    ///
    /// # Errors
    /// 500 when it cannot be read.
    pub fn stored(&self, value: &[u8], revision: u64) -> Result<Bytes, ApiError> {
        match self.shape {
            Shape::Object => render(&self.kind, &self.api_version, value, revision),
            Shape::Metadata(version) | Shape::MetadataList(version) => {
                let metadata = Stored::of(value)?.metadata_value(revision)?;
                Ok(to_bytes(&partial(version, &metadata)))
            }
            Shape::Table(_) => {
                let object = parse(&self.kind, &self.api_version, value, revision)?;
                let version = (revision > 0).then(|| revision.to_string());
                let metadata = version.map_or(json!({}), |version| json!({"resourceVersion": version}));
                Ok(to_bytes(&self.table(&[object], &metadata)))
            }
        }
    }

    /// One object that was not stored.
    pub fn object(&self, object: Value) -> Bytes {
        match self.shape {
            Shape::Object => to_bytes(&object),
            Shape::Metadata(version) | Shape::MetadataList(version) => {
                let metadata = object["metadata"].as_object().cloned().unwrap_or_default();
                to_bytes(&partial(version, &metadata))
            }
            Shape::Table(_) => {
                let version = meta_str(&object, "resourceVersion").to_owned();
                to_bytes(&self.table(&[object], &json!({"resourceVersion": version})))
            }
        }
    }

    /// One page of a list.
    ///
    /// # Errors
    /// 500 when an object cannot be read.
    pub fn page(self, page: Page) -> Result<Pieces, ApiError> {
        let mut metadata = json!({});
        if page.revision > 0 {
            metadata["resourceVersion"] = json!(page.revision.to_string());
        }
        if let Some(next) = &page.next {
            metadata["continue"] = json!(next);
        } else if !self.kind.builtin && self.shape == Shape::Object {
            // Lists of custom kinds are maps in kube-apiserver, not structures.
            metadata["continue"] = json!("");
        }
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        let (head, items) = match self.shape {
            Shape::Object => {
                let (version, kind) = (&self.api_version, &self.kind.list_kind);
                (json!({"apiVersion": version, "kind": kind, "metadata": metadata}), "items")
            }
            Shape::Metadata(version) | Shape::MetadataList(version) => {
                let kind = "PartialObjectMetadataList";
                (json!({"apiVersion": version, "kind": kind, "metadata": metadata}), "items")
            }
            Shape::Table(version) => {
                let columns = self.column_definitions();
                let (head, rows) = (json!({"columnDefinitions": columns, "kind": "Table"}), "rows");
                let mut head = head;
                head["apiVersion"] = json!(version);
                head["metadata"] = metadata;
                (head, rows)
            }
        };
        if let (Shape::Metadata(_) | Shape::MetadataList(_), true) = (self.shape, page.entries.is_empty()) {
            // Lists of metadata are copied, and copies of nothing are null.
            return Ok(Pieces::whole(self, format!("{},\"items\":null}}", without_end(&head))));
        }
        let head = format!("{},\"{items}\":[", without_end(&head));
        Pieces::new(self, Bytes::from(head), page.entries)
    }

    /// Checks that an object can be written as an item; about how long it is.
    ///
    /// # Errors
    /// 500 when it cannot.
    pub fn check(&self, entry: &Entry) -> Result<usize, ApiError> {
        Ok(Stored::of(&entry.value)?.size_hint(&self.api_version))
    }

    /// Appends one object of a list. Compiled-in kinds leave out the type,
    /// which the list says for all.
    ///
    /// # Errors
    /// 500 when it cannot be read.
    pub fn item(&self, out: &mut BytesMut, entry: &Entry) -> Result<(), ApiError> {
        match self.shape {
            Shape::Object if self.kind.conversion.only_names(&self.api_version) => {
                let stored = Stored::of(&entry.value)?;
                if self.kind.builtin {
                    stored.write_untyped(out, entry.mod_revision);
                } else {
                    stored.write(out, &self.api_version, entry.mod_revision);
                }
            }
            Shape::Object => {
                let mut object = parse(&self.kind, &self.api_version, &entry.value, entry.mod_revision)?;
                if let Some(object) = object.as_object_mut().filter(|_| self.kind.builtin) {
                    object.remove("apiVersion");
                    object.remove("kind");
                }
                out.extend_from_slice(&to_bytes(&object));
            }
            Shape::Metadata(_) | Shape::MetadataList(_) => {
                out.extend_from_slice(&self.stored(&entry.value, entry.mod_revision)?);
            }
            Shape::Table(version) => {
                let object = parse(&self.kind, &self.api_version, &entry.value, entry.mod_revision)?;
                let columns = &self.version().columns;
                let row = self.row(columns, &object, &self.include, version, self.now());
                out.extend_from_slice(&to_bytes(&row));
            }
        }
        Ok(())
    }

    /// One event of a watch, with its line end. The first of a watch of
    /// tables describes the columns, the others leave them out.
    ///
    /// # Errors
    /// 500 when the object cannot be read.
    pub fn event(
        &self,
        change: Change,
        entry: &Entry,
        revision: u64,
        first: bool,
    ) -> Result<Bytes, ApiError> {
        let mut out = Vec::with_capacity(entry.value.len() + 96);
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(change.as_str().as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        match self.shape {
            Shape::Object if self.kind.conversion.only_names(&self.api_version) => {
                Stored::of(&entry.value)?.write(&mut out, &self.api_version, revision);
            }
            Shape::Object | Shape::Metadata(_) | Shape::MetadataList(_) => {
                out.extend_from_slice(&self.stored(&entry.value, revision)?);
            }
            Shape::Table(_) => {
                let object = parse(&self.kind, &self.api_version, &entry.value, revision)?;
                out.extend_from_slice(&to_bytes(&self.event_table(&object, &self.include, revision, first)));
            }
        }
        out.extend_from_slice(b"}\n");
        Ok(Bytes::from(out))
    }

    fn event_table(&self, object: &Value, include: &IncludeObject, revision: u64, first: bool) -> Value {
        let metadata = json!({"resourceVersion": revision.to_string()});
        let mut table = self.table_with(std::slice::from_ref(object), include, &metadata);
        if !first {
            table["columnDefinitions"] = Value::Null;
        }
        table
    }

    /// A bookmark; `end` marks the end of the initial events.
    pub fn bookmark(&self, revision: u64, end: bool, first: bool) -> Bytes {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".to_owned(), json!(revision.to_string()));
        if end {
            metadata.insert("annotations".to_owned(), json!({INITIAL_EVENTS_END: "true"}));
        }
        let object = || {
            let mut object = crate::kinds::empty(&self.kind, &self.api_version);
            object["metadata"] = Value::Object(metadata.clone());
            object
        };
        let object = match self.shape {
            Shape::Object => object(),
            Shape::Metadata(version) | Shape::MetadataList(version) => partial(version, &metadata),
            Shape::Table(_) => {
                // Bookmarks carry their version, whatever rows carry.
                let include = match &self.include {
                    IncludeObject::None => &IncludeObject::Metadata,
                    other => other,
                };
                self.event_table(&object(), include, revision, first)
            }
        };
        Bytes::from(format!("{}\n", json!({"type": "BOOKMARK", "object": object})))
    }

    fn column_definitions(&self) -> Vec<Value> {
        let mut definitions = vec![json!({
            "name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "Name of the object, unique in its namespace.",
        })];
        if names_itself(&self.version().columns) {
            definitions.clear();
        }
        let declared = self.version().columns.iter().filter(|column| column.priority >= 0);
        definitions.extend(declared.map(|column| self.definition(column)));
        definitions
    }

    fn table(&self, objects: &[Value], metadata: &Value) -> Value {
        self.table_with(objects, &self.include, metadata)
    }

    fn table_with(&self, objects: &[Value], include: &IncludeObject, metadata: &Value) -> Value {
        let version = match self.shape {
            Shape::Table(version) | Shape::Metadata(version) | Shape::MetadataList(version) => version,
            Shape::Object => "meta.k8s.io/v1",
        };
        let now = self.now();
        let columns = &self.version().columns;
        let rows: Vec<Value> =
            objects.iter().map(|object| self.row(columns, object, include, version, now)).collect();
        json!({
            "kind": "Table", "apiVersion": version, "metadata": metadata,
            "columnDefinitions": self.column_definitions(), "rows": rows,
        })
    }

    fn definition(&self, column: &Column) -> Value {
        let description = match (column.description.as_str(), &column.cell) {
            ("", Cell::Computed(_)) if column.name == "Age" => {
                "How long ago the object was created.".to_owned()
            }
            ("", Cell::Computed(_)) => format!("{} of the {}.", column.name, self.kind.singular),
            (said, _) => said.to_owned(),
        };
        json!({
            "name": column.name, "type": column.kind, "format": column.format,
            "description": description, "priority": column.priority,
        })
    }

    #[expect(clippy::unused_self, reason = "as its siblings")]
    fn row(
        &self,
        columns: &[Column],
        object: &Value,
        include: &IncludeObject,
        version: &str,
        now: Timestamp,
    ) -> Value {
        let mut cells = vec![json!(meta_str(object, "name"))];
        if names_itself(columns) {
            cells.clear();
        }
        cells.extend(columns.iter().map(|column| cell(column, object, now)));
        let mut row = json!({"cells": cells, "object": null});
        match include {
            IncludeObject::None => {}
            IncludeObject::Metadata | IncludeObject::Unknown(_) => {
                let metadata = object["metadata"].as_object().cloned().unwrap_or_default();
                row["object"] = partial(version, &metadata);
            }
            IncludeObject::Object => row["object"] = object.clone(),
        }
        row
    }
}

/// Whether the name is among the columns of the kind.
fn names_itself(columns: &[Column]) -> bool {
    columns.iter().any(|column| column.name == "Name" && column.format == "name")
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    match &column.cell {
        Cell::Computed(compute) => compute(object, now),
        Cell::Path(path) => path.cell(object, &column.kind, now),
    }
}

/// A collection was asked for in the form of one object.
pub fn not_one(kind: &Kind) -> ApiError {
    let go = if kind.builtin {
        format!("*v1.{}", kind.list_kind)
    } else {
        "*unstructured.UnstructuredList".to_owned()
    };
    let text = format!("you requested PartialObjectMetadata, but the requested object is a list ({go})");
    ApiError::new(406, "NotAcceptable", text)
}

/// An object was asked for in the form of a collection.
pub fn not_many() -> ApiError {
    ApiError::new(500, "", "content is not a list")
}

fn partial(version: &str, metadata: &Map<String, Value>) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": metadata})
}

/// An object as text, open for more members.
fn without_end(object: &Value) -> String {
    let mut text = object.to_string();
    text.pop();
    text
}

fn to_bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}
