//! Kinds found at run time: which version to speak.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::ApiResource;
use serde_json::Value;
use windlass_contract::{Contract, Resolved};
use windlass_model::Key;

use super::Management;
use super::error::{Cause, ManagementError};
use super::request::Target;
use crate::kind::GroupKind;

/// Reads the definition of a kind and picks the version that speaks the newest contract.
pub(crate) async fn find_resource(
    client: &Client,
    kind: &GroupKind,
) -> Result<(ApiResource, Contract), ManagementError> {
    let definitions = windlass_contract::resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let key = Key::new("", windlass_contract::crd_name(&kind.group, &kind.kind));
    let target = Target { verb: "find", resource: &definitions, key: &key };
    let definition = Management::new(client.clone()).get_value(&definitions, &key).await?;
    let mut definition = definition.ok_or_else(|| target.failed(Cause::Unknown))?;
    let labels = definition.pointer_mut("/metadata/labels").map(Value::take).unwrap_or_default();
    let labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap_or_default();
    let resolved = windlass_contract::resolve(&key.name, &labels);
    let Resolved { contract, version } = resolved.map_err(|error| target.failed(Cause::Contract(error)))?;
    Ok((windlass_contract::resource(&kind.group, &version, &kind.kind), contract))
}
