//! 4: Windlass killed at random moments while a cluster is made: it converges, and nothing is made twice.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::e2e::cluster::{CREATION, Cluster, is_true};
use crate::e2e::shell::now;
use crate::e2e::stage::Stage;

/// How often it is killed at least.
const KILLS: u32 = 10;

/// It lives at most so long between two kills.
const LIFE: u64 = 6000;

pub fn play(stage: &Stage) -> Result<()> {
    let seed =
        std::env::var("WINDLASS_SEED").map_or(Ok(u64::from(std::process::id())), |seed| seed.parse())?;
    stage.note("seed (again with WINDLASS_SEED)", &seed.to_string());
    let plane = stage.plane()?;
    let cluster = stage.cluster(&plane, "");
    let manifest = plane.generate(&cluster.name, stage.site.version(), 3, 2)?;
    let start = now();
    plane.apply(&manifest)?;
    let mut random = SplitMix(seed);
    let mut has_cni = false;
    for kill in 1..=KILLS {
        std::thread::sleep(Duration::from_millis(random.next() % LIFE));
        plane.kill()?;
        plane.spawn()?;
        if kill < KILLS {
            continue;
        }
        plane.wait_ready()?;
        if !has_cni {
            cluster.install_cni()?;
            has_cni = true;
        }
        if available(&cluster) {
            bail!(
                "the cluster was available before the last of {KILLS} kills: they did not hit its creation"
            );
        }
    }
    cluster.wait_available(3, 2, CREATION)?;
    stage.fact(&format!("3+2 available in spite of {KILLS} kills"), start);
    exactly(stage, &cluster)
}

fn available(cluster: &Cluster) -> bool {
    let object = cluster.plane.get("clusters.cluster.x-k8s.io", &cluster.name);
    object.is_ok_and(|object| is_true(&object, "Available").is_ok())
}

/// Exactly the declared containers exist, none had to be replaced, and every machine has one.
fn exactly(stage: &Stage, cluster: &Cluster) -> Result<()> {
    let containers = cluster.containers()?;
    let nodes: BTreeSet<_> = containers
        .iter()
        .filter(|container| container.role != "external-load-balancer")
        .map(|container| container.name.clone())
        .collect();
    let balancers = containers.len() - nodes.len();
    let machines: BTreeSet<_> = cluster
        .machines()?
        .iter()
        .filter_map(|machine| machine["status"]["nodeRef"]["name"].as_str().map(str::to_owned))
        .collect();
    if (nodes.len(), balancers) != (5, 1) || nodes != machines {
        bail!(
            "3+2 machines were declared; the nodes of the Machines are {machines:?}, the containers {containers:?}"
        );
    }
    let ever: BTreeSet<_> = stage.ever().into_iter().map(|container| container.name).collect();
    if ever.len() != containers.len() {
        bail!("containers existed for a while that were not declared: {ever:?}");
    }
    Ok(())
}

/// A small generator whose seed can be printed (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
