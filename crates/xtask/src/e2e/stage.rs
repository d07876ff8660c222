//! Where one scenario plays: its folders, its planes and clusters, what it measured, and what it left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cluster::{CREATION, Cluster};
use super::engine::{Container, OUR_LABELS};
use super::manifest::Manifest;
use super::plane::Plane;
use super::shell::{must, now};
use super::site::{NETWORK, Site};
use crate::command::{root, say};

/// How long the deletion of any cluster of the scenarios may take.
const DELETION: Duration = Duration::from_mins(3);

/// Where one scenario plays.
#[derive(Debug)]
pub struct Stage {
    /// What all scenarios share.
    pub site: Arc<Site>,
    /// What the scenario is called on the command line.
    pub name: String,
    /// What is kept: logs, kubeconfigs.
    pub folder: PathBuf,
    /// What is not: data directories.
    scratch: PathBuf,
    state: Mutex<State>,
    census: Census,
    /// The scenario has made the network, not Windlass: it stays.
    network_stays: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    planes: Vec<Arc<Plane>>,
    clusters: Vec<Cluster>,
    /// Names of clusters that are gone for good; their management cluster may be, too.
    deleted: BTreeSet<String>,
    facts: Vec<(String, String)>,
}

impl Stage {
    /// Clears what an aborted run of the same scenario left, and begins to watch the engine.
    pub fn new(site: &Arc<Site>, name: &str) -> Result<Self> {
        let folder = root().join("target/e2e").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
        }
        let scratch = std::env::temp_dir().join(format!("windlass-e2e-{}-{name}", std::process::id()));
        for folder in [&folder, &scratch] {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let prefix = format!("e2e-{name}");
        site.engine.remove(&site.engine.containers(&prefix)?)?;
        if site.engine.has_network(NETWORK)? {
            let removed = must(site.engine.docker().args(["network", "rm", NETWORK]));
            removed.context("the network of an earlier run cannot be removed; is another run under way?")?;
        }
        let census = Census::start(site.clone(), prefix);
        let (site, name, state) = (site.clone(), name.to_owned(), Mutex::default());
        let network_stays = AtomicBool::new(false);
        Ok(Self { site, name, folder, scratch, state, census, network_stays })
    }

    /// An embedded plane that runs.
    pub fn plane(&self) -> Result<Arc<Plane>> {
        self.quickstart(&[])
    }

    /// An embedded plane that a quickstart with these arguments runs.
    pub fn quickstart(&self, arguments: &[&str]) -> Result<Arc<Plane>> {
        let at = self.state().planes.len();
        let (data, log) =
            (self.scratch.join(format!("plane-{at}")), self.folder.join(format!("windlass-{at}.log")));
        let plane = Arc::new(Plane::start(&self.site, &data, log, arguments)?);
        self.state().planes.push(plane.clone());
        Ok(plane)
    }

    /// A manager beside a management cluster elsewhere.
    pub fn manager(&self, kubeconfig: &std::path::Path) -> Result<Arc<Plane>> {
        let (data, log) = (self.scratch.join("manager"), self.folder.join("windlass.log"));
        let plane = Arc::new(Plane::manager(&self.site, &data, log, kubeconfig)?);
        self.state().planes.push(plane.clone());
        Ok(plane)
    }

    /// The cluster `e2e-SCENARIO` with a suffix, known from now on.
    pub fn cluster(&self, plane: &Arc<Plane>, suffix: &str) -> Cluster {
        let cluster = Cluster::new(plane, &self.cluster_name(suffix), &self.folder);
        self.state().clusters.push(cluster.clone());
        cluster
    }

    /// What a cluster of this scenario is called.
    pub fn cluster_name(&self, suffix: &str) -> String {
        format!("e2e-{}{suffix}", self.name)
    }

    /// Applies a manifest, installs the network plugin and waits until everything is available.
    pub fn create(
        &self,
        cluster: &Cluster,
        manifest: &Manifest,
        control_planes: u64,
        workers: u64,
    ) -> Result<()> {
        let start = now();
        cluster.plane.apply(manifest)?;
        cluster.reach()?;
        self.fact(&format!("{}: API answers", cluster.name), start);
        cluster.install_cni()?;
        cluster.wait_available(control_planes, workers, CREATION)?;
        self.fact(&format!("{}: {control_planes}+{workers} available", cluster.name), start);
        Ok(())
    }

    /// A cluster of the usual manifest, created.
    pub fn created(&self, plane: &Arc<Plane>, control_planes: u32, workers: u32) -> Result<Cluster> {
        let cluster = self.cluster(plane, "");
        let manifest = plane.generate(&cluster.name, self.site.version(), control_planes, workers)?;
        self.create(&cluster, &manifest, control_planes.into(), workers.into())?;
        Ok(cluster)
    }

