//! 1: quickstart to Available; pods, a Service, names and routes work.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::e2e::cluster::CREATION;
use crate::e2e::shell::{now, until};
use crate::e2e::stage::Stage;
use crate::e2e::workload;

pub fn play(stage: &Stage) -> Result<()> {
    let start = now();
    let (name, version) = (stage.cluster_name(""), format!("v{}", stage.site.version()));
    let image = stage.site.node_image(stage.site.version());
    let cni = stage.site.cni();
    let cni = cni.to_str().context("the path is not text")?;
    let what = ["quickstart", &name, "--infrastructure", "docker", "--kubernetes-version", &version];
    let with = ["--node-image", &image, "--cni", cni, "--timeout", "600"];
    let size = ["--control-plane-machine-count", "1", "--worker-machine-count", "1"];
    let plane = stage.quickstart(&[what.as_slice(), &with, &size].concat())?;
    let cluster = stage.cluster(&plane, "");
    let done = format!("Cluster `{name}` is available.");
    until("quickstart says that the cluster is available", CREATION, || {
        plane.alive()?;
        let said = plane.said();
        if said.contains(&done) {
            Ok(())
        } else {
            bail!("it says: {}", said.lines().last().unwrap_or_default())
        }
    })?;
    stage.fact("quickstart says available", start);
    cluster.reach()?;
    cluster.wait_available(1, 1, Duration::from_mins(1))?;
    stage.fact("1+1 available, nodes Ready", start);
    workload::works(stage, &cluster, stage.site.version())
}
