//! etcd as its own client sees it: the membership of a stacked control plane, asked without the Kubernetes API.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::cluster::Cluster;
use super::shell::{must, until};

/// Where kubeadm keeps what a client of etcd needs.
const PKI: &str = "/etc/kubernetes/pki/etcd";

/// A client of a cluster's etcd.
#[derive(Clone, Debug)]
pub struct Etcd {
    cluster: Cluster,
    folder: PathBuf,
}

/// Members by name: whether each may vote.
type Members = BTreeMap<String, bool>;

impl Etcd {
    /// Takes credentials from the first control plane machine; they hold for every member.
    pub fn of(cluster: &Cluster, folder: &Path) -> Result<Self> {
        let machines = cluster.control_planes()?;
        let first =
            machines.iter().find(|container| container.running).context("no control plane machine runs")?;
        let folder = folder.join("etcd");
        std::fs::create_dir_all(&folder)?;
        for file in ["ca.crt", "server.crt", "server.key"] {
            let text = cluster.plane.site().engine.exec(&first.name, &["cat", &format!("{PKI}/{file}")])?;
            std::fs::write(folder.join(file), text)?;
        }
        Ok(Self { cluster: cluster.clone(), folder })
    }

    /// The members, as any of the machines that run tells them.
    fn members(&self) -> Result<Members> {
        let list: Value = serde_json::from_str(&self.ask(&["member", "list", "-w", "json"])?)?;
        let member = |member: &Value| {
            let name = member["name"].as_str().filter(|name| !name.is_empty()).unwrap_or("(not started)");
            (name.to_owned(), member["isLearner"] != true)
        };
        Ok(list["members"].as_array().into_iter().flatten().map(member).collect())
    }

    fn ask(&self, args: &[&str]) -> Result<String> {
        let machines = self.cluster.control_planes()?;
        let running = machines.iter().filter(|container| !container.address.is_empty());
        let mut last = None;
        for machine in running {
            let mut command = self.cluster.plane.site().etcdctl();
            command.args(["--endpoints", &format!("https://{}:2379", machine.address)]);
            command.args(["--dial-timeout=2s", "--command-timeout=3s"]);
            for (flag, file) in [("--cacert", "ca.crt"), ("--cert", "server.crt"), ("--key", "server.key")] {
                command.arg(flag).arg(self.folder.join(file));
            }
            match must(command.args(args)) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no control plane machine runs")))
    }

    /// Waits until the members are exactly the control plane machines, all of them voting and healthy.
    pub fn wait_exact(&self, size: usize) -> Result<()> {
        until(&format!("etcd has {size} voting members"), Duration::from_secs(30), || {
            let machines: BTreeSet<_> =
                self.cluster.control_planes()?.into_iter().map(|container| container.name).collect();
            let members = self.members()?;
            let names: BTreeSet<_> = members.keys().cloned().collect();
            if names != machines || names.len() != size || members.values().any(|votes| !votes) {
                bail!("members are {members:?}, machines are {machines:?}");
            }
            self.ask(&["endpoint", "health", "--cluster"]).map(drop)
        })
    }

    /// Begins to look at the membership once a second.
    pub fn watch(&self) -> Watch {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(History::default())));
        let (stopped, history, etcd) = (stop.clone(), seen.clone(), self.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // Machines first: a member that appears in between has had a machine for long.
                let machines = etcd.cluster.control_planes();
                if let (Ok(machines), Ok(members)) = (machines, etcd.members()) {
                    let machines = machines.into_iter().map(|container| container.name).collect();
                    history.lock().unwrap_or_else(PoisonError::into_inner).add(&machines, &members);
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Watch { stop, seen, thread: Some(thread) }
    }
}

/// What the membership was, from look to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Numbers of members, each only once in a row.
    pub sizes: Vec<usize>,
    /// Members whose machine was gone.
    pub orphans: BTreeSet<String>,
}

impl History {
    fn add(&mut self, machines: &BTreeSet<String>, members: &Members) {
        if self.sizes.last() != Some(&members.len()) {
            self.sizes.push(members.len());
        }
        let named = members.keys().filter(|name| !name.starts_with('('));
        self.orphans.extend(named.filter(|name| !machines.contains(*name)).cloned());
    }
}

/// Looks until it is stopped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<History>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Fails unless the membership had exactly these sizes, one after the other, and never a member without machine.
    pub fn expect(mut self, sizes: &[usize]) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            bail!("the watch of etcd panicked");
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if seen.sizes != sizes {
            bail!("etcd had {:?} members one after the other, expected {sizes:?}", seen.sizes);
        }
        if !seen.orphans.is_empty() {
            bail!("etcd members outlived their machines: {:?}", seen.orphans);
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_show_steps_and_orphans() {
        let set = |names: &str| names.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
        let members = |names: &str| set(names).into_iter().map(|name| (name, true)).collect::<Members>();
        let mut history = History::default();
        for (machines, all) in [("a", "a"), ("a b", "a"), ("a b", "a b"), ("b", "a b"), ("b", "b")] {
            history.add(&set(machines), &members(all));
        }
        assert_eq!(history.sizes, [1, 2, 1]);
        assert_eq!(history.orphans, set("a"));
    }
}
