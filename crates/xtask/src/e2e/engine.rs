//! The container engine: the one that runs, or a dockerd of our own for as long as the scenarios run.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::shell::{Hopeless, ask, must, tail, until};
use crate::command::say;

/// The label that upstream's Docker provider and ours put on each container of a cluster.
pub const CLUSTER_LABEL: &str = "io.x-k8s.kind.cluster";

/// The prefix of labels that only Windlass writes.
pub const OUR_LABELS: &str = "docker.windlass.dev/";

/// An engine that answers.
#[derive(Debug)]
pub struct Engine {
    /// `DOCKER_HOST` of every program; `None` means what the machine's docker client is set to.
    host: Option<String>,
    _daemon: Option<Daemon>,
}

/// A dockerd that we started.
#[derive(Debug)]
struct Daemon {
    child: Child,
    folder: PathBuf,
}

/// What a container is, as far as a test of leftovers cares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub cluster: String,
    pub role: String,
    pub running: bool,
    /// On its network; empty while it does not run.
    pub address: String,
    pub volumes: BTreeSet<String>,
}

impl Engine {
    /// The engine of this machine; where none answers, a dockerd whose data lives in `cache`.
    pub fn find(cache: &Path) -> Result<Self> {
        let theirs = Self { host: std::env::var("DOCKER_HOST").ok(), _daemon: None };
        let answer = ask(theirs.docker().args(["version", "--format", "{{.Server.Version}}"]));
        match answer {
            Ok(said) if said.good => {
                say(&format!("the engine is docker {}", said.out.trim()));
                Ok(theirs)
            }
            Ok(said) if theirs.host.is_some() => {
                bail!("DOCKER_HOST is set, but no engine answers there: {}", said.err.trim())
            }
            Ok(_) => Self::start(cache),
            Err(error) => {
                Err(error.context("a docker client is needed; on Debian: apt-get install docker.io"))
            }
        }
    }

    /// Starts a dockerd of our own. Its images stay in `cache` for the next run.
    pub fn start(cache: &Path) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("windlass-e2e-dockerd-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (socket, log) = (folder.join("docker.sock"), folder.join("dockerd.log"));
        let host = format!("unix://{}", socket.display());
        let data = cache.join("docker");
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        say(&format!("no engine answers; starting a dockerd of our own in {}", data.display()));
        let child = Command::new("dockerd")
            .arg("--data-root")
            .arg(&data)
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("-p")
            .arg(folder.join("dockerd.pid"))
            .args(["-H", &host])
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .context("cannot start dockerd; on Debian: apt-get install docker.io")?;
        let mut daemon = Daemon { child, folder };
        let client = Self { host: Some(host.clone()), _daemon: None };
        until("dockerd answers", Duration::from_mins(1), || {
            if let Some(status) = daemon.child.try_wait()? {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(Hopeless(format!("dockerd ended ({status}):\n{}", tail(&log, 20))).into());
            }
            must(client.docker().args(["version", "--format", "{{.Server.Version}}"]))
        })?;
        Ok(Self { host: Some(host), _daemon: Some(daemon) })
    }

    /// Fails with the engine's own words where it cannot start containers.
    pub fn check(&self, image: &str) -> Result<()> {
        let run = ["run", "--rm", "--network", "none", "--entrypoint", "/bin/true", image];
        must(self.docker().args(run)).map(drop).context("this engine cannot start a container")
    }

    /// The docker client, speaking to this engine.
    pub fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        self.point(&mut command);
        command
    }

    /// Makes a program use this engine.
    pub fn point(&self, command: &mut Command) {
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
    }

    /// Runs a program in a container, at most for a minute.
    pub fn exec(&self, container: &str, argv: &[&str]) -> Result<String> {
        let mut command = Command::new("timeout");
        self.point(&mut command);
        must(command.args(["60", "docker", "exec", container]).args(argv))
    }

    /// The containers of clusters whose names begin with `prefix`.
    pub fn containers(&self, prefix: &str) -> Result<Vec<Container>> {
        let filter = format!("label={CLUSTER_LABEL}");
        let ids = must(self.docker().args(["ps", "-aq", "--no-trunc", "--filter", &filter]))?;
        let ids: Vec<_> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // One of them may vanish meanwhile: the others are printed all the same.
        let said = ask(self.docker().arg("inspect").args(&ids))?;
        let inspected: Vec<Value> = serde_json::from_str(&said.out)
            .with_context(|| format!("cannot read what docker inspect said: {}", said.err.trim()))?;
        let mut containers: Vec<_> = inspected.iter().map(Container::read).collect();
        containers.retain(|container| container.cluster.starts_with(prefix));
        containers.sort();
        Ok(containers)
    }

    /// Which of these volumes exist.
    pub fn existing_volumes(&self, of: &BTreeSet<String>) -> Result<Vec<String>> {
        let names = must(self.docker().args(["volume", "ls", "-q"]))?;
        Ok(names.split_whitespace().filter(|name| of.contains(*name)).map(str::to_owned).collect())
    }

    /// Whether the network exists.
    pub fn has_network(&self, name: &str) -> Result<bool> {
        let filter = format!("name=^{name}$");
        Ok(!must(self.docker().args(["network", "ls", "-q", "--filter", &filter]))?.trim().is_empty())
    }

    /// Removes containers with their volumes.
    pub fn remove(&self, containers: &[Container]) -> Result<()> {
        if containers.is_empty() {
            return Ok(());
        }
        let ids = containers.iter().map(|container| container.id.as_str());
        must(self.docker().args(["rm", "--force", "--volumes"]).args(ids)).map(drop)
    }
}

impl Container {
    fn read(value: &Value) -> Self {
        let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let label = |name: &str| value["Config"]["Labels"][name].as_str().unwrap_or_default().to_owned();
        let mounts = value["Mounts"].as_array().into_iter().flatten();
        let volumes = mounts
            .filter(|mount| mount["Type"] == "volume")
            .filter_map(|mount| mount["Name"].as_str().map(str::to_owned));
        let mut networks =
            value["NetworkSettings"]["Networks"].as_object().into_iter().flat_map(|all| all.values());
        Self {
            id: text("/Id"),
            name: text("/Name").trim_start_matches('/').to_owned(),
            cluster: label(CLUSTER_LABEL),
            role: label("io.x-k8s.kind.role"),
            running: value["State"]["Running"] == true,
            address: networks
                .find_map(|network| network["IPAddress"].as_str())
                .unwrap_or_default()
                .to_owned(),
            volumes: volumes.collect(),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // dockerd stops its containerd itself if it is asked, not killed.
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_read_as_the_engine_writes_them() {
        let inspected = serde_json::json!({
            "Id": "abc", "Name": "/e2e-1-lb",
            "State": {"Running": true},
            "Config": {"Labels": {CLUSTER_LABEL: "e2e-1", "io.x-k8s.kind.role": "external-load-balancer"}},
            "NetworkSettings": {"Networks": {"n": {"IPAddress": "172.18.0.2"}}},
            "Mounts": [{"Type": "bind", "Source": "/lib/modules"}, {"Type": "volume", "Name": "v1"}],
        });
        let container = Container::read(&inspected);
        assert_eq!((container.name.as_str(), container.cluster.as_str()), ("e2e-1-lb", "e2e-1"));
        assert_eq!(container.volumes, BTreeSet::from(["v1".to_owned()]));
        assert!(container.running && container.address == "172.18.0.2");
    }
}
