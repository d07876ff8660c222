//! What bootstrap data asks a machine to do.
//!
//! Pure: bytes in, [`Boot`] or a [`BootstrapDataError`] out. Nothing is run here. Providers whose machines
//! have neither cloud-init nor Ignition (containers, simulated machines) run the steps themselves, in the
//! order in which a machine of those would.
//!
//! **Invariant:** no input panics, and no input takes more than [`LARGEST_CONTENT`] for all of its files
//! together. No error and no `Debug` shows the content of a file, a password or a token.

mod cloud_config;
mod content;
mod error;
mod ignition;
mod jinja;
mod kubeadm;
mod shell;
mod user;

use std::collections::BTreeMap;
use std::fmt;

pub use content::LARGEST_CONTENT;
pub use error::BootstrapDataError;
pub use kubeadm::{KubeadmCall, KubeadmTweaks, KubeadmVerb, edit_kubeadm};
pub use user::User;

/// What [`parse`] and [`edit_kubeadm`] answer.
pub type Result<T> = std::result::Result<T, BootstrapDataError>;

/// Most bytes of bootstrap data that are looked at. A Secret holds one mebibyte.
const LARGEST_DATA: usize = 16 << 20;

/// What a machine does at its first boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// What it does, in order. A step that fails ends the boot.
    pub steps: Vec<Step>,
    /// What the data asks for besides, by name of the module or field; nobody does it.
    pub ignored: Vec<String>,
}

/// One thing that a machine does at its first boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes a file.
    Write(File),
    /// Runs a command, and waits for it.
    Run(Command),
    /// Makes a user.
    User(User),
}

/// A file to write. Its directories are made if they are not there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct File {
    /// Where; absolute.
    pub path: String,
    /// What, decoded.
    pub content: Vec<u8>,
    /// `user:group` or `user`, names or numbers; root without it.
    pub owner: Option<String>,
    /// Its permissions; `0644` without them.
    pub mode: Option<u32>,
    /// Added to what is there, instead of replacing it.
    pub append: bool,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("path", &self.path)
            .field("bytes", &self.content.len())
            .field("owner", &self.owner)
            .field("mode", &format_args!("{:?}", self.mode.map(|mode| format!("{mode:04o}"))))
            .field("append", &self.append)
            .finish_non_exhaustive()
    }
}

/// A command to run as root, in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A text for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments. Never empty.
    Argv(Vec<String>),
}

impl Command {
    /// The command for people: as it was written, its first line only.
    pub fn display(&self) -> String {
        match self {
            Self::Shell(text) => {
                let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let first = lines.next().unwrap_or_default();
                let more = if lines.next().is_some() { " …" } else { "" };
                format!("{first}{more}")
            }
            Self::Argv(words) => words.join(" "),
        }
    }

    /// Program and arguments that run it.
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Shell(text) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()],
            Self::Argv(words) => words.clone(),
        }
    }
}

impl Step {
    /// The step for people: a command as it was written, or what is made.
    pub fn display(&self) -> String {
        match self {
            Self::Write(file) => format!("write {}", file.path),
            Self::Run(command) => command.display(),
            Self::User(user) => format!("create the user {}", user.name),
        }
    }
}

impl Boot {
    /// What a file holds once every step was done; `None` where nothing writes it.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.steps.iter().fold(None, |found, step| match step {
            Step::Write(file) if file.path == path => {
                let mut content = found.filter(|_| file.append).unwrap_or_default();
                content.extend(&file.content);
                Some(content)
            }
            Step::Write(_) | Step::Run(_) | Step::User(_) => found,
        })
    }

    /// All files as they are once every step was done, by path.
    pub fn files(&self) -> BTreeMap<&str, Vec<u8>> {
        let mut files = BTreeMap::<&str, Vec<u8>>::new();
        for step in &self.steps {
            if let Step::Write(file) = step {
                let content = files.entry(&file.path).or_default();
                if !file.append {
                    content.clear();
                }
                content.extend(&file.content);
            }
        }
        files
    }
}

/// What a machine knows about itself, for templates (cloud-init: instance metadata).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `hostname` and `local_hostname`.
    pub hostname: String,
    /// `instance_id`.
    pub instance_id: String,
    /// `v1.cloud_name` and `v1.platform`.
    pub cloud_name: String,
    /// `region`.
    pub region: Option<String>,
    /// `availability_zone`.
    pub availability_zone: Option<String>,
    /// Further members of `ds.meta_data`, with `_` for `-`.
    pub more: BTreeMap<String, String>,
}

/// Reads bootstrap data.
///
/// `format` is what the Secret says under `format`: `cloud-config` or `ignition`; if empty, the data is
/// looked at.
///
/// # Errors
/// Where it cannot be understood. The message names the place and shows none of the content; it says what
/// is wrong and leaves what to do to the caller, who knows whose data it is.
pub fn parse(format: &str, data: &[u8], metadata: &Metadata) -> Result<Boot> {
    if data.len() > LARGEST_DATA {
        return Err(BootstrapDataError::TooLarge { mebibytes: LARGEST_DATA >> 20 });
    }
    let text = std::str::from_utf8(data).map_err(|_| BootstrapDataError::NotText)?;
    let looks_like_json = text.trim_start().starts_with('{');
    match format {
        "" if looks_like_json => ignition::parse(text),
        "" | "cloud-config" => cloud_config::parse(text, metadata),
        "ignition" => ignition::parse(text),
        other => Err(BootstrapDataError::UnknownFormat { format: other.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
