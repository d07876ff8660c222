//! What is built of what, and with which key.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::assets;
use super::cache::Cache;
use super::key::Inputs;
use super::tools::{check_go, check_image_tools, logged, script};
use super::versions::{Kubernetes, PROGRAMS};
use crate::command::say;

/// The load balancer's image.
pub const BALANCER: &str = "windlass/haproxy:2.6";
/// The image of the network's DaemonSet in `tests/cni`.
pub const ROUTES: &str = "windlass/pod-routes:v1";

/// The name of the node image of a version.
pub fn node_image(kubernetes: &Kubernetes) -> String {
    format!("windlass/node:v{}", kubernetes.version)
}

/// Programs built of one Go module into one folder.
struct Programs {
    /// The entry of the cache, and what is built, for people.
    folder: String,
    module: &'static str,
    /// What each program is called, and the package it is built of.
    packages: Vec<(&'static str, String)>,
    linker_flags: String,
    /// Whether the module is of ours, and has tests.
    own: bool,
}

impl Programs {
    fn kubernetes(kubernetes: &Kubernetes) -> Self {
        let package = |name| (name, format!("k8s.io/kubernetes/cmd/{name}"));
        Self {
            folder: format!("bin/{}", kubernetes.version),
            module: kubernetes.module,
            packages: PROGRAMS.iter().copied().map(package).collect(),
            linker_flags: kubernetes.linker_flags(),
            own: false,
        }
    }

    fn other(folder: &str, module: &'static str, packages: &[(&'static str, &str)]) -> Self {
        Self {
            folder: folder.to_owned(),
            module,
            packages: packages.iter().map(|(name, package)| (*name, (*package).to_owned())).collect(),
            linker_flags: "-s -w".to_owned(),
            own: false,
        }
    }

    fn etcd() -> Self {
        let packages = [("etcd", "go.etcd.io/etcd/server/v3"), ("etcdctl", "go.etcd.io/etcd/etcdctl/v3")];
        Self::other("bin/etcd", "etcd", &packages)
    }

    fn coredns() -> Self {
        Self::other("bin/coredns", "coredns", &[("coredns", ".")])
    }

    /// Our own: what a node has beside Kubernetes.
    fn node() -> Self {
        let packages = [
            ("pause", "./pause"),
            ("pod-routes", "./pod-routes"),
            ("crictl", "./crictl"),
            ("dns-relay", "./dns-relay"),
        ];
        Self { own: true, ..Self::other("bin/node", "node", &packages) }
    }

    fn key(&self) -> Result<String> {
        let packages = self.packages.iter().flat_map(|(name, package)| [*name, package.as_str()]);
        let inputs = packages.fold(Inputs::new().text(&self.linker_flags), Inputs::text);
        Ok(inputs.files(&assets(), &[&format!("go/{}", self.module)])?.key())
    }

    fn build(&self, cache: &Cache) -> Result<PathBuf> {
        let log = cache.log(&self.folder);
        cache.entry(&self.folder, &self.key()?, |folder| {
            check_go()?;
            say(&format!("building {} (log: {})", self.folder, log.display()));
            if self.own {
                logged(self.go().args(["vet", "./..."]), &log)?;
                logged(self.go().args(["test", "./..."]), &log)?;
            }
            for (name, package) in &self.packages {
                let mut build = self.go();
                build.args(["build", "-ldflags", &self.linker_flags, "-o"]);
                logged(build.arg(folder.join(name)).arg(package), &log)?;
            }
            Ok(())
        })
    }

    /// Go in the folder of the module. The committed sums decide what is built: nothing is resolved anew.
    fn go(&self) -> Command {
        let mut command = Command::new("go");
        command
            .current_dir(assets().join("go").join(self.module))
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false")
            .env("GOWORK", "off");
        command
    }
}

/// Images that are loaded together, as one archive.
pub struct Archive {
    /// The entry of the cache.
    name: String,
    /// The images, all of them labelled with the key.
    pub images: Vec<String>,
    pub key: String,
    /// The version of Kubernetes, if the images are of one.
    kubernetes: Option<&'static Kubernetes>,
}

impl Archive {
    /// The images that are the same for all versions.
    pub fn common() -> Result<Self> {
        let inputs = Inputs::new()
            .text(&base_key()?)
            .text(&Programs::node().key()?)
            .files(&assets(), &["scripts/lib.sh", "scripts/common.sh", "haproxy"])?;
        Ok(Self {
            name: "images/common".to_owned(),
            images: vec![BALANCER.to_owned(), ROUTES.to_owned()],
            key: inputs.key(),
            kubernetes: None,
        })
    }

    /// The node image of a version.
    pub fn node(kubernetes: &'static Kubernetes) -> Result<Self> {
        let mut inputs = Inputs::new().text(kubernetes.version).text(&base_key()?);
        for programs in programs(kubernetes) {
            inputs = inputs.text(&programs.key()?);
        }
        let scripts = ["scripts/lib.sh", "scripts/node.sh", "scripts/bake.sh", "root"];
        Ok(Self {
            name: format!("images/{}", kubernetes.version),
            images: vec![node_image(kubernetes)],
            key: inputs.files(&assets(), &scripts)?.key(),
            kubernetes: Some(kubernetes),
        })
    }

