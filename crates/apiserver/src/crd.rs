//! Custom resource definitions: rules about them, what they report, and the
//! kinds they define.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use windlass_apimachinery::FieldError;
use windlass_apimachinery::schema::Schema;
use windlass_apimachinery::table::Path;

use crate::discovery::priority;
use crate::kinds::{
    Cell, Column, Conversion, FieldLabel, Generation, Hook, Kind, KindSet, Scale, Version, api_version,
};
use crate::object::{Stored, member, meta_str};
use crate::rules;
use crate::server::Server;

/// Keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
const PREFIX: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";

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

/// Fills in what a definition leaves out and what the server reports in it:
/// accepted names, stored versions, conditions.
pub fn complete(kinds: &KindSet, definition: &mut Value, now: Timestamp) {
    let kind = text(definition, "/spec/names/kind").to_owned();
    let names = member(member(definition, "spec"), "names");
    for (key, default) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
        let slot = member(names, key);
        if slot.as_str().is_none_or(str::is_empty) {
            *slot = json!(default);
        }
    }
    let names = names.clone();
    let conversion = member(member(definition, "spec"), "conversion");
    if conversion.is_null() {
        *conversion = json!({"strategy": "None"});
    }
    if meta_str(definition, "deletionTimestamp").is_empty() {
        let finalizers = member(member(definition, "metadata"), "finalizers");
        let mut list = finalizers.as_array().cloned().unwrap_or_default();
        if !list.contains(&json!(CLEANUP)) {
            list.push(json!(CLEANUP));
            *finalizers = Value::from(list);
        }
    }
    let mut stored = texts(definition, "/status/storedVersions");
    let storage = versions(definition).iter().find(|version| version["storage"] == true);
    if let Some(name) = storage.and_then(|version| version["name"].as_str())
        && !stored.iter().any(|known| known == name)
    {
        stored.push(name.to_owned());
    }
    let conflict = conflict(kinds, definition);
    let status = member(definition, "status");
    *member(status, "storedVersions") = json!(stored);
    match conflict {
        None => {
            *member(status, "acceptedNames") = names;
            condition(status, "NamesAccepted", true, "NoConflicts", "no conflicts found", now);
            let text = "the initial names have been accepted";
            condition(status, "Established", true, "InitialNamesAccepted", text, now);
        }
        Some(text) => {
            member(status, "acceptedNames");
            condition(status, "NamesAccepted", false, "NameConflict", &text, now);
            let why = "not all names are accepted";
            condition(status, "Established", false, "NotAccepted", why, now);
        }
    }
}

/// Which name another kind of the group has already.
fn conflict(kinds: &KindSet, definition: &Value) -> Option<String> {
    let group = text(definition, "/spec/group");
    let plural = text(definition, "/spec/names/plural");
    let kind = text(definition, "/spec/names/kind");
    let mut short = texts(definition, "/spec/names/shortNames");
    short.push(text(definition, "/spec/names/singular").to_owned());
    let others = kinds.iter().filter(|other| other.group == group && other.plural != plural);
    for other in others {
        if other.kind == kind {
            return Some(format!("{kind:?} is already in use"));
        }
        let taken = |name: &&String| {
            **name == other.plural || **name == other.singular || other.short_names.contains(name)
        };
        if let Some(name) = short.iter().find(taken) {
            return Some(format!("{name:?} is already in use"));
        }
    }
    None
}

fn condition(status: &mut Value, kind: &str, truth: bool, reason: &str, message: &str, now: Timestamp) {
    let slot = member(status, "conditions");
    let mut list = slot.as_array().cloned().unwrap_or_default();
    let truth = if truth { "True" } else { "False" };
    let mut new = json!({
        "type": kind, "status": truth, "reason": reason, "message": message,
        "lastTransitionTime": rules::seconds(now),
    });
    match list.iter_mut().find(|condition| condition["type"] == kind) {
        Some(old) => {
            if old["status"] == truth {
                new["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = new;
        }
        None => list.push(new),
    }
    *slot = Value::from(list);
}

/// Says that a definition is going, with its objects.
pub fn terminating(definition: &mut Value, now: Timestamp) {
    let text = "CustomResource deletion is in progress";
    condition(member(definition, "status"), "Terminating", true, "InstanceDeletionInProgress", text, now);
}

/// Rules of definitions beyond their schema.
pub fn validate(definition: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if old.is_some_and(|old| old["spec"] == definition["spec"]) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
    let (name, expected) = (meta_str(definition, "name"), format!("{plural}.{group}"));
    if name != expected {
        let text = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", name, text));
    }
    if !group.contains('.') {
        let text = "should be a domain with at least one dot";
        errors.push(FieldError::invalid("spec.group", group, text));
    }
    if text(definition, "/spec/conversion/strategy") == "Webhook" {
        let field = "spec.conversion.strategy";
        errors.push(FieldError::not_supported(field, "Webhook", &["None"]));
    }
    if let Some(old) = old {
        for (field, pointer) in [
            ("spec.group", "/spec/group"),
            ("spec.scope", "/spec/scope"),
            ("spec.names.plural", "/spec/names/plural"),
            ("spec.names.kind", "/spec/names/kind"),
        ] {
            if text(old, pointer) != text(definition, pointer) {
                errors.push(FieldError::invalid(field, text(definition, pointer), "field is immutable"));
            }
        }
    }
    check_versions(definition, old, &mut errors);
    errors
}

fn check_versions(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let list = versions(definition);
    let storage = list.iter().filter(|version| version["storage"] == true).count();
    if storage != 1 {
        let text = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", definition["spec"]["versions"].clone(), text));
    }
    for (index, version) in list.iter().enumerate() {
        let name = version["name"].as_str().unwrap_or_default();
        let at = format!("spec.versions[{index}]");
        if list[..index].iter().any(|other| other["name"] == name) {
            errors.push(FieldError::duplicate(format!("{at}.name"), name));
        }
        let columns = version["additionalPrinterColumns"].as_array();
        for (index, column) in columns.into_iter().flatten().enumerate() {
            if let Err(error) = Path::parse(text(column, "/jsonPath")) {
                let field = format!("{at}.additionalPrinterColumns[{index}].jsonPath");
                errors.push(FieldError::invalid(field, column["jsonPath"].clone(), error.to_string()));
            }
        }
        let field = format!("{at}.schema.openAPIV3Schema");
        let Some(document) = version.pointer("/schema/openAPIV3Schema") else {
            errors.push(FieldError::required(field, "schemas are required"));
            continue;
        };
        // What was accepted before stays accepted.
        let known = old.is_some_and(|old| {
            versions(old).iter().any(|before| before.pointer("/schema/openAPIV3Schema") == Some(document))
        });
        if known {
            continue;
        }
        if let Err(found) = Schema::compile(document) {
            errors.extend(found.into_iter().map(|error| FieldError {
                field: if error.field.is_empty() {
                    field.clone()
                } else {
                    format!("{field}.{}", error.field)
                },
                ..error
            }));
        }
    }
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
        return vec![Column::age()];
    };
    list.iter()
        .map(|column| Column {
            name: text(column, "/name").to_owned(),
            kind: text(column, "/type").to_owned(),
            format: text(column, "/format").to_owned(),
            description: text(column, "/description").to_owned(),
            priority: column["priority"].as_i64().unwrap_or(0),
            cell: Cell::path(text(column, "/jsonPath")),
        })
        .collect()
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
        let Some(kind) = kind_of(definition) else { return };
        let kinds = self.kinds();
        let old = kinds.get(&kind.group, &kind.plural).cloned();
        if old.as_ref().is_some_and(|old| old.definition == kind.definition) {
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
