//! What cannot work gets an error that names the cause and the next step, exit code 1, and changes nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Home, Said, WINDLASS, skipped, within};
use kube::api::PostParams;
use rustix::process::geteuid;
use windlass_testkit::tools::KUBECTL_1_35;

/// The error text of a failed command: home directory, ports and process numbers replaced.
#[track_caller]
fn refusal(home: &Home, said: &Said) -> String {
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{}", said.err);
    normal(home, &said.err)
}

fn normal(home: &Home, text: &str) -> String {
    let text = text.replace(&home.path().display().to_string(), "~");
    let text = regex::Regex::new(r"process \d+").unwrap().replace_all(&text, "process PID").into_owned();
    regex::Regex::new(r"\b(port |127\.0\.0\.1:)\d+").unwrap().replace_all(&text, "${1}PORT").into_owned()
}

/// Runs a command that must be refused in words and leave the data directory as it is.
#[track_caller]
fn refused(home: &Home, args: &[&str], words: &str) {
    let before = home.files();
    assert_eq!(refusal(home, &home.run(args)), words, "windlass {}", args.join(" "));
    assert!(home.files() == before, "windlass {} has changed the data directory", args.join(" "));
}

#[test]
fn flags_for_containers_that_cannot_be_used() {
    let home = Home::new();
    let cases: [(&[&str], &str); 4] = [
        (
            &["quickstart", "--node-image", "mine:v1"],
            "error: --node-image is for machines that are containers, not for infrastructure `memory`\n\
             hint: add --infrastructure docker, or leave --node-image out\n",
        ),
        (
            &["quickstart", "--infrastructure", "docker", "--cni", "/nowhere/cni.yaml"],
            "error: cannot use the network plugin /nowhere/cni.yaml\n  because: No such file or directory (os error 2)\n\
             hint: --cni takes a file with the manifest of a network plugin, as for `kubectl apply -f`\n",
        ),
        (
            &["quickstart", "--cni", "/dev/null"],
            "error: cannot use the network plugin /dev/null: there is no object in it\n\
             hint: --cni takes a file with the manifest of a network plugin, as for `kubectl apply -f`\n",
        ),
        (
            &["down", "--delete-clusters"],
            "error: no plane runs in ~/.local/share/windlass that could delete clusters\n\
             hint: start it with: windlass up --detach\n",
        ),
    ];
    for (args, words) in cases {
        refused(&home, args, words);
    }
}

#[test]
fn flags_that_cannot_be_used() {
    let home = Home::new();
    let long = "a".repeat(47);
    let cases: [(&[&str], String); 6] = [
        (
            &["quickstart", &long],
            format!(
                "error: the cluster name `{long}` is too long: 47 characters\n\
                 hint: use at most 46, so that the names of its machines fit in a label\n"
            ),
        ),
        (
            &["quickstart", "Prod"],
            "error: `Prod` cannot be the name of a cluster\n\
             hint: use lower-case letters, digits, `-` and `.`, with a letter or digit at both ends\n"
                .into(),
        ),
        (
            &["quickstart", "--kubernetes-version", "latest"],
            "error: --kubernetes-version cannot be used\n  because: `latest` is not a version of the form v1.35.0\n\
             hint: for example --kubernetes-version v1.35.0\n"
                .into(),
        ),
        (
            &["quickstart", "--kubernetes-version", "v1.99.0"],
            "error: --kubernetes-version cannot be used\n  because: `v1.99.0` is no Kubernetes version that clusters \
             can run here: v1.31 to v1.36\nhint: for example --kubernetes-version v1.35.0\n"
                .into(),
        ),
        (
            &["quickstart", "--infrastructure", "mainframe"],
            "error: there is no built-in template for infrastructure `mainframe`\n\
             hint: built in: memory, docker; --from reads a template of your own\n"
                .into(),
        ),
        (
            &["up", "--listen", "0.0.0.0:7443"],
            "error: cannot start the plane\n  because: 0.0.0.0:7443 can be reached from other machines\n\
             hint: listen on 127.0.0.1, or say --allow-remote if that is meant\n"
                .into(),
        ),
    ];
    for (args, words) in cases {
        refused(&home, args, &words);
    }
    assert!(!home.data().path().exists());
}

#[test]
fn a_port_in_use() {
    let home = Home::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = other.local_addr().unwrap().to_string();
    let words = "error: cannot start the plane\n  because: cannot listen on 127.0.0.1:PORT\n  \
                 because: Address already in use (os error 98)\n\
                 hint: another program listens on port PORT; choose another one with --listen 127.0.0.1:PORT\n";
    for command in ["up", "quickstart"] {
        refused(&home, &[command, "--listen", &listen], words);
        refused(&home, &[command, "--detach", "--listen", &listen], words);
    }
    assert!(!home.data().path().exists());
}

