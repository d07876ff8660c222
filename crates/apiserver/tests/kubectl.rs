//! Real kubectls against a served socket: TLS, a client certificate, everything.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;
#[path = "../../testkit/src/tools.rs"]
#[allow(dead_code, reason = "the tools of all tests")]
mod tools;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tools::{KUBECTL_1_35, KUBECTL_1_36, Program};
use windlass_apiserver::{Server, tls};
use windlass_model::{Secret, Time};
use windlass_pki::{Algorithm, Authority, FixtureKeys, Identity, KeySource as _, Kubeconfig, Leaf};

#[expect(clippy::disallowed_methods, reason = "certificates must be valid on the day of the test")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A server on a socket and a kubectl that knows it.
struct Plane {
    kubectl: PathBuf,
    home: TempDir,
    server: Server,
    shutdown: CancellationToken,
}

impl Plane {
    async fn start(kubectl: Program) -> Option<Self> {
        let kubectl = kubectl.or_skip()?;
        let server = support::builder().clock(Arc::new(now)).start().await.unwrap();
        server.install_crds(&[support::thing_definition()]).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let time = Time::from_secs(now().as_second());
        let key = |purpose| FixtureKeys.generate(Algorithm::EcdsaP256, purpose).unwrap();
        let authority = Authority::self_signed(&key("ca"), "test", 1, time).unwrap();
        let day = Duration::from_hours(24);
        let server_key = key("server");
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = authority.issue(&server_key, &Leaf::server("server", &names, day), time).unwrap();
        let ca = authority.certificate_pem();
        let config = tls(&certificate, server_key.to_pem().unwrap().expose(), ca).unwrap();
        let shutdown = CancellationToken::new();
        let (serving, end) = (server.clone(), shutdown.clone());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { serving.serve(listener, config, end).await });
        tasks.detach_all();

        let admin_key = key("admin");
        let leaf = Leaf::client("kim", &["system:masters"], day);
        let certificate = authority.issue(&admin_key, &leaf, time).unwrap();
        let kubeconfig = Kubeconfig::with_certificate(url, ca, certificate, &admin_key).unwrap();
        let home = TempDir::new().unwrap();
        // The same server for a client without a certificate.
        let identity = Identity::Token(Secret::new("given by each command".to_owned()));
        let bare = Kubeconfig { identity, ..kubeconfig.clone() }.to_yaml("test", "nobody").unwrap();
        std::fs::write(home.path().join("bare"), bare.expose()).unwrap();
        let yaml = kubeconfig.to_yaml("test", "kim").unwrap();
        std::fs::write(home.path().join("kubeconfig"), yaml.expose()).unwrap();
        Some(Self { kubectl, home, server, shutdown })
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .args(line.split_whitespace().map(|word| word.replace('~', " ")))
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .current_dir(self.home.path());
        command
    }

    fn output(&self, line: &str, input: &str) -> Output {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs a command line (`~` is a space in a word) that must succeed.
    fn run(&self, line: &str) -> String {
        self.feed(line, "")
    }

    /// Runs a command line with this input.
    fn feed(&self, line: &str, input: &str) -> String {
        let output = self.output(line, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {line}: {said}");
        String::from_utf8(output.stdout).unwrap() + &said
    }

    /// Runs a command line that must fail; what it says.
    fn refuse(&self, line: &str, input: &str) -> String {
        let output = self.output(line, input);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "kubectl {line} should fail: {said}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{line} -o json"))).unwrap()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn thing(name: &str, spec: &Value) -> String {
    json!({"apiVersion": "test.dev/v1", "kind": "Thing", "metadata": {"name": name}, "spec": spec})
        .to_string()
}

