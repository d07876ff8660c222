//! Tests of single parts against real programs: the provider against the engine, rendered configurations against
//! kubeadm, the etcd client against etcd.

use anyhow::{Result, bail};

use crate::command::{root, say};
use crate::e2e::shell::now;
use crate::e2e::stage::Stage;

/// Package, and the feature that takes its tests in.
const PARTS: &[(&str, &str)] = &[
    ("windlass-docker", "engine-tests"),
    ("windlass-kubeadm-bootstrap", "real-kubeadm"),
    ("windlass-workload", "real-etcd"),
];

pub fn play(stage: &Stage) -> Result<()> {
    let mut failed = Vec::new();
    for (package, feature) in PARTS {
        let start = now();
        say(&format!("cargo test --package {package} --features {feature}"));
        let mut command = stage.site.command("cargo".as_ref());
        command.args(["test", "--quiet", "--package", package, "--features", feature]);
        command.env("WINDLASS_KUBEADM", stage.site.binaries.join("kubeadm"));
        command.env("ETCD_BIN", stage.site.etcd_folder().join("etcd"));
        command.env("WINDLASS_NODE_IMAGE", stage.site.node_image(stage.site.version()));
        if !command.current_dir(root()).status()?.success() {
            failed.push(*package);
        }
        stage.fact(package, start);
    }
    if failed.is_empty() { Ok(()) } else { bail!("tests of {} failed", failed.join(", ")) }
}
