//! The plane's folder: what stands where, who may read it, and who owns it while it runs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A plane's folder. Nothing is read or made until asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    path: PathBuf,
}

/// What a running plane says about itself, kept in its lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// Process id.
    pub pid: u32,
    /// Where the management API listens; `None` until it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Version of the program.
    pub version: String,
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process runs a plane here.
    #[error("the data directory {} is in use by process {pid}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who uses it.
        pid: u32,
    },
    /// The folder or a file in it cannot be made, read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl DataDirError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "`windlass down` stops that plane; --data-dir chooses another folder",
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => {
                    "free some space on that disk, then start again; nothing is lost"
                }
                std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                    "choose a folder you may write to with --data-dir"
                }
                _ => "choose another folder with --data-dir, or repair this one",
            },
        }
    }
}

/// Holds the folder for this process; gone when dropped, even by `kill -9`.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl DataDir {
    /// The folder at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The administrator's kubeconfig of the management plane.
    pub fn management_kubeconfig(&self) -> PathBuf {
        self.path.join("management.kubeconfig")
    }

    /// Where the kubeconfig of a workload cluster is put for the person at this machine.
    pub fn workload_kubeconfig(&self, namespace: &str, name: &str) -> PathBuf {
        let file = if namespace == "default" {
            format!("{name}.kubeconfig")
        } else {
            format!("{namespace}.{name}.kubeconfig")
        };
        self.path.join("kubeconfigs").join(file)
    }

    /// The database of the plane.
    pub fn database(&self) -> PathBuf {
        self.path.join("plane.redb")
    }

    /// The log of a plane in the background.
    pub fn log(&self) -> PathBuf {
        self.path.join("logs").join("windlass.log")
    }

    /// Keys and certificates of the management API.
    pub fn pki(&self, file: &str) -> PathBuf {
        self.path.join("pki").join(file)
    }

    /// Where the management API listened last, as the administrator's kubeconfig says.
    pub fn last_address(&self) -> Option<SocketAddr> {
        let text = fs::read_to_string(self.management_kubeconfig()).ok()?;
        let kubeconfig = windlass_pki::Kubeconfig::parse(&text).ok()?;
        kubeconfig.server.strip_prefix("https://")?.parse().ok()
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("plane.lock")
    }

    /// Makes the folder (0700) if it is not there.
    pub fn create(&self) -> Result<(), DataDirError> {
        private_folder(&self.path)?;
        for part in ["pki", "logs", "kubeconfigs"] {
            private_folder(&self.path.join(part))?;
        }
        Ok(())
    }

    /// Takes the folder for this process.
    pub fn lock(&self, version: &str) -> Result<Lock, DataDirError> {
        self.create()?;
        let path = self.lock_file();
        let open =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
        let file = open.map_err(io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = self.running().ok().flatten().map_or(0, |running| running.pid);
                return Err(DataDirError::InUse { path: self.path.clone(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock", &path)(source)),
        }
        let mut lock = Lock { file, path };
        lock.describe(&Running { pid: std::process::id(), address: None, version: version.to_owned() })?;
        Ok(lock)
    }

    /// An error if a plane runs here; changes nothing.
    pub fn refuse_if_in_use(&self) -> Result<(), DataDirError> {
        match self.running()? {
            Some(Running { pid, .. }) => Err(DataDirError::InUse { path: self.path.clone(), pid }),
            None => Ok(()),
        }
    }

    /// The plane that runs here now, if one does.
    pub fn running(&self) -> Result<Option<Running>, DataDirError> {
        let path = self.lock_file();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("read", &path)(error)),
        };
        match file.try_lock_shared() {
            // Nobody holds it: what it says is of a plane that has ended.
            Ok(()) => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(io("lock", &path)(source)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io("read", &path))?;
        // The owner may be writing it at this moment; the next look sees it whole.
        Ok(serde_json::from_str(&text).ok())
    }

    /// An error if not even a small file can be written here. Leaves nothing behind.
    pub fn check_space(&self) -> Result<(), DataDirError> {
        let probe = self.path.join("probe");
        self.write_private(&probe, &vec![0; 64 * 1024])?;
        fs::remove_file(&probe).map_err(io("remove", &probe))
    }

    /// Writes a file that only its owner may read (0600), whole or not at all.
    pub fn write_private(&self, path: &Path, content: &[u8]) -> Result<(), DataDirError> {
        if let Some(folder) = path.parent() {
            private_folder(folder)?;
        }
        let draft = path.with_extension("draft");
        let write = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&draft, path)
        };
        write().map_err(|source| {
            // The draft is of no use to anyone; the first error is the one that matters.
            let _ = fs::remove_file(&draft);
            io("write", path)(source)
        })
    }
}

impl Lock {
    /// Says what runs here, for `windlass down` and for error messages of others.
    pub fn describe(&mut self, running: &Running) -> Result<(), DataDirError> {
        let text = serde_json::to_vec(running).unwrap_or_default();
        let mut write = || -> std::io::Result<()> {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(&text)?;
            self.file.sync_all()
        };
        write().map_err(io("write", &self.path))
    }
}

fn private_folder(path: &Path) -> Result<(), DataDirError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("make", path))?;
    let mode = fs::metadata(path).map_err(io("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io("close to others", path))?;
    }
    Ok(())
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DataDirError {
    let path = path.to_path_buf();
    move |source| DataDirError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path().join("plane"));
        assert_eq!(dir.running().unwrap(), None);
        let lock = dir.lock("v0").unwrap();
        assert_eq!(dir.running().unwrap().map(|running| running.pid), Some(std::process::id()));
        assert!(matches!(dir.lock("v0"), Err(DataDirError::InUse { pid, .. }) if pid == std::process::id()));
        drop(lock);
        assert_eq!(dir.running().unwrap(), None);
        dir.lock("v0").unwrap();
    }

    #[test]
    fn folders_and_files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path().join("plane"));
        dir.create().unwrap();
        dir.write_private(&dir.pki("ca.key"), b"secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(mode(&dir.pki("ca.key")), 0o600);
    }

    #[test]
    fn a_folder_that_cannot_be_made_says_so() {
        let dir = DataDir::new("/proc/windlass");
        let error = dir.create().unwrap_err();
        assert!(error.to_string().starts_with("cannot make /proc/windlass"), "{error}");
        assert!(!error.hint().is_empty());
    }
}