const BOTH: [Program; 2] = [KUBECTL_1_35, KUBECTL_1_36];

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_and_writes_custom_kinds() {
    for kubectl in BOTH {
        let Some(plane) = Plane::start(kubectl).await else { return };
        assert_eq!(plane.feed("apply -f -", &thing("a", &json!({"size": 1}))), "thing.test.dev/a created\n");
        assert_eq!(
            plane.feed("apply -f -", &thing("a", &json!({"size": 1}))),
            "thing.test.dev/a unchanged\n"
        );
        assert_eq!(
            plane.feed("apply -f -", &thing("a", &json!({"size": 2}))),
            "thing.test.dev/a configured\n"
        );
        let table = plane.run("get things");
        let words: Vec<&str> = table.split_whitespace().collect();
        assert_eq!(words[..6], ["NAME", "SIZE", "READY", "AGE", "a", "2"], "{table}");
        assert_eq!(plane.feed("create -f -", &thing("b", &json!({"size": 1}))), "thing.test.dev/b created\n");
        assert_eq!(plane.run("get th -o name"), "thing.test.dev/a\nthing.test.dev/b\n");
        assert_eq!(plane.run("scale thing a --replicas 3"), "thing.test.dev/a scaled\n");
        assert_eq!(plane.json("get thing a")["spec"]["replicas"], 3);
        assert_eq!(plane.run("label thing a color=blue"), "thing.test.dev/a labeled\n");
        assert_eq!(plane.run("annotate thing a note=x"), "thing.test.dev/a annotated\n");
        assert_eq!(plane.run("get things -l color=blue -o name"), "thing.test.dev/a\n");
        let patch = "patch thing a --type merge -p {\"spec\":{\"size\":9}}";
        assert_eq!(plane.run(patch), "thing.test.dev/a patched\n");
        let patch = "patch thing a --subresource status --type merge -p {\"status\":{\"phase\":\"Up\"}}";
        assert_eq!(plane.run(patch), "thing.test.dev/a patched\n");
        assert_eq!(plane.run("get thing a -o jsonpath={.status.phase}{.spec.size}"), "Up9");
        assert!(plane.run("describe thing a").contains("Phase:  Up"));
        assert_eq!(plane.run("delete thing a"), "thing.test.dev \"a\" deleted from default namespace\n");
        assert!(plane.refuse("get thing a", "").contains("(NotFound)"));
        assert_eq!(plane.run("delete things --all"), "thing.test.dev \"b\" deleted from default namespace\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_on_the_server() {
    for kubectl in BOTH {
        let Some(plane) = Plane::start(kubectl).await else { return };
        let apply = "apply --server-side -f -";
        let object = thing("a", &json!({"size": 1, "parts": [{"name": "x", "weight": 1}]}));
        assert_eq!(plane.feed(apply, &object), "thing.test.dev/a serverside-applied\n");
        let before = plane.json("get thing a --show-managed-fields");
        assert_eq!(plane.feed(apply, &object), "thing.test.dev/a serverside-applied\n");
        assert_eq!(plane.json("get thing a --show-managed-fields"), before);
        let managers = before["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(
            (&managers[0]["manager"], &managers[0]["operation"]),
            (&json!("kubectl"), &json!("Apply"))
        );
        let other = thing("a", &json!({"size": 2, "parts": [{"name": "y"}]}));
        let said = plane.refuse("apply --server-side --field-manager other -f -", &other);
        assert!(said.contains("conflict with \"kubectl\": .spec.size"), "{said}");
        plane.feed("apply --server-side --field-manager other --force-conflicts -f -", &other);
        let object = plane.json("get thing a");
        assert_eq!(object["spec"]["size"], 2);
        assert_eq!(object["spec"]["parts"], json!([{"name": "x", "weight": 1}, {"name": "y"}]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_edits_waits_and_watches() {
    for kubectl in BOTH {
        let Some(plane) = Plane::start(kubectl).await else { return };
        plane.feed("create -f -", &thing("a", &json!({"size": 1})));
        let editor = plane.home.path().join("editor");
        std::fs::write(&editor, "#!/bin/sh\nsed -i 's/size: 1/size: 5/' \"$1\"\n").unwrap();
        std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut edit = plane.command("edit thing a");
        let output = edit.env("EDITOR", &editor).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "thing.test.dev/a edited\n", "{output:?}");
        assert_eq!(plane.json("get thing a")["spec"]["size"], 5);

        let mut watching =
            plane.command("get things -w --no-headers").stdout(Stdio::piped()).spawn().unwrap();
        let waiting = plane
            .command("wait thing a --for condition=Ready --timeout 20s")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(700));
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        plane.run(&format!("patch thing a --subresource status --type merge -p {ready}"));
        let waited = waiting.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&waited.stdout), "thing.test.dev/a condition met\n");
        let gone =
            plane.command("wait thing a --for delete --timeout 20s").stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(700));
        plane.run("delete thing a");
        let gone = gone.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&gone.stdout), "thing.test.dev/a condition met\n");
        watching.kill().unwrap();
        let watched = watching.wait_with_output().unwrap();
        let lines = String::from_utf8_lossy(&watched.stdout).into_owned();
        let ready: Vec<&str> = lines.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
        assert_eq!(ready.last(), Some(&"True"), "{lines}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_makes_built_in_kinds() {
    for kubectl in BOTH {
        let Some(plane) = Plane::start(kubectl).await else { return };
        assert_eq!(plane.run("create namespace n"), "namespace/n created\n");
        assert_eq!(plane.run("create configmap c --from-literal k=v -n n"), "configmap/c created\n");
        assert_eq!(plane.run("create secret generic s --from-literal k=v -n n"), "secret/s created\n");
        assert_eq!(plane.run("get secret s -n n -o jsonpath={.data.k}"), "dg==");
        assert!(plane.run("get ns").contains("kube-node-lease"));
        assert!(plane.run("get cm,secrets -n n").contains("Opaque"));
        let map = |value: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"k": value}})
                .to_string()
        };
        assert_eq!(plane.feed("apply -f -", &map("1")), "configmap/d created\n");
        assert_eq!(plane.feed("apply -f -", &map("2")), "configmap/d configured\n");
        assert_eq!(plane.run("get cm d -o jsonpath={.data.k}"), "2");
        let inert = "Warning: windlass: nothing runs deployments\n";
        let made = plane.run("create deployment d --image i");
        assert_eq!(made, format!("deployment.apps/d created\n{inert}"));
        assert_eq!(plane.run("scale deployment d --replicas 2"), "deployment.apps/d scaled\n");
        let changed = plane.run("set image deployment/d i=j");
        assert_eq!(changed, format!("deployment.apps/d image updated\n{inert}"));
        assert_eq!(plane.run("get deployment d -o jsonpath={..image}{.spec.replicas}"), "j2");
        assert_eq!(plane.run("auth can-i delete secrets"), "yes\n");
        assert!(plane.run("auth whoami").contains("kim"));
        assert_eq!(plane.run("delete ns n"), "namespace \"n\" deleted\n");
        assert!(plane.refuse("get ns n", "").contains("(NotFound)"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_and_discovers() {
    for kubectl in BOTH {
        let Some(plane) = Plane::start(kubectl).await else { return };
        let explained = plane.run("explain thing.spec.color");
        assert!(explained.contains("FIELD: color <string>"), "{explained}");
        assert!(plane.run("explain pod.spec.containers").contains("<[]"));
        let resources = plane.run("api-resources --no-headers");
        assert!(
            resources.lines().any(|line| line.starts_with("things") && line.contains("th")),
            "{resources}"
        );
        assert!(plane.run("api-versions").contains("test.dev/v1\n"));
        assert!(plane.run("version").contains("Server Version: v1.35.0+windlass"));
        assert_eq!(plane.run("get --raw /readyz"), "ok");
        plane.feed("create -f -", &thing("a", &json!({"size": 1})));
        assert!(plane.run("get all").contains("thing.test.dev/a"));
        let mut event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "Made", "message": "hello",
            "type": "Normal", "involvedObject": {"apiVersion": "test.dev/v1", "kind": "Thing", "name": "a", "namespace": "default"},
        });
        event["involvedObject"]["uid"] = plane.json("get thing a")["metadata"]["uid"].clone();
        plane.feed("create -f -", &event.to_string());
        assert!(plane.run("get events").contains("thing/a"));
        assert!(plane.run("events --for thing/a").contains("hello"));
        assert!(plane.run("describe thing a").contains("hello"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_is_told_what_is_wrong() {
    for kubectl in BOTH {
        let Some(plane) = Plane::start(kubectl).await else { return };
        let said = plane.refuse("apply -f -", &thing("a", &json!({"size": 1, "colour": "red"})));
        assert!(said.contains("strict decoding error: unknown field \"spec.colour\""), "{said}");
        let said =
            plane.feed("apply --validate=warn -f -", &thing("a", &json!({"size": 1, "colour": "red"})));
        assert!(
            said.contains("Warning: unknown field \"spec.colour\"") && said.contains("created"),
            "{said}"
        );
        let said = plane.refuse("apply -f -", &thing("b", &json!({"size": 0, "color": "green"})));
        assert!(
            said.contains(
                "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"
            ),
            "{said}"
        );
        assert!(said.contains("spec.color: Unsupported value: \"green\": supported values:"), "{said}");
        let said = plane.refuse("apply --dry-run=server -f -", &thing("b", &json!({})));
        assert!(said.contains("spec.size: Required value"), "{said}");
        assert_eq!(
            plane.feed("apply --dry-run=server -f -", &thing("b", &json!({"size": 1}))),
            "thing.test.dev/b created (server dry run)\n"
        );
        assert!(plane.refuse("get thing b", "").contains("not found"));
        assert_eq!(plane.server.store().get("/registry/test.dev/things/default/b"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_credentials_and_large_answers_are_packed() {
    for kubectl in BOTH {
        let Some(plane) = Plane::start(kubectl).await else { return };
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
            "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef",
                "usage-bootstrap-authentication": "true"},
        });
        plane.feed("create -f -", &secret.to_string());
        plane.run("create configmap kubeadm-config -n kube-system --from-literal a=b");
        let joining = "--kubeconfig bare --token abcdef.0123456789abcdef -n kube-system";
        assert_eq!(plane.run(&format!("{joining} get cm kubeadm-config -o jsonpath={{.data.a}}")), "b");
        assert!(plane.run(&format!("{joining} auth whoami")).contains("system:bootstrap:abcdef"));
        let said = plane.refuse(&format!("{joining} get secrets"), "");
        assert!(said.contains("(Forbidden)") && said.contains("system:bootstrap:abcdef"), "{said}");
        let said = plane.refuse("--kubeconfig bare --token abcdef.0123456789abcdee get cm", "");
        assert!(said.contains("Unauthorized") || said.contains("logged in"), "{said}");
        let said =
            plane.refuse("--kubeconfig bare --token wrong get --raw /api/v1/namespaces/default/secrets", "");
        assert!(said.contains("Unauthorized") || said.contains("logged in"), "{said}");

        let large = "0123456789abcdef".repeat(16 * 1024);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"k": large}});
        plane.feed("create -f -", &map.to_string());
        let said = plane.run("get cm large -o json -v 9");
        assert!(said.contains(&large));
        let huge = "x".repeat(4 << 20);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "huge"}, "data": {"k": huge}});
        let said = plane.refuse("create -f -", &map.to_string());
        assert!(said.contains("too large"), "{said}");
    }
}

