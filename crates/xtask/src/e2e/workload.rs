//! Whether pods, Services, names and routes of a workload cluster work.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};

use super::cluster::Cluster;
use super::shell::{Said, now, until};
use super::stage::Stage;

/// Two pods on two nodes, control plane included, each of which says its name on port 8080; and a Service. The image
/// is one that every node has; the programs are the node's own, because images of that kind have none.
const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule}]
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: echo}}}
      containers:
      - name: echo
        image: registry.k8s.io/kube-proxy:VERSION
        imagePullPolicy: IfNotPresent
        command: [/usr/bin/perl, -MIO::Socket::INET, -e]
        args: ['$s = IO::Socket::INET->new(LocalPort => 8080, Listen => 9, ReuseAddr => 1) or die $@; while ($c = $s->accept) { print $c "$ENV{HOSTNAME}\n"; close $c }']
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        volumeMounts:
        - {name: usr, mountPath: /usr, readOnly: true}
        - {name: lib, mountPath: /lib, readOnly: true}
        - {name: lib64, mountPath: /lib64, readOnly: true}
      volumes:
      - {name: usr, hostPath: {path: /usr}}
      - {name: lib, hostPath: {path: /usr/lib}}
      - {name: lib64, hostPath: {path: /usr/lib64}}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec:
  selector: {app: echo}
  ports: [{port: 80, targetPort: 8080}]
"#;

/// Reads what a server says.
const CLIENT: &str =
    "$c = IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 3) or die \"$ARGV[0]: $@\"; print <$c>";

/// A pod of the Deployment.
struct Pod {
    name: String,
    address: String,
    node: String,
}

/// Creates a Deployment of two pods and a Service; fails unless names, the Service and pod addresses work from each
/// node to each other.
pub fn works(stage: &Stage, cluster: &Cluster, version: &str) -> Result<()> {
    let start = now();
    cluster.apply(&MANIFEST.replace("VERSION", &format!("v{version}")))?;
    let pods = until("two pods run on two nodes", Duration::from_mins(2), || pods(cluster))?;
    for from in &pods {
        until(&format!("{} finds its peers", from.name), Duration::from_secs(30), || {
            check(cluster, from, &pods)
        })?;
    }
    stage.fact(&format!("{}: pods, Service and DNS work", cluster.name), start);
    Ok(())
}

fn pods(cluster: &Cluster) -> Result<Vec<Pod>> {
    let list = cluster.list(&["pods", "-l", "app=echo"])?;
    let read = |pod: &serde_json::Value| {
        let text =
            |path: &str| pod.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        super::cluster::is_true(pod, "Ready")?;
        Ok(Pod { name: text("/metadata/name"), address: text("/status/podIP"), node: text("/spec/nodeName") })
    };
    let pods: Vec<Pod> = list.iter().map(read).collect::<Result<_>>()?;
    let nodes: BTreeSet<_> = pods.iter().map(|pod| &pod.node).collect();
    if (pods.len(), nodes.len()) != (2, 2) {
        bail!("{} pods are Ready on {} nodes", pods.len(), nodes.len());
    }
    Ok(pods)
}

/// From one pod: the Service by name, until both pods have answered, and each pod by address.
fn check(cluster: &Cluster, from: &Pod, pods: &[Pod]) -> Result<()> {
    let dns = exec(cluster, from, &["/usr/bin/getent", "hosts", "echo.default.svc.cluster.local"])?;
    if dns.trim().is_empty() {
        bail!("the name of the Service has no address");
    }
    for to in pods {
        let said = ask(cluster, from, &format!("{}:8080", to.address))?;
        if said != to.name {
            bail!("{} answered as `{said}`", to.name);
        }
    }
    let mut answered = BTreeSet::new();
    for _ in 0..20 {
        answered.insert(ask(cluster, from, "echo.default.svc.cluster.local:80")?);
        if answered.len() == pods.len() {
            return Ok(());
        }
    }
    bail!("only {answered:?} answered for the Service")
}

fn ask(cluster: &Cluster, from: &Pod, address: &str) -> Result<String> {
    let argv = ["/usr/bin/perl", "-MIO::Socket::INET", "-e", CLIENT, address];
    Ok(exec(cluster, from, &argv)?.trim().to_owned())
}

fn exec(cluster: &Cluster, from: &Pod, argv: &[&str]) -> Result<String> {
    let Said { good, out, err } = cluster.kubectl(&[&["exec", &from.name, "--"], argv].concat())?;
    if good { Ok(out) } else { bail!("in {} on {}: {}", from.name, from.node, err.trim()) }
}