#[test]
fn no_plane_or_one_that_is_down() {
    let home = Home::new();
    let none = "error: there is no plane in ~/.local/share/windlass\n\
                hint: `windlass quickstart` starts one with a first cluster, `windlass up` an empty one; --kubeconfig \
                names a management cluster elsewhere\n";
    refused(&home, &["describe", "cluster", "quickstart"], none);
    refused(&home, &["get", "kubeconfig", "quickstart"], none);
    home.run(&["up", "--detach"]).done();
    let kept = home.path().join("kept.kubeconfig");
    fs::copy(home.data().management_kubeconfig(), &kept).unwrap();
    home.run(&["down"]).done();
    let down = "error: the plane in ~/.local/share/windlass is not running\n\
                hint: start it with: windlass up --detach\n";
    refused(&home, &["describe", "cluster", "quickstart"], down);
    refused(&home, &["get", "kubeconfig", "quickstart"], down);
    // A kubeconfig says nothing about who should answer.
    let said = home.run(&["describe", "cluster", "quickstart", "--kubeconfig", kept.to_str().unwrap()]);
    let words = refusal(&home, &said);
    assert!(words.starts_with("error: cannot read cluster `quickstart` in namespace `default`\n"), "{words}");
    assert!(words.contains("Connection refused"), "{words}");
    assert!(words.contains("\nhint: is the plane running? `windlass up` starts it"), "{words}");
}

#[test]
fn kubeconfigs_that_cannot_be_used() {
    let home = Home::new();
    let file = home.path().join("kubeconfig");
    let path = file.to_str().unwrap().to_owned();
    let describe = |more: &[&str]| {
        let args = [&["describe", "cluster", "prod", "--kubeconfig", &path], more].concat();
        refusal(&home, &home.run(&args))
    };
    let missing = describe(&[]);
    assert!(missing.starts_with("error: cannot read the kubeconfig ~/kubeconfig\n"), "{missing}");
    assert!(missing.contains("No such file or directory"), "{missing}");
    assert!(
        missing.ends_with(
            "\nhint: name the kubeconfig of a management cluster with --kubeconfig or KUBECONFIG\n"
        )
    );
    fs::write(&file, "clusters: [").unwrap();
    assert!(describe(&[]).contains("line 1 column "));
    fs::write(&file, "{apiVersion: v1, kind: Config, clusters: [], contexts: [], users: []}").unwrap();
    let context = describe(&["--kubeconfig-context", "nowhere"]);
    assert!(context.starts_with("error: cannot use the kubeconfig ~/kubeconfig\n"), "{context}");
    assert!(context.contains("nowhere"), "{context}");
    assert!(context.contains("\nhint: `kubectl config view` shows its contexts"), "{context}");
}

#[test]
fn what_exists_is_continued_and_what_does_not_is_told() {
    let home = Home::new();
    home.run(&["quickstart", "--detach", "--worker-machine-count", "1"]).done();
    let plane = home.plane();
    let in_use = "error: cannot start the plane\n  because: the data directory ~/.local/share/windlass is in use by \
                  process PID\nhint: `windlass down` stops that plane; --data-dir chooses another folder\n";
    assert_eq!(refusal(&home, &home.run(&["up"])), in_use);
    assert_eq!(home.plane(), plane);

    let again = home.run(&["quickstart", "--worker-machine-count", "4"]).done();
    assert!(
        again.err.starts_with("cluster `quickstart` exists; continuing with it as it is\n"),
        "{}",
        again.err
    );
    let tree = home.run(&["describe", "cluster", "quickstart", "--output", "json"]).done().out;
    let tree: serde_json::Value = serde_json::from_str(&tree).unwrap();
    assert_eq!((&tree["replicas"]["desired"], &tree["main"]["status"]), (&2.into(), &"True".into()));

    let near =
        "error: cluster `quickstrat` not found in namespace `default`\nhint: did you mean `quickstart`?\n";
    assert_eq!(refusal(&home, &home.run(&["describe", "cluster", "quickstrat"])), near);
    assert_eq!(refusal(&home, &home.run(&["get", "kubeconfig", "quickstrat"])), near);
    let far = "error: cluster `quickstart` not found in namespace `team`\n\
               hint: `kubectl get clusters -A` lists all clusters; -n chooses the namespace\n";
    assert_eq!(refusal(&home, &home.run(&["describe", "cluster", "quickstart", "-n", "team"])), far);
}

