//! `cargo xtask node-image`: images of nodes, of the load balancer and of the network, where no registry is.
//!
//! Programs come from Go modules with committed sums, file systems from Debian packages. What takes long is
//! kept outside the checkout under a hash of its inputs, and the images carry that hash as a label: a call
//! that finds everything in the engine takes no time. `docs/node-images.md` tells more.

mod build;
mod cache;
mod engine;
mod key;
mod tools;
mod versions;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use self::build::Archive;
use self::cache::Cache;
use self::versions::Kubernetes;
use crate::command::{print, root, say};

/// Make the images that tests run nodes of, and give them to the container engine
#[derive(Args)]
pub struct NodeImage {
    /// The version of Kubernetes, with or without a leading v; may be repeated
    #[arg(long = "version", value_name = "VERSION", default_value = "1.35.4")]
    versions: Vec<String>,
    /// Only print the names of the images, and build nothing
    #[arg(long, conflicts_with = "binaries")]
    print: bool,
    /// Only build the programs of Kubernetes and etcd, and print the folder of the former
    #[arg(long)]
    binaries: bool,
}

impl NodeImage {
    pub fn run(&self) -> Result<()> {
        let versions: Vec<&'static Kubernetes> =
            self.versions.iter().map(|version| Kubernetes::find(version)).collect::<Result<_>>()?;
        if self.binaries {
            return binaries(&versions);
        }
        let mut archives = vec![Archive::common()?];
        for version in versions {
            archives.push(Archive::node(version)?);
        }
        if !self.print {
            engine::check()?;
            provide(&archives)?;
        }
        for image in archives.iter().flat_map(|archive| &archive.images) {
            print(image);
        }
        Ok(())
    }
}

fn binaries(versions: &[&'static Kubernetes]) -> Result<()> {
    for version in versions {
        print(&folder_of(version)?.display().to_string());
    }
    Ok(())
}

/// The folder with the programs of a version of Kubernetes, built if they are not in the cache. etcd and etcdctl are
/// in the folder `etcd` beside it.
pub fn programs(version: &str) -> Result<PathBuf> {
    folder_of(Kubernetes::find(version)?)
}

fn folder_of(version: &'static Kubernetes) -> Result<PathBuf> {
    let cache = Cache::open()?;
    let _building = cache.lock()?;
    build::binaries(&cache, version)
}

/// Gives the engine what it lacks, built if it is not in the cache.
fn provide(archives: &[Archive]) -> Result<()> {
    if lacking(archives, engine::key_of)?.is_empty() {
        return Ok(());
    }
    let cache = Cache::open()?;
    let _building = cache.lock()?;
    // Asked again, for another process may have built meanwhile.
    let lacking = lacking(archives, engine::key_of)?;
    let unbuilt: Vec<&Archive> =
        lacking.iter().copied().filter(|archive| !archive.is_built(&cache)).collect();
    build::prepare(&cache, &unbuilt)?;
    for archive in lacking {
        let file = archive.build(&cache)?;
        say(&format!("loading {} from {}", archive.images.join(" and "), file.display()));
        engine::load(&file)?;
    }
    Ok(())
}

/// The archives of which the engine lacks an image, or has it made of other inputs.
fn lacking(archives: &[Archive], key_of: impl Fn(&str) -> Result<Option<String>>) -> Result<Vec<&Archive>> {
    let mut lacking = Vec::new();
    for archive in archives {
        for image in &archive.images {
            if key_of(image)?.as_deref() != Some(archive.key.as_str()) {
                lacking.push(archive);
                break;
            }
        }
    }
    Ok(lacking)
}

/// The folder of everything that images are made of.
fn assets() -> PathBuf {
    root().join("tests/node-image")
}

#[cfg(test)]
mod tests {
    use super::{Archive, Kubernetes, lacking};

    /// An image is loaded if it is missing, made of other inputs, or not of ours; each archive once.
    #[test]
    fn loads_what_the_engine_lacks() {
        let archives =
            [Archive::common().unwrap(), Archive::node(Kubernetes::find("1.35.4").unwrap()).unwrap()];
        let images: Vec<&str> =
            archives.iter().flat_map(|archive| &archive.images).map(String::as_str).collect();
        assert_eq!(images, ["windlass/haproxy:2.6", "windlass/pod-routes:v1", "windlass/node:v1.35.4"]);
        let lacking_without = |wrong: &[&str], key: Option<&str>| {
            let found = lacking(&archives, |image| {
                if wrong.contains(&image) {
                    return Ok(key.map(str::to_owned));
                }
                Ok(archives
                    .iter()
                    .find(|archive| archive.images.iter().any(|name| name == image))
                    .map(|archive| archive.key.clone()))
            });
            found.unwrap().iter().map(|archive| archive.images.last().unwrap().as_str()).collect::<Vec<_>>()
        };
        for key in [None, Some(""), Some("another")] {
            assert_eq!(lacking_without(&[], key), Vec::<&str>::new());
            assert_eq!(lacking_without(&images[..2], key), ["windlass/pod-routes:v1"]);
            assert_eq!(lacking_without(&images[2..], key), ["windlass/node:v1.35.4"]);
            assert_eq!(lacking_without(&images, key).len(), 2);
        }
    }
}
