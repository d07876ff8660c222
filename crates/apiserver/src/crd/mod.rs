//! Custom resource definitions: rules about them, what they report, and the
//! kinds they define.

mod names;
mod settle;
mod validate;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use windlass_apimachinery::schema::Schema;

use crate::conversion::{Converters, Custom};
use crate::discovery::priority;
use crate::kinds::{
    Cell, Column, Conversion, FieldLabel, Generation, Hook, Kind, Scale, Version, api_version,
};
use crate::object::{Stored, meta_str};
use crate::server::Server;

pub use names::{begin, begin_deletion, default, note_storage};
pub use validate::{validate, validate_status, warnings};

/// Keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
pub(crate) const PREFIX: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn versions(definition: &Value) -> &[Value] {
    definition.pointer("/spec/versions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Store prefix of the objects of the definition of this name.
pub fn prefix_of(name: &str) -> Option<String> {
    let (plural, group) = name.split_once('.')?;
    Some(format!("/registry/{group}/{plural}/"))
}

/// The kind a definition defines; `None` unless its names were accepted and
/// its schemas can be used.
pub fn kind_of(definition: &Value, converters: &Converters) -> Option<Kind> {
    let conditions = definition.pointer("/status/conditions")?.as_array()?;
    let established = conditions
        .iter()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
    if !established {
        return None;
    }
    let group = text(definition, "/spec/group");
    let names = &definition["status"]["acceptedNames"];
    let plural = text(names, "/plural");
    let compiled = |version: &Value| {
        let document = version.pointer("/schema/openAPIV3Schema")?;
        Some((text(version, "/name").to_owned(), Arc::new(Schema::compile(document).ok()?)))
    };
    let schemas: HashMap<String, Arc<Schema>> = versions(definition).iter().filter_map(compiled).collect();
    let custom = Custom::of(definition, &schemas, converters);
    let mut served: Vec<Version> = versions(definition)
        .iter()
        .filter(|version| version["served"] == true)
        .filter_map(|version| self::version(definition, version, schemas.get(text(version, "/name"))?))
        .collect();
    served.sort_by_cached_key(|version| std::cmp::Reverse(priority(&version.name)));
    let storage = versions(definition).iter().find(|version| version["storage"] == true)?;
    Some(Kind {
        group: group.to_owned(),
        kind: text(names, "/kind").to_owned(),
        list_kind: text(names, "/listKind").to_owned(),
        plural: plural.to_owned(),
        singular: text(names, "/singular").to_owned(),
        short_names: texts(names, "/shortNames"),
        categories: texts(names, "/categories"),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        known_versions: versions(definition)
            .iter()
            .map(|version| text(version, "/name").to_owned())
            .collect(),
        versions: served,
        storage_api_version: api_version(group, text(storage, "/name")),
        prefix: format!("/registry/{group}/{plural}/"),
        generation: Generation::Content,
        hook: Hook::None,
        conversion: Conversion::ApiVersion,
        verbs: crate::kinds::VERBS,
        subresources: &[],
        builtin: false,
        terminating: !meta_str(definition, "deletionTimestamp").is_empty(),
        definition: Some(identity(definition)),
        custom: Some(Arc::new(custom)),
        gone: CancellationToken::new(),
    })
}

fn version(definition: &Value, value: &Value, schema: &Arc<Schema>) -> Option<Version> {
    let document = value.pointer("/schema/openAPIV3Schema")?;
    let mut version = Version::custom(text(value, "/name"), Arc::clone(schema), Arc::new(document.clone()));
    version.status = value.pointer("/subresources/status").is_some_and(|status| !status.is_null());
    version.scale =
        value.pointer("/subresources/scale").filter(|scale| scale.is_object()).map(|scale| Scale {
            spec_replicas: text(scale, "/specReplicasPath").to_owned(),
            status_replicas: text(scale, "/statusReplicasPath").to_owned(),
            selector: Some(text(scale, "/labelSelectorPath").to_owned()).filter(|path| !path.is_empty()),
        });
    version.columns = columns(value);
    version.fields = value["selectableFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|field| Some(FieldLabel::of(field["jsonPath"].as_str()?)))
        .collect();
    if value["deprecated"] == true {
        let warning = value["deprecationWarning"].as_str().map(str::to_owned);
        version.deprecation = Some(warning.unwrap_or_else(|| deprecation(definition, &version.name)));
    }
    Some(version)
}

/// The warning about a deprecated version that says nothing itself: it names
/// the newest version to use instead.
fn deprecation(definition: &Value, name: &str) -> String {
    let (group, kind) = (text(definition, "/spec/group"), text(definition, "/spec/names/kind"));
    let newer = versions(definition)
        .iter()
        .filter(|version| version["served"] == true && version["deprecated"] != true)
        .map(|version| text(version, "/name"))
        .max_by_key(|version| priority(version))
        .filter(|version| priority(version) > priority(name));
    let instead = newer.map(|newer| format!("; use {} {kind}", api_version(group, newer)));
    format!("{} {kind} is deprecated{}", api_version(group, name), instead.unwrap_or_default())
}

fn columns(version: &Value) -> Vec<Column> {
    let Some(list) = version["additionalPrinterColumns"].as_array().filter(|list| !list.is_empty()) else {
        return vec![Column::created()];
    };
    list.iter()
        .map(|column| Column {
            name: text(column, "/name").to_owned(),
            kind: text(column, "/type").to_owned(),
            format: text(column, "/format").to_owned(),
            description: match text(column, "/description") {
                "" => format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    text(column, "/jsonPath")
                ),
                said => said.to_owned(),
            },
            priority: column["priority"].as_i64().unwrap_or(0),
            cell: Cell::path(text(column, "/jsonPath")),
        })
        .collect()
}

/// UID and generation of a definition.
fn identity(definition: &Value) -> (String, i64) {
    let generation = definition.pointer("/metadata/generation").and_then(Value::as_i64);
    (meta_str(definition, "uid").to_owned(), generation.unwrap_or(0))
}

/// Whether a kind is served as its definition says: names may be accepted later.
fn is_up_to_date(kind: &Kind, definition: &Value) -> bool {
    let names = &definition["status"]["acceptedNames"];
    kind.definition == Some(identity(definition))
        && kind.short_names == texts(names, "/shortNames")
        && kind.categories == texts(names, "/categories")
        && kind.kind == text(names, "/kind")
        && kind.list_kind == text(names, "/listKind")
        && kind.singular == text(names, "/singular")
        && kind.terminating != meta_str(definition, "deletionTimestamp").is_empty()
}

impl Server {
    /// Serves what all stored definitions define.
    pub(crate) fn load_definitions(&self) {
        let Ok(range) = self.inner.store.range(PREFIX, None, None, None) else { return };
        let mut kinds = self.kinds();
        for entry in range.entries {
            let Some(kind) = Stored::of(&entry.value)
                .and_then(|stored| stored.parse("apiextensions.k8s.io/v1", entry.mod_revision))
                .ok()
                .and_then(|definition| kind_of(&definition, &self.inner.converters))
            else {
                tracing::warn!(key = %entry.key, "a stored definition cannot be served");
                continue;
            };
            if let Some(custom) = &kind.custom {
                custom.settle(entry.mod_revision);
            }
            kinds = Arc::new(kinds.with(Arc::new(kind)));
        }
        *self.inner.kinds.write() = kinds;
    }

    /// Serves what a definition defines, as it was just written.
    pub(crate) fn serve_definition(&self, definition: &Value) {
        let kinds = self.kinds();
        let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
        let old = kinds.get(group, plural).cloned();
        if old.as_ref().is_some_and(|old| is_up_to_date(old, definition)) {
            return;
        }
        let Some(mut kind) = kind_of(definition, &self.inner.converters) else { return };
        if let Some(custom) = &kind.custom {
            let before = old.as_ref().filter(|old| old.definition == kind.definition);
            let since = before.and_then(|old| old.custom.as_ref()).map(|custom| custom.since());
            custom.settle(since.unwrap_or_else(|| self.inner.store.revision()));
        }
        if let Some(old) = old.as_ref().filter(|old| old.definition == kind.definition && kind.terminating) {
            // Watches go on: they see the objects go.
            kind.gone = old.gone.clone();
            *self.inner.kinds.write() = Arc::new(kinds.with(Arc::new(kind)));
            return;
        }
        *self.inner.kinds.write() = Arc::new(kinds.with(Arc::new(kind)));
        if let Some(old) = old {
            old.gone.cancel();
        }
    }

    /// Stops serving what a definition defined.
    pub(crate) fn forget_definition(&self, definition: &Value) {
        let kinds = self.kinds();
        let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
        let Some(kind) = kinds.get(group, plural).filter(|kind| !kind.builtin) else { return };
        *self.inner.kinds.write() = Arc::new(kinds.without(group, plural));
        kind.gone.cancel();
    }
}