#[test]
fn a_damaged_database() {
    let home = Home::new();
    home.run(&["up", "--detach"]).done();
    home.run(&["down"]).done();
    let good = fs::read(home.data().database()).unwrap();
    let text = b"this is no database\n".to_vec();
    let header = [vec![0xff; 512], good[512..].to_vec()].concat();
    let half = good[..good.len() / 2].to_vec();
    for (what, bytes) in [("text", text), ("header", header), ("half", half)] {
        fs::write(home.data().database(), &bytes).unwrap();
        for args in [&["up"] as &[_], &["up", "--detach"], &["quickstart"]] {
            let words = refusal(&home, &home.run(args));
            assert!(
                words.starts_with(
                    "error: cannot start the plane\n  because: cannot open the plane's database\n"
                ),
                "{words}"
            );
            assert!(
                words.contains("because: cannot open ~/.local/share/windlass/plane.redb: it is damaged ("),
                "{what}: {words}"
            );
            assert!(words.contains("\nhint: nothing was changed; keep ~/.local/share/windlass/plane.redb and start with a backup of it"), "{words}");
            assert!(fs::read(home.data().database()).unwrap() == bytes, "{what}: the file was changed");
        }
    }
    fs::write(home.data().database(), good).unwrap();
    home.run(&["up", "--detach"]).done();
}

/// A file system of its own; gone with the test.
struct Mount(PathBuf);

impl Mount {
    /// A tmpfs; `None` after having said why there is none.
    fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            skipped("no file system can be mounted here");
            return None;
        }
        Some(Self(at.to_path_buf()))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a plane that a failed test left behind may still have files open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_read_only_disk() {
    let home = Home::new();
    let Some(disk) = Mount::tmpfs(home.data().path(), "size=64m") else { return };
    home.run(&["up", "--detach"]).done();
    home.run(&["down"]).done();
    disk.remount("ro");
    let words = "error: cannot start the plane\n  because: cannot open ~/.local/share/windlass/plane.lock\n  \
                 because: Read-only file system (os error 30)\n\
                 hint: choose a folder you may write to with --data-dir\n";
    refused(&home, &["up"], words);
    let log = "write ~/.local/share/windlass/logs/windlass.log";
    let words = words.replace("open ~/.local/share/windlass/plane.lock", log);
    refused(&home, &["quickstart"], &words);
    refused(&home, &["up", "--detach"], &words);
    refused(&home, &["quickstart", "--detach"], &words);
    let folder = home.data().path().join("new");
    let words = "error: cannot start the plane\n  because: cannot make ~/.local/share/windlass/new\n  \
                 because: Read-only file system (os error 30)\n\
                 hint: choose a folder you may write to with --data-dir\n";
    refused(&home, &["--data-dir", folder.to_str().unwrap(), "up"], words);
    disk.remount("rw");
    home.run(&["up", "--detach"]).done();
    home.run(&["down"]).done();
}

#[test]
fn a_folder_of_somebody_else() {
    if !geteuid().is_root() {
        return skipped("only root can run the program as somebody else");
    }
    let home = Home::new();
    // The program and the way to the folder must be in reach of the other user.
    let program = home.path().join("windlass");
    fs::copy(WINDLASS, &program).unwrap();
    let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode;
    fs::set_permissions(home.path(), open(0o755)).unwrap();
    let mut command = home.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).arg("up");
    let words = refusal(&home, &command.output().unwrap().into());
    assert_eq!(
        words,
        "error: cannot start the plane\n  because: cannot make ~/.local/share/windlass\n  \
         because: Permission denied (os error 13)\nhint: choose a folder you may write to with --data-dir\n"
    );
    assert!(!home.data().path().exists());
}

#[test]
fn a_full_disk() {
    let home = Home::new();
    let Some(disk) = Mount::tmpfs(home.data().path(), "size=64k") else { return };
    for args in [&["up"] as &[_], &["up", "--detach"]] {
        let words = refusal(&home, &home.run(args));
        assert!(words.contains("free some space"), "{words}");
    }
    disk.remount("size=64m");
    home.run(&["quickstart", "--detach"]).done();

    // Full while it runs: the plane says so and stops; nothing that was acknowledged is lost.
    let used = used(home.data().path());
    disk.remount(&format!("size={}k", used.div_ceil(1024)));
    let write = |at: u32| {
        let (value, name) = ("x".repeat(500_000), format!("big-{at}"));
        configmap(&home, &name, &value)
    };
    let mut at = 0;
    while write(at) {
        at += 1;
        assert!(at < 200, "the disk does not fill up");
    }
    assert!(within(Duration::from_secs(20), || home.plane().is_none()), "the plane goes on without a disk");
    let log = fs::read_to_string(home.data().log()).unwrap();
    assert!(log.contains("the disk is full"), "{log}");
    disk.remount("size=256m");
    home.run(&["up", "--detach"]).done();
    let tree = home.run(&["describe", "cluster", "quickstart"]).done();
    assert!(tree.out.contains("Cluster/quickstart"), "{}", tree.out);
    for at in 0..at {
        assert!(exists(&home, &format!("big-{at}")), "big-{at} was acknowledged and is lost");
    }
    home.run(&["down"]).done();
}