    /// Keeps how long something took.
    pub fn fact(&self, what: &str, since: Instant) {
        self.note(what, &format!("{:.1} s", since.elapsed().as_secs_f64()));
    }

    /// Keeps something for the table.
    pub fn note(&self, what: &str, value: &str) {
        say(&format!("{}: {what}: {value}", self.name));
        self.state().facts.push((what.to_owned(), value.to_owned()));
    }

    /// What was measured.
    pub fn facts(&self) -> Vec<(String, String)> {
        self.state().facts.clone()
    }

    /// The planes and clusters so far.
    pub fn played(&self) -> (Vec<Arc<Plane>>, Vec<Cluster>) {
        let state = self.state();
        (state.planes.clone(), state.clusters.clone())
    }

    /// Every container that the scenario's clusters ever had.
    pub fn ever(&self) -> Vec<Container> {
        self.census.ever()
    }

    /// Whether the network has to be there after the scenario, because Windlass did not make it.
    pub fn network_stays(&self, stays: bool) {
        self.network_stays.store(stays, Ordering::Relaxed);
    }

    /// Deletes the clusters through Windlass and fails if the engine still has anything of them.
    pub fn delete_all(&self) -> Result<()> {
        let (_, mut clusters) = self.played();
        clusters.retain(|cluster| !self.state().deleted.contains(&cluster.name));
        let start = now();
        for cluster in &clusters {
            cluster.delete(DELETION)?;
            self.state().deleted.insert(cluster.name.clone());
        }
        if !clusters.is_empty() {
            self.fact("deleted", start);
        }
        self.check_nothing_left()
    }

    /// Fails if the engine has a container, volume or network of the scenario.
    pub fn check_nothing_left(&self) -> Result<()> {
        let prefix = self.cluster_name("");
        let mut left = String::new();
        for container in self.site.engine.containers(&prefix)? {
            let _ = write!(left, " container {};", container.name);
        }
        let ever = self.census.ever();
        let volumes: BTreeSet<String> = ever.iter().flat_map(|container| container.volumes.clone()).collect();
        for volume in self.site.engine.existing_volumes(&volumes)? {
            let _ = write!(left, " volume {volume};");
        }
        for (kind, list) in [("volume", "volume"), ("network", "network")] {
            for name in self.labelled(list)? {
                let _ = write!(left, " {kind} {name};");
            }
        }
        let network_there = self.site.engine.has_network(NETWORK)?;
        let network_stays = self.network_stays.load(Ordering::Relaxed);
        if network_stays && !network_there {
            bail!("the network {NETWORK} was there before Windlass and is gone");
        }
        if network_there && !network_stays {
            let _ = write!(left, " network {NETWORK};");
        }
        if ever.is_empty() {
            bail!("the scenario never had a container: nothing was tested");
        }
        if left.is_empty() { Ok(()) } else { bail!("left on the engine:{left}") }
    }

    /// Volumes or networks with labels of ours that name a cluster of the scenario.
    fn labelled(&self, kind: &str) -> Result<Vec<String>> {
        let format = "{{.Name}}\t{{.Labels}}";
        let all = must(self.site.engine.docker().args([kind, "ls", "--format", format]))?;
        let ours = all
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter(|(_, labels)| labels.contains(OUR_LABELS) && labels.contains(&self.cluster_name("")));
        Ok(ours.map(|(name, _)| name.to_owned()).collect())
    }

    /// Leaves everything as it is, for whoever looks why it failed.
    pub fn leave(&self) {
        self.census.stop();
        say(&format!(
            "left as it is: {} and the containers {}*",
            self.scratch.display(),
            self.cluster_name("")
        ));
    }

    /// Stops the planes and removes whatever is left, by force.
    pub fn clear(&self) -> Result<()> {
        self.census.stop();
        let (planes, _) = self.played();
        let stopped: Vec<_> = planes.iter().map(|plane| plane.stop()).collect();
        self.site.engine.remove(&self.site.engine.containers(&self.cluster_name(""))?)?;
        if !self.network_stays.load(Ordering::Relaxed) && self.site.engine.has_network(NETWORK)? {
            must(self.site.engine.docker().args(["network", "rm", NETWORK]))?;
        }
        let _ = std::fs::remove_dir_all(&self.scratch);
        stopped.into_iter().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the engine all the time: a volume can only be told by the container that has it.
#[derive(Debug)]
struct Census {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<String, Container>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Census {
    fn start(site: Arc<Site>, prefix: String) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::new())));
        let (stopped, all) = (stop.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for container in site.engine.containers(&prefix).unwrap_or_default() {
                    all.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(container.id.clone(), container);
                }
                std::thread::sleep(Duration::from_secs(2));
            }
        });
        Self { stop, seen, thread: Mutex::new(Some(thread)) }
    }

    fn ever(&self) -> Vec<Container> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Census {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
