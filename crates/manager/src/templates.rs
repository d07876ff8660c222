//! Cluster templates: those that come with Windlass, filling them in, and applying the result.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, Discovery, ResourceExt};
use windlass_api::admission::SUPPORTED_MINORS;
use windlass_model::Version;

use crate::envsubst::{MissingVariables, ParseError, Template};

/// Infrastructure, flavour, text: files of `templates/`, one folder per provider.
const BUILT_IN: &[(&str, &str, &str)] =
    &[("memory", "", include_str!("../../../templates/memory/cluster-template.yaml"))];

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
    let served = Discovery::new(client.clone()).run().await.map_err(TemplateError::Discovery)?;
    let params = PatchParams::apply(MANAGER).force();
    for object in objects {
        let types = object.types.clone().unwrap_or_default();
        let shown = format!("{} {}", types.kind, object.name_any());
        let resource = GroupVersionKind::try_from(&types).ok().and_then(|kind| served.resolve_gvk(&kind));
        let (resource, _) = resource.ok_or_else(|| TemplateError::Unserved {
            object: shown.clone(),
            api_version: types.api_version.clone(),
        })?;
        let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        let refused = |source| TemplateError::Apply { object: shown.clone(), source };
        if !existing && api.get_metadata_opt(&object.name_any()).await.map_err(refused)?.is_some() {
            continue;
        }
        api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await.map_err(refused)?;
    }
    Ok(())
}

/// The objects of a manifest with several documents.
pub fn objects(manifest: &str) -> Result<Vec<DynamicObject>, TemplateError> {
    let documents = manifest.split("\n---\n").filter(|text| !text.trim().is_empty());
    documents
        .enumerate()
        .map(|(at, text)| {
            serde_saphyr::from_str(text).map_err(|source| TemplateError::Object { at: at + 1, source })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
