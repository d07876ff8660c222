//! A workload cluster, seen from both sides: its objects at the management API, and its own API.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::engine::Container;
use super::plane::Plane;
use super::prober::Prober;
use super::shell::{Said, ask, must, until};
use super::streams::Streams;

/// How long the creation of any cluster of the scenarios may take.
pub const CREATION: Duration = Duration::from_mins(6);

/// The kinds whose objects must all be gone after a cluster's deletion.
const KINDS: &str = "clusters.cluster.x-k8s.io,machines.cluster.x-k8s.io,machinesets.cluster.x-k8s.io,\
                     machinedeployments.cluster.x-k8s.io,kubeadmcontrolplanes.controlplane.cluster.x-k8s.io,\
                     kubeadmconfigs.bootstrap.cluster.x-k8s.io,devclusters.infrastructure.cluster.x-k8s.io,\
                     devmachines.infrastructure.cluster.x-k8s.io";

/// The type of Secrets that Windlass makes; those of other types are their author's.
const SECRET: &str = "cluster.x-k8s.io/secret";

/// A workload cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its management cluster.
    pub plane: Arc<Plane>,
    /// Its name.
    pub name: String,
    kubeconfig: PathBuf,
}

impl Cluster {
    /// The cluster of this name, whether it exists or not; its kubeconfig is kept in `folder`.
    pub fn new(plane: &Arc<Plane>, name: &str, folder: &std::path::Path) -> Self {
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        Self { plane: plane.clone(), name: name.to_owned(), kubeconfig }
    }

    /// Waits until the cluster's API answers; returns the kubeconfig that `windlass get kubeconfig` gives.
    pub fn reach(&self) -> Result<PathBuf> {
        until(&format!("the API of {} answers", self.name), CREATION, || {
            self.plane.alive()?;
            let said = self.plane.windlass(&["get", "kubeconfig", &self.name])?;
            if !said.good {
                bail!("{}; {}", said.err.trim(), self.waits());
            }
            write_private(&self.kubeconfig, &said.out)?;
            let said = self.kubectl(&["--request-timeout=3s", "get", "--raw", "/readyz"])?;
            if said.good { Ok(()) } else { bail!("{}; {}", said.err.trim(), self.waits()) }
        })?;
        Ok(self.kubeconfig.clone())
    }

    /// Installs the network plugin as a user does: with kubectl, once the API answers.
    pub fn install_cni(&self) -> Result<()> {
        self.reach()?;
        let file = self.plane.site().cni();
        until(&format!("the network plugin is applied to {}", self.name), Duration::from_mins(1), || {
            self.must(&["apply", "-f", file.to_str().context("the path is not text")?]).map(drop)
        })
    }

    /// kubectl for the workload cluster.
    pub fn kubectl(&self, args: &[&str]) -> Result<Said> {
        ask(self.plane.site().kubectl(&self.kubeconfig).args(args))
    }

    /// kubectl for the workload cluster, which has to succeed.
    pub fn must(&self, args: &[&str]) -> Result<String> {
        must(self.plane.site().kubectl(&self.kubeconfig).args(args))
    }

    /// Connections to the workload API that stay open.
    pub fn streams(&self, count: usize) -> Result<Streams> {
        Streams::open(count, || self.plane.site().kubectl(&self.kubeconfig))
    }

