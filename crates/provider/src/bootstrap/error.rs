//! Why bootstrap data cannot be understood.

use thiserror::Error;

/// Why bootstrap data cannot be understood. Shows names and places, never contents.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BootstrapDataError {
    /// The Secret's `format` is none that is known.
    #[error("its format `{format}` is not known; known are cloud-config and ignition")]
    UnknownFormat {
        /// As the Secret has it.
        format: String,
    },
    /// Not UTF-8.
    #[error("it is not text")]
    NotText,
    /// More than anybody should send.
    #[error("it is larger than {mebibytes} MiB")]
    TooLarge {
        /// The limit.
        mebibytes: usize,
    },
    /// No `#cloud-config` where it should be.
    #[error("it is not cloud-config: its first line{after} is not `#cloud-config`{instead}")]
    Header {
        /// Empty, or that a template header came before.
        after: &'static str,
        /// Empty, or what it is instead.
        instead: &'static str,
    },
    /// Not YAML, or not of cloud-config's shape.
    #[error("line {line} is not cloud-config")]
    CloudConfig {
        /// Counted from one, after templating; zero where it is not known.
        line: u64,
    },
    /// Not JSON, or not of Ignition's shape.
    #[error("line {line} is not Ignition")]
    Ignition {
        /// Counted from one.
        line: usize,
    },
    /// An Ignition of another time.
    #[error("Ignition {version} is not known; known are 2.x and 3.x")]
    IgnitionVersion {
        /// As the document has it.
        version: String,
    },
    /// A template asks for something that the machine does not know.
    #[error("line {line} asks for `{name}`, which this machine's metadata does not have")]
    UnknownVariable {
        /// Counted from one.
        line: usize,
        /// The variable.
        name: String,
    },
    /// A template uses more of Jinja than variables.
    #[error("line {line} has {what}, which templates here cannot have")]
    Template {
        /// Counted from one.
        line: usize,
        /// What it has.
        what: &'static str,
    },
    /// A file cannot be written as it is described.
    #[error("the file {path} {what}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A user or unit has a name that cannot be one.
    #[error("`{name}` cannot be the name of a {of}")]
    Name {
        /// What it names.
        of: &'static str,
        /// The name.
        name: String,
    },
    /// kubeadm's configuration cannot be read, so it cannot be edited.
    #[error("kubeadm's configuration {path} is not YAML (document {document})")]
    Kubeadm {
        /// Path of the file.
        path: String,
        /// Which of its documents, counted from one.
        document: usize,
    },
}

impl BootstrapDataError {
    pub(super) fn file(path: &str, what: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), what: what.into() }
    }
}
