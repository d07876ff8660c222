//! The compiled-in kinds: one table, and their schemas.
//!
//! `data/builtin-schemas.json` holds the OpenAPI definitions of Kubernetes
//! 1.35 (Apache-2.0; as bundled by `kubernetes-validate`) for exactly these
//! kinds, without descriptions, with key defaults of list maps added.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use windlass_apimachinery::schema::Schema;

use super::{Compiled, Conversion, FieldLabel, Generation, Hook, Kind, LazySchema, Scale, Version, columns};

/// Definitions by short name, parsed at first use.
#[derive(Debug, Default)]
pub(super) struct Definitions(OnceLock<BTreeMap<String, Value>>);

impl Definitions {
    fn get(&self) -> &BTreeMap<String, Value> {
        self.0.get_or_init(|| {
            serde_json::from_str(include_str!("../../data/builtin-schemas.json"))
                .expect("the compiled-in schemas are JSON: a test reads them")
        })
    }

    /// The definition with all references replaced by what they name.
    fn inlined(&self, name: &str) -> Value {
        self.get().get(name).map_or_else(anything, |schema| self.inline(schema))
    }

    fn inline(&self, schema: &Value) -> Value {
        let Some(map) = schema.as_object() else { return schema.clone() };
        let mut out = match map.get("$ref").and_then(Value::as_str) {
            Some(name) => self.inlined(name),
            None => json!({}),
        };
        for (key, value) in map {
            match key.as_str() {
                "$ref" => {}
                "properties" => {
                    out[key] = value
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(name, schema)| (name.clone(), self.inline(schema)))
                        .collect();
                }
                "items" | "additionalProperties" => out[key] = self.inline(value),
                _ => out[key] = value.clone(),
            }
        }
        out
    }
}

fn anything() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Compiles a definition; `CRD` is the one that is not in the file.
pub(super) fn compile(definition: &str, source: &Definitions) -> Compiled {
    let document = if definition == CRD { crd_document() } else { source.inlined(definition) };
    let schema =
        Schema::compile(&document).expect("compiled-in schemas are structural: a test compiles them all");
    Compiled { schema: Arc::new(schema), document: Arc::new(document) }
}

/// Name of the schema of CustomResourceDefinition. Schemas in schemas recurse,
/// so that its inner part is checked by code, see `crd`.
const CRD: &str = "CustomResourceDefinition";

fn crd_document() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"});
    let names = json!({"type": "object", "required": ["plural", "kind"], "properties": {
        "plural": text, "singular": text, "kind": text, "listKind": text,
        "shortNames": texts, "categories": texts,
    }});
    let column = json!({"type": "object", "required": ["name", "type", "jsonPath"], "properties": {
        "name": text, "type": text, "format": text, "description": text, "jsonPath": text,
        "priority": {"type": "integer", "format": "int32"},
    }});
    let scale = json!({"type": "object", "required": ["specReplicasPath", "statusReplicasPath"], "properties": {
        "specReplicasPath": text, "statusReplicasPath": text, "labelSelectorPath": text,
    }});
    let field = json!({"type": "object", "required": ["jsonPath"], "properties": {"jsonPath": text}});
    let version = json!({"type": "object", "required": ["name", "served", "storage"], "properties": {
        "name": text, "served": {"type": "boolean"}, "storage": {"type": "boolean"},
        "deprecated": {"type": "boolean"}, "deprecationWarning": text,
        "schema": {"type": "object", "properties": {"openAPIV3Schema": anything()}},
        "subresources": {"type": "object", "properties": {"status": anything(), "scale": scale}},
        "additionalPrinterColumns": {"type": "array", "items": column, "x-kubernetes-list-type": "atomic"},
        "selectableFields": {"type": "array", "items": field, "x-kubernetes-list-type": "atomic"},
    }});
    let condition = json!({"type": "object", "required": ["type", "status"], "properties": {
        "type": text, "status": text, "reason": text, "message": text,
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "observedGeneration": {"type": "integer", "format": "int64"},
    }});
    json!({"type": "object", "required": ["spec"], "properties": {
        "apiVersion": text, "kind": text, "metadata": {"type": "object"},
        "spec": {"type": "object", "required": ["group", "names", "scope", "versions"], "properties": {
            "group": text, "names": names, "scope": {"type": "string", "enum": ["Cluster", "Namespaced"]},
            "preserveUnknownFields": {"type": "boolean"}, "conversion": anything(),
            "versions": {"type": "array", "items": version, "x-kubernetes-list-type": "atomic"},
        }},
        "status": {"type": "object", "properties": {
            "acceptedNames": names, "storedVersions": texts,
            "observedGeneration": {"type": "integer", "format": "int64"},
            "conditions": {"type": "array", "items": condition,
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        }},
    }})
}

