//! A running `windlass`: the embedded plane, or the manager beside a foreign API server.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::manifest::Manifest;
use super::shell::{Hopeless, Said, ask, free_port, must, tail, until};
use super::site::Site;

/// A running `windlass` that can be killed and started again.
#[derive(Debug)]
pub struct Plane {
    site: Arc<Site>,
    /// The data directory.
    data: PathBuf,
    /// Everything that it ever said.
    pub log: PathBuf,
    /// Kubeconfig of the management cluster.
    pub kubeconfig: PathBuf,
    /// What comes after `windlass --data-dir DIR`.
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Plane {
    /// Starts an embedded plane and waits until it answers. With `quickstart`, by that command and its arguments.
    pub fn start(site: &Arc<Site>, data: &Path, log: PathBuf, quickstart: &[&str]) -> Result<Self> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        let mut arguments: Vec<String> = if quickstart.is_empty() {
            vec!["up".into()]
        } else {
            quickstart.iter().map(|&a| a.into()).collect()
        };
        arguments.extend(["--listen".into(), listen]);
        let kubeconfig = data.join("management.kubeconfig");
        Self::begin(site, data, log, kubeconfig, arguments)
    }

    /// Starts the manager for a management cluster elsewhere.
    pub fn manager(site: &Arc<Site>, data: &Path, log: PathBuf, kubeconfig: &Path) -> Result<Self> {
        let file = kubeconfig.to_str().context("the path is not text")?;
        let arguments = ["manager", "--kubeconfig", file, "--health-address", "127.0.0.1:0"];
        let arguments = arguments.map(str::to_owned).to_vec();
        Self::begin(site, data, log, kubeconfig.to_path_buf(), arguments)
    }

    fn begin(
        site: &Arc<Site>,
        data: &Path,
        log: PathBuf,
        kubeconfig: PathBuf,
        arguments: Vec<String>,
    ) -> Result<Self> {
        std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
        let (data, child) = (data.to_path_buf(), Mutex::new(None));
        let plane = Self { site: site.clone(), data, log, kubeconfig, arguments, child };
        plane.spawn()?;
        plane.wait_ready()?;
        Ok(plane)
    }

    /// Starts the process without waiting for anything; a quickstart is continued by `up`.
    pub fn spawn(&self) -> Result<()> {
        let append = || File::options().create(true).append(true).open(&self.log);
        let (out, err) = (append()?, append()?);
        let mut command = self.site.command(&self.site.windlass);
        command.arg("--data-dir").arg(&self.data).args(&self.arguments);
        command.env("WINDLASS_LOG", "info");
        // What a quickstart's template reads beside its flags.
        let (repository, tag) = self.site.load_balancer()?;
        command.env("LOAD_BALANCER_IMAGE_REPOSITORY", repository).env("LOAD_BALANCER_IMAGE_TAG", tag);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        *self.child() = Some(child.context("cannot start windlass")?);
        Ok(())
    }

    /// Waits until the management API serves clusters.
    pub fn wait_ready(&self) -> Result<()> {
        until("the management API serves clusters", Duration::from_mins(1), || {
            self.alive()?;
            let said = self.kubectl(&["get", "clusters.cluster.x-k8s.io", "-A", "-o", "name"])?;
            if said.good { Ok(()) } else { bail!("{}", said.err.trim()) }
        })
    }

    /// Fails for good if the process has ended.
    pub fn alive(&self) -> Result<()> {
        let ended = self.child().as_mut().and_then(|child| child.try_wait().ok().flatten());
        match ended {
            None => Ok(()),
            Some(status) => {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                Err(Hopeless(format!("windlass ended ({status}):\n{}", tail(&log, 20))).into())
            }
        }
    }

    /// `kill -9`; returns when it is gone.
    pub fn kill(&self) -> Result<()> {
        if let Some(mut child) = self.child().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Stops it in order.
    pub fn stop(&self) -> Result<()> {
        let Some(mut child) = self.child().take() else { return Ok(()) };
        must(Command::new("kill").args(["-TERM", &child.id().to_string()]))?;
        let status = child.wait()?;
        if !status.success() {
            bail!("windlass did not stop in order: {status}");
        }
        Ok(())
    }

    /// Whatever it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// kubectl for the management cluster.
    pub fn kubectl(&self, args: &[&str]) -> Result<Said> {
        ask(self.site.kubectl(&self.kubeconfig).args(args))
    }

    /// kubectl for the management cluster, which has to succeed.
    pub fn must(&self, args: &[&str]) -> Result<String> {
        must(self.site.kubectl(&self.kubeconfig).args(args))
    }

    /// An object of the namespace `default`.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        let text = self.must(&["get", kind, name, "-o", "json"])?;
        serde_json::from_str(&text).with_context(|| format!("cannot read {kind} {name}"))
    }

    /// All objects of a kind in the namespace `default`.
    pub fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let text = self.must(&["get", kind, "-l", selector, "-o", "json"])?;
        let mut list: Value =
            serde_json::from_str(&text).with_context(|| format!("cannot read the {kind}"))?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("the list of {kind} has no items"),
        }
    }

    /// Applies a manifest as a person would.
    pub fn apply(&self, manifest: &Manifest) -> Result<()> {
        apply(&mut self.site.kubectl(&self.kubeconfig), manifest.list().to_string().as_bytes())
    }

    /// Runs a `windlass` command for the same management cluster.
    pub fn windlass(&self, args: &[&str]) -> Result<Said> {
        let mut command = self.site.command(&self.site.windlass);
        command.arg("--data-dir").arg(&self.data).arg("--kubeconfig").arg(&self.kubeconfig);
        ask(command.args(args))
    }

    /// The manifest of a cluster on Docker, with the site's images.
    pub fn generate(
        &self,
        cluster: &str,
        version: &str,
        control_planes: u32,
        workers: u32,
    ) -> Result<Manifest> {
        let mut command = self.site.command(&self.site.windlass);
        command.args(["generate", "cluster", cluster, "--infrastructure", "docker"]);
        command.args(["--kubernetes-version", &format!("v{version}")]);
        command.args(["--control-plane-machine-count", &control_planes.to_string()]);
        command.args(["--worker-machine-count", &workers.to_string()]);
        let image = self.site.node_image(version);
        let manifest = Manifest::parse(&must(command.env("NODE_IMAGE", &image))?)?;
        let (repository, tag) = self.site.load_balancer()?;
        let balancer = serde_json::json!({"imageRepository": repository, "imageTag": tag});
        let patch = serde_json::json!({"spec": {"backend": {"docker": {"loadBalancer": balancer}}}});
        manifest.change("DevCluster", "", &patch)
    }

    /// What all commands and scenarios of this plane share.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `kubectl apply -f -`.
pub fn apply(kubectl: &mut Command, manifest: &[u8]) -> Result<()> {
    let mut child = kubectl
        .args(["apply", "--server-side", "--force-conflicts", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start kubectl")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(manifest).context("kubectl does not read the manifest")?;
    }
    let said = Said::from(child.wait_with_output()?);
    if !said.good {
        bail!("kubectl apply failed: {}", said.err.trim());
    }
    Ok(())
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
