//! Files and users of the spec, with everything they refer to put in.

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use windlass_api::bootstrap::{ContentFormat, File, SecretSource, User};
use windlass_model::Secret;
use windlass_plan::kubeadm_config::Progress;
use windlass_runtime::{GroupKind, Pass};

use super::observe::Scene;
use super::{Halt, KubeadmConfigError};
use crate::host::HostFile;
use crate::template;

/// Reads Secrets and renders templates.
pub(super) async fn resolve(scene: &Scene, pass: &Pass) -> Result<(Vec<HostFile>, Vec<User>), Halt> {
    let mut files = Vec::new();
    for file in &scene.config.spec.files {
        files.push(resolve_file(file, scene, pass).await?);
    }
    let mut users = scene.config.spec.users.clone();
    for user in &mut users {
        if let Some(source) = &user.passwd_from {
            let bytes = content_of(source, pass).await?;
            let text = String::from_utf8(bytes.into_exposed())
                .map_err(|_| failed(format!("the password of user {} is not text", user.name)))?;
            user.passwd = Some(text.trim_end().into());
        }
    }
    Ok((files, users))
}

fn failed(message: String) -> Halt {
    Halt::Report(Progress::Failed(message))
}

async fn resolve_file(file: &File, scene: &Scene, pass: &Pass) -> Result<HostFile, Halt> {
    let File { path, content, content_from, content_format, .. } = file;
    let mut bytes = match (content, content_from) {
        (_, Some(source)) => content_of(source, pass).await?,
        (Some(content), None) => Secret::new(content.expose().as_bytes().to_vec()),
        (None, None) => Secret::new(Vec::new()),
    };
    if *content_format == Some(ContentFormat::Template) {
        let text = std::str::from_utf8(bytes.expose())
            .map_err(|_| failed(format!("the template of file {path} is not text")))?;
        let version = control_plane_version(scene, pass);
        let rendered = template::render(text, version.as_deref())
            .map_err(|error| failed(format!("cannot render the template of file {path}: {error}")))?;
        bytes = Secret::new(rendered.into_bytes());
    }
    Ok(HostFile::of(file, bytes))
}

async fn content_of(source: &SecretSource, pass: &Pass) -> Result<Secret<Vec<u8>>, Halt> {
    let key = pass.key.sibling(source.secret.name.clone());
    let found = pass.management.get::<KubeSecret>(&key).await;
    let found = found.map_err(KubeadmConfigError::Content)?;
    found
        .and_then(|secret| secret.data?.remove(&source.secret.key))
        .map(|bytes| Secret::new(bytes.0))
        .ok_or_else(|| failed(format!("Waiting for key {} of Secret {key}: create it", source.secret.key)))
}

/// What `.controlPlane.version` is: the version that the control plane object asks for, as upstream has it. A
/// provider of control planes may leave that open; then it is the one that runs.
fn control_plane_version(scene: &Scene, pass: &Pass) -> Option<String> {
    let reference = scene.cluster.spec.control_plane_ref.as_ref()?;
    let kind = GroupKind::new(reference.api_group.clone(), reference.kind.clone());
    let found = pass.cache.external(&kind, &pass.key.sibling(reference.name.clone())).found()?;
    found.spec.version.clone().or_else(|| found.status.version.clone())
}
