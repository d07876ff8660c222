//! The real thing: etcd, kube-apiserver and kube-controller-manager as processes of this machine.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use tempfile::TempDir;
use windlass_pki::{Algorithm, KeySource as _, SystemKeys};

use crate::client::Client;
use crate::hook::Hook;
use crate::target::{Target, USERS};
use crate::trust::Trust;

/// The version that is the yardstick.
pub const VERSION: &str = "1.35.4";
/// How long the three may take to start.
const START: Duration = Duration::from_mins(2);
/// Its garbage collector learns of new kinds every 30 seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the controller manager does: what an API server is not complete without.
const CONTROLLERS: &str = "--controllers=garbage-collector-controller,namespace-controller,\
                           serviceaccount-controller,serviceaccount-token-controller,\
                           root-ca-certificate-publisher-controller,clusterrole-aggregation-controller";

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The folder of kube-apiserver and kube-controller-manager.
    pub kubernetes: PathBuf,
    /// The folder of etcd.
    pub etcd: PathBuf,
}

impl Programs {
    /// Those that `cargo xtask node-image --binaries` keeps.
    ///
    /// # Errors
    /// When they were not built yet.
    pub fn find() -> Result<Self> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = variable("WINDLASS_TOOLS_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("windlass")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/windlass")))
            .context("cannot tell where programs are kept; set WINDLASS_TOOLS_CACHE")?;
        let folder = cache.join("node-image/bin");
        let found = Self { kubernetes: folder.join(VERSION), etcd: folder.join("etcd") };
        if !found.kubernetes.join("kube-apiserver").exists() || !found.etcd.join("etcd").exists() {
            bail!(
                "there is no kube-apiserver in {}; run `cargo xtask node-image --binaries`",
                folder.display()
            );
        }
        Ok(found)
    }
}

/// The three processes; they are killed when it is dropped.
pub struct Real {
    /// What scripts are played against.
    pub target: Arc<Target>,
    // Ended in this order, before the folder goes.
    daemons: Vec<Daemon>,
    folder: TempDir,
}

impl Real {
    /// Starts them over an empty store and waits until they serve.
    ///
    /// # Errors
    /// When one of them does not start; the message has the end of its log.
    pub async fn start(programs: &Programs) -> Result<Self> {
        let trust = Arc::new(Trust::new()?);
        let hook = Arc::new(Hook::start(&trust).await?);
        let folder = tempfile::Builder::new().prefix("windlass-differential-").tempdir()?;
        let path = folder.path();
        write_files(path, &trust)?;
        let (store, peer, port) = (free_port()?, free_port()?, free_port()?);
        let mut real = Self {
            target: Arc::new(Target {
                address: SocketAddr::from(([127, 0, 0, 1], port)),
                trust,
                hook,
                patience: PATIENCE,
                real: true,
            }),
            daemons: vec![
                Daemon::start(etcd(programs, path, store, peer), path, "etcd")?,
                Daemon::start(apiserver(programs, path, store, port), path, "kube-apiserver")?,
            ],
            folder,
        };
        real.wait("/readyz").await?;
        let path = real.folder.path().to_owned();
        std::fs::write(path.join("kubeconfig"), kubeconfig(port, &path))?;
        real.daemons
            .insert(0, Daemon::start(controllers(programs, &path), &path, "kube-controller-manager")?);
        real.wait("/api/v1/namespaces/default/configmaps/kube-root-ca.crt").await?;
        real.wait("/api/v1/namespaces/default/serviceaccounts/default").await?;
        compact(programs, store)?;
        Ok(real)
    }

