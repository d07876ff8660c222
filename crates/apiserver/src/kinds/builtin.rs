//! The compiled-in kinds, made from their rows.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::definitions::Definitions;
use super::rows::{Row, rows};
use super::{Conversion, FieldLabel, Hook, Kind, LazySchema, Scale, Version, columns};

/// The verbs of a collection of stored objects.
pub const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Namespaces go one at a time.
const NAMESPACE_VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

/// All built-in kinds.
pub(super) fn kinds() -> Vec<Arc<Kind>> {
    let source = Arc::new(Definitions::default());
    rows().map(|row| Arc::new(kind(row, &source))).collect()
}

fn kind(row: &Row, source: &Arc<Definitions>) -> Kind {
    let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let events = row.group == "events.k8s.io";
    Kind {
        group: row.group.to_owned(),
        kind: row.kind.to_owned(),
        list_kind: format!("{}List", row.kind),
        plural: row.plural.to_owned(),
        singular: row.kind.to_lowercase(),
        short_names: own(row.short),
        categories: own(row.categories),
        namespaced: row.namespaced,
        known_versions: forms(row).map(|(version, _)| version.to_owned()).collect(),
        versions: forms(row).map(|form| version(row, form, source)).collect(),
        storage_api_version: if events {
            "v1".to_owned()
        } else {
            super::api_version(row.group, row.version)
        },
        prefix: format!("/registry/{}/", if row.folder.is_empty() { row.plural } else { row.folder }),
        verbs: match row.hook {
            Hook::Namespace => NAMESPACE_VERBS,
            Hook::ComponentStatus => &["get", "list"],
            hook if hook.is_virtual() => &["create"],
            _ => VERBS,
        },
        subresources: row.more,
        generation: row.generation,
        hook: row.hook,
        conversion: match row.group {
            "events.k8s.io" => Conversion::Events,
            "autoscaling" => Conversion::Autoscaler,
            _ => Conversion::ApiVersion,
        },
        builtin: true,
        terminating: false,
        definition: None,
        custom: None,
        gone: CancellationToken::new(),
    }
}

/// The versions of a row with their definitions, the preferred one first.
fn forms(row: &Row) -> impl Iterator<Item = (&'static str, &'static str)> {
    std::iter::once((row.version, row.definition)).chain(row.others.iter().copied())
}

fn version(
    row: &Row,
    (name, definition): (&'static str, &'static str),
    source: &Arc<Definitions>,
) -> Version {
    let scale = row.scale.then(|| Scale {
        spec_replicas: ".spec.replicas".to_owned(),
        status_replicas: ".status.replicas".to_owned(),
        selector: Some(".spec.selector".to_owned()),
    });
    let fields = row.fields.iter().map(|(label, absent)| {
        let mut field = FieldLabel::of(label);
        // Some selectors are older than the field they now read.
        match *label {
            "source" => "/source/component".clone_into(&mut field.pointer),
            "status.successful" => "/status/succeeded".clone_into(&mut field.pointer),
            _ => {}
        }
        FieldLabel { absent, ..field }
    });
    Version {
        name: name.to_owned(),
        status: row.status,
        scale,
        columns: columns::of(row.group, row.kind),
        fields: fields.collect(),
        deprecation: row.deprecation.map(str::to_owned),
        schema: LazySchema::Builtin { definition, source: Arc::clone(source), compiled: OnceLock::new() },
    }
}
