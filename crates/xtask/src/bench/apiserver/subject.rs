//! A server under measurement: which processes it is, how it is started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::process::Process;
use crate::command::root;
use crate::e2e::{free_port, must, signing_key, until};

/// The administrator's token on both.
pub const TOKEN: &str = "windlass-bench";

/// A server and its store.
pub struct Subject {
    /// For the report.
    pub name: &'static str,
    folder: PathBuf,
    port: u16,
    kind: Kind,
    /// What runs now; stopped in this order.
    running: Vec<Process>,
}

enum Kind {
    Ours { binary: PathBuf },
    Upstream { programs: PathBuf, etcd_port: u16, etcd: Process },
}

impl Subject {
    /// The example server of this repository, not started yet.
    pub fn ours(folder: &Path, binary: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let kind = Kind::Ours { binary: binary.to_path_buf() };
        Ok(Self {
            name: "windlass",
            folder: folder.to_path_buf(),
            port: free_port()?,
            kind,
            running: Vec::new(),
        })
    }

    /// kube-apiserver, not started yet, and etcd, which runs from now on. Both with their defaults: etcd waits for
    /// the disk.
    pub fn upstream(folder: &Path, programs: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (port, etcd_port, peer_port) = (free_port()?, free_port()?, free_port()?);
        let store = format!("http://127.0.0.1:{etcd_port}");
        let mut etcd = Command::new(programs.with_file_name("etcd").join("etcd"));
        etcd.arg("--data-dir").arg(folder.join("etcd")).args(["--listen-client-urls", &store]);
        etcd.args(["--advertise-client-urls", &store]);
        etcd.args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer_port}")]);
        let mut etcd = Process::start(etcd, &folder.join("etcd.log"))?;
        until("etcd listens", Duration::from_secs(30), || {
            etcd.alive()?;
            std::net::TcpStream::connect(("127.0.0.1", etcd_port)).map(drop).context("etcd does not listen")
        })?;
        let kind = Kind::Upstream { programs: programs.to_path_buf(), etcd_port, etcd };
        let name = "kube-apiserver + etcd";
        Ok(Self { name, folder: folder.to_path_buf(), port, kind, running: Vec::new() })
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Starts the server; it may not answer yet.
    pub fn start(&mut self) -> Result<()> {
        let command = match &self.kind {
            Kind::Ours { binary } => {
                let mut command = Command::new(binary);
                command.arg(self.folder.join("api.redb")).arg(format!("127.0.0.1:{}", self.port)).arg(TOKEN);
                command
            }
            Kind::Upstream { programs, etcd_port, .. } => self.upstream_command(programs, *etcd_port)?,
        };
        self.running.push(Process::start(command, &self.folder.join("server.log"))?);
        Ok(())
    }

    fn upstream_command(&self, programs: &Path, etcd_port: u16) -> Result<Command> {
        let tokens = self.folder.join("tokens.csv");
        std::fs::write(&tokens, format!("{TOKEN},admin,admin,system:masters\n"))?;
        let (private, public) = signing_key(&self.folder)?;
        let mut command = Command::new(programs.join("kube-apiserver"));
        command.args(["--bind-address=127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24"]);
        command.args([
            format!("--secure-port={}", self.port),
            format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        ]);
        command.args(["--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"]);
        command.arg("--service-account-issuer=https://windlass.invalid");
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        command.arg(flag("cert-dir", &self.folder.join("certificates")));
        command.arg(flag("token-auth-file", &tokens));
        command.arg(flag("service-account-signing-key-file", &private));
        command.arg(flag("service-account-key-file", &public));
        Ok(command)
    }

    /// Stops the server in order. The store of kube-apiserver goes on.
    pub fn stop(&mut self) -> Result<()> {
        self.running.iter_mut().try_for_each(Process::stop)?;
        self.running.clear();
        Ok(())
    }

    /// CPU seconds so far, the store's included.
    pub fn cpu(&self) -> f64 {
        let store = match &self.kind {
            Kind::Ours { .. } => 0.0,
            Kind::Upstream { etcd, .. } => etcd.cpu(),
        };
        store + self.running.iter().map(Process::cpu).sum::<f64>()
    }

    /// Resident memory in MiB, the store's included.
    pub fn rss_mib(&self) -> f64 {
        let store = match &self.kind {
            Kind::Ours { .. } => 0.0,
            Kind::Upstream { etcd, .. } => etcd.rss_mib(),
        };
        store + self.running.iter().map(Process::rss_mib).sum::<f64>()
    }

    /// Defines Cluster API's Machine and waits until it is served.
    pub fn define(&self, kubectl: &Path) -> Result<()> {
        let file = root().join("crates/api/crds/machines.cluster.x-k8s.io.yaml");
        let command = |arguments: &[&str]| {
            let mut command = Command::new(kubectl);
            command.args(["--server", &self.url(), "--token", TOKEN, "--insecure-skip-tls-verify"]);
            command.env("HOME", &self.folder).args(arguments);
            command
        };
        must(command(&["create", "-f"]).arg(&file))?;
        until("Machines are served", Duration::from_secs(30), || {
            must(&mut command(&["get", "machines"])).map(drop)
        })
    }
}
