//! 6: machines whose bootstrap data is Ignition, control plane and worker.

use anyhow::{Result, bail};
use serde_json::json;

use crate::e2e::stage::Stage;

pub fn play(stage: &Stage) -> Result<()> {
    let plane = stage.plane()?;
    let cluster = stage.cluster(&plane, "");
    let file = json!([{"path": "/etc/windlass-e2e", "content": "by ignition\n", "permissions": "0640"}]);
    let config = json!({"format": "ignition", "files": file});
    let manifest = plane
        .generate(&cluster.name, stage.site.version(), 1, 1)?
        .change("KubeadmControlPlane", "", &json!({"spec": {"kubeadmConfigSpec": config}}))?
        .change("KubeadmConfigTemplate", "", &json!({"spec": {"template": {"spec": config}}}))?;
    stage.create(&cluster, &manifest, 1, 1)?;
    for container in cluster.containers()? {
        if container.role == "external-load-balancer" {
            continue;
        }
        let found = stage
            .site
            .engine
            .exec(&container.name, &["sh", "-c", "cat /etc/windlass-e2e; stat -c %a /etc/windlass-e2e"])?;
        if found != "by ignition\n640\n" {
            bail!("the file of {} is `{found}`", container.name);
        }
    }
    for machine in cluster.machines()? {
        let secret = machine["spec"]["bootstrap"]["dataSecretName"].as_str().unwrap_or_default();
        let secret = plane.get("secrets", secret)?;
        // "ignition" in base64.
        if secret["data"]["format"] != "aWduaXRpb24=" {
            bail!("the format of {} is not ignition", secret["metadata"]["name"]);
        }
    }
    Ok(())
}