    async fn wait(&mut self, path: &str) -> Result<()> {
        let mut client = Client::new(self.target.address, Arc::clone(&self.target.trust));
        let wait = async {
            loop {
                for daemon in &mut self.daemons {
                    daemon.alive()?;
                }
                let request = http::Request::get(format!("https://127.0.0.1{path}"))
                    .header("authorization", format!("Bearer {}", USERS[0].0))
                    .body(Full::<Bytes>::default())?;
                if let Ok(reply) = client.send(None, false, request).await
                    && reply.status.is_success()
                {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(START, wait)
            .await
            .with_context(|| format!("there is no {path} within {START:?}"))?
    }
}

fn write_files(folder: &Path, trust: &Trust) -> Result<()> {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).context("cannot write");
    let pair = trust.server(&["kubernetes.default.svc"])?;
    write("ca.crt", trust.ca())?;
    write("server.crt", &pair.certificate)?;
    write("server.key", &pair.key)?;
    let key = SystemKeys::default().generate(Algorithm::EcdsaP256, "service accounts")?;
    write("accounts.key", key.to_pkcs8_pem()?.expose())?;
    write("accounts.pub", &key.public_pem())?;
    let users = USERS.map(|(token, user, group)| format!("{token},{user},{user},{group}"));
    write("tokens.csv", &users.join("\n"))
}

fn etcd(programs: &Programs, folder: &Path, store: u16, peer: u16) -> Command {
    let url = format!("http://127.0.0.1:{store}");
    let mut command = Command::new(programs.etcd.join("etcd"));
    command.arg("--data-dir").arg(folder.join("etcd")).args(["--listen-client-urls", &url]);
    command.args(["--advertise-client-urls", &url, "--unsafe-no-fsync"]);
    command.args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer}")]);
    command
}

/// Forgets what was before the scripts, so that they can ask for what is no more.
fn compact(programs: &Programs, store: u16) -> Result<()> {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(programs.etcd.join("etcdctl"));
        command.args(["--endpoints", &format!("http://127.0.0.1:{store}")]).args(arguments);
        command.output().context("cannot run etcdctl")
    };
    let answer = run(&["get", "/nothing", "--write-out", "json"])?.stdout;
    let answer: serde_json::Value =
        serde_json::from_slice(&answer).context("etcd does not say its revision")?;
    let done = run(&["compaction", &answer["header"]["revision"].to_string()])?;
    anyhow::ensure!(
        done.status.success(),
        "etcd does not compact: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

fn flag(command: &mut Command, name: &str, file: &Path) {
    command.arg(format!("--{name}={}", file.display()));
}

fn apiserver(programs: &Programs, folder: &Path, store: u16, port: u16) -> Command {
    let mut command = Command::new(programs.kubernetes.join("kube-apiserver"));
    command.args(["--bind-address=127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24"]);
    command.arg(format!("--secure-port={port}")).arg(format!("--etcd-servers=http://127.0.0.1:{store}"));
    command.args(["--authorization-mode=RBAC", "--enable-bootstrap-token-auth"]);
    command.args(["--service-account-issuer=https://kubernetes.default.svc"]);
    command.args(["--disable-admission-plugins=ServiceAccount"]);
    flag(&mut command, "tls-cert-file", &folder.join("server.crt"));
    flag(&mut command, "tls-private-key-file", &folder.join("server.key"));
    flag(&mut command, "client-ca-file", &folder.join("ca.crt"));
    flag(&mut command, "service-account-signing-key-file", &folder.join("accounts.key"));
    flag(&mut command, "service-account-key-file", &folder.join("accounts.pub"));
    flag(&mut command, "token-auth-file", &folder.join("tokens.csv"));
    command
}

fn controllers(programs: &Programs, folder: &Path) -> Command {
    let mut command = Command::new(programs.kubernetes.join("kube-controller-manager"));
    command.args([CONTROLLERS, "--leader-elect=false", "--secure-port=0"]);
    // Scripts wait for its work; its usual manners are for machines that do something else.
    command.args(["--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-namespace-syncs=20"]);
    flag(&mut command, "kubeconfig", &folder.join("kubeconfig"));
    flag(&mut command, "root-ca-file", &folder.join("ca.crt"));
    flag(&mut command, "service-account-private-key-file", &folder.join("accounts.key"));
    command
}

fn kubeconfig(port: u16, folder: &Path) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{}'}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         users: [{{name: u, user: {{token: {}}}}}]\n",
        folder.join("ca.crt").display(),
        USERS[0].0
    )
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).context("cannot find a free port")?.local_addr()?.port())
}

/// A process that ends with the run.
struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(mut command: Command, folder: &Path, name: &'static str) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    fn alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        bail!("{} ended ({status}):\n{}", self.name, lines[lines.len().saturating_sub(15)..].join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
