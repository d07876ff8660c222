//! What every format of bootstrap data has to say: files, what kubeadm does, and how success is told.

use windlass_api::bootstrap::{Encoding, File};
use windlass_model::Secret;

/// Written by the host when kubeadm has succeeded (the contract between bootstrap and infrastructure
/// providers).
pub(crate) const SENTINEL: &str = "/run/cluster-api/bootstrap-success.complete";

/// A file for the host, its content resolved.
#[derive(Clone, Debug)]
pub struct HostFile {
    /// Where.
    pub path: String,
    /// `user:group`; root if absent.
    pub owner: Option<String>,
    /// Octal digits.
    pub permissions: Option<String>,
    /// How the content is encoded.
    pub encoding: Option<Encoding>,
    /// Add to what is there instead of replacing it.
    pub append: bool,
    /// The content.
    pub content: Secret<Vec<u8>>,
}

impl HostFile {
    /// A text file of root.
    pub fn root(path: impl Into<String>, permissions: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            owner: Some("root:root".to_owned()),
            permissions: Some(permissions.to_owned()),
            encoding: None,
            append: false,
            content: Secret::new(content.into()),
        }
    }

    /// A file of the spec, with the content that was made of what it says or points at.
    pub(crate) fn of(file: &File, content: Secret<Vec<u8>>) -> Self {
        let File {
            path,
            owner,
            permissions,
            encoding,
            append,
            content: _,
            content_from: _,
            content_format: _,
        } = file;
        Self {
            path: path.clone(),
            owner: owner.clone(),
            permissions: permissions.clone(),
            encoding: *encoding,
            append: *append == Some(true),
            content,
        }
    }
}

/// What kubeadm does on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Init,
    Join,
}

impl Verb {
    /// kubeadm's command line with its configuration at `path`.
    pub(crate) fn command(self, path: &str, verbosity: Option<i32>) -> String {
        let word = match self {
            Self::Init => "init",
            Self::Join => "join",
        };
        let verbosity = verbosity.map(|level| format!(" --v {level}")).unwrap_or_default();
        format!("kubeadm {word} --config {path}{verbosity}")
    }
}
