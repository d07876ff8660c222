//! Runs the real binary: every test in a home of its own, everything stopped in the end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use windlass_manager::data_dir::DataDir;

/// The program under test.
pub const WINDLASS: &str = env!("CARGO_BIN_EXE_windlass");

/// Each home gets ports of its own for simulated clusters: a plane that was killed must find its ports free again.
/// Below what Linux gives to outgoing connections (32768), beside the default (20000).
static PORTS: AtomicU16 = AtomicU16::new(0);

/// A home directory with an empty data directory in it. Dropping it stops what runs there.
pub struct Home {
    folder: TempDir,
    ports: String,
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// The same, having checked that the command succeeded.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }
}

impl Home {
    pub fn new() -> Self {
        let first = 30_100 + PORTS.fetch_add(1, Ordering::Relaxed) * 50;
        Self { folder: tempfile::tempdir().unwrap(), ports: format!("{first}-{}", first + 49) }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the plane keeps everything.
    pub fn data(&self) -> DataDir {
        DataDir::new(self.path().join(".local/share/windlass"))
    }

    /// A program with nothing of the outer environment that windlass or kubectl would read.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let foreign = std::env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("WINDLASS_") || name.starts_with("KUBE") || name.starts_with("XDG_")
        });
        for name in foreign {
            command.env_remove(name);
        }
        command
            .env("HOME", self.path())
            .env("WINDLASS_LISTEN", "127.0.0.1:0")
            .env("WINDLASS_WORKLOAD_PORTS", &self.ports)
            .env_remove("NO_COLOR")
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// `windlass` with arguments.
    pub fn windlass(&self, args: &[&str]) -> Command {
        let mut command = self.command(WINDLASS);
        command.args(args);
        command
    }

    /// Runs `windlass` to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        self.windlass(args).output().unwrap().into()
    }

    /// Runs kubectl against the management plane to its end.
    pub fn kubectl(&self, kubectl: &Path, args: &[&str]) -> Said {
        let mut command = self.command(kubectl);
        command.env("KUBECONFIG", self.data().management_kubeconfig()).args(args);
        command.output().unwrap().into()
    }

    /// The process that runs the plane here.
    pub fn plane(&self) -> Option<u32> {
        self.data().running().unwrap().map(|running| running.pid)
    }

    /// `kill -9` for the plane; returns when it is gone, with whether there was one.
    pub fn kill_plane(&self) -> bool {
        let Some(pid) = self.plane() else { return false };
        kill(pid);
        assert!(within(Duration::from_secs(10), || self.plane() != Some(pid)), "process {pid} stays");
        true
    }

    /// Every file of the data directory with its content: what "changes nothing" means.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.data().path(), &mut files);
        files
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            collect(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap_or_default());
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Ok(Some(running)) = self.data().running() {
            kill(running.pid);
        }
    }
}

/// A process that does not outlive the test.
pub struct Process(pub Child);

impl Process {
    /// What it says until it ends by itself.
    pub fn output(mut self) -> Said {
        let read = |stream: Option<&mut dyn std::io::Read>| {
            let mut text = String::new();
            stream.unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let out = read(self.0.stdout.as_mut().map(|stream| stream as &mut dyn std::io::Read));
        let err = read(self.0.stderr.as_mut().map(|stream| stream as &mut dyn std::io::Read));
        Said { code: self.0.wait().unwrap().code(), out, err }
    }
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client of the API server that a kubeconfig names.
pub async fn client(kubeconfig: &Path) -> kube::Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Looks until it is so, for as long as `longest`.
pub fn within(longest: Duration, so: impl Fn() -> bool) -> bool {
    let pause = Duration::from_millis(20);
    let looks = longest.as_millis() / pause.as_millis();
    (0..=looks).any(|look| {
        if look > 0 {
            std::thread::sleep(pause);
        }
        so()
    })
}

/// Says why a test is skipped; under `CI=true` it fails instead.
#[expect(clippy::print_stdout, reason = "the words by which a skipped test is known")]
pub fn skipped(reason: &str) {
    assert!(std::env::var("CI").is_ok_and(|ci| ci != "true") || std::env::var_os("CI").is_none(), "{reason}");
    println!("skipped: {reason}");
}