/// A MachineDeployment of one replica.
const DEPLOYMENT: &str = "
apiVersion: cluster.x-k8s.io/v1beta2
kind: MachineDeployment
metadata: {name: md}
spec:
  clusterName: c
  replicas: 1
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      clusterName: c
      version: v1.35.0
      bootstrap: {configRef: {apiGroup: bootstrap.cluster.x-k8s.io, kind: KubeadmConfigTemplate, name: t}}
      infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: DevMachineTemplate, name: t}
";

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_on_cluster_api() {
    for kubectl in BOTH {
        let Some(plane) = Plane::start(kubectl).await else { return };
        plane.server.install_crds(&windlass_api::crd::crds()).await.unwrap();
        let name = "machinedeployment.cluster.x-k8s.io/md";
        assert_eq!(plane.feed("apply -f -", DEPLOYMENT), format!("{name} created\n"));
        assert_eq!(plane.feed("apply -f -", DEPLOYMENT), format!("{name} unchanged\n"));
        assert_eq!(
            plane.feed("apply --server-side --force-conflicts -f -", DEPLOYMENT),
            format!("{name} serverside-applied\n")
        );
        assert_eq!(plane.run("scale machinedeployment md --replicas 5"), format!("{name} scaled\n"));
        assert_eq!(plane.run("get md md -o jsonpath={.spec.replicas}"), "5");
        let table = plane.run("get clusters,machinedeployments -A");
        assert!(table.contains("NAMESPACE") && table.contains("CLUSTER") && table.contains("md"), "{table}");
        let bad = DEPLOYMENT.replace("clusterName: c", "clustername: c");
        let said = plane.refuse("apply -f -", &bad);
        assert!(said.contains("unknown field \"spec.clustername\""), "{said}");
        assert!(plane.run("explain machinedeployment.spec.template.spec.bootstrap").contains("configRef"));
        assert_eq!(
            plane.run("delete md md"),
            "machinedeployment.cluster.x-k8s.io \"md\" deleted from default namespace\n"
        );
    }
}
