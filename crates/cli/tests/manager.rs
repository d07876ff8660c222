//! `windlass manager` beside an API server that knows nothing of Windlass.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use common::{Home, Process, within};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use windlass_apiserver::{Server, tls};
use windlass_model::Time;
use windlass_pki::{Algorithm, Authority, FixtureKeys, KeySource as _, Kubeconfig, Leaf};
use windlass_runtime::{Clock, Tasks};

/// A plain Kubernetes API server on a socket, without any of our definitions or rules.
async fn serve(home: &Home, tasks: &Tasks) -> std::path::PathBuf {
    let clock = Clock::system();
    let now = clock.now();
    let store = windlass_store::Engine::memory().store("foreign");
    let timestamp = move || jiff::Timestamp::from_microsecond(clock.now().0).unwrap();
    let random = numbers();
    let server = Server::builder(store).clock(Arc::new(timestamp)).random(random).start().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (authority, kubeconfig, certificate, key) = credentials(url, now);
    let tls = tls(&certificate, &key, authority.certificate_pem()).unwrap();
    tasks.spawn("foreign API", async move { server.serve(listener, tls, CancellationToken::new()).await });
    let file = home.path().join("foreign.kubeconfig");
    std::fs::write(&file, kubeconfig).unwrap();
    file
}

fn credentials(url: String, now: Time) -> (Authority, String, String, String) {
    let key = |purpose| FixtureKeys.generate(Algorithm::EcdsaP256, purpose).unwrap();
    let authority = Authority::self_signed(&key("ca"), "foreign", 1, now).unwrap();
    let day = Duration::from_hours(24);
    let server = key("server");
    let names = ["127.0.0.1".to_owned()];
    let certificate = authority.issue(&server, &Leaf::server("server", &names, day), now).unwrap();
    let admin = key("admin");
    let leaf = authority.issue(&admin, &Leaf::client("kim", &["system:masters"], day), now).unwrap();
    let kubeconfig = Kubeconfig::with_certificate(url, authority.certificate_pem(), leaf, &admin).unwrap();
    let yaml = kubeconfig.to_yaml("foreign", "kim").unwrap().expose().clone();
    let key = server.to_pem().unwrap().expose().clone();
    (authority, yaml, certificate, key)
}

/// Numbers that differ; nothing here must be secret.
fn numbers() -> windlass_apiserver::Random {
    let next = std::sync::atomic::AtomicU64::new(1);
    Arc::new(move |bytes: &mut [u8]| {
        for byte in bytes {
            let step = next.fetch_add(0x9e37_79b9_7f4a_7c15, std::sync::atomic::Ordering::Relaxed);
            *byte = (step ^ (step >> 29)).to_be_bytes()[1];
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_on_a_foreign_api_server() {
    let (home, tasks) = (Home::new(), Tasks::new());
    let kubeconfig = serve(&home, &tasks).await;
    let file = kubeconfig.to_str().unwrap();
    let mut command = home.windlass(&["manager", "--kubeconfig", file, "--health-address", "127.0.0.1:0"]);
    let mut manager = Process::start(command.stderr(Stdio::piped()));
    let mut log = BufReader::new(manager.0.stderr.take().unwrap()).lines();
    let address = log.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, address) = line.split_once("health and metrics are served on ")?;
        Some(address.split_whitespace().next()?.to_owned())
    });
    let address = address.expect("the manager says where");
    std::thread::spawn(move || log.for_each(drop));
    tokio::task::block_in_place(|| {
        assert!(within(Duration::from_secs(30), || get(&address, "/readyz").starts_with("HTTP/1.1 200")));
        assert!(get(&address, "/healthz").ends_with("ok"));
    });

    let client = common::client(&kubeconfig).await;
    let manifest = windlass_manager::templates::memory("far", 1, 1).unwrap();
    windlass_manager::templates::apply(&client, &manifest).await.unwrap();
    tokio::task::block_in_place(|| {
        let available = || {
            let args = ["describe", "cluster", "far", "--output", "json", "--kubeconfig", file];
            let tree: Value = serde_json::from_str(&home.run(&args).out).unwrap_or_default();
            tree["main"]["status"] == "True" && tree["replicas"]["available"] == 2
        };
        assert!(
            within(Duration::from_mins(1), available),
            "{:?}",
            home.run(&["describe", "cluster", "far", "--kubeconfig", file])
        );
        assert!(get(&address, "/metrics").contains("windlass_keys_generated"));
    });
    let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> =
        kube::Api::namespaced(client, "kube-system");
    let lease = leases.get("windlass-manager").await.unwrap();
    assert!(lease.spec.and_then(|spec| spec.holder_identity).is_some_and(|holder| !holder.is_empty()));
    drop(manager);
    tasks.shutdown().await;
}

fn get(address: &str, path: &str) -> String {
    let mut answer = String::new();
    let asked = TcpStream::connect(address).and_then(|mut stream| {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: windlass\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    asked.map_or_else(|error| error.to_string(), |_| answer)
}
