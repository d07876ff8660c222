//! The clients that transcripts are played with.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The version that transcripts are recorded with.
pub const RECORDED: &str = "1.35";

/// A version of kubectl and the Helm that goes with it, as files of a folder of programs.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// The minor version of kubectl.
    pub version: &'static str,
    /// The file of kubectl.
    pub kubectl: &'static str,
    /// The file of Helm.
    pub helm: &'static str,
}

/// All of them; the recorded one first.
pub const CLIENTS: [Version; 3] = [
    Version { version: RECORDED, kubectl: "kubectl-1.35.2", helm: "helm-4.1.4" },
    Version { version: "1.34", kubectl: "kubectl-1.34.5", helm: "helm-4.1.4" },
    Version { version: "1.36", kubectl: "kubectl-1.36.3", helm: "helm-4.2.3" },
];

/// The programs of one version.
#[derive(Debug, Clone)]
pub struct Clients {
    /// The minor version of kubectl.
    pub version: &'static str,
    /// The program.
    pub kubectl: PathBuf,
    /// The program.
    pub helm: PathBuf,
}

impl Version {
    /// Its programs in a folder.
    ///
    /// # Errors
    /// When one is not there.
    pub fn find(self, folder: &Path) -> Result<Clients> {
        let (kubectl, helm) = (folder.join(self.kubectl), folder.join(self.helm));
        for program in [&kubectl, &helm] {
            ensure!(
                program.is_file(),
                "there is no {}; `cargo test -p windlass-tests --test kubectl` fetches it",
                program.display()
            );
        }
        Ok(Clients { version: self.version, kubectl, helm })
    }
}
