//! 2: three control planes behind the load balancer; one of them dies and comes back.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::e2e::cluster::is_true;
use crate::e2e::etcd::Etcd;
use crate::e2e::shell::{must, now, until};
use crate::e2e::stage::Stage;

/// The longest time without an answer that "stays reachable" allows.
const GAP: Duration = Duration::from_secs(10);

pub fn play(stage: &Stage) -> Result<()> {
    let plane = stage.plane()?;
    let cluster = stage.created(&plane, 3, 2)?;
    let etcd = Etcd::of(&cluster, &stage.folder)?;
    etcd.wait_exact(3)?;
    let machines = cluster.control_planes()?;
    let before: Vec<_> = cluster.containers()?.into_iter().map(|container| container.id).collect();
    // The first one made etcd's first member: most likely its leader, the hardest to lose.
    let victim = machines.first().context("there is no control plane machine")?;
    let docker = || stage.site.engine.docker();

    let prober = cluster.probe()?;
    must(docker().args(["kill", "--signal", "KILL", &victim.name]))?;
    until("its node is not Ready", Duration::from_mins(2), || {
        let nodes =
            cluster.list(&["nodes", "--field-selector", &format!("metadata.name={}", victim.name)])?;
        let node = nodes.first().context("the node is gone")?;
        match is_true(node, "Ready") {
            Ok(()) => bail!("the node of {} is still Ready", victim.name),
            Err(_) => Ok(()),
        }
    })?;
    let start = now();
    must(docker().args(["start", &victim.name]))?;
    etcd.wait_exact(3).context("after the machine came back")?;
    cluster.wait_available(3, 2, Duration::from_mins(3)).context("after the machine came back")?;
    stage.fact("from docker start to healthy", start);
    let seen = prober.stop()?;
    stage.note("requests failed while it was away", &format!("{} of {}", seen.failed, seen.asked));
    stage.note("longest gap", &format!("{:.1} s", seen.gap.as_secs_f64()));
    seen.at_most(GAP)?;
    let after: Vec<_> = cluster.containers()?.into_iter().map(|container| container.id).collect();
    if after != before {
        bail!("the cluster has other containers than before: {before:?}, {after:?}");
    }
    Ok(())
}
