//! Three members of a real etcd with mutual TLS, managed as a control plane provider does.
//!
//! `ETCD_BIN=/path/to/etcd cargo test -p windlass-workload --features real-etcd --test real_etcd`; etcd 3.4 and
//! later. Port-forwards are stood in for by plain sockets; everything from TLS up is what runs in production.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stand outside of test functions")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use windlass_model::{Key, Secret};
use windlass_pki::{Algorithm, Authority, KeySource, Leaf, PrivateKey, SystemKeys};
use windlass_runtime::{Clock, Tasks};
use windlass_workload::{
    Etcd, EtcdConnector, EtcdError, EtcdIdentity, Member, Opened, PortForward, Tunnel, TunnelError,
};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const HOUR: Duration = Duration::from_hours(1);

/// Where the pods' ports are. A test may lie about it.
#[derive(Clone, Default)]
struct Sockets(Arc<Mutex<BTreeMap<String, u16>>>);

#[async_trait]
impl Tunnel for Sockets {
    async fn open(&self, _: &Key, pod: &str, port: u16) -> Result<Opened, TunnelError> {
        let at = self.0.lock().unwrap().get(pod).copied().unwrap_or(1);
        let stream = TcpStream::connect(("127.0.0.1", at)).await;
        let refused =
            |error: std::io::Error| TunnelError::Refused { pod: pod.to_owned(), port, source: error.into() };
        Ok(Opened::plain(stream.map_err(refused)?))
    }
}

/// An authority, and somebody whom it has certified.
struct Pki {
    authority: Authority,
    key: PrivateKey,
}

impl Pki {
    fn new() -> Self {
        let keys = SystemKeys::default();
        let key = keys.generate(Algorithm::EcdsaP256, "test").unwrap();
        let authority = Authority::self_signed(&key, "etcd-ca", 10, Clock::system().now()).unwrap();
        Self { authority, key }
    }

    fn issue(&self, leaf: &Leaf) -> String {
        self.authority.issue(&self.key, leaf, Clock::system().now()).unwrap()
    }

    fn identity(&self) -> EtcdIdentity {
        EtcdIdentity {
            ca_pem: self.authority.certificate_pem().to_owned(),
            certificate_pem: self.issue(&Leaf::client("cluster-api.x-k8s.io", &[], HOUR)),
            key_pem: Secret::new(self.key.to_pem().unwrap().expose().clone()),
        }
    }

    /// The files of a member.
    fn write(&self, folder: &Path) {
        let server = self.issue(&Leaf::server("etcd", &["127.0.0.1".to_owned()], HOUR));
        std::fs::write(folder.join("ca.crt"), self.authority.certificate_pem()).unwrap();
        std::fs::write(folder.join("server.crt"), server).unwrap();
        std::fs::write(folder.join("server.key"), self.key.to_pem().unwrap().expose()).unwrap();
    }
}

/// Running members; they die with it.
struct Members {
    folder: tempfile::TempDir,
    processes: BTreeMap<&'static str, Child>,
    ports: BTreeMap<&'static str, (u16, u16)>,
}

