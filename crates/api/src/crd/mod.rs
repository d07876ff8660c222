//! The custom resource definitions of our kinds.
//!
//! kube's derive makes a definition from each type; [`finish`] makes it one that other programs of the
//! Cluster API accept. The result is committed under `crds/`, a file per kind, for installing on any
//! Kubernetes.

mod columns;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_core::CustomResourceExt;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use self::columns::Column;
use crate::bootstrap::{KubeadmConfig, KubeadmConfigTemplate};
use crate::control_plane::{KubeadmControlPlane, KubeadmControlPlaneTemplate};
use crate::core::{Cluster, Machine, MachineDeployment, MachineSet};
use crate::infrastructure::{DevCluster, DevClusterTemplate, DevMachine, DevMachineTemplate};

/// Which API versions speak which contract. Upstream's definitions carry both labels and other programs look
/// for them; whoever understands both takes v1beta2, the only version that is served.
const CONTRACTS: [(&str, &str); 2] =
    [("cluster.x-k8s.io/v1beta1", "v1beta1"), ("cluster.x-k8s.io/v1beta2", "v1beta2")];

/// Whether objects of a kind may come without a `spec`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spec {
    Required,
    Optional,
}

/// The definitions of all kinds, as they are installed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        define::<Cluster>(Spec::Required, columns::CLUSTER),
        define::<Machine>(Spec::Required, columns::MACHINE),
        define::<MachineSet>(Spec::Required, columns::MACHINE_SET),
        define::<MachineDeployment>(Spec::Required, columns::MACHINE_DEPLOYMENT),
        define::<KubeadmConfig>(Spec::Optional, columns::KUBEADM_CONFIG),
        define::<KubeadmConfigTemplate>(Spec::Optional, columns::KUBEADM_CONFIG_TEMPLATE),
        define::<KubeadmControlPlane>(Spec::Required, columns::KUBEADM_CONTROL_PLANE),
        define::<KubeadmControlPlaneTemplate>(Spec::Optional, columns::KUBEADM_CONTROL_PLANE_TEMPLATE),
        define::<DevCluster>(Spec::Optional, columns::DEV_CLUSTER),
        define::<DevClusterTemplate>(Spec::Optional, columns::DEV_CLUSTER_TEMPLATE),
        define::<DevMachine>(Spec::Optional, columns::DEV_MACHINE),
        define::<DevMachineTemplate>(Spec::Optional, columns::DEV_MACHINE_TEMPLATE),
    ]
}

/// The definitions as files: name and YAML.
///
/// # Errors
///
/// If a definition cannot be written as YAML.
pub fn crd_yaml() -> Result<Vec<(String, String)>, serde_saphyr::SerializeError> {
    crds()
        .into_iter()
        .map(|crd| {
            let name = format!("{}.{}.yaml", crd.spec.names.plural, crd.spec.group);
            Ok((name, serde_saphyr::to_string(&Whole(&crd))?))
        })
        .collect()
}

/// Bounds are floating point numbers in a definition; a person wants to read `minimum: 1`, not `1.0`.
struct Whole<'a>(&'a CustomResourceDefinition);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = serde_json::to_value(self.0).map_err(S::Error::custom)?;
        whole_numbers(&mut value);
        value.serialize(serializer)
    }
}

fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0)
                && let Ok(whole) = format!("{whole:.0}").parse::<i64>()
            {
                *number = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(members) => members.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn define<K: CustomResourceExt>(spec: Spec, columns: &[Column]) -> CustomResourceDefinition {
    let mut crd = K::crd();
    crd.metadata.labels = Some(CONTRACTS.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    for version in &mut crd.spec.versions {
        version.additional_printer_columns = Some(columns.iter().map(|column| column.define()).collect());
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            finish(schema, spec);
        }
    }
    crd
}

/// Takes back what the derive says about Rust rather than about the API.
fn finish(root: &mut JSONSchemaProps, spec: Spec) {
    root.title = None;
    if spec == Spec::Optional
        && let Some(required) = &mut root.required
    {
        required.retain(|member| member != "spec");
    }
    if root.required.as_ref().is_some_and(Vec::is_empty) {
        root.required = None;
    }
    refuse_null(root);
}

/// An `Option` is written as nothing, never as `null`, and the API refuses `null`.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flat_map(BTreeMap::values_mut).for_each(refuse_null);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => refuse_null(items),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(refuse_null),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        refuse_null(values);
    }
}
