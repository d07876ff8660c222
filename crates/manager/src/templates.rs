//! Cluster templates: those that come with Windlass, filling them in, and applying the result.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::Scope;
use kube::{Client, Discovery, ResourceExt};
use windlass_api::admission::SUPPORTED_MINORS;
use windlass_model::Version;

use crate::envsubst::{MissingVariables, ParseError, Template};

/// Infrastructure, flavour, text: files of `templates/`, one folder per provider.
const BUILT_IN: &[(&str, &str, &str)] = &[
    ("memory", "", include_str!("../../../templates/memory/cluster-template.yaml")),
    #[cfg(feature = "docker")]
    ("docker", "", include_str!("../../../templates/docker/cluster-template.yaml")),
];

/// The Kubernetes version of new clusters unless told otherwise.
pub const DEFAULT_KUBERNETES_VERSION: &str = "v1.35.0";

/// Refuses versions that the API would refuse later; the error names the range.
pub fn check_version(version: &Version) -> Result<(), TemplateError> {
    if version.major == 1 && SUPPORTED_MINORS.contains(&version.minor) {
        return Ok(());
    }
    let (first, last) = (*SUPPORTED_MINORS.start(), *SUPPORTED_MINORS.end());
    Err(TemplateError::UnknownVersion { version: version.clone(), first, last })
}

/// Field manager of applied manifests.
const MANAGER: &str = "windlass";

/// The flavours and texts of an infrastructure's built-in templates; empty where there are none.
pub fn built_in(infrastructure: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_provider = BUILT_IN.iter().filter(move |(name, _, _)| *name == infrastructure);
    of_provider.map(|(_, flavor, text)| (*flavor, *text))
}

/// Every infrastructure that has built-in templates.
pub fn infrastructures() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _, _)| *name)
}

/// A template cannot be filled in or applied.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The text is no template.
    #[error("cannot read the template")]
    Parse(#[from] ParseError),
    /// Values are missing.
    #[error("cannot fill in the template")]
    Missing(#[from] MissingVariables),
    /// Clusters cannot run this version.
    #[error("`{version}` is no Kubernetes version that clusters can run here: v1.{first} to v1.{last}")]
    UnknownVersion {
        /// What was asked for.
        version: Version,
        /// The oldest known minor.
        first: u64,
        /// The newest known minor.
        last: u64,
    },
    /// The result is no YAML of an object.
    #[error("cannot read object {at} of the manifest")]
    Object {
        /// Counted from 1.
        at: usize,
        /// What is wrong.
        source: serde_saphyr::Error,
    },
    /// The server could not be asked what it serves.
    #[error("cannot read what the management API serves")]
    Discovery(#[source] kube::Error),
    /// The server does not know the kind.
    #[error("cannot apply {object}: the management API does not serve {api_version}")]
    Unserved {
        /// Kind and name.
        object: String,
        /// Group and version.
        api_version: String,
    },
    /// The server refused the object.
    #[error("cannot apply {object}")]
    Apply {
        /// Kind and name.
        object: String,
        /// What it said.
        source: kube::Error,
    },
}

/// The manifest of a cluster on simulated infrastructure.
pub fn memory(name: &str, control_planes: u32, workers: u32) -> Result<String, TemplateError> {
    let (_, text) = built_in("memory").next().unwrap_or_default();
    let value = |variable: &str| match variable {
        "CLUSTER_NAME" => Some(name.to_owned()),
        "NAMESPACE" => Some("default".to_owned()),
        "KUBERNETES_VERSION" => Some(DEFAULT_KUBERNETES_VERSION.to_owned()),
        "CONTROL_PLANE_MACHINE_COUNT" => Some(control_planes.to_string()),
        "WORKER_MACHINE_COUNT" => Some(workers.to_string()),
        _ => None,
    };
    Ok(Template::parse(text)?.render(&value)?)
}

/// Applies every object of a manifest, server-side and with force: what is there becomes what is wanted.
/// Stops at the first object that is refused; applying again continues.
pub async fn apply(client: &Client, manifest: &str) -> Result<(), TemplateError> {
    write(client, manifest, true).await
}

/// Creates every object of a manifest that does not exist, and leaves the others as they are.
/// Stops at the first object that is refused; calling it again continues.
pub async fn create_missing(client: &Client, manifest: &str) -> Result<(), TemplateError> {
    write(client, manifest, false).await
}

async fn write(client: &Client, manifest: &str, existing: bool) -> Result<(), TemplateError> {
    let objects = objects(manifest)?;
    let mut served = discover(client).await?;
    let params = PatchParams::apply(MANAGER).force();
    for object in objects {
        let types = object.types.clone().unwrap_or_default();
        let shown = format!("{} {}", types.kind, object.name_any());
        let kind = GroupVersionKind::try_from(&types).ok();
        let resolve = |served: &Discovery| kind.as_ref().and_then(|kind| served.resolve_gvk(kind));
        let mut found = resolve(&served);
        if found.is_none() {
            // An object before this one may have defined it.
            served = discover(client).await?;
            found = resolve(&served);
        }
        let (resource, capabilities) = found.ok_or_else(|| TemplateError::Unserved {
            object: shown.clone(),
            api_version: types.api_version.clone(),
        })?;
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(client.clone(), &resource),
            Scope::Namespaced => {
                let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
                Api::namespaced_with(client.clone(), &namespace, &resource)
            }
        };
        let refused = |source| TemplateError::Apply { object: shown.clone(), source };
        if !existing && api.get_metadata_opt(&object.name_any()).await.map_err(refused)?.is_some() {
            continue;
        }
        api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await.map_err(refused)?;
    }
    Ok(())
}

async fn discover(client: &Client) -> Result<Discovery, TemplateError> {
    Discovery::new(client.clone()).run().await.map_err(TemplateError::Discovery)
}

/// The objects of a manifest with several documents. Documents that only comment are none.
pub fn objects(manifest: &str) -> Result<Vec<DynamicObject>, TemplateError> {
    documents(manifest)
        .iter()
        .enumerate()
        .map(|(at, text)| {
            serde_saphyr::from_str(text).map_err(|source| TemplateError::Object { at: at + 1, source })
        })
        .collect()
}

/// The parts of a text that lines of three dashes divide.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("---").filter(|rest| rest.trim().is_empty() || rest.starts_with(" #")) {
            Some(_) => documents.push(String::new()),
            None => documents.last_mut().map_or((), |document| document.push_str(line)),
        }
    }
    let says_something = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    documents.retain(|document| document.lines().any(says_something));
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_divided_as_people_write_them() {
        let manifest = "# a comment\n---\n# kind: No\n---\nkind: A\napiVersion: v1\nmetadata: {name: a}\n--- # next\n\n---   \r\nkind: B\napiVersion: v1\nmetadata: {name: b}\ndata:\n  text: |\n    ---\n    x\n---";
        let kinds: Vec<_> =
            objects(manifest).unwrap().into_iter().filter_map(|object| Some(object.types?.kind)).collect();
        assert_eq!(kinds, ["A", "B"]);
    }

    #[test]
    fn the_memory_template_makes_seven_objects() {
        let kinds: Vec<_> = objects(&memory("prod", 3, 10).unwrap())
            .unwrap()
            .into_iter()
            .map(|object| object.types.map(|types| types.kind).unwrap_or_default())
            .collect();
        assert_eq!(
            kinds,
            [
                "Cluster",
                "DevCluster",
                "KubeadmControlPlane",
                "DevMachineTemplate",
                "MachineDeployment",
                "DevMachineTemplate",
                "KubeadmConfigTemplate"
            ]
        );
    }
}
