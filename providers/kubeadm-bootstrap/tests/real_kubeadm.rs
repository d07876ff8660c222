//! The golden files before the real kubeadm, whose path stands in `WINDLASS_KUBEADM` (several: separated by
//! colons). Needs the feature `real-kubeadm`, so that nobody skips it unawares.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stand outside of test functions")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn kubeadms() -> Vec<PathBuf> {
    let paths = std::env::var("WINDLASS_KUBEADM")
        .unwrap_or_else(|_| panic!("WINDLASS_KUBEADM is not set: give the path of a kubeadm, 1.31 or newer"));
    std::env::split_paths(&paths).collect()
}

/// Name and data of the golden files in cloud-config.
fn goldens() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/snapshots");
    let mut goldens = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, snapshot) = text.trim_start_matches("---\n").split_once("\n---\n").unwrap();
        if snapshot.starts_with("## template: jinja") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            goldens.push((name, serde_saphyr::from_str(snapshot).unwrap()));
        }
    }
    goldens
}

#[test]
fn kubeadm_accepts_the_golden_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for (name, data) in goldens() {
        let content = |path: &str| {
            let files = data["write_files"].as_array().unwrap();
            files
                .iter()
                .find(|file| file["path"] == path)
                .map(|file| file["content"].as_str().unwrap().to_owned())
        };
        let config = content("/run/kubeadm/kubeadm.yaml");
        let config = config.or_else(|| content("/run/kubeadm/kubeadm-join-config.yaml")).unwrap();
        if !config.contains("kubeadm.k8s.io/v1beta4") {
            // No kubeadm of today reads v1beta3.
            continue;
        }
        let mut config = config.replace("{{ ds.meta_data.local_hostname }}", "host-0");
        // kubeadm looks for the kubeconfig that it shall find its cluster with.
        let kubeconfig = "/run/kubeadm/discovery.yaml";
        if let Some(content) = content(kubeconfig) {
            let path = folder.path().join("discovery.yaml");
            std::fs::write(&path, content).unwrap();
            config = config.replace(kubeconfig, path.to_str().unwrap());
        }
        let path = folder.path().join(&name);
        std::fs::write(&path, config).unwrap();
        for kubeadm in kubeadms() {
            let out = Command::new(&kubeadm).args(["config", "validate", "--config"]).arg(&path).output();
            let out = out.unwrap_or_else(|error| panic!("cannot run {}: {error}", kubeadm.display()));
            let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
            assert!(out.status.success(), "{} refuses {name}: {said}", kubeadm.display());
            checked += 1;
        }
    }
    assert!(checked >= 4, "only {checked} checks");
}
