//! The first boot of a machine: what kubeadm would read out of its bootstrap data.
//!
//! Pure: bytes in, [`Boot`] or a [`Refusal`] out. Nothing here knows the cluster; what a boot means for
//! one is decided by the world. Of the steps in the data only kubeadm's is taken; nobody runs the others.

mod kubeadm;
mod refusal;

use windlass_provider::bootstrap::{self, Metadata};

pub use kubeadm::{Boot, Init, Join, Pki, Registration, Taint};
pub use refusal::Refusal;

/// Reads the bootstrap data of the machine `hostname`, cloud-config or Ignition.
///
/// # Errors
/// A [`Refusal`] that says what is missing or cannot be read.
pub fn read(data: &[u8], hostname: &str) -> Result<Boot, Refusal> {
    let metadata = Metadata {
        hostname: hostname.to_owned(),
        instance_id: hostname.to_owned(),
        cloud_name: "in-memory".to_owned(),
        ..Metadata::default()
    };
    let steps = bootstrap::parse("", data, &metadata);
    let steps = steps.map_err(|error| Refusal::DataInvalid { what: error.to_string() })?;
    kubeadm::read(&steps, hostname)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker's join configuration; its node is named by the machine where `named` asks for it.
    fn join(named: &str) -> String {
        format!(
            "kind: JoinConfiguration\nnodeRegistration: {{name: '{named}'}}\n\
             discovery: {{bootstrapToken: {{token: abcdef.0123456789abcdef, unsafeSkipCAVerification: true}}}}\n"
        )
    }

    #[test]
    fn both_formats_boot() {
        let config = join("{{ ds.meta_data.local_hostname }}").replace('\n', "\n    ");
        let cloud_config = format!(
            "## template: jinja\n#cloud-config\nwrite_files:\n- path: /k\n  content: |\n    {config}\n\
             runcmd:\n- kubeadm join --config /k\n"
        );
        let base64 = |text: &str| {
            use base64::Engine;
            let packed = base64::engine::general_purpose::STANDARD.encode(text);
            serde_json::json!({"source": format!("data:;base64,{packed}")})
        };
        let script = "#!/bin/bash\nkubeadm join --config /etc/kubeadm.yml\n";
        let ignition = serde_json::json!({
            "ignition": {"version": "2.3.0"},
            "storage": {"files": [
                {"path": "/etc/kubeadm.sh", "mode": 0o700, "contents": base64(script)},
                {"path": "/etc/kubeadm.yml", "contents": base64(&join(""))},
            ]},
        });
        for data in [cloud_config, ignition.to_string()] {
            let Ok(Boot::Join(join)) = read(data.as_bytes(), "m-1") else { panic!("{data} does not join") };
            assert_eq!(join.node.name, "m-1");
        }
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let data = b"## template: jinja\n#cloud-config\nruncmd: ['{{ ds.meta_data.color }}']\n";
        let refusal = read(data, "m").unwrap_err();
        assert_eq!(refusal.reason(), "BootstrapDataInvalid");
        assert!(refusal.to_string().contains("line 3 asks for `ds.meta_data.color`"), "{refusal}");
    }
}
