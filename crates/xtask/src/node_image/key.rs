//! Keys: two builds of the same inputs have the same key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Gathers the inputs of something built.
#[derive(Clone, Default)]
pub struct Inputs(Sha256);

impl Inputs {
    pub fn new() -> Self {
        Self::default()
    }

    /// A fact that is not a file. Empty ones count, too.
    pub fn text(mut self, text: &str) -> Self {
        self.part(text.as_bytes());
        self
    }

    /// Files and folders below `root`: their paths, contents and whether they can be executed.
    pub fn files(mut self, root: &Path, paths: &[&str]) -> Result<Self> {
        for path in paths {
            self.file(root, Path::new(path))?;
        }
        Ok(self)
    }

    /// Sixteen hexadecimal digits: enough to tell a handful of builds apart.
    pub fn key(self) -> String {
        let start = self.0.finalize().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte));
        format!("{start:016x}")
    }

    fn file(&mut self, root: &Path, path: &Path) -> Result<()> {
        let full = root.join(path);
        let cannot = || format!("cannot read {}: it is an input of the node images", full.display());
        let metadata = fs::metadata(&full).with_context(cannot)?;
        if metadata.is_dir() {
            let mut names = Vec::new();
            for entry in fs::read_dir(&full).with_context(cannot)? {
                names.push(entry.with_context(cannot)?.file_name());
            }
            names.sort();
            return names.iter().try_for_each(|name| self.file(root, &path.join(name)));
        }
        self.part(path.as_os_str().as_encoded_bytes());
        self.part(&[u8::from(metadata.permissions().mode() & 0o111 != 0)]);
        self.part(&fs::read(&full).with_context(cannot)?);
        Ok(())
    }

    /// With its length, so that no two lists of parts read the same.
    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::Inputs;

    fn key(root: &Path) -> String {
        Inputs::new().files(root, &["a", "folder"]).unwrap().text("x").key()
    }

    /// Each change of an input changes the key, and taking it back restores it.
    #[test]
    fn each_input_counts() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("folder/deep")).unwrap();
        for name in ["a", "folder/b", "folder/deep/c", "other"] {
            fs::write(path(name), name).unwrap();
        }
        let first = key(root.path());
        assert_eq!(first.len(), 16);
        assert_eq!(key(root.path()), first);

        for name in ["a", "folder/b", "folder/deep/c"] {
            fs::write(path(name), "changed").unwrap();
            assert_ne!(key(root.path()), first, "{name}");
            fs::write(path(name), name).unwrap();
        }
        fs::set_permissions(path("a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(key(root.path()), first, "executable");
        fs::set_permissions(path("a"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(path("folder/b"), path("folder/z")).unwrap();
        assert_ne!(key(root.path()), first, "renamed");
        fs::rename(path("folder/z"), path("folder/b")).unwrap();
        fs::write(path("other"), "no input").unwrap();
        assert_eq!(key(root.path()), first);
    }

    #[test]
    fn parts_do_not_run_together() {
        let of = |parts: &[&str]| parts.iter().fold(Inputs::new(), |inputs, part| inputs.text(part)).key();
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
    }

    #[test]
    fn a_missing_input_is_named() {
        let said = Inputs::new().files(Path::new("/nonexistent"), &["a"]).err().unwrap().to_string();
        assert!(said.contains("/nonexistent/a"), "{said}");
    }
}
