//! 3: scaling out and in, with the API reachable and etcd's membership correct all the time.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::e2e::cluster::Cluster;
use crate::e2e::etcd::Etcd;
use crate::e2e::prober::Prober;
use crate::e2e::shell::now;
use crate::e2e::stage::Stage;

/// How long one step may take.
const STEP: Duration = Duration::from_mins(5);

/// Connections that are open while two of three members leave. The load balancer takes turns, so that about a third
/// of them leads to the one that stays: no reload may cut those.
const STREAMS: usize = 12;

/// The longest time without an answer.
const GAP: Duration = Duration::from_secs(10);

pub fn control_plane(stage: &Stage) -> Result<()> {
    let plane = stage.plane()?;
    let cluster = stage.created(&plane, 1, 1)?;
    let etcd = Etcd::of(&cluster, &stage.folder)?;
    etcd.wait_exact(1)?;
    let prober = cluster.probe()?;
    let mut streams = None;
    let steps: [(u32, &[usize]); 2] = [(3, &[1, 2, 3]), (1, &[3, 2, 1])];
    for (replicas, sizes) in steps {
        let (start, watch) = (now(), etcd.watch());
        cluster.scale_control_plane(replicas)?;
        cluster.wait_available(replicas.into(), 1, STEP)?;
        etcd.wait_exact(usize::try_from(replicas)?)?;
        stage.fact(&format!("control plane to {replicas}"), start);
        watch.expect(sizes)?;
        exactly(&cluster, usize::try_from(replicas)? + 1)?;
        match &mut streams {
            None => streams = Some(cluster.streams(STREAMS)?),
            Some(streams) => {
                stage.note("connections left", &format!("{} of {STREAMS}", streams.left()?));
                streams.at_least(STREAMS / 4)?;
            }
        }
    }
    gap(stage, prober)
}

pub fn workers(stage: &Stage) -> Result<()> {
    let plane = stage.plane()?;
    let cluster = stage.created(&plane, 1, 1)?;
    let prober = cluster.probe()?;
    for replicas in [4, 1] {
        let start = now();
        cluster.scale_workers(replicas)?;
        cluster.wait_available(1, replicas.into(), STEP)?;
        stage.fact(&format!("workers to {replicas}"), start);
        exactly(&cluster, usize::try_from(replicas)? + 1)?;
    }
    gap(stage, prober)
}

/// Fails unless the cluster has these machines as containers, and its load balancer.
fn exactly(cluster: &Cluster, machines: usize) -> Result<()> {
    let names: Vec<_> = cluster.containers()?.into_iter().map(|container| container.name).collect();
    if names.len() != machines + 1 {
        bail!("{machines} machines and a load balancer are declared, there are {names:?}");
    }
    Ok(())
}

fn gap(stage: &Stage, prober: Prober) -> Result<()> {
    let seen = prober.stop()?;
    stage.note("requests failed while scaling", &format!("{} of {}", seen.failed, seen.asked));
    stage.note("longest gap", &format!("{:.1} s", seen.gap.as_secs_f64()));
    seen.at_most(GAP)
}
