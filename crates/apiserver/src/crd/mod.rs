//! Custom resource definitions: rules about them, what they report, and the
//! kinds they define.

mod names;
mod settle;
mod validate;

use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use windlass_apimachinery::schema::Schema;

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
pub fn kind_of(definition: &Value) -> Option<Kind> {
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
    let mut served: Vec<Version> =
        versions(definition).iter().filter(|version| version["served"] == true).filter_map(version).collect();
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
        definition: Some((
            meta_str(definition, "uid").to_owned(),
            definition.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0),
        )),
        gone: CancellationToken::new(),
    })
}

fn version(value: &Value) -> Option<Version> {
    let document = value.pointer("/schema/openAPIV3Schema")?;
    let schema = Schema::compile(document).ok()?;
    let mut version = Version::custom(text(value, "/name"), Arc::new(schema), Arc::new(document.clone()));
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
        let warning = value["deprecationWarning"].as_str().unwrap_or("this version is deprecated");
        version.deprecation = Some(warning.to_owned());
    }
    Some(version)
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

/// Whether two descriptions come to the same: names may be accepted later.
fn same(old: &Kind, new: &Kind) -> bool {
    old.definition == new.definition
        && old.short_names == new.short_names
        && old.categories == new.categories
        && (old.kind == new.kind && old.list_kind == new.list_kind)
        && old.singular == new.singular
        && old.terminating == new.terminating
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
                .and_then(|definition| kind_of(&definition))
            else {
                tracing::warn!(key = %entry.key, "a stored definition cannot be served");
                continue;
            };
            kinds = Arc::new(kinds.with(Arc::new(kind)));
        }
        *self.inner.kinds.write() = kinds;
    }

    /// Serves what a definition defines, as it was just written.
    pub(crate) fn serve_definition(&self, definition: &Value) {
        let Some(mut kind) = kind_of(definition) else { return };
        let kinds = self.kinds();
        let old = kinds.get(&kind.group, &kind.plural).cloned();
        if old.as_ref().is_some_and(|old| same(old, &kind)) {
            return;
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
