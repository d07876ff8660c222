//! What is kept when a scenario fails: the log of each machine, what Windlass says, the objects.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::engine::Container;
use super::shell::{ask, tail};
use super::stage::Stage;
use crate::command::{print, say};

/// Everything at the management API but the Secrets.
const KINDS: &str = "clusters.cluster.x-k8s.io,machines.cluster.x-k8s.io,machinesets.cluster.x-k8s.io,\
                     machinedeployments.cluster.x-k8s.io,kubeadmcontrolplanes.controlplane.cluster.x-k8s.io,\
                     kubeadmconfigs.bootstrap.cluster.x-k8s.io,devclusters.infrastructure.cluster.x-k8s.io,\
                     devmachines.infrastructure.cluster.x-k8s.io,events";

/// What to ask in each machine: file name and program.
const MACHINE: &[(&str, &[&str])] = &[
    ("boot.log", &["sh", "-c", "cat /opt/windlass/bootstrap/state/log"]),
    (
        "boot-status.txt",
        &["sh", "-c", "cat /opt/windlass/bootstrap/state/status; ls -lR /opt/windlass/bootstrap"],
    ),
    ("kubelet.log", &["journalctl", "--no-pager", "-u", "kubelet", "-n", "3000"]),
    ("containerd.log", &["journalctl", "--no-pager", "-u", "containerd", "-n", "1000"]),
    ("units.txt", &["systemctl", "--no-pager", "--failed"]),
    (
        "pods.txt",
        &[
            "sh",
            "-c",
            "crictl --runtime-endpoint unix:///run/containerd/containerd.sock ps -a; ip addr; ip route",
        ],
    ),
    ("pod-logs.txt", &["sh", "-c", "tail -n 60 /var/log/pods/*/*/*.log"]),
];

/// Writes everything to the scenario's folder and prints what matters most.
pub fn keep(stage: &Stage) {
    say(&format!("keeping logs in {}", stage.folder.display()));
    let (planes, clusters) = stage.played();
    for container in stage.site.engine.containers(&stage.cluster_name("")).unwrap_or_default() {
        of_machine(stage, &container);
    }
    for (at, plane) in planes.iter().enumerate() {
        let said = plane.kubectl(&["get", KINDS, "-A", "-o", "yaml", "--ignore-not-found"]);
        write(&stage.folder.join(format!("objects-{at}.yaml")), said.map(|said| said.out + &said.err));
        print(&format!("--- the end of windlass's log\n{}", tail(&plane.said(), 15)));
    }
    for cluster in clusters {
        let described = cluster.describe(&[]);
        print(&format!(
            "--- windlass describe cluster {}\n{}",
            cluster.name,
            described.unwrap_or_else(|error| format!("{error:#}"))
        ));
        let file = stage.folder.join(format!("{}-describe.txt", cluster.name));
        write(&file, cluster.describe(&["--show-conditions"]));
        let all = ["--request-timeout=5s", "get", "nodes,pods,events", "-A", "-o", "wide"];
        let said = cluster.kubectl(&all);
        write(
            &stage.folder.join(format!("{}-workload.txt", cluster.name)),
            said.map(|said| said.out + &said.err),
        );
    }
}

fn of_machine(stage: &Stage, container: &Container) {
    let engine = &stage.site.engine;
    let folder = stage.folder.join(&container.name);
    let _ = std::fs::create_dir_all(&folder);
    let logs = ask(engine.docker().args(["logs", "--tail", "2000", &container.name]));
    write(&folder.join("console.log"), logs.map(|said| said.out + &said.err));
    let inspected = ask(engine.docker().args(["inspect", &container.name]));
    write(&folder.join("inspect.json"), inspected.map(|said| said.out + &said.err));
    if container.role == "external-load-balancer" {
        let from = format!("{}:/usr/local/etc/haproxy/haproxy.cfg", container.name);
        if let Err(error) = ask(engine.docker().arg("cp").arg(from).arg(folder.join("haproxy.cfg"))) {
            say(&format!("cannot keep the load balancer's configuration: {error:#}"));
        }
        return;
    }
    for (file, program) in MACHINE.iter().filter(|_| container.running) {
        exec(stage, container, &folder.join(file), program);
    }
    if container.running {
        let log = std::fs::read_to_string(folder.join("boot.log")).unwrap_or_default();
        print(&format!("--- the end of {}'s boot log\n{}", container.name, tail(&log, 12)));
    }
}

/// Streams what a program in a machine says into a file.
fn exec(stage: &Stage, container: &Container, file: &Path, program: &[&str]) {
    let run = || -> Result<()> {
        let out = File::create(file)?;
        let mut command = Command::new("timeout");
        stage.site.engine.point(&mut command);
        command.args(["30", "docker", "exec", &container.name]).args(program);
        command.stdout(out.try_clone()?).stderr(out).status()?;
        Ok(())
    };
    if let Err(error) = run() {
        say(&format!("cannot keep {}: {error:#}", file.display()));
    }
}

fn write(file: &Path, text: Result<String>) {
    let text = text.unwrap_or_else(|error| format!("{error:#}\n"));
    if let Err(error) = std::fs::write(file, text) {
        say(&format!("cannot write {}: {error}", file.display()));
    }
}
