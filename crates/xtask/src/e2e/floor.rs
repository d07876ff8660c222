//! Creation beside the floor: the same machines made by hand with `tests/floor/floor.sh`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::shell::{must, now};
use super::site::Site;
use super::stage::Stage;
use crate::command::{print, root, say};

/// What creation of 1+1 may cost beside the floor.
const BOUND: f64 = 1.5;

/// Measures by turns, so that a busy machine disturbs both.
pub fn run(site: &Arc<Site>, rounds: usize) -> Result<()> {
    let small = measure(site, 1, 1, rounds)?;
    let large = measure(site, 3, 2, rounds.min(2))?;
    print(&format!("cluster   floor    windlass   ratio   (medians)\n{}\n{}", small.row(), large.row()));
    if small.ratio() > BOUND {
        bail!("creation of 1+1 takes {:.2} times the floor; at most {BOUND} is promised", small.ratio());
    }
    Ok(())
}

struct Measured {
    what: String,
    floor: f64,
    windlass: f64,
}

impl Measured {
    fn ratio(&self) -> f64 {
        self.windlass / self.floor
    }

    fn row(&self) -> String {
        format!("{:<9} {:>5.1} s  {:>7.1} s   {:>5.2}", self.what, self.floor, self.windlass, self.ratio())
    }
}

fn measure(site: &Arc<Site>, control_planes: u32, workers: u32, rounds: usize) -> Result<Measured> {
    let what = format!("{control_planes}+{workers}");
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        floors.push(by_hand(site, control_planes, workers)?);
        ours.push(by_windlass(site, control_planes, workers)?);
        let last = |times: &[f64]| times.last().copied().unwrap_or_default();
        say(&format!("{what}, round {round}: floor {:.1} s, windlass {:.1} s", last(&floors), last(&ours)));
    }
    Ok(Measured { what, floor: median(floors)?, windlass: median(ours)? })
}

/// Seconds until all nodes are Ready, as the script says in its line of JSON.
fn by_hand(site: &Site, control_planes: u32, workers: u32) -> Result<f64> {
    let script: PathBuf = root().join("tests/floor/floor.sh");
    let mut command: Command = site.command(&script);
    command.args([control_planes.to_string(), workers.to_string()]);
    let (repository, tag) = site.load_balancer()?;
    command.env("NODE_IMAGE", site.node_image(site.version()));
    command.env("LB_IMAGE", format!("{repository}/haproxy:{tag}"));
    let said = must(&mut command)?;
    let times: serde_json::Value = serde_json::from_str(said.trim())
        .with_context(|| format!("cannot read what {} printed", script.display()))?;
    times["total"].as_f64().with_context(|| format!("{} printed no total: {}", script.display(), said.trim()))
}

/// Seconds from `kubectl apply` until all nodes are Ready.
fn by_windlass(site: &Arc<Site>, control_planes: u32, workers: u32) -> Result<f64> {
    let stage = Stage::new(site, "floor")?;
    let played = (|| {
        let plane = stage.plane()?;
        let cluster = stage.cluster(&plane, "");
        let manifest = plane.generate(&cluster.name, site.version(), control_planes, workers)?;
        let start = now();
        plane.apply(&manifest)?;
        cluster.install_cni()?;
        cluster.wait_nodes(usize::try_from(control_planes + workers)?)?;
        let seconds = start.elapsed().as_secs_f64();
        cluster.wait_available(control_planes.into(), workers.into(), super::cluster::CREATION)?;
        stage.delete_all()?;
        Ok(seconds)
    })();
    if played.is_err() {
        super::evidence::keep(&stage);
    }
    stage.clear()?;
    played
}

fn median(mut times: Vec<f64>) -> Result<f64> {
    times.sort_by(f64::total_cmp);
    let middle = times.get(times.len() / 2).copied().context("nothing was measured")?;
    let lower = times.get((times.len() - 1) / 2).copied().unwrap_or(middle);
    Ok(f64::midpoint(lower, middle))
}

#[cfg(test)]
mod tests {
    #[test]
    fn medians() {
        let median = |times: &[f64]| super::median(times.to_vec()).unwrap().to_string();
        assert_eq!([median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])], ["2", "2.5"]);
        assert!(super::median(Vec::new()).is_err());
    }
}
