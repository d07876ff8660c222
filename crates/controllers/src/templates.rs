//! Templates of providers: whom they belong to, and what is made of them.

use std::sync::Arc;

use kube::core::ApiResource;
use serde_json::Value;
use windlass_api::core::{Cluster, ContractRef};
use windlass_contract::{CloneError, CloneTarget, clone_template, resource};
use windlass_plan::referent::{Known, Referent};
use windlass_runtime::{External, ManagementError, Pass, uid_of};

use crate::references::{group_kind, is_leaving, is_owned_by, own_external, owner};

/// Why nothing can be made of a template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It does not exist.
    #[error("{kind} {name} does not exist; create it or refer to another one")]
    Missing {
        /// Kind of the reference.
        kind: String,
        /// Name of the reference.
        name: String,
    },
    /// It cannot be read.
    #[error("cannot read the template")]
    Read(#[source] Box<ManagementError>),
    /// It is no template.
    #[error("cannot use the template")]
    Clone(#[from] CloneError),
}

/// The reference to what a template is a template of, under the given name.
pub(crate) fn instance_ref(template: &ContractRef, name: &str) -> ContractRef {
    let kind = template.kind.strip_suffix("Template").unwrap_or(&template.kind);
    ContractRef { api_group: template.api_group.clone(), kind: kind.to_owned(), name: name.to_owned() }
}

/// Reads a template live: it is made of it once, and the cache holds the contract's fields only.
pub(crate) async fn read(pass: &Pass, reference: &ContractRef) -> Result<Value, TemplateError> {
    let kind = group_kind(reference);
    let key = pass.key.sibling(&*reference.name);
    let read = match pass.cache.resource(&kind) {
        Some(resource) => pass.management.get_value(&resource, &key).await,
        None => pass.management.get_external(&kind, &key).await,
    };
    read.map_err(|error| TemplateError::Read(Box::new(error)))?
        .ok_or_else(|| TemplateError::Missing { kind: reference.kind.clone(), name: reference.name.clone() })
}

/// An object made of `template`, and the resource it is written to.
pub(crate) fn instantiate(
    template: &Value,
    target: &CloneTarget<'_>,
) -> Result<(ApiResource, Value), TemplateError> {
    let object = clone_template(template, target)?;
    let text = |member: &str| object.get(member).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let kind = resource(group, version, text("kind"));
    Ok((kind, object))
}

/// `Kind name` of a template that does not exist.
pub(crate) fn missing(template: &Referent<Arc<External>>) -> Option<String> {
    match template.known {
        Known::Absent => Some(format!("{} {}", template.kind, template.name)),
        Known::Unsynced | Known::Present(_) => None,
    }
}

/// The Cluster owns the templates that its objects refer to, so that they go with it.
pub(crate) async fn belong_to(
    pass: &Pass,
    cluster: &Cluster,
    reference: &ContractRef,
    template: &Referent<Arc<External>>,
) -> Result<(), ManagementError> {
    let Some(object) = template.present() else { return Ok(()) };
    if is_owned_by(&object.metadata, &uid_of(cluster)) || is_leaving(&**object) {
        return Ok(());
    }
    own_external(pass, &group_kind(reference), object, owner(cluster), None).await
}