    /// Whether the cache has it.
    pub fn is_built(&self, cache: &Cache) -> bool {
        cache.has(&self.name, &self.key)
    }

    /// The archive, made if it is not there of what [`prepare`] made before.
    pub fn build(&self, cache: &Cache) -> Result<PathBuf> {
        let log = cache.log(&self.name);
        let folder = cache.entry(&self.name, &self.key, |folder| {
            say(&format!("making {} (log: {})", self.images.join(" and "), log.display()));
            let mut command = match self.kubernetes {
                Some(kubernetes) => {
                    let mut command = script("node.sh");
                    command.arg(format!("v{}", kubernetes.version));
                    command
                }
                None => script("common.sh"),
            };
            command
                .env("OUT", folder)
                .env("BASE", cache.path("base").join("base.tar"))
                .env("BIN", cache.path("bin"))
                .env("KEY", &self.key)
                .env("BALANCER_IMAGE", BALANCER)
                .env("ROUTES_IMAGE", ROUTES);
            logged(&mut command, &log)
        })?;
        Ok(folder.join("images.tar"))
    }

    fn programs(&self) -> Vec<Programs> {
        match self.kubernetes {
            Some(kubernetes) => programs(kubernetes),
            None => vec![Programs::node()],
        }
    }
}

/// Makes what the archives are made of: programs and the Debian file system side by side, for one waits for
/// the compiler and the other for the network.
pub fn prepare(cache: &Cache, archives: &[&Archive]) -> Result<()> {
    if archives.is_empty() {
        return Ok(());
    }
    check_image_tools()?;
    std::thread::scope(|scope| {
        let debian = scope.spawn(|| base(cache));
        let mut all = archives.iter().flat_map(|archive| archive.programs());
        // What two archives need is there the second time.
        let built = all.try_for_each(|programs| programs.build(cache).map(drop));
        let debian = debian.join().unwrap_or_else(|_| anyhow::bail!("bootstrapping Debian panicked"));
        built.and(debian)
    })
}

/// The programs of a version and of etcd, for use outside of images; the folder of the former.
pub fn binaries(cache: &Cache, kubernetes: &Kubernetes) -> Result<PathBuf> {
    Programs::etcd().build(cache)?;
    Programs::kubernetes(kubernetes).build(cache)
}

fn programs(kubernetes: &Kubernetes) -> Vec<Programs> {
    vec![Programs::node(), Programs::kubernetes(kubernetes), Programs::etcd(), Programs::coredns()]
}

fn base_key() -> Result<String> {
    Ok(Inputs::new().text(std::env::consts::ARCH).files(&assets(), &["scripts/base.sh"])?.key())
}

/// The Debian that nodes and the load balancer are made of.
fn base(cache: &Cache) -> Result<()> {
    let log = cache.log("base");
    cache.entry("base", &base_key()?, |folder: &Path| {
        say(&format!("bootstrapping Debian (log: {})", log.display()));
        logged(script("base.sh").env("OUT", folder), &log)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::{Archive, BALANCER, Programs, ROUTES, programs};
    use crate::command::root;
    use crate::node_image::assets;
    use crate::node_image::versions::Kubernetes;

    fn version(text: &str) -> &'static Kubernetes {
        Kubernetes::find(text).unwrap()
    }

    /// The same label on images of different inputs would keep an old image.
    #[test]
    fn archives_have_keys_of_their_own() {
        let archives = [
            Archive::common().unwrap(),
            Archive::node(version("1.34.4")).unwrap(),
            Archive::node(version("1.35.4")).unwrap(),
        ];
        let keys: BTreeSet<&str> = archives.iter().map(|archive| archive.key.as_str()).collect();
        let names: BTreeSet<&str> = archives.iter().map(|archive| archive.name.as_str()).collect();
        assert_eq!((keys.len(), names.len()), (3, 3));
        assert_eq!(archives[2].key, Archive::node(version("1.35.4")).unwrap().key);
    }

    #[test]
    fn all_that_a_node_is_made_of_is_in_the_key() {
        let scripts: BTreeSet<String> = fs::read_dir(assets().join("scripts"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let known = ["bake.sh", "base.sh", "common.sh", "lib.sh", "node.sh"];
        assert_eq!(scripts, known.map(str::to_owned).into(), "a new script belongs into a key");
        let modules: BTreeSet<String> = fs::read_dir(assets().join("go"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let built: BTreeSet<String> = ["1.34.4", "1.35.4"]
            .into_iter()
            .flat_map(|text| programs(version(text)))
            .map(|programs| programs.module.to_owned())
            .collect();
        assert_eq!(built, modules, "a module that nothing is built of, or the other way round");
    }

    /// Another program in the list is another build.
    #[test]
    fn packages_are_in_the_key() {
        let mut fewer = Programs::etcd();
        fewer.packages.pop();
        assert_ne!(fewer.key().unwrap(), Programs::etcd().key().unwrap());
    }

    #[test]
    fn the_network_runs_the_image_that_is_baked_in() {
        let manifest = fs::read_to_string(root().join("tests/cni/pod-routes.yaml")).unwrap();
        assert!(manifest.contains(&format!("image: {ROUTES}\n")));
        assert!(!manifest.contains(BALANCER));
    }
}
