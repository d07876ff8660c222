//! The forms objects are answered in: as they are, as rows of a table, or
//! only their metadata; single, in lists and in watch events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use windlass_store::Entry;

use crate::call::{Call, parse, render};
use crate::kinds::{Cell, Column, Conversion, Kind, Version};
use crate::negotiate::Shape;
use crate::object::Stored;
use crate::read::Page;
use crate::request::IncludeObject;
use crate::server::Clock;
use crate::status::ApiError;

/// Marks the bookmark after the initial events of a watch.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Writes objects of a kind in one form.
pub struct Renderer {
    kind: Arc<Kind>,
    served: usize,
    api_version: String,
    shape: Shape,
    include: IncludeObject,
    clock: Clock,
    /// Whether a table of this watch was sent: only the first has headings.
    headed: AtomicBool,
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
            headed: AtomicBool::new(false),
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
                Ok(to_bytes(&self.table(&[object], &json!({"resourceVersion": revision.to_string()}))))
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
            Shape::Table(_) => to_bytes(&self.table(&[object], &json!({}))),
        }
    }

    /// One page of a list.
    ///
    /// # Errors
    /// 500 when an object cannot be read.
    pub fn page(&self, page: &Page) -> Result<Bytes, ApiError> {
        let mut metadata = json!({"resourceVersion": page.revision.to_string()});
        if let Some(next) = &page.next {
            metadata["continue"] = json!(next);
        }
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        if let Shape::Table(_) = self.shape {
            let parse =
                |entry: &Arc<Entry>| parse(&self.kind, &self.api_version, &entry.value, entry.mod_revision);
            let objects = page.entries.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
            return Ok(to_bytes(&self.table(&objects, &metadata)));
        }
        self.items(&page.entries, &metadata)
    }

    fn items(&self, entries: &[Arc<Entry>], metadata: &Value) -> Result<Bytes, ApiError> {
        let (api_version, kind) = match self.shape {
            Shape::Metadata(version) | Shape::MetadataList(version) => (version, "PartialObjectMetadataList"),
            Shape::Object | Shape::Table(_) => (self.api_version.as_str(), self.kind.list_kind.as_str()),
        };
        let size: usize = entries.iter().map(|entry| entry.value.len() + 48).sum();
        let mut out = Vec::with_capacity(size + 256);
        let head = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}).to_string();
        out.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
        out.extend_from_slice(b",\"items\":[");
        for (index, entry) in entries.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if self.shape == Shape::Object && self.kind.conversion == Conversion::ApiVersion {
                Stored::of(&entry.value)?.write(&mut out, &self.api_version, entry.mod_revision);
            } else {
                out.extend_from_slice(&self.stored(&entry.value, entry.mod_revision)?);
            }
        }
        out.extend_from_slice(b"]}");
        Ok(Bytes::from(out))
    }

    /// A list of objects that are no longer stored.
    pub fn values(&self, objects: &[Value], revision: u64) -> Bytes {
        let metadata = json!({"resourceVersion": revision.to_string()});
        match self.shape {
            Shape::Table(_) => to_bytes(&self.table(objects, &metadata)),
            Shape::Object | Shape::Metadata(_) | Shape::MetadataList(_) => to_bytes(&json!({
                "apiVersion": self.api_version, "kind": self.kind.list_kind,
                "metadata": metadata, "items": objects,
            })),
        }
    }

    /// One event of a watch, with its line end.
    ///
    /// # Errors
    /// 500 when the object cannot be read.
    pub fn event(&self, kind: &str, entry: &Entry, revision: u64) -> Result<Bytes, ApiError> {
        let mut out = Vec::with_capacity(entry.value.len() + 96);
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        if self.shape == Shape::Object && self.kind.conversion == Conversion::ApiVersion {
            Stored::of(&entry.value)?.write(&mut out, &self.api_version, revision);
        } else if let Shape::Table(_) = self.shape {
            let object = parse(&self.kind, &self.api_version, &entry.value, revision)?;
            let mut table = self.table(&[object], &json!({"resourceVersion": revision.to_string()}));
            self.behead(&mut table);
            out.extend_from_slice(table.to_string().as_bytes());
        } else {
            out.extend_from_slice(&self.stored(&entry.value, revision)?);
        }
        out.extend_from_slice(b"}\n");
        Ok(Bytes::from(out))
    }

    /// A bookmark; `end` marks the end of the initial events.
    pub fn bookmark(&self, revision: u64, end: bool) -> Bytes {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".to_owned(), json!(revision.to_string()));
        if end {
            metadata.insert("annotations".to_owned(), json!({INITIAL_EVENTS_END: "true"}));
        }
        let object = match self.shape {
            Shape::Object => {
                json!({"kind": self.kind.kind, "apiVersion": self.api_version, "metadata": metadata})
            }
            Shape::Metadata(version) | Shape::MetadataList(version) => partial(version, &metadata),
            Shape::Table(_) => {
                let object =
                    json!({"kind": self.kind.kind, "apiVersion": self.api_version, "metadata": metadata});
                let mut table = self.table(&[object], &json!({"resourceVersion": revision.to_string()}));
                self.behead(&mut table);
                table
            }
        };
        Bytes::from(format!("{}\n", json!({"type": "BOOKMARK", "object": object})))
    }

    /// Takes the headings from all tables of a watch but the first.
    fn behead(&self, table: &mut Value) {
        if self.headed.swap(true, Ordering::Relaxed) {
            table["columnDefinitions"] = Value::Null;
        }
    }

    fn table(&self, objects: &[Value], metadata: &Value) -> Value {
        let version = match self.shape {
            Shape::Table(version) | Shape::Metadata(version) | Shape::MetadataList(version) => version,
            Shape::Object => "meta.k8s.io/v1",
        };
        let now = self.now();
        let columns = &self.version().columns;
        let mut definitions = vec![json!({
            "name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "Name of the object, unique in its namespace.",
        })];
        definitions.extend(columns.iter().map(|column| self.definition(column)));
        let rows: Vec<Value> = objects.iter().map(|object| self.row(columns, object, version, now)).collect();
        json!({
            "kind": "Table", "apiVersion": version, "metadata": metadata,
            "columnDefinitions": definitions, "rows": rows,
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

    fn row(&self, columns: &[Column], object: &Value, version: &str, now: Timestamp) -> Value {
        let mut cells = vec![json!(object["metadata"]["name"].as_str().unwrap_or_default())];
        cells.extend(columns.iter().map(|column| cell(column, object, now)));
        let mut row = json!({"cells": cells});
        match &self.include {
            IncludeObject::None => row["object"] = Value::Null,
            IncludeObject::Metadata | IncludeObject::Unknown(_) => {
                let metadata = object["metadata"].as_object().cloned().unwrap_or_default();
                row["object"] = partial(version, &metadata);
            }
            IncludeObject::Object => row["object"] = object.clone(),
        }
        row
    }
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

fn to_bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}