    /// Applies objects to the workload cluster.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        super::plane::apply(&mut self.plane.site().kubectl(&self.kubeconfig), manifest.as_bytes())
    }

    /// Objects of the workload cluster.
    pub fn list(&self, args: &[&str]) -> Result<Vec<Value>> {
        let text = self.must(&[&["get"], args, &["-o", "json"]].concat())?;
        let mut list: Value = serde_json::from_str(&text).context("cannot read what kubectl printed")?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// A client that asks all the time.
    pub fn probe(&self) -> Result<Prober> {
        Prober::start(&self.kubeconfig)
    }

    /// Waits until the cluster is available with exactly these machines, all up to date and available, and until all
    /// of its nodes are Ready.
    pub fn wait_available(&self, control_planes: u64, workers: u64, longest: Duration) -> Result<()> {
        let what = format!("{} is available with {control_planes}+{workers} machines", self.name);
        until(&what, longest, || {
            self.plane.alive()?;
            let cluster = self.plane.get("clusters.cluster.x-k8s.io", &self.name)?;
            is_true(&cluster, "Available")?;
            has(&cluster, "controlPlane", control_planes)?;
            has(&cluster, "workers", workers)
        })?;
        self.wait_nodes(usize::try_from(control_planes + workers)?)
    }

    /// Waits until the cluster has exactly so many nodes, all of them Ready.
    pub fn wait_nodes(&self, wanted: usize) -> Result<()> {
        until(&format!("{wanted} nodes of {} are Ready", self.name), CREATION, || {
            self.plane.alive()?;
            self.nodes_ready(wanted)
        })
    }

    fn nodes_ready(&self, wanted: usize) -> Result<()> {
        let nodes = self.list(&["nodes"])?;
        let ready = nodes.iter().filter(|node| is_true(node, "Ready").is_ok()).count();
        if (nodes.len(), ready) != (wanted, wanted) {
            bail!("{} nodes, {ready} of them Ready", nodes.len());
        }
        Ok(())
    }

    /// Sets the replicas of the control plane, as `kubectl scale` does.
    pub fn scale_control_plane(&self, replicas: u32) -> Result<()> {
        self.scale("kubeadmcontrolplanes.controlplane.cluster.x-k8s.io", "control-plane", replicas)
    }

    /// Sets the replicas of the first worker deployment.
    pub fn scale_workers(&self, replicas: u32) -> Result<()> {
        self.scale("machinedeployments.cluster.x-k8s.io", "md-0", replicas)
    }

    fn scale(&self, kind: &str, suffix: &str, replicas: u32) -> Result<()> {
        let (name, replicas) = (format!("{}-{suffix}", self.name), format!("--replicas={replicas}"));
        self.plane.must(&["scale", kind, &name, &replicas]).map(drop)
    }

    /// The containers of the cluster.
    pub fn containers(&self) -> Result<Vec<Container>> {
        let mut containers = self.plane.site().engine.containers(&self.name)?;
        containers.retain(|container| container.cluster == self.name);
        Ok(containers)
    }

    /// The containers of its control plane machines.
    pub fn control_planes(&self) -> Result<Vec<Container>> {
        let mut containers = self.containers()?;
        containers.retain(|container| container.role == "control-plane");
        Ok(containers)
    }

    /// Its machines at the management API.
    pub fn machines(&self) -> Result<Vec<Value>> {
        self.plane.list("machines.cluster.x-k8s.io", &self.selector())
    }

    /// Selects all objects of the cluster.
    pub fn selector(&self) -> String {
        format!("cluster.x-k8s.io/cluster-name={}", self.name)
    }

    /// What `windlass describe` says.
    pub fn describe(&self, flags: &[&str]) -> Result<String> {
        let said = self.plane.windlass(&[&["describe", "cluster", &self.name], flags].concat())?;
        if said.good { Ok(said.out) } else { bail!("windlass describe failed: {}", said.err.trim()) }
    }

    /// Deletes it and waits until no object of it is left.
    pub fn delete(&self, longest: Duration) -> Result<()> {
        let delete =
            ["delete", "clusters.cluster.x-k8s.io", &self.name, "--wait=false", "--ignore-not-found"];
        self.plane.must(&delete)?;
        until(&format!("{} is deleted", self.name), longest, || {
            self.plane.alive()?;
            let left = self.plane.must(&["get", KINDS, "-l", &self.selector(), "-o", "name"])?;
            let cluster = self.plane.must(&[
                "get",
                "clusters.cluster.x-k8s.io",
                &self.name,
                "-o",
                "name",
                "--ignore-not-found",
            ])?;
            let secrets = self.plane.list("secrets", &self.selector())?;
            let ours = secrets.iter().filter(|secret| secret["type"] == SECRET);
            let secrets = ours.filter_map(|secret| secret["metadata"]["name"].as_str());
            let left: Vec<_> = left.lines().chain(cluster.lines()).chain(secrets).collect();
            if left.is_empty() { Ok(()) } else { bail!("left are {}", left.join(", ")) }
        })
    }

    /// What the cluster waits for, in a few words.
    fn waits(&self) -> String {
        let cluster = self.plane.get("clusters.cluster.x-k8s.io", &self.name);
        match cluster.and_then(|cluster| is_true(&cluster, "Available")) {
            Ok(()) => "the cluster is available".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

/// The condition of an object.
pub fn condition<'o>(object: &'o Value, of_type: &str) -> Option<&'o Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == of_type)
}

/// Fails with the condition's message unless it is True.
pub fn is_true(object: &Value, of_type: &str) -> Result<()> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match condition(object, of_type) {
        Some(condition) if condition["status"] == "True" => Ok(()),
        Some(condition) => bail!(
            "{name}: {of_type} is {}: {}",
            condition["status"].as_str().unwrap_or_default(),
            condition["message"].as_str().unwrap_or_default()
        ),
        None => bail!("{name} has no condition {of_type}"),
    }
}

/// Whether a part of the cluster has exactly so many machines in each state.
fn has(cluster: &Value, part: &str, wanted: u64) -> Result<()> {
    let status = &cluster["status"][part];
    for field in ["desiredReplicas", "replicas", "readyReplicas", "availableReplicas", "upToDateReplicas"] {
        let count = status[field].as_u64().unwrap_or_default();
        if count != wanted {
            bail!("{part}.{field} is {count}, wanted is {wanted}");
        }
    }
    Ok(())
}

fn write_private(path: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_say_why() {
        let condition = json!({"type": "Available", "status": "False", "message": "no endpoint"});
        let object = json!({"metadata": {"name": "c"}, "status": {"conditions": [condition]}});
        assert_eq!(
            is_true(&object, "Available").unwrap_err().to_string(),
            "c: Available is False: no endpoint"
        );
        assert_eq!(is_true(&object, "Ready").unwrap_err().to_string(), "c has no condition Ready");
    }

    #[test]
    fn every_count_matters() {
        let mut workers = json!({});
        for field in ["desiredReplicas", "replicas", "readyReplicas", "availableReplicas"] {
            workers[field] = json!(2);
        }
        let error = has(&json!({"status": {"workers": workers}}), "workers", 2).unwrap_err().to_string();
        assert_eq!(error, "workers.upToDateReplicas is 0, wanted is 2");
        assert!(has(&json!({}), "workers", 0).is_ok());
    }
}