/// Bytes on the disk.
fn used(folder: &Path) -> u64 {
    let output = Command::new("du").args(["--summarize", "--bytes"]).arg(folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// Whether the API took a ConfigMap.
fn configmap(home: &Home, name: &str, value: &str) -> bool {
    let map = serde_json::json!({"metadata": {"name": name}, "data": {"value": value}});
    with_api(home, async |maps| {
        maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.is_ok()
    })
}

fn exists(home: &Home, name: &str) -> bool {
    with_api(home, async |maps| maps.get(name).await.is_ok())
}

fn with_api(
    home: &Home,
    ask: impl AsyncFnOnce(kube::Api<k8s_openapi::api::core::v1::ConfigMap>) -> bool,
) -> bool {
    let file = home.data().management_kubeconfig();
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(async { ask(kube::Api::namespaced(common::client(&file).await, "default")).await })
}

/// Manifest, how it is spoiled, and what kubectl must show of the answer.
const MANIFESTS: [(&str, &str, &str, &str); 8] = [
    (
        "cluster",
        "controlPlaneRef:",
        "controlPlanRef:",
        "strict decoding error: unknown field \"spec.controlPlanRef\"",
    ),
    ("cluster", "kind: DevCluster", "kind: 7", "spec.infrastructureRef.kind"),
    ("cluster", "kind: KubeadmControlPlane, ", "", "spec.controlPlaneRef.kind: Required value"),
    ("cluster", "NAME", LONG, "metadata.name: Too long: has 64 characters; choose a name of at most 63"),
    ("topology", "", "", "spec.topology: Forbidden: clusters from a ClusterClass are not served yet"),
    ("deployment", "replicas: 2", "replicas: two", "spec.replicas"),
    (
        "deployment",
        "version: v1.35.0",
        "version: v1.99.0",
        "spec.template.spec.version: Invalid value: \"v1.99.0\": is no Kubernetes version that clusters can run here; \
         choose one from v1.31 to v1.36",
    ),
    ("deployment", "clusterName: NAME", "clusterName: NAME, selector: 1", "spec"),
];

const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Manifests that are taken as they stand.
fn manifest(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "cluster" => (
            "clusters",
            "{apiVersion: cluster.x-k8s.io/v1beta2, kind: Cluster, metadata: {name: NAME}, spec: {\
             controlPlaneRef: {apiGroup: controlplane.cluster.x-k8s.io, kind: KubeadmControlPlane, name: NAME}, \
             infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: DevCluster, name: NAME}}}",
        ),
        "topology" => (
            "clusters",
            "{apiVersion: cluster.x-k8s.io/v1beta2, kind: Cluster, metadata: {name: NAME}, spec: {\
             topology: {classRef: {name: default}, version: v1.35.0}}}",
        ),
        _ => (
            "machinedeployments",
            "{apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineDeployment, metadata: {name: NAME}, spec: {\
             replicas: 2, clusterName: NAME, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, \
             spec: {clusterName: NAME, version: v1.35.0, \
             bootstrap: {configRef: {apiGroup: bootstrap.cluster.x-k8s.io, kind: KubeadmConfigTemplate, name: NAME}}, \
             infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: DevMachineTemplate, name: NAME}}}}}",
        ),
    }
}

#[test]
fn manifests_that_are_wrong() {
    let Some(kubectl) = KUBECTL_1_35.or_skip() else { return };
    let home = Home::new();
    home.run(&["up", "--detach"]).done();
    let file = home.path().join("manifest.yaml");
    let apply = |text: &str, server_side: bool| {
        fs::write(&file, text.replace("NAME", "prod")).unwrap();
        let server_side = if server_side { "--server-side=true" } else { "--server-side=false" };
        home.kubectl(&kubectl, &["apply", server_side, "-f", file.to_str().unwrap()])
    };
    for (kind, from, to, words) in MANIFESTS {
        let (resource, good) = manifest(kind);
        assert!(good.contains(from), "{kind}: {from}");
        for server_side in [false, true] {
            let said =
                apply(&good.replacen(from, to, if from == "NAME" { 1 } else { usize::MAX }), server_side);
            assert_eq!(said.code, Some(1), "{kind} {to}: {}", said.out);
            // What is applied is held against the schema before it is decoded.
            let typed = server_side && words.contains("unknown field");
            let words = if typed { "field not declared in schema" } else { words };
            assert!(said.err.contains(words), "{kind} {to}: {}", said.err);
            let left = home.kubectl(&kubectl, &["get", resource, "--output", "name"]).done();
            assert_eq!(left.out, "", "{kind} {to}");
        }
    }
    for kind in ["cluster", "deployment"] {
        apply(manifest(kind).1, false).done();
    }
}
