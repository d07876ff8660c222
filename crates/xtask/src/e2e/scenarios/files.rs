//! 6: folders of the host and files from Secrets in the machines.

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::e2e::shell::ask;
use crate::e2e::stage::Stage;

/// What must be in the machines, and nowhere else.
const SECRET: &str = "the-capstan-is-oiled";

pub fn play(stage: &Stage) -> Result<()> {
    let plane = stage.plane()?;
    let cluster = stage.cluster(&plane, "");
    let host = stage.folder.join("mounted");
    std::fs::create_dir_all(&host)?;
    std::fs::write(host.join("here.txt"), "from the host\n")?;
    let host = host.to_str().context("the path is not text")?;
    let secret = format!("{}-files", cluster.name);
    plane.must(&["create", "secret", "generic", &secret, &format!("--from-literal=word={SECRET}")])?;

    let from = json!({"secret": {"name": secret, "key": "word"}});
    let files = json!([{"path": "/etc/windlass-e2e/word", "permissions": "0600", "owner": "root:root", "contentFrom": from}]);
    let mounts = json!([
        {"hostPath": host, "containerPath": "/mnt/read-only", "readOnly": true},
        {"hostPath": host, "containerPath": "/mnt/writable"},
    ]);
    let machines = json!({"spec": {"template": {"spec": {"backend": {"docker": {"extraMounts": mounts}}}}}});
    let manifest = plane
        .generate(&cluster.name, stage.site.version(), 1, 1)?
        .change("KubeadmControlPlane", "", &json!({"spec": {"kubeadmConfigSpec": {"files": files}}}))?
        .change("KubeadmConfigTemplate", "", &json!({"spec": {"template": {"spec": {"files": files}}}}))?
        .change("DevMachineTemplate", "-control-plane", &machines)?
        .change("DevMachineTemplate", "-md-0", &machines)?;
    stage.create(&cluster, &manifest, 1, 1)?;

    for container in cluster.containers()? {
        if container.role != "external-load-balancer" {
            check(stage, &container.name)?;
        }
    }
    if plane.said().contains(SECRET) || cluster.describe(&[])?.contains(SECRET) {
        bail!("the content of the Secret is in the log or in the description");
    }
    Ok(())
}

fn check(stage: &Stage, machine: &str) -> Result<()> {
    let engine = &stage.site.engine;
    let word = engine.exec(
        machine,
        &["sh", "-c", "cat /etc/windlass-e2e/word; stat -c ' %a %U' /etc/windlass-e2e/word"],
    )?;
    if word.trim() != format!("{SECRET} 600 root") {
        bail!("the file of {machine} is `{}`", word.replace(SECRET, "…"));
    }
    let mounted = engine.exec(machine, &["cat", "/mnt/read-only/here.txt", "/mnt/writable/here.txt"])?;
    if mounted != "from the host\nfrom the host\n" {
        bail!("{machine} sees `{mounted}` in its mounts");
    }
    engine.exec(machine, &["touch", &format!("/mnt/writable/{machine}")])?;
    let refused = ask(engine.docker().args(["exec", machine, "touch", "/mnt/read-only/no"]))?;
    if refused.good {
        bail!("{machine} can write to its read-only mount");
    }
    Ok(())
}
