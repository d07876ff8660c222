//! 6: a certificate authority that the user brings is the cluster's.

use anyhow::{Context, Result, bail};

use crate::e2e::openssl;
use crate::e2e::stage::Stage;

pub fn play(stage: &Stage) -> Result<()> {
    let plane = stage.plane()?;
    let cluster = stage.cluster(&plane, "");
    let ca = openssl::authority(&stage.folder.join("pki"), "anchor-ca")?;
    let secret = format!("{}-ca", cluster.name);
    let path = |path: &std::path::Path| path.to_str().map(str::to_owned).context("the path is not text");
    let (certificate, key) = (path(&ca.certificate)?, path(&ca.key)?);
    plane.must(&["create", "secret", "tls", &secret, "--cert", &certificate, "--key", &key])?;
    plane.must(&["label", "secret", &secret, &cluster.selector()])?;
    let manifest = plane.generate(&cluster.name, stage.site.version(), 1, 1)?;
    stage.create(&cluster, &manifest, 1, 1)?;

    let ours = std::fs::read_to_string(&ca.certificate)?;
    for container in cluster.containers()? {
        if container.role == "external-load-balancer" {
            continue;
        }
        let theirs = stage.site.engine.exec(&container.name, &["cat", "/etc/kubernetes/pki/ca.crt"])?;
        if theirs.trim() != ours.trim() {
            bail!("{} trusts another CA", container.name);
        }
    }
    // The kubeconfig with which the API was asked all the time trusts it, too.
    let trusted = cluster.must(&[
        "config",
        "view",
        "--raw",
        "-o",
        "jsonpath={.clusters[0].cluster.certificate-authority-data}",
    ])?;
    let same = plane.must(&["get", "secret", &secret, "-o", "jsonpath={.data.tls\\.crt}"])?;
    if trusted != same {
        bail!("the kubeconfig trusts another CA");
    }
    // It is its author's: deleting the cluster must not take it.
    cluster.delete(std::time::Duration::from_mins(3))?;
    plane.must(&["get", "secret", &secret]).map(drop).context("the user's Secret went with the cluster")
}
