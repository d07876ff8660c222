//! Making a provider's object from its template.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value, json};
use thiserror::Error;
use windlass_api::names;

/// The suffix that turns a kind into the kind of its template.
const TEMPLATE_SUFFIX: &str = "Template";

/// What the new object is called and whom it belongs to.
#[derive(Clone, Debug, Default)]
pub struct CloneTarget<'a> {
    /// The new object's name.
    pub name: &'a str,
    /// The new object's namespace.
    pub namespace: &'a str,
    /// The cluster the new object belongs to.
    pub cluster_name: &'a str,
    /// Further labels; they win over those of the template.
    pub labels: BTreeMap<String, String>,
    /// Further annotations; they win over those of the template.
    pub annotations: BTreeMap<String, String>,
    /// The object's first owner.
    pub owner: Option<OwnerReference>,
}

/// Why a template cannot be cloned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CloneError {
    /// The kind is not that of a template.
    #[error("cannot clone {kind} {name}: the kind does not end in Template; refer to a template")]
    NotATemplate {
        /// The kind of the object.
        kind: String,
        /// The name of the object.
        name: String,
    },
    /// There is nothing to make objects from.
    #[error("cannot clone {kind} {name}: it has no spec.template; fill the template in")]
    NoTemplate {
        /// The kind of the template.
        kind: String,
        /// The name of the template.
        name: String,
    },
}

/// Makes an object from a template: the kind without `Template`, a copy of `spec.template`, the labels and
/// annotations of both sides, the cluster's label, and two annotations that say where it came from.
pub fn clone_template(template: &Value, target: &CloneTarget<'_>) -> Result<Value, CloneError> {
    let text = |pointer: &str| template.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));

    let new_kind = kind
        .strip_suffix(TEMPLATE_SUFFIX)
        .filter(|kind| !kind.is_empty())
        .ok_or_else(|| CloneError::NotATemplate { kind: kind.to_owned(), name: name.to_owned() })?;
    let body = template
        .pointer("/spec/template")
        .and_then(Value::as_object)
        .ok_or_else(|| CloneError::NoTemplate { kind: kind.to_owned(), name: name.to_owned() })?;

    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let mut labels = strings(body, "labels");
    labels.extend(target.labels.clone());
    labels.insert(names::LABEL_CLUSTER_NAME.to_owned(), target.cluster_name.to_owned());
    let mut annotations = strings(body, "annotations");
    annotations.extend(target.annotations.clone());
    annotations.insert(names::ANNOTATION_CLONED_FROM_NAME.to_owned(), name.to_owned());
    annotations.insert(names::ANNOTATION_CLONED_FROM_GROUP_KIND.to_owned(), format!("{kind}.{group}"));

    let mut metadata = json!({
        "name": target.name,
        "namespace": target.namespace,
        "labels": labels,
        "annotations": annotations,
    });
    if let Some(owner) = &target.owner {
        metadata["ownerReferences"] = json!([owner]);
    }

    let mut object = body.clone();
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(new_kind));
    object.insert("metadata".to_owned(), metadata);
    Ok(Value::Object(object))
}

/// A map of strings in the metadata of a template's body.
fn strings(body: &Map<String, Value>, member: &str) -> BTreeMap<String, String> {
    body.get("metadata")
        .and_then(|metadata| metadata.get(member))
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2",
            "kind": "DevMachineTemplate",
            "metadata": { "name": "workers", "namespace": "default", "uid": "1", "labels": { "not": "copied" } },
            "spec": { "template": {
                "metadata": { "labels": { "a": "template", "b": "template" }, "annotations": { "n": "template" } },
                "spec": { "backend": { "inMemory": {} } },
            } },
        })
    }

    #[test]
    fn a_clone_carries_both_sides_labels_and_its_origin() {
        let target = CloneTarget {
            name: "workers-abc",
            namespace: "default",
            cluster_name: "c",
            labels: BTreeMap::from([("b".to_owned(), "given".to_owned())]),
            annotations: BTreeMap::from([("n".to_owned(), "given".to_owned())]),
            owner: Some(OwnerReference { kind: "MachineSet".to_owned(), ..OwnerReference::default() }),
        };
        let owner = json!([{ "apiVersion": "", "kind": "MachineSet", "name": "", "uid": "" }]);
        assert_eq!(
            clone_template(&template(), &target).unwrap(),
            json!({
                "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta2",
                "kind": "DevMachine",
                "metadata": {
                    "name": "workers-abc",
                    "namespace": "default",
                    "labels": { "a": "template", "b": "given", "cluster.x-k8s.io/cluster-name": "c" },
                    "annotations": {
                        "n": "given",
                        "cluster.x-k8s.io/cloned-from-name": "workers",
                        "cluster.x-k8s.io/cloned-from-groupkind": "DevMachineTemplate.infrastructure.cluster.x-k8s.io",
                    },
                    "ownerReferences": owner,
                },
                "spec": { "backend": { "inMemory": {} } },
            })
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let mut no_template = template();
        no_template["spec"] = json!({});
        let mut not_a_template = template();
        not_a_template["kind"] = json!("DevMachine");
        for (value, expected) in [
            (
                no_template,
                "cannot clone DevMachineTemplate workers: it has no spec.template; fill the template in",
            ),
            (
                not_a_template,
                "cannot clone DevMachine workers: the kind does not end in Template; refer to a template",
            ),
        ] {
            assert_eq!(clone_template(&value, &CloneTarget::default()).unwrap_err().to_string(), expected);
        }
    }
}
