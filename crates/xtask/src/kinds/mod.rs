//! `cargo xtask kinds`: the schemas and the protobuf messages of Kubernetes' own kinds, for `windlass-apiserver`.
//!
//! Read from a running kube-apiserver, whose OpenAPI documents say more than
//! any published file (enumerations, defaults of Go's zero values, list types),
//! and from the Go types, which say which of those zero values are written.

mod go;
mod protobuf;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::command::{root, say};

/// The API versions whose kinds the server knows.
const VERSIONS: [&str; 21] = [
    "api/v1",
    "apis/admissionregistration.k8s.io/v1",
    "apis/apiregistration.k8s.io/v1",
    "apis/apps/v1",
    "apis/authentication.k8s.io/v1",
    "apis/authorization.k8s.io/v1",
    "apis/autoscaling/v1",
    "apis/autoscaling/v2",
    "apis/batch/v1",
    "apis/certificates.k8s.io/v1",
    "apis/coordination.k8s.io/v1",
    "apis/discovery.k8s.io/v1",
    "apis/events.k8s.io/v1",
    "apis/flowcontrol.apiserver.k8s.io/v1",
    "apis/networking.k8s.io/v1",
    "apis/node.k8s.io/v1",
    "apis/policy/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/resource.k8s.io/v1",
    "apis/scheduling.k8s.io/v1",
    "apis/storage.k8s.io/v1",
];
/// What every definition's name begins with.
const PREFIXES: [&str; 2] = ["#/components/schemas/io.k8s.", "io.k8s."];
/// Parts of a schema that are kept; descriptions are most of its size.
const KEPT: [&str; 8] = [
    "type",
    "format",
    "required",
    "enum",
    "default",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
];
const KEPT_TOO: [&str; 2] = ["x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key"];

/// Write the schemas and the protobuf messages of Kubernetes' own kinds anew
#[derive(Args)]
pub struct Kinds {
    /// Kubeconfig of a running kube-apiserver of the version to serve; without it the schemas stay as they are
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The kubectl to ask with
    #[arg(long, default_value = "kubectl")]
    kubectl: PathBuf,
    /// Folder of Kubernetes' Go modules, `$(go env GOMODCACHE)/k8s.io`
    #[arg(long)]
    modules: PathBuf,
    /// Version of these modules
    #[arg(long, default_value = "v0.35.4")]
    version: String,
}

impl Kinds {
    /// Writes what all kinds are made of.
    pub fn run(&self) -> Result<()> {
        let mut source = go::Source::new(&self.modules, &self.version);
        if let Some(kubeconfig) = &self.kubeconfig {
            self.schemas(kubeconfig, &mut source)?;
        }
        protobuf::run(&mut source)
    }

    /// Asks for all documents and writes the schemas in them.
    fn schemas(&self, kubeconfig: &Path, source: &mut go::Source) -> Result<()> {
        let mut known = BTreeMap::new();
        let mut wanted = Vec::new();
        for version in VERSIONS {
            let document = self.document(kubeconfig, version)?;
            let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
            for (name, schema) in schemas.context("a document without schemas")? {
                let name = short(name);
                if is_wanted(&name, schema) {
                    wanted.push(name.clone());
                }
                known.insert(name, schema.clone());
            }
        }
        let mut definitions = reachable(&known, wanted)?;
        for (name, schema) in &mut definitions {
            source.mark(name, schema)?;
        }
        let lines: Vec<String> =
            definitions.iter().map(|(name, schema)| format!("{name:?}:{schema}")).collect();
        let path = root().join("crates/apiserver/data/builtin-schemas.json");
        fs::write(&path, format!("{{\n{}\n}}\n", lines.join(",\n")))
            .with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("wrote {} definitions", definitions.len()));
        Ok(())
    }

    fn document(&self, kubeconfig: &Path, version: &str) -> Result<Value> {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl.arg("--kubeconfig").arg(kubeconfig).args(["get", "--raw"]);
        let output =
            kubectl.arg(format!("/openapi/v3/{version}")).output().context("cannot start kubectl")?;
        if !output.status.success() {
            bail!("cannot read {version}: {}", String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("{version} is not JSON"))
    }
}

fn short(name: &str) -> String {
    let strip = |name: &str| PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix).map(str::to_owned));
    strip(name).unwrap_or_else(|| name.to_owned())
}

/// Whether objects of the definition come in requests.
fn is_wanted(name: &str, schema: &Value) -> bool {
    let kinds = schema["x-kubernetes-group-version-kind"].as_array();
    let is_kind = kinds.is_some_and(|kinds| kinds.len() == 1);
    is_kind && !name.ends_with("List") && !name.starts_with("apimachinery.")
}

/// The wanted definitions and all that they name, without descriptions.
fn reachable(known: &BTreeMap<String, Value>, mut wanted: Vec<String>) -> Result<BTreeMap<String, Value>> {
    let mut definitions = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        if definitions.contains_key(&name) {
            continue;
        }
        let schema = known.get(&name).with_context(|| format!("{name} is not defined"))?;
        let schema = slim(&name, schema, &mut wanted);
        definitions.insert(name, schema);
    }
    Ok(definitions)
}

/// A schema without what is only read by people; names of others go to `found`.
fn slim(name: &str, schema: &Value, found: &mut Vec<String>) -> Value {
    let Some(schema) = schema.as_object() else { return schema.clone() };
    if schema.contains_key("oneOf") {
        return json!({"x-kubernetes-int-or-string": true});
    }
    let mut out = Map::new();
    for key in KEPT.iter().chain(&KEPT_TOO) {
        if let Some(value) = schema.get(*key) {
            out.insert((*key).to_owned(), value.clone());
        }
    }
    let reference = schema.get("$ref").or_else(|| schema.get("allOf")?.get(0)?.get("$ref"));
    if let Some(reference) = reference.and_then(Value::as_str) {
        let reference = short(reference);
        out.insert("$ref".to_owned(), json!(reference));
        found.push(reference);
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let properties = properties.iter().map(|(key, schema)| (key.clone(), slim("", schema, found)));
        out.insert("properties".to_owned(), properties.collect());
    }
    for key in ["items", "additionalProperties"] {
        if let Some(schema) = schema.get(key) {
            out.insert(key.to_owned(), slim("", schema, found));
        }
    }
    if !name.is_empty() && out.get("type") == Some(&json!("object")) && out.len() == 1 {
        out.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kind_is_made_of_is_kept_without_words() {
        let known = BTreeMap::from([
            (
                "api.core.v1.A".to_owned(),
                json!({"type": "object", "description": "An A.", "properties": {
                    "b": {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.B"}], "default": {}},
                    "q": {"oneOf": [{"type": "string"}, {"type": "number"}]},
                }}),
            ),
            ("api.core.v1.B".to_owned(), json!({"type": "object", "description": "Free."})),
            ("api.core.v1.C".to_owned(), json!({"type": "string"})),
        ]);
        let made = reachable(&known, vec!["api.core.v1.A".to_owned()]).unwrap();
        assert_eq!(
            json!(made),
            json!({
                "api.core.v1.A": {"type": "object", "properties": {
                    "b": {"$ref": "api.core.v1.B", "default": {}},
                    "q": {"x-kubernetes-int-or-string": true},
                }},
                "api.core.v1.B": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            })
        );
    }
}