/// One row of the table of kinds.
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    definition: &'static str,
    /// Folder below `/registry/`, as kube-apiserver lays its keys out.
    folder: &'static str,
    status: bool,
    scale: bool,
    generation: Generation,
    hook: Hook,
    fields: &'static [(&'static str, &'static str)],
}

const ROW: Row = Row {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    short: &[],
    namespaced: true,
    definition: "",
    folder: "",
    status: false,
    scale: false,
    generation: Generation::None,
    hook: Hook::None,
    fields: &[],
};

const RBAC: Row = Row { group: "rbac.authorization.k8s.io", ..ROW };

const ROWS: &[Row] = &[
    Row {
        kind: "Namespace",
        plural: "namespaces",
        short: &["ns"],
        namespaced: false,
        definition: "api.core.v1.Namespace",
        folder: "namespaces",
        status: true,
        hook: Hook::Namespace,
        fields: &[("status.phase", "")],
        ..ROW
    },
    Row {
        kind: "Secret",
        plural: "secrets",
        definition: "api.core.v1.Secret",
        folder: "secrets",
        hook: Hook::Secret,
        fields: &[("type", "")],
        ..ROW
    },
    Row {
        kind: "ConfigMap",
        plural: "configmaps",
        short: &["cm"],
        definition: "api.core.v1.ConfigMap",
        folder: "configmaps",
        hook: Hook::ConfigMap,
        ..ROW
    },
    Row {
        kind: "Event",
        plural: "events",
        short: &["ev"],
        definition: "api.core.v1.Event",
        folder: "events",
        fields: &[
            ("involvedObject.kind", ""),
            ("involvedObject.namespace", ""),
            ("involvedObject.name", ""),
            ("involvedObject.uid", ""),
            ("involvedObject.apiVersion", ""),
            ("involvedObject.resourceVersion", ""),
            ("involvedObject.fieldPath", ""),
            ("reason", ""),
            ("reportingComponent", ""),
            ("source", ""),
            ("type", ""),
        ],
        ..ROW
    },
    Row {
        group: "events.k8s.io",
        kind: "Event",
        plural: "events",
        short: &["ev"],
        definition: "api.events.v1.Event",
        folder: "events",
        fields: &[
            ("regarding.kind", ""),
            ("regarding.namespace", ""),
            ("regarding.name", ""),
            ("regarding.uid", ""),
            ("reason", ""),
            ("reportingController", ""),
            ("type", ""),
        ],
        ..ROW
    },
    Row {
        kind: "Node",
        plural: "nodes",
        short: &["no"],
        namespaced: false,
        definition: "api.core.v1.Node",
        folder: "minions",
        status: true,
        fields: &[("spec.unschedulable", "false")],
        ..ROW
    },
    Row {
        kind: "Pod",
        plural: "pods",
        short: &["po"],
        definition: "api.core.v1.Pod",
        folder: "pods",
        status: true,
        hook: Hook::Pod,
        generation: Generation::Spec,
        fields: &[
            ("spec.nodeName", ""),
            ("spec.restartPolicy", ""),
            ("spec.schedulerName", ""),
            ("spec.serviceAccountName", ""),
            ("status.phase", ""),
            ("status.podIP", ""),
        ],
        ..ROW
    },
    Row {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        short: &["sa"],
        definition: "api.core.v1.ServiceAccount",
        folder: "serviceaccounts",
        ..ROW
    },
    Row {
        kind: "Service",
        plural: "services",
        short: &["svc"],
        definition: "api.core.v1.Service",
        folder: "services/specs",
        status: true,
        fields: &[("spec.clusterIP", ""), ("spec.type", "")],
        ..ROW
    },
    Row {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        definition: "api.coordination.v1.Lease",
        folder: "leases",
        ..ROW
    },
    Row {
        group: "apps",
        kind: "DaemonSet",
        plural: "daemonsets",
        short: &["ds"],
        definition: "api.apps.v1.DaemonSet",
        folder: "daemonsets",
        status: true,
        generation: Generation::Spec,
        ..ROW
    },
    Row {
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
        short: &["deploy"],
        definition: "api.apps.v1.Deployment",
        folder: "deployments",
        status: true,
        scale: true,
        generation: Generation::Spec,
        ..ROW
    },
    Row {
        group: "certificates.k8s.io",
        kind: "CertificateSigningRequest",
        plural: "certificatesigningrequests",
        short: &["csr"],
        namespaced: false,
        definition: "api.certificates.v1.CertificateSigningRequest",
        folder: "certificatesigningrequests",
        status: true,
        fields: &[("spec.signerName", "")],
        ..ROW
    },
    Row { kind: "Role", plural: "roles", definition: "api.rbac.v1.Role", folder: "roles", ..RBAC },
    Row {
        kind: "RoleBinding",
        plural: "rolebindings",
        definition: "api.rbac.v1.RoleBinding",
        folder: "rolebindings",
        ..RBAC
    },
    Row {
        kind: "ClusterRole",
        plural: "clusterroles",
        namespaced: false,
        definition: "api.rbac.v1.ClusterRole",
        folder: "clusterroles",
        ..RBAC
    },
    Row {
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        namespaced: false,
        definition: "api.rbac.v1.ClusterRoleBinding",
        folder: "clusterrolebindings",
        ..RBAC
    },
    Row {
        group: "apiextensions.k8s.io",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        short: &["crd", "crds"],
        namespaced: false,
        definition: CRD,
        folder: "apiextensions.k8s.io/customresourcedefinitions",
        status: true,
        generation: Generation::Spec,
        hook: Hook::CustomResourceDefinition,
        ..ROW
    },
    Row {
        group: "authorization.k8s.io",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        namespaced: false,
        definition: "api.authorization.v1.SelfSubjectAccessReview",
        hook: Hook::SelfSubjectAccessReview,
        ..ROW
    },
    Row {
        group: "authentication.k8s.io",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        namespaced: false,
        definition: "api.authentication.v1.SelfSubjectReview",
        hook: Hook::SelfSubjectReview,
        ..ROW
    },
];

