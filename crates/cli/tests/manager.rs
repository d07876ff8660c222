//! `windlass manager` beside an API server that knows nothing of Windlass.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use common::{Home, Process, within};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use windlass_apiserver::{Server, UserInfo, tls};
use windlass_model::Time;
use windlass_pki::{Algorithm, Authority, FixtureKeys, KeySource as _, Kubeconfig, Leaf};
use windlass_runtime::{Clock, Tasks};

/// A plain Kubernetes API server on a socket, without any of our definitions or rules, and an administrator's
/// kubeconfig.
async fn serve(home: &Home, tasks: &Tasks) -> std::path::PathBuf {
    serve_to(home, tasks, "system:masters").await
}

/// The same with the kubeconfig of a member of this group; `managers` may do all but register webhooks.
async fn serve_to(home: &Home, tasks: &Tasks, group: &str) -> std::path::PathBuf {
    let clock = Clock::system();
    let now = clock.now();
    let store = windlass_store::Engine::memory().store("foreign");
    let timestamp = move || jiff::Timestamp::from_microsecond(clock.now().0).unwrap();
    let random = numbers();
    let server = Server::builder(store).clock(Arc::new(timestamp)).random(random).start().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (authority, kubeconfig, certificate, key) = credentials(url, group, now);
    let admin = server.client(UserInfo::admin("root"), "test");
    let groups = [
        "",
        "apiextensions.k8s.io",
        "coordination.k8s.io",
        "cluster.x-k8s.io",
        "infrastructure.cluster.x-k8s.io",
    ];
    let role: ClusterRole = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "managers"},
        "rules": [{"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}],
    }))
    .unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "managers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "managers"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "managers"}],
    }))
    .unwrap();
    let new = kube::api::PostParams::default();
    kube::Api::all(admin.clone()).create(&new, &role).await.unwrap();
    kube::Api::all(admin).create(&new, &binding).await.unwrap();
    let tls = tls(&certificate, &key, authority.certificate_pem()).unwrap();
    tasks.spawn("foreign API", async move { server.serve(listener, tls, CancellationToken::new()).await });
    let file = home.path().join("foreign.kubeconfig");
    std::fs::write(&file, kubeconfig).unwrap();
    file
}

