//! 8: `windlass manager` beside a real kube-apiserver: a cluster is created, works, and is deleted.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::e2e::openssl;
use crate::e2e::shell::{Hopeless, ask, free_port, now, tail, until};
use crate::e2e::site::Site;
use crate::e2e::stage::Stage;
use crate::e2e::workload;

pub fn play(stage: &Stage) -> Result<()> {
    let start = now();
    let management = Management::start(&stage.site, &stage.folder.join("management"))?;
    stage.fact("kube-apiserver answers", start);
    let result = on(stage, &management);
    // The manager must not outlive what it talks to.
    let stopped = stage.played().0.iter().try_for_each(|plane| plane.stop());
    drop(management);
    result.and(stopped)
}

fn on(stage: &Stage, management: &Management) -> Result<()> {
    let plane = stage.manager(&management.kubeconfig)?;
    let cluster = stage.created(&plane, 1, 1)?;
    workload::works(stage, &cluster, stage.site.version())?;
    let kept = stage.delete_all();
    if kept.is_err() {
        // While the management cluster still answers.
        crate::e2e::evidence::keep(stage);
    }
    kept
}

/// A management cluster: etcd, kube-apiserver and the garbage collector, as processes of this machine.
struct Management {
    kubeconfig: PathBuf,
    // Stopped in this order.
    controllers: Daemon,
    api: Daemon,
    etcd: Daemon,
}

impl Management {
    fn start(site: &Site, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (etcd_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let store = format!("http://127.0.0.1:{etcd_port}");
        let mut etcd = Command::new(site.etcd_folder().join("etcd"));
        etcd.arg("--data-dir").arg(folder.join("etcd")).args(["--listen-client-urls", &store]);
        etcd.args(["--advertise-client-urls", &store, "--unsafe-no-fsync"]);
        etcd.args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer_port}")]);
        let etcd = Daemon::start(etcd, &folder.join("etcd.log"))?;

        let ca = openssl::authority(folder, "management-ca")?;
        let server = openssl::certificate(folder, &ca, "kube-apiserver", "127.0.0.1")?;
        let mut api = Command::new(site.binaries.join("kube-apiserver"));
        api.args([
            "--bind-address=127.0.0.1",
            &format!("--secure-port={port}"),
            "--service-cluster-ip-range=10.0.0.0/24",
        ]);
        api.args([&format!("--etcd-servers={store}"), "--authorization-mode=RBAC"]);
        api.args([
            "--service-account-issuer=https://windlass.invalid",
            "--disable-admission-plugins=ServiceAccount",
        ]);
        let flag = |command: &mut Command, name: &str, path: &Path| {
            command.arg(format!("--{name}={}", path.display()));
        };
        flag(&mut api, "tls-cert-file", &server.certificate);
        flag(&mut api, "tls-private-key-file", &server.key);
        flag(&mut api, "client-ca-file", &ca.certificate);
        let (private, public) = openssl::signing_key(folder)?;
        flag(&mut api, "service-account-signing-key-file", &private);
        flag(&mut api, "service-account-key-file", &public);
        let tokens = folder.join("tokens.csv");
        std::fs::write(&tokens, "windlass-e2e,kim,kim,system:masters\n")?;
        flag(&mut api, "token-auth-file", &tokens);
        let api = Daemon::start(api, &folder.join("kube-apiserver.log"))?;

        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, config(port, &ca.certificate))?;
        let mut controllers = Command::new(site.binaries.join("kube-controller-manager"));
        flag(&mut controllers, "kubeconfig", &kubeconfig);
        controllers.args(["--controllers=garbage-collector-controller,namespace-controller"]);
        controllers.args(["--leader-elect=false", "--secure-port=0"]);
        let log = folder.join("kube-controller-manager.log");
        let mut management = Self { controllers: Daemon::start(controllers, &log)?, api, etcd, kubeconfig };
        management.wait(site)?;
        Ok(management)
    }

    fn wait(&mut self, site: &Site) -> Result<()> {
        until("kube-apiserver is ready", Duration::from_mins(2), || {
            for daemon in [&mut self.etcd, &mut self.api, &mut self.controllers] {
                daemon.alive()?;
            }
            // The Lease of the manager lives there.
            let said =
                ask(site.kubectl(&self.kubeconfig).args(["get", "namespace", "kube-system", "default"]))?;
            if said.good { Ok(()) } else { bail!("{}", said.err.trim()) }
        })
    }
}

fn config(port: u16, ca: &Path) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: management\n\
         clusters: [{{name: management, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{}'}}}}]\n\
         contexts: [{{name: management, context: {{cluster: management, user: kim}}}}]\n\
         users: [{{name: kim, user: {{token: windlass-e2e}}}}]\n",
        ca.display()
    )
}

/// A process that ends with the scenario.
struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(mut command: Command, log: &Path) -> Result<Self> {
        let out = File::create(log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, log: log.to_path_buf() })
    }

    fn alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        Err(Hopeless(format!("{} ended ({status}):\n{}", self.log.display(), tail(&log, 15))).into())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