/// All built-in kinds.
pub(super) fn kinds() -> Vec<Arc<Kind>> {
    let source = Arc::new(Definitions::default());
    ROWS.iter().map(|row| Arc::new(kind(row, &source))).collect()
}

fn kind(row: &Row, source: &Arc<Definitions>) -> Kind {
    let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let events = row.group == "events.k8s.io";
    let categories: &[&str] = match row.kind {
        "Pod" | "Service" | "DaemonSet" | "Deployment" => &["all"],
        "CustomResourceDefinition" => &["api-extensions"],
        _ => &[],
    };
    Kind {
        group: row.group.to_owned(),
        kind: row.kind.to_owned(),
        list_kind: format!("{}List", row.kind),
        plural: row.plural.to_owned(),
        singular: row.kind.to_lowercase(),
        short_names: own(row.short),
        categories: own(categories),
        namespaced: row.namespaced,
        versions: vec![version(row, source)],
        storage_api_version: if events {
            "v1".to_owned()
        } else {
            super::api_version(row.group, row.version)
        },
        prefix: format!("/registry/{}/", row.folder),
        generation: row.generation,
        hook: row.hook,
        conversion: if events { Conversion::Events } else { Conversion::ApiVersion },
        builtin: true,
        terminating: false,
        definition: None,
        gone: CancellationToken::new(),
    }
}

fn version(row: &Row, source: &Arc<Definitions>) -> Version {
    let scale = row.scale.then(|| Scale {
        spec_replicas: ".spec.replicas".to_owned(),
        status_replicas: ".status.replicas".to_owned(),
        selector: Some(".spec.selector".to_owned()),
    });
    let fields = row.fields.iter().map(|(label, absent)| {
        let mut field = FieldLabel::of(label);
        // The selector is older than the field it now reads.
        if *label == "source" {
            "/source/component".clone_into(&mut field.pointer);
        }
        FieldLabel { absent, ..field }
    });
    Version {
        name: row.version.to_owned(),
        status: row.status,
        scale,
        columns: columns::of(row.kind),
        fields: fields.collect(),
        deprecation: None,
        schema: LazySchema::Builtin {
            definition: row.definition,
            source: Arc::clone(source),
            compiled: OnceLock::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compiled_in_schema_is_structural() {
        let source = Definitions::default();
        for row in ROWS {
            let document =
                if row.definition == CRD { crd_document() } else { source.inlined(row.definition) };
            assert!(document["properties"]["kind"].is_object(), "{} is not defined", row.definition);
            let errors = Schema::compile(&document).err().unwrap_or_default();
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", row.kind);
        }
    }

    #[test]
    fn list_map_keys_have_their_defaults() {
        let pod = Definitions::default().inlined("api.core.v1.Pod");
        let port = "/properties/spec/properties/containers/items/properties/ports/items/properties";
        assert_eq!(pod.pointer(&format!("{port}/protocol/default")), Some(&json!("TCP")));
    }
}
