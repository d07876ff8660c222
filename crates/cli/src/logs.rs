//! Where the log of a plane goes: standard error in the foreground, a rotated file in the background.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::output::Color;

/// A log file this large is put aside.
const MAX_BYTES: u64 = 10 * 1024 * 1024;

/// Put-aside files that are kept: `windlass.log.1` is the newest.
const KEPT: u32 = 3;

/// kube's client calls it an error when a machine that boots does not answer yet. Who asked knows better, and says so
/// where it matters.
const QUIET: &str = "kube_client=off";

/// Sends the log to a file, or to standard error.
///
/// `WINDLASS_LOG` filters (`debug`, `windlass_controllers=trace`, …); the default is `default`.
pub fn start(file: Option<&Path>, default: &str) -> io::Result<()> {
    let usual = || EnvFilter::new(format!("{default},{QUIET}"));
    let filter = EnvFilter::try_from_env("WINDLASS_LOG").unwrap_or_else(|_| usual());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(true);
    match file {
        Some(path) => {
            builder.with_ansi(false).with_writer(Rotating::open(path)?).init();
        }
        None => builder.with_ansi(Color::Auto.enabled(true)).with_writer(io::stderr).init(),
    }
    Ok(())
}

/// A file that starts anew when it has grown too large.
#[derive(Clone)]
struct Rotating(Arc<Mutex<Inner>>);

struct Inner {
    path: PathBuf,
    file: File,
    written: u64,
}

impl Rotating {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        let written = file.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Inner { path: path.to_path_buf(), file, written }))))
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Inner {
    fn rotate(&mut self) -> io::Result<()> {
        let aside = |n: u32| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..KEPT).rev() {
            // A file that is not there need not move.
            let _ = fs::rename(aside(n), aside(n + 1));
        }
        fs::rename(&self.path, aside(1))?;
        self.file = append(&self.path)?;
        self.written = 0;
        Ok(())
    }
}

impl Write for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.written + line.len() as u64 > MAX_BYTES && inner.written > 0 {
            inner.rotate()?;
        }
        inner.file.write_all(line)?;
        inner.written += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).file.flush()
    }
}

impl<'w> MakeWriter<'w> for Rotating {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_put_aside_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/windlass.log");
        let mut log = Rotating::open(&path).unwrap();
        let line = vec![b'x'; 3 * 1024 * 1024];
        for _ in 0..20 {
            log.write_all(&line).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["windlass.log", "windlass.log.1", "windlass.log.2", "windlass.log.3"]);
        assert!(fs::metadata(&path).unwrap().len() <= MAX_BYTES);
    }
}
