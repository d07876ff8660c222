//! 6: a control plane whose etcd is somebody else's.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::e2e::openssl::{self, Pair};
use crate::e2e::shell::{must, until};
use crate::e2e::site::NETWORK;
use crate::e2e::stage::Stage;

/// A network whose addresses are known: etcd's certificate names one of them.
const SUBNET: &str = "172.31.77.0/24";
const ADDRESS: &str = "172.31.77.250";

pub fn play(stage: &Stage) -> Result<()> {
    let folder = stage.folder.join("pki");
    let ca = openssl::authority(&folder, "etcd-ca")?;
    let pair = openssl::certificate(&folder, &ca, "etcd", ADDRESS)?;
    let etcd = External::start(stage, &folder)?;
    let plane = stage.plane()?;
    let cluster = stage.cluster(&plane, "");
    secrets(stage, &plane, &cluster.name, &ca, &pair)?;
    let external = json!({
        "endpoints": [format!("https://{ADDRESS}:2379")],
        "caFile": "/etc/kubernetes/pki/etcd/ca.crt",
        "certFile": "/etc/kubernetes/pki/apiserver-etcd-client.crt",
        "keyFile": "/etc/kubernetes/pki/apiserver-etcd-client.key",
    });
    let config = json!({"clusterConfiguration": {"etcd": {"external": external}}});
    let manifest = plane.generate(&cluster.name, stage.site.version(), 1, 1)?.change(
        "KubeadmControlPlane",
        "",
        &json!({"spec": {"kubeadmConfigSpec": config}}),
    )?;
    stage.create(&cluster, &manifest, 1, 1)?;

    let pods = cluster.list(&["pods", "-n", "kube-system", "-l", "component=etcd"])?;
    if !pods.is_empty() {
        bail!("the cluster has an etcd of its own");
    }
    let keys = etcd.ask(stage, &folder, &["get", "--prefix", "--keys-only", "/registry/minions/"])?;
    if keys.split_whitespace().count() != 2 {
        bail!("the external etcd holds these nodes: {keys}");
    }
    stage.delete_all()?;
    drop(etcd);
    must(stage.site.engine.docker().args(["network", "rm", NETWORK]))?;
    stage.network_stays(false);
    Ok(())
}

fn secrets(
    stage: &Stage,
    plane: &crate::e2e::plane::Plane,
    cluster: &str,
    ca: &Pair,
    pair: &Pair,
) -> Result<()> {
    let file = |key: &str, path: &Path| format!("--from-file={key}={}", path.display());
    let trusted = format!("{cluster}-etcd");
    plane.must(&["create", "secret", "generic", &trusted, &file("tls.crt", &ca.certificate)])?;
    let client = format!("{cluster}-apiserver-etcd-client");
    let (certificate, key) = (file("tls.crt", &pair.certificate), file("tls.key", &pair.key));
    plane.must(&["create", "secret", "generic", &client, &certificate, &key])?;
    stage.note("user's Secrets", &format!("{trusted}, {client}"));
    Ok(())
}

/// A container with etcd on a network that was there before Windlass. Removed when dropped.
struct External<'s> {
    stage: &'s Stage,
    name: String,
}

impl<'s> External<'s> {
    fn start(stage: &'s Stage, folder: &Path) -> Result<Self> {
        let engine = &stage.site.engine;
        must(engine.docker().args(["network", "create", "--subnet", SUBNET, NETWORK]))?;
        stage.network_stays(true);
        let etcd = Self { stage, name: format!("windlass-external-etcd-{}", std::process::id()) };
        let binary = format!("{}:/etcd:ro", stage.site.etcd_folder().join("etcd").display());
        let certificates = format!("{}:/pki:ro", folder.display());
        let mut command = engine.docker();
        command.args(["run", "--detach", "--name", &etcd.name, "--network", NETWORK, "--ip", ADDRESS]);
        command.args(["--tmpfs", "/data", "-v", &binary, "-v", &certificates, "--entrypoint", "/etcd"]);
        command.arg(stage.site.node_image(stage.site.version()));
        command.args(["--data-dir=/data/etcd", "--listen-client-urls=https://0.0.0.0:2379"]);
        command.arg(format!("--advertise-client-urls=https://{ADDRESS}:2379"));
        command.args(["--cert-file=/pki/etcd.crt", "--key-file=/pki/etcd.key"]);
        command.args(["--client-cert-auth", "--trusted-ca-file=/pki/etcd-ca.crt"]);
        must(&mut command)?;
        until("the external etcd is healthy", Duration::from_mins(1), || {
            etcd.ask(stage, folder, &["endpoint", "health"])
        })?;
        Ok(etcd)
    }

    fn ask(&self, stage: &Stage, folder: &Path, args: &[&str]) -> Result<String> {
        let mut command = stage.site.etcdctl();
        command.args(["--endpoints", &format!("https://{ADDRESS}:2379"), "--command-timeout=3s"]);
        for (flag, file) in [("--cacert", "etcd-ca.crt"), ("--cert", "etcd.crt"), ("--key", "etcd.key")] {
            command.arg(flag).arg(folder.join(file));
        }
        must(command.args(args)).with_context(|| format!("cannot ask {}", self.name))
    }
}

impl Drop for External<'_> {
    fn drop(&mut self) {
        let removed = must(self.stage.site.engine.docker().args(["rm", "--force", "--volumes", &self.name]));
        if let Err(error) = removed {
            crate::command::say(&format!("cannot remove {}: {error:#}", self.name));
        }
    }
}
