//! What was built before, in a folder outside the checkout.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The file of an entry that names the inputs it was made of.
const KEY: &str = ".key";

/// Entries are folders; each is there whole, and of the inputs that its key names, or it is made anew.
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The folder that the environment names.
    pub fn open() -> Result<Self> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = folder(variable("WINDLASS_TOOLS_CACHE"), variable("XDG_CACHE_HOME"), variable("HOME"))
            .context("cannot tell where to keep what is built; set WINDLASS_TOOLS_CACHE to a folder")?;
        Self::at(root)
    }

    fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).with_context(|| {
            format!("cannot make {}; set WINDLASS_TOOLS_CACHE to another folder", root.display())
        })?;
        Ok(Self { root })
    }

    /// Waits until nobody else builds here, and keeps others waiting until it is dropped.
    pub fn lock(&self) -> Result<File> {
        let path = self.root.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    /// Where an entry is, whether it is there or not.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The log of making an entry.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{}.log", name.replace('/', "-")))
    }

    /// Whether the entry is there, of these inputs.
    pub fn has(&self, name: &str, key: &str) -> bool {
        fs::read_to_string(self.path(name).join(KEY)).is_ok_and(|present| present == key)
    }

    /// The entry of these inputs; if there is none, `make` fills an empty folder.
    pub fn entry(&self, name: &str, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.path(name);
        if self.has(name, key) {
            return Ok(path);
        }
        let making = self.root.join("making").join(name);
        let cannot = || format!("cannot keep {} in {}", name, self.root.display());
        // What an interrupted build left.
        remove(&making).with_context(cannot)?;
        fs::create_dir_all(&making).with_context(cannot)?;
        fs::create_dir_all(self.root.join("logs")).with_context(cannot)?;
        fs::write(self.log(name), "").with_context(cannot)?;
        if let Err(error) = make(&making) {
            remove(&making).with_context(cannot)?;
            return Err(error);
        }
        fs::write(making.join(KEY), key).with_context(cannot)?;
        remove(&path).with_context(cannot)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(cannot)?;
        }
        fs::rename(&making, &path).with_context(cannot)?;
        Ok(path)
    }
}

/// The folder of the cache, by what the environment says.
fn folder(tools: Option<PathBuf>, cache: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    tools
        .or_else(|| {
            cache.or_else(|| home.map(|home| home.join(".cache"))).map(|cache| cache.join("windlass"))
        })
        .map(|folder| folder.join("node-image"))
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::path::PathBuf;

    use anyhow::bail;

    use super::{Cache, folder};

    #[test]
    fn makes_an_entry_once_for_each_key() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().join("new")).unwrap();
        let made = Cell::new(0);
        let get = |key: &str| {
            let path = cache
                .entry("bin/a", key, |folder| {
                    made.set(made.get() + 1);
                    Ok(fs::write(folder.join("file"), key)?)
                })
                .unwrap();
            (fs::read_to_string(path.join("file")).unwrap(), made.get())
        };
        let seen: Vec<_> = ["k1", "k1", "k2", "k2", "k1"].map(get).into();
        let expected = [("k1", 1), ("k1", 1), ("k2", 2), ("k2", 2), ("k1", 3)];
        assert_eq!(seen, expected.map(|(text, count)| (text.to_owned(), count)));
    }

    /// Neither a failed nor an interrupted build is taken for an entry, and neither takes away the entry before it.
    #[test]
    fn a_failed_build_leaves_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().to_owned()).unwrap();
        cache.entry("a", "k1", |folder| Ok(fs::write(folder.join("file"), "1")?)).unwrap();

        let failed = cache.entry("a", "k2", |folder| {
            fs::write(folder.join("half"), "2")?;
            bail!("no")
        });
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert!(cache.has("a", "k1") && !cache.has("a", "k2"));

        fs::create_dir_all(root.path().join("making/a")).unwrap();
        fs::write(root.path().join("making/a/half"), "3").unwrap();
        let path = cache.entry("a", "k3", |_| Ok(())).unwrap();
        assert!(!path.join("half").exists() && !path.join("file").exists());
        assert!(cache.has("a", "k3"));
    }

    #[test]
    fn finds_its_folder() {
        let path = |text: &str| Some(PathBuf::from(text));
        for (tools, cache, home, expected) in [
            (path("/t"), path("/c"), path("/h"), path("/t/node-image")),
            (None, path("/c"), path("/h"), path("/c/windlass/node-image")),
            (None, None, path("/h"), path("/h/.cache/windlass/node-image")),
            (None, None, None, None),
        ] {
            assert_eq!(folder(tools, cache, home), expected);
        }
    }
}