impl Drop for Members {
    fn drop(&mut self) {
        for process in self.processes.values_mut() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Members {
    fn start(pki: &Pki) -> Self {
        let folder = tempfile::tempdir().unwrap();
        pki.write(folder.path());
        let ports = NAMES.map(|name| (name, (free_port(), free_port()))).into();
        let mut members = Self { folder, processes: BTreeMap::new(), ports };
        for name in NAMES {
            let process = members.command(name).spawn().unwrap();
            members.processes.insert(name, process);
        }
        members
    }

    fn command(&self, name: &str) -> Command {
        let etcd = std::env::var("ETCD_BIN").expect("ETCD_BIN names an etcd binary");
        let (client, peer) = self.ports[name];
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let url = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
        let cluster = self.ports.iter().map(|(name, (_, peer))| format!("{name}={}", url("http", *peer)));
        let mut command = Command::new(etcd);
        command
            .args(["--name", name, "--data-dir", &file(name)])
            .args(["--listen-client-urls", &url("https", client)])
            .args(["--advertise-client-urls", &url("https", client)])
            .args(["--listen-peer-urls", &url("http", peer)])
            .args(["--initial-advertise-peer-urls", &url("http", peer)])
            .args(["--initial-cluster", &cluster.collect::<Vec<_>>().join(",")])
            .args(["--cert-file", &file("server.crt"), "--key-file", &file("server.key")])
            .args(["--client-cert-auth", "--trusted-ca-file", &file("ca.crt")])
            // It would be a client of its own, with a certificate that is not for clients.
            .arg("--enable-grpc-gateway=false")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn kill(&mut self, name: &str) {
        if let Some(mut process) = self.processes.remove(name) {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// The pods as they are.
    fn tell(&self, sockets: &Sockets) {
        let ports = self.ports.iter().map(|(name, (client, _))| (format!("etcd-{name}"), *client));
        *sockets.0.lock().unwrap() = ports.collect();
    }
}

fn nodes() -> Vec<String> {
    NAMES.map(str::to_owned).into()
}

fn cluster() -> Key {
    Key::new("default", "c")
}

/// Tries again what may be tried again, for half a minute.
async fn eventually<T, F: Future<Output = Result<T, EtcdError>>>(mut call: impl FnMut() -> F) -> T {
    let mut last = None;
    for _ in 0..60 {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                last = Some(error);
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("still not: {last:?}");
}

/// The leader and a follower.
async fn roles(etcd: &dyn Etcd) -> (Member, Member) {
    let leader = eventually(|| etcd.leader()).await;
    let members = eventually(|| etcd.members()).await;
    let (leads, follows): (Vec<_>, Vec<_>) = members.into_iter().partition(|member| member.id == leader);
    (leads[0].clone(), follows[0].clone())
}

struct Bench {
    pki: Pki,
    members: Members,
    sockets: Sockets,
    forward: PortForward,
    tasks: Tasks,
}

impl Bench {
    fn new() -> Self {
        let (pki, sockets, tasks) = (Pki::new(), Sockets::default(), Tasks::new());
        let members = Members::start(&pki);
        members.tell(&sockets);
        let forward = PortForward::new(Arc::new(sockets.clone()), Clock::system(), tasks.spawner());
        Self { pki, members, sockets, forward, tasks }
    }

    fn other_than(&self, names: [&str; 2]) -> String {
        let mut left = self.members.ports.keys().filter(|name| !names.contains(name));
        (*left.next().unwrap()).to_owned()
    }

    async fn connect(&self, identity: &EtcdIdentity) -> Result<Box<dyn Etcd>, EtcdError> {
        self.forward.connect(&cluster(), &nodes(), identity).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_moved_and_removed() {
    let mut bench = Bench::new();
    let identity = bench.pki.identity();
    let etcd = eventually(|| bench.connect(&identity)).await;
    let mut names: Vec<_> =
        eventually(|| etcd.members()).await.into_iter().map(|member| (member.name, member.learner)).collect();
    names.sort();
    assert_eq!(names, NAMES.map(|name| (name.to_owned(), false)));
    assert_eq!(etcd.alarms().await.unwrap(), []);

    let (leader, follower) = roles(etcd.as_ref()).await;
    for name in NAMES {
        let status = eventually(|| etcd.status(name)).await;
        assert!(status.is_healthy() && status.db_size > 0 && status.version.starts_with("3."), "{status:?}");
        assert_eq!(status.leader, Some(leader.id));
    }

    // On the leader's own endpoint, whichever member we are connected to.
    etcd.move_leader(follower.id).await.unwrap();
    etcd.move_leader(follower.id).await.unwrap();
    assert_eq!(eventually(|| etcd.leader()).await, follower.id);
    let error = etcd.move_leader(42).await.unwrap_err();
    assert!(matches!(error, EtcdError::Call { .. }), "{error:?}");

    let error = eventually_final(|| etcd.remove_member(42)).await;
    assert!(matches!(error, EtcdError::UnknownMember(42)), "{error:?}");
    // The member that we ask may be the one that goes; then its answer is lost, and the next one knows.
    eventually(|| async {
        match bench.connect(&identity).await?.remove_member(leader.id).await {
            Err(EtcdError::UnknownMember(_)) => Ok(()),
            answer => answer,
        }
    })
    .await;
    let left = eventually(|| bench.connect(&identity)).await;
    assert_eq!(eventually(|| left.members()).await.len(), 2);

    // One of two: no quorum, and no answer that takes for ever.
    bench.members.kill(&follower.name);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let alone = eventually(|| bench.connect(&identity)).await;
    assert!(matches!(alone.leader().await.unwrap_err(), EtcdError::NoLeader));
    let version = alone.status(&bench.other_than([&leader.name, &follower.name])).await.unwrap().version;
    match alone.members().await {
        // It does not know yet that its view may be asked to be the quorum's.
        Ok(members) => assert!(version.starts_with("3.4.") && members.len() == 2, "{version} {members:?}"),
        Err(error) => assert!(error.is_retryable(), "{error:?}"),
    }
}

/// The first error that is final.
async fn eventually_final<F: Future<Output = Result<(), EtcdError>>>(
    mut call: impl FnMut() -> F,
) -> EtcdError {
    for _ in 0..60 {
        let error = call().await.unwrap_err();
        if !error.is_retryable() {
            return error;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("no final answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_does_not_hand_the_leadership_over() {
    let bench = Bench::new();
    let identity = bench.pki.identity();
    let etcd = eventually(|| bench.connect(&identity)).await;
    let (leader, follower) = roles(etcd.as_ref()).await;
    // A connector of its own, for which the leader's pod is at the follower's address.
    let misled = Sockets::default();
    bench.members.tell(&misled);
    let wrong = bench.members.ports[follower.name.as_str()].0;
    misled.0.lock().unwrap().insert(format!("etcd-{}", leader.name), wrong);
    let forward = PortForward::new(Arc::new(misled), Clock::system(), bench.tasks.spawner());
    let nodes = [follower.name.clone()];
    let etcd = forward.connect(&cluster(), &nodes, &identity).await.unwrap();
    let third = etcd.members().await.unwrap().into_iter().find(|m| ![leader.id, follower.id].contains(&m.id));
    let error = etcd.move_leader(third.unwrap().id).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.is_retryable() && source.contains("not leader"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_clusters_own_certificates_are_taken() {
    let bench = Bench::new();
    let ours = bench.pki.identity();
    drop(eventually(|| bench.connect(&ours)).await);
    let theirs = Pki::new().identity();
    let impostor = EtcdIdentity { ca_pem: ours.ca_pem.clone(), ..theirs.clone() };
    let gullible = EtcdIdentity { ca_pem: theirs.ca_pem.clone(), ..ours.clone() };
    for (who, says) in [(impostor, "received fatal alert"), (gullible, "invalid peer certificate")] {
        let error = bench.connect(&who).await.err().expect("a foreign certificate is refused");
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        assert!(text.contains(says), "{text}");
    }
    // A node that is off does not keep the others from answering.
    bench.sockets.0.lock().unwrap().insert("etcd-n1".to_owned(), 1);
    let forward = PortForward::new(Arc::new(bench.sockets.clone()), Clock::system(), bench.tasks.spawner());
    let etcd = forward.connect(&cluster(), &nodes(), &ours).await.unwrap();
    assert_eq!(eventually(|| etcd.members()).await.len(), 3);
}
