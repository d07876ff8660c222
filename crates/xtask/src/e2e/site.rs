//! What all scenarios share: the engine, the programs, the images.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::engine::Engine;
use super::shell::must;
use crate::command::{root, run, say};

/// Where nothing else is asked for.
pub const VERSION: &str = "1.35.4";

/// The other minor version of the scenarios.
pub const OLDER_VERSION: &str = "1.34.4";

/// The load balancer's image that `cargo xtask node-image` makes.
const LOAD_BALANCER: &str = "windlass/haproxy:2.6";

/// The load balancer's image beside node images of a registry: the provider's default.
const REGISTRYS_LOAD_BALANCER: &str = "kindest/haproxy:v20230606-42a2262b";

/// The container network of the scenarios: not the one of the clusters of whoever works on this machine.
pub const NETWORK: &str = "windlass-e2e";

/// What to use, from the command line.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Kubernetes version without `v`.
    pub version: String,
    /// Node image instead of the one made here.
    pub node_image: Option<String>,
    /// Load balancer image instead of the one made here.
    pub load_balancer_image: Option<String>,
    /// Manifest of a network plugin instead of the one for the images made here.
    pub cni: Option<PathBuf>,
    /// Folder with kubectl and its like instead of the ones made here.
    pub binaries: Option<PathBuf>,
    /// Binary to test instead of building one.
    pub binary: Option<PathBuf>,
    /// Optimised binary.
    pub release: bool,
}

/// What all scenarios share.
#[derive(Debug)]
pub struct Site {
    /// The engine.
    pub engine: Engine,
    /// The binary under test.
    pub windlass: PathBuf,
    /// Folder of kubectl, kube-apiserver and their like.
    pub binaries: PathBuf,
    choice: Choice,
}

impl Site {
    /// Builds and finds everything.
    pub fn prepare(choice: Choice) -> Result<Self> {
        let engine = Engine::find(&cache())?;
        raise_limits();
        let windlass = choice.binary.clone().map_or_else(|| build(choice.release), Ok)?;
        let binaries = choice.binaries.clone().map_or_else(|| binaries(&choice.version), Ok)?;
        let site = Self { engine, windlass, binaries, choice };
        site.ensure_images(&site.choice.version)?;
        site.engine.check(&site.node_image(&site.choice.version))?;
        Ok(site)
    }

    /// Kubernetes version without `v`.
    pub fn version(&self) -> &str {
        &self.choice.version
    }

    /// The node image of a version.
    pub fn node_image(&self, version: &str) -> String {
        match &self.choice.node_image {
            Some(image) if version == self.choice.version => image.clone(),
            // A person who brought an image for one version has the others under the same name.
            Some(image) => {
                format!("{}:v{version}", image.rsplit_once(':').map_or(image.as_str(), |(name, _)| name))
            }
            None => format!("windlass/node:v{version}"),
        }
    }

    /// The load balancer's image: repository and tag, without the name that the provider adds.
    pub fn load_balancer(&self) -> Result<(String, String)> {
        let made_here = self.choice.node_image.is_none();
        let default = if made_here { LOAD_BALANCER } else { REGISTRYS_LOAD_BALANCER };
        let image = self.choice.load_balancer_image.as_deref().unwrap_or(default);
        let split =
            image.rsplit_once(':').and_then(|(name, tag)| Some((name.strip_suffix("/haproxy")?, tag)));
        let (repository, tag) =
            split.with_context(|| format!("--load-balancer-image {image} is not REPOSITORY/haproxy:TAG"))?;
        Ok((repository.to_owned(), tag.to_owned()))
    }

    /// Makes the images of a version that the engine lacks, unless others are used.
    pub fn ensure_images(&self, version: &str) -> Result<()> {
        if self.choice.node_image.is_some() {
            return Ok(());
        }
        let mut command = xtask()?;
        self.engine.point(&mut command);
        // It prints the names of the images.
        must(command.args(["node-image", "--version", version]).stderr(Stdio::inherit())).map(drop)
    }

    /// A program with nothing of the outer environment that windlass or kubectl would read.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let foreign = std::env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("WINDLASS_") || name.starts_with("KUBE") || name.starts_with("DOCKER_")
        });
        for name in foreign {
            command.env_remove(name);
        }
        self.engine.point(&mut command);
        command.env("DOCKER_NETWORK", NETWORK).current_dir(root());
        command
    }

    /// kubectl for a cluster.
    pub fn kubectl(&self, kubeconfig: &Path) -> Command {
        let mut command = self.command(&self.binaries.join("kubectl"));
        command.arg("--kubeconfig").arg(kubeconfig);
        command.env("KUBECACHEDIR", std::env::temp_dir().join("windlass-e2e-kubectl"));
        command
    }

    /// The manifest of the network plugin that a test installs, as a user would.
    pub fn cni(&self) -> PathBuf {
        self.choice.cni.clone().unwrap_or_else(|| root().join("tests/cni/pod-routes.yaml"))
    }

    /// etcdctl.
    pub fn etcdctl(&self) -> Command {
        self.command(&self.etcd_folder().join("etcdctl"))
    }

    /// The folder of etcd and etcdctl.
    pub fn etcd_folder(&self) -> PathBuf {
        self.binaries.parent().unwrap_or(Path::new("/")).join("etcd")
    }
}

/// Limits of the kernel that all nodes share, and what a handful of nodes needs: every systemd, containerd and kubelet
/// takes some of them. <https://kind.sigs.k8s.io/docs/user/known-issues/> tells more.
const LIMITS: &[(&str, u64)] =
    &[("/proc/sys/fs/inotify/max_user_instances", 1024), ("/proc/sys/fs/inotify/max_user_watches", 524_288)];

/// Raises the limits, or says that they are low.
fn raise_limits() {
    for (file, wanted) in LIMITS {
        let limit = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok());
        if limit.is_some_and(|limit| limit < *wanted) {
            match std::fs::write(file, wanted.to_string()) {
                Ok(()) => say(&format!("{file} is {wanted} now")),
                Err(error) => say(&format!("{file} is low and cannot be raised to {wanted}: {error}")),
            }
        }
    }
}

/// What is kept between runs, as `.ci/run` names it.
pub fn cache() -> PathBuf {
    if let Some(cache) = std::env::var_os("WINDLASS_CI_CACHE") {
        return PathBuf::from(cache);
    }
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("windlass-ci")
}

/// This program once more: what it builds is printed there.
fn xtask() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.current_dir(root());
    Ok(command)
}

/// The folder of the binaries of a version, made where it is missing.
fn binaries(version: &str) -> Result<PathBuf> {
    let folder = must(xtask()?.args(["node-image", "--version", version, "--binaries"]))?;
    let folder = folder.trim().lines().last().map(PathBuf::from).unwrap_or_default();
    if !folder.join("kubectl").exists() {
        bail!("there is no kubectl in {}", folder.display());
    }
    Ok(folder)
}

/// Builds the binary under test.
fn build(release: bool) -> Result<PathBuf> {
    let mut args = vec!["build", "--quiet", "--package", "windlass-cli"];
    if release {
        args.push("--release");
    }
    run("cargo", &args)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join(if release { "release" } else { "debug" }).join("windlass"))
}
