//! The versions that images can be made of.

use anyhow::{Context, Result};

/// A version of Kubernetes and the Go module that its programs are built from.
#[derive(Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// Without a leading `v`.
    pub version: &'static str,
    /// The folder below `tests/node-image/go` whose go.mod requires this version.
    pub module: &'static str,
}

/// Oldest first. Another version is another row, and a folder with its go.mod and go.sum.
const KUBERNETES: &[Kubernetes] = &[
    Kubernetes { version: "1.34.4", module: "kubernetes-1.34" },
    Kubernetes { version: "1.35.4", module: "kubernetes-1.35" },
];

/// The programs of Kubernetes.
pub const PROGRAMS: &[&str] = &[
    "kubeadm",
    "kubelet",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
];

impl Kubernetes {
    /// The row of a version, written with or without a `v`.
    pub fn find(version: &str) -> Result<&'static Self> {
        let wanted = version.strip_prefix('v').unwrap_or(version);
        KUBERNETES.iter().find(|row| row.version == wanted).with_context(|| {
            let known: Vec<&str> = KUBERNETES.iter().map(|row| row.version).collect();
            format!(
                "no images can be made of Kubernetes {version}, only of {}; for another version add a row to \
                 crates/xtask/src/node_image/versions.rs and a module to tests/node-image/go",
                known.join(" and ")
            )
        })
    }

    /// What the linker writes into the programs: what `--version` answers.
    ///
    /// Nothing in it depends on when and where they are built.
    pub fn linker_flags(&self) -> String {
        let minor = self.version.split('.').nth(1).unwrap_or_default();
        let facts = [
            ("gitVersion", format!("v{}", self.version)),
            ("gitMajor", "1".to_owned()),
            ("gitMinor", minor.to_owned()),
            ("gitTreeState", "clean".to_owned()),
            ("gitCommit", "unknown".to_owned()),
            ("buildDate", "1970-01-01T00:00:00Z".to_owned()),
        ];
        let mut flags = vec!["-s".to_owned(), "-w".to_owned()];
        for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
            flags.extend(facts.iter().map(|(name, value)| format!("-X {package}.{name}={value}")));
        }
        flags.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{KUBERNETES, Kubernetes};
    use crate::node_image::assets;

    #[test]
    fn finds_versions_however_written() {
        for row in KUBERNETES {
            assert_eq!(Kubernetes::find(row.version).unwrap(), row);
            assert_eq!(Kubernetes::find(&format!("v{}", row.version)).unwrap(), row);
        }
        for unknown in ["", "v", "1.35", "1.1.1", "vv1.35.4"] {
            let said = Kubernetes::find(unknown).unwrap_err().to_string();
            assert!(said.contains("1.34.4 and 1.35.4") && said.contains("versions.rs"), "{said}");
        }
    }

    /// A row whose module is of another version would make images with a wrong name.
    #[test]
    fn modules_require_the_version_of_their_row() {
        for row in KUBERNETES {
            let module = fs::read_to_string(assets().join("go").join(row.module).join("go.mod")).unwrap();
            assert!(module.contains(&format!("require k8s.io/kubernetes v{}\n", row.version)), "{row:?}");
            let staging = format!("v0.{}", row.version.strip_prefix("1.").unwrap());
            let replaced: Vec<&str> = module.lines().filter(|line| line.contains(" => ")).collect();
            assert!(replaced.len() > 25, "{row:?}");
            for line in replaced {
                assert!(line.ends_with(&format!(" {staging}")), "{row:?}: {line}");
            }
            assert!(assets().join("go").join(row.module).join("go.sum").exists(), "{row:?}");
        }
    }

    #[test]
    fn programs_say_their_version() {
        let flags = Kubernetes::find("1.35.4").unwrap().linker_flags();
        for wanted in [
            "-s -w ",
            "k8s.io/component-base/version.gitVersion=v1.35.4 ",
            "k8s.io/component-base/version.gitMinor=35 ",
            "k8s.io/client-go/pkg/version.gitVersion=v1.35.4 ",
        ] {
            assert!(flags.contains(wanted), "{flags}");
        }
    }
}
