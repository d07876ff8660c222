//! `kubectl port-forward` into simulated clusters, over WebSockets and over SPDY as before them.

#![expect(clippy::unwrap_used, reason = "helpers stand outside of test functions")]

mod common;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Place};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use windlass_model::Key;
use windlass_runtime::Clock;
use windlass_store::Engine;
use windlass_testkit::tools::{KUBECTL_1_35, KUBECTL_1_36, Program};
use windlass_workload::{EtcdConnector, Opened, PortForward, Tunnel, TunnelError};

/// A port-forward by kubectl, until it is dropped.
struct Forward {
    process: Child,
    port: u16,
    /// It writes a line for each connection, and would die of a pipe that is closed.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Forward {
    async fn start(
        kubectl: &std::path::Path,
        kubeconfig: &std::path::Path,
        websockets: bool,
        to: &str,
    ) -> Self {
        let (pod, port) = to.split_once(':').unwrap();
        let mut process = Command::new(kubectl)
            .args(["port-forward", "-n", "kube-system", pod, &format!(":{port}")])
            .env("KUBECONFIG", kubeconfig)
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // Forwarding from 127.0.0.1:34567 -> 2379
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line());
        let line = line.await.expect("kubectl says where it listens").unwrap().unwrap();
        let (_, rest) = line.split_once("127.0.0.1:").unwrap();
        let (port, _) = rest.split_once(' ').unwrap();
        Self { process, port: port.parse().unwrap(), _lines: lines }
    }
}

#[async_trait]
impl Tunnel for Forward {
    async fn open(&self, _: &Key, _: &str, _: u16) -> Result<Opened, TunnelError> {
        Ok(Opened::plain(TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()))
    }
}

async fn check(kubectl: Program) {
    let Some(kubectl) = kubectl.or_skip() else { return };
    let place = Place::on(Engine::memory(), Clock::tokio(Clock::system().now()), true).await;
    let cluster = Fixture::new("c");
    place.found(&cluster).await;
    place.boot(&cluster, "cp-0", true, cluster.init()).await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let yaml = cluster.kubeconfig(place.port(&cluster).await).to_yaml("c", "admin").unwrap();
    std::fs::write(&kubeconfig, yaml.expose()).unwrap();
    for websockets in [true, false] {
        let forward = Forward::start(&kubectl, &kubeconfig, websockets, "pod/etcd-cp-0:2379").await;
        let address = ("127.0.0.1", forward.port);
        let forward = Arc::new(forward);
        for _ in 0..3 {
            let etcd = PortForward::new(forward.clone(), place.clock.clone(), place.tasks.spawner());
            let etcd =
                etcd.connect(&cluster.key, &["cp-0".to_owned()], &cluster.etcd_identity()).await.unwrap();
            let members = etcd.members().await.unwrap();
            assert_eq!(members.len(), 1, "{members:?}");
        }
        // Somebody who does not speak TLS is hung up on, and the others go on.
        let mut stray = TcpStream::connect(address).await.unwrap();
        stray.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), stray.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "the connection ends: {answer:?}");

        let api = Forward::start(&kubectl, &kubeconfig, websockets, "pod/kube-apiserver-cp-0:6443").await;
        let url = format!("https://127.0.0.1:{}", api.port);
        let mut through = cluster.kubeconfig(1);
        through.server = url;
        std::fs::write(&kubeconfig, through.to_yaml("c", "admin").unwrap().expose()).unwrap();
        let mut get = Command::new(&kubectl);
        let said =
            get.args(["get", "nodes", "-o", "name"]).env("KUBECONFIG", &kubeconfig).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "node/cp-0\n", "{said:?}");
        std::fs::write(&kubeconfig, yaml.expose()).unwrap();
        drop(api.process);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_1_35_gets_through_to_etcd_and_the_api_server() {
    check(KUBECTL_1_35).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_1_36_gets_through_to_etcd_and_the_api_server() {
    check(KUBECTL_1_36).await;
}