fn credentials(url: String, group: &str, now: Time) -> (Authority, String, String, String) {
    let key = |purpose| FixtureKeys.generate(Algorithm::EcdsaP256, purpose).unwrap();
    let authority = Authority::self_signed(&key("ca"), "foreign", 1, now).unwrap();
    let day = Duration::from_hours(24);
    let server = key("server");
    let names = ["127.0.0.1".to_owned()];
    let certificate = authority.issue(&server, &Leaf::server("server", &names, day), now).unwrap();
    let admin = key("admin");
    let leaf = authority.issue(&admin, &Leaf::client("kim", &[group], day), now).unwrap();
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

#[test]
fn flags_of_webhooks_that_cannot_be_used() {
    let home = Home::new();
    for (flags, code, words) in [
        (
            "--webhook-port 65536",
            2,
            "invalid value '65536' for '--webhook-port <PORT>': 65536 is not in 0..=65535",
        ),
        ("--webhook-port https", 2, "invalid value 'https' for '--webhook-port <PORT>'"),
        ("--webhook-host example.com", 2, "--webhook-port <PORT>"),
        ("--webhook-service a/b", 2, "--webhook-port <PORT>"),
        ("--webhook-authority-hours 24", 2, "--webhook-port <PORT>"),
        ("--webhook-port 1 --webhook-service a/b --webhook-host c", 2, "cannot be used with"),
        ("--webhook-port 1 --webhook-authority-hours 0", 2, "0 is not in 1..=87600"),
        (
            "--webhook-port 1 --webhook-bind localhost",
            2,
            "invalid value 'localhost' for '--webhook-bind <ADDRESS>'",
        ),
        (
            "--webhook-port 1 --webhook-service windlass",
            1,
            "error: cannot use --webhook-service \"windlass\"\nhint: give a namespace and a name: kube-system/windlass\n",
        ),
        ("--webhook-port 1 --webhook-service a/", 1, "error: cannot use --webhook-service \"a/\"\n"),
    ] {
        let args: Vec<&str> = std::iter::once("manager").chain(flags.split(' ')).collect();
        let said = home.run(&args);
        assert_eq!(said.code, Some(code), "{flags}: {}", said.err);
        assert!(said.err.contains(words), "{flags}: {}", said.err);
    }
}

/// What `windlass manager --help` says of webhooks.
const HELP: &str = "\
Webhooks:
      --webhook-port <PORT>
          Serve webhooks on this port and register them: the API server refuses invalid objects
      --webhook-host <HOST>
          Host name or IP address at which the API server reaches this process [default: 127.0.0.1]
      --webhook-service <NAMESPACE/NAME>
          Service through which the API server reaches all replicas, instead of a host
      --webhook-bind <ADDRESS>
          IP address to listen on [default: 0.0.0.0]
      --webhook-namespace <NAMESPACE>
          Namespace of the Secret with the webhooks' certificate authority [default: kube-system]
      --webhook-authority-hours <HOURS>
          How many hours the certificate authority is valid; its successor is made in the last third
          [default: 2160]
";

#[test]
fn help_tells_how_webhooks_are_served() {
    let help = Home::new().run(&["manager", "-h"]).done().out;
    let section = help.split("\n\n").find(|section| section.starts_with("Webhooks:")).unwrap();
    assert_eq!(format!("{}\n", section.trim_end()), HELP);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_webhooks_that_is_taken_is_named() {
    let (home, tasks) = (Home::new(), Tasks::new());
    let kubeconfig = serve(&home, &tasks).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let flags = format!(
        "manager --kubeconfig {} --health-address 127.0.0.1:0 --webhook-bind 127.0.0.1 --webhook-port {port}",
        kubeconfig.display()
    );
    let args: Vec<&str> = flags.split(' ').collect();
    let said = tokio::task::block_in_place(|| home.run(&args));
    assert_eq!(said.code, Some(1), "{}", said.err);
    let words = format!(
        "error: cannot start the manager\n  because: cannot serve webhooks on 127.0.0.1:{port}\n  because: Address already in use (os error 98)\n\
         hint: choose another port with --webhook-port\n"
    );
    assert!(said.err.ends_with(&words), "{}", said.err);
    tasks.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_may_not_register_webhooks_says_so_and_runs() {
    let (home, tasks) = (Home::new(), Tasks::new());
    let kubeconfig = serve_to(&home, &tasks, "managers").await;
    let flags = format!(
        "manager --kubeconfig {} --health-address 127.0.0.1:0 --webhook-bind 127.0.0.1 --webhook-port 0",
        kubeconfig.display()
    );
    let mut command = home.windlass(&flags.split(' ').collect::<Vec<_>>());
    let mut manager = Process::start(command.stderr(Stdio::piped()));
    let (lines, said) = std::sync::mpsc::channel();
    let log = BufReader::new(manager.0.stderr.take().unwrap()).lines();
    std::thread::spawn(move || log.map_while(Result::ok).for_each(|line| drop(lines.send(line))));
    let (mut runs, mut told, mut seen) = (false, false, Vec::new());
    tokio::task::block_in_place(|| {
        while !(runs && told) {
            let Ok(line) = said.recv_timeout(Duration::from_mins(1)) else { break };
            runs |= line.contains("the manager runs");
            told |= line.contains("the webhooks are not registered")
                && line.contains("the manager needs the rights that docs/webhooks.md lists")
                && line.contains("forbidden");
            seen.push(line);
        }
    });
    assert!(runs && told, "{}", seen.join("\n"));
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
