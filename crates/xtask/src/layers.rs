//! The layers of the design: a package may depend on packages of a lower layer only.
//!
//! The table is the one of `docs/architecture.md`. Layers 0 to 3 decide and describe; they have no
//! runtime, no Kubernetes client and no clock, which is why their manifests must not name them.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::command::root;

/// Package → layer. The half layers are the providers, which sit between controllers and manager.
const LAYERS: &[(&str, u32)] = &[
    ("model", 0),
    ("api", 10),
    ("contract", 15),
    ("plan", 20),
    ("apimachinery", 20),
    ("rbac", 20),
    ("provider", 30),
    ("pki", 30),
    ("runtime", 40),
    ("store", 40),
    ("workload", 45),
    ("apiserver", 50),
    ("controllers", 50),
    ("docker", 55),
    ("example-provider", 55),
    ("memory", 55),
    ("kubeadm-bootstrap", 55),
    ("kubeadm-control-plane", 57),
    ("manager", 60),
    ("cli", 70),
    ("testkit", 80),
    ("differential", 80),
    ("sim", 80),
    ("tests", 90),
];

/// What the pure layers must not be able to do.
const IMPURE: &[&str] = &["tokio", "tokio-util", "kube", "hyper", "reqwest", "redb"];

/// The highest layer that must stay pure.
const PURE: u32 = 30;

/// Packages whose names say which cloud they talk to; only the manager may name them.
const CONCRETE: &[&str] = &["memory", "docker", "aws", "gce"];

/// Reads the manifests and reports every dependency that points the wrong way.
pub fn check() -> Result<()> {
    let layers: BTreeMap<&str, u32> = LAYERS.iter().copied().collect();
    let mut faults = Vec::new();
    for (package, dependencies) in manifests()? {
        let Some(layer) = layers.get(package.as_str()) else {
            faults.push(format!("{package} has no layer; add it to the table and to docs/architecture.md"));
            continue;
        };
        for dependency in dependencies {
            faults.extend(fault(&layers, &package, *layer, &dependency));
        }
    }
    if !faults.is_empty() {
        bail!("layers:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

/// What is wrong with one dependency, if anything.
fn fault(layers: &BTreeMap<&str, u32>, package: &str, layer: u32, dependency: &str) -> Option<String> {
    if layer <= PURE && IMPURE.contains(&dependency) {
        return Some(format!("{package} (layer {layer}) must stay pure, but depends on {dependency}"));
    }
    let ours = dependency.strip_prefix("windlass-")?;
    if CONCRETE.contains(&ours) && !["manager", "sim", "tests", "testkit"].contains(&package) {
        return Some(format!("{package} names the provider {ours}; only the manager may"));
    }
    match layers.get(ours) {
        Some(below) if *below < layer => None,
        Some(other) => Some(format!("{package} (layer {layer}) depends on {ours} (layer {other})")),
        None => Some(format!("{package} depends on {ours}, which has no layer")),
    }
}

/// Package name (without prefix) → its normal dependencies.
fn manifests() -> Result<Vec<(String, Vec<String>)>> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("tests")];
    for parent in ["crates", "examples", "providers"] {
        let entries = fs::read_dir(root().join(parent)).with_context(|| format!("cannot read {parent}"))?;
        folders.extend(entries.flatten().map(|entry| entry.path()));
    }
    for folder in folders {
        let Ok(text) = fs::read_to_string(folder.join("Cargo.toml")) else { continue };
        let name = value(&text, "name").context("a manifest without a name")?;
        if let Some(package) = name.strip_prefix("windlass-") {
            found.push((package.to_owned(), dependencies(&text)));
        }
    }
    found.sort();
    Ok(found)
}

/// The first `key = "value"` of a manifest.
fn value(manifest: &str, key: &str) -> Option<String> {
    manifest.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
        Some(rest.trim().trim_matches('"').to_owned())
    })
}

/// Names under `[dependencies]`; dev-dependencies may point anywhere.
fn dependencies(manifest: &str) -> Vec<String> {
    manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_point_down() {
        check().unwrap();
    }

    #[test]
    fn a_wrong_direction_is_found() {
        let layers: BTreeMap<&str, u32> = LAYERS.iter().copied().collect();
        assert!(fault(&layers, "plan", 20, "windlass-runtime").is_some());
        assert!(fault(&layers, "plan", 20, "tokio").is_some());
        assert!(fault(&layers, "controllers", 50, "windlass-memory").is_some());
        assert!(fault(&layers, "runtime", 40, "windlass-runtime").is_some());
        assert!(fault(&layers, "runtime", 40, "windlass-plan").is_none());
        assert!(fault(&layers, "runtime", 40, "tokio").is_none());
    }

    #[test]
    fn manifests_are_read() {
        let manifest = "[package]\nname = \"windlass-x\"\n\n[dependencies]\nserde.workspace = true\ntokio = { version = \"1\" }\n\n[dev-dependencies]\nkube.workspace = true\n";
        assert_eq!(value(manifest, "name").as_deref(), Some("windlass-x"));
        assert_eq!(dependencies(manifest), ["serde", "tokio"]);
        assert!(manifests().unwrap().iter().any(|(name, _)| name == "plan"));
    }
}
