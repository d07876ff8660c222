//! The objects that kubeadm, the kubelet and the static pods of a machine make in their cluster. Pure.
//!
//! Names, labels and namespaces are kubeadm's and the kubelet's; the control plane controller of this and
//! other projects looks for them.

use serde_json::{Value, json};

use super::rows::{ClusterRow, MachineRow, NodeRef};
use super::stages::provider_id;
use crate::boot::{Registration, Taint};

/// Label and taint key of control plane nodes.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// What one node offers to pods.
pub const CAPACITY: [(&str, &str); 4] =
    [("cpu", "2"), ("memory", "4Gi"), ("ephemeral-storage", "40Gi"), ("pods", "110")];

/// The Node that a kubelet registers.
pub fn node(machine: &MachineRow, registration: &Registration, control_plane: bool, now: &str) -> Value {
    let mut labels = registration.labels.clone();
    for (key, value) in [
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", &registration.name),
        ("kubernetes.io/os", "linux"),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    if control_plane {
        labels.insert(CONTROL_PLANE.to_owned(), String::new());
        labels.insert("node.kubernetes.io/exclude-from-external-load-balancers".to_owned(), String::new());
    }
    let mut spec = json!({"providerID": provider_id(&machine.name)});
    let taints = taints(registration, control_plane);
    if !taints.is_empty() {
        spec["taints"] = taints.into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": registration.name,
            "labels": labels,
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": spec,
        "status": node_status(machine, &registration.name, now),
    })
}

fn node_status(machine: &MachineRow, name: &str, now: &str) -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let capacity: serde_json::Map<_, _> =
        CAPACITY.iter().map(|(name, amount)| ((*name).to_owned(), json!(amount))).collect();
    json!({
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": machine.address},
            {"type": "Hostname", "address": name},
        ],
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": machine.token,
            "containerRuntimeVersion": "windlass-memory://1",
            "kernelVersion": "simulated",
            "kubeProxyVersion": "",
            "kubeletVersion": machine.version,
            "machineID": machine.token,
            "operatingSystem": "linux",
            "osImage": "Windlass simulated machine",
            "systemUUID": machine.token,
        },
    })
}

fn taints(registration: &Registration, control_plane: bool) -> Vec<Value> {
    let default =
        Taint { key: CONTROL_PLANE.to_owned(), value: String::new(), effect: "NoSchedule".to_owned() };
    let mut taints: Vec<_> = match &registration.taints {
        Some(taints) => taints.clone(),
        None if control_plane => vec![default],
        None => vec![],
    };
    taints.extend(registration.more_taints.iter().cloned());
    taints.sort();
    taints.dedup_by(|one, other| one.key == other.key && one.effect == other.effect);
    let taint = |taint: &Taint| match taint.value.as_str() {
        "" => json!({"key": taint.key, "effect": taint.effect}),
        value => json!({"key": taint.key, "value": value, "effect": taint.effect}),
    };
    taints.iter().map(taint).collect()
}

/// Whether a node says that it is ready.
pub fn is_ready(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The Ready condition of a node whose machine is gone, as the node controller would set it.
pub fn lost(node: &mut Value, now: &str) {
    let conditions = node["status"]["conditions"].as_array_mut();
    for condition in conditions.into_iter().flatten() {
        condition["status"] = json!("Unknown");
        condition["reason"] = json!("NodeStatusUnknown");
        condition["message"] = json!("Kubelet stopped posting node status.");
        condition["lastTransitionTime"] = json!(now);
    }
}

/// A static pod as the kubelet mirrors it.
pub fn static_pod(component: &str, machine: &MachineRow, node: &NodeRef, image: &str, now: &str) -> Value {
    let name = format!("{component}-{}", node.name);
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "kube-system",
            "labels": {"component": component, "tier": "control-plane"},
            "annotations": {
                "kubernetes.io/config.source": "file",
                "kubernetes.io/config.mirror": machine.token,
                "kubernetes.io/config.hash": machine.token,
            },
            // Mirror pods belong to their node and go with it.
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid, "controller": true,
            }],
        },
        "spec": {
            "containers": [{"name": component, "image": image, "command": [component]}],
            "hostNetwork": true,
            "nodeName": node.name,
            "priorityClassName": "system-node-critical",
            "priority": 2_000_001_000,
            "tolerations": [{"effect": "NoExecute", "operator": "Exists"}],
        },
        "status": {
            "phase": "Running",
            "hostIP": machine.address,
            "podIP": machine.address,
            "startTime": now,
            "conditions": [
                condition("PodScheduled"), condition("Initialized"),
                condition("ContainersReady"), condition("Ready"),
            ],
            "containerStatuses": [{
                "name": component, "image": image, "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }],
        },
    })
}

/// A name in a repository, with a tag.
pub fn image(repository: &str, name: &str, tag: &str) -> String {
    format!("{repository}/{name}:{}", tag.replace('+', "_"))
}

/// Everything `kubeadm init` leaves in a cluster beside its node.
pub fn cluster(row: &ClusterRow, configuration: &Value, version: &str, ca: &str, server: &str) -> Vec<Value> {
    let text = |pointer: &str| {
        configuration.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
    };
    let repository = text("/imageRepository").unwrap_or("registry.k8s.io");
    let dns_repository =
        text("/dns/imageRepository").map_or_else(|| format!("{repository}/coredns"), str::to_owned);
    let dns_image = image(&dns_repository, "coredns", text("/dns/imageTag").unwrap_or("v1.12.1"));
    let proxy_image = image(repository, "kube-proxy", version);
    let mut objects = configuration_maps(row, configuration, ca, server);
    objects.extend(kube_proxy(&proxy_image));
    objects.extend(core_dns(&dns_image));
    objects.extend(rbac());
    objects
}

fn config_map(namespace: &str, name: &str, data: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
}

fn configuration_maps(row: &ClusterRow, configuration: &Value, ca: &str, server: &str) -> Vec<Value> {
    use base64::Engine;
    let configuration = serde_saphyr::to_string(configuration).unwrap_or_default();
    let kubelet = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupDriver: systemd\n\
                   clusterDNS:\n- 10.96.0.10\nclusterDomain: cluster.local\nrotateCertificates: true\n\
                   staticPodPath: /etc/kubernetes/manifests\n";
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    let info = format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    server: {server}\n  name: \"\"\n\
         contexts: null\ncurrent-context: \"\"\nkind: Config\nusers: null\n"
    );
    let name = &row.cluster.name;
    vec![
        config_map("kube-system", "kubeadm-config", &json!({"ClusterConfiguration": configuration})),
        config_map("kube-system", "kubelet-config", &json!({"kubelet": kubelet})),
        config_map("kube-public", "cluster-info", &json!({"kubeconfig": info})),
        config_map(
            "kube-system",
            "kube-proxy",
            &json!({"config.conf": format!("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterName: {name}\n")}),
        ),
    ]
}

fn kube_proxy(image: &str) -> Vec<Value> {
    let labels = json!({"k8s-app": "kube-proxy"});
    vec![json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "kube-proxy", "namespace": "kube-system", "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [{"name": "kube-proxy", "image": image, "command": ["/usr/local/bin/kube-proxy"]}],
                    "hostNetwork": true,
                    "tolerations": [{"operator": "Exists"}],
                },
            },
        },
    })]
}

fn core_dns(image: &str) -> Vec<Value> {
    let labels = json!({"k8s-app": "kube-dns"});
    let corefile = ".:53 {\n    errors\n    health {\n       lameduck 5s\n    }\n    ready\n    \
        kubernetes cluster.local in-addr.arpa ip6.arpa {\n       pods insecure\n       \
        fallthrough in-addr.arpa ip6.arpa\n       ttl 30\n    }\n    prometheus :9153\n    \
        forward . /etc/resolv.conf {\n       max_concurrent 1000\n    }\n    cache 30\n    loop\n    \
        reload\n    loadbalance\n}\n";
    vec![
        config_map("kube-system", "coredns", &json!({"Corefile": corefile})),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "coredns", "namespace": "kube-system", "labels": labels},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "containers": [{"name": "coredns", "image": image, "args": ["-conf", "/etc/coredns/Corefile"]}],
                        "volumes": [{
                            "name": "config-volume",
                            "configMap": {"name": "coredns", "items": [{"key": "Corefile", "path": "Corefile"}]},
                        }],
                    },
                },
            },
        }),
    ]
}

/// What lets machines with a bootstrap token join (kubeadm: phases bootstrap-token and upload-config).
fn rbac() -> Vec<Value> {
    const API: &str = "rbac.authorization.k8s.io";
    let group = |name: &str| json!([{"apiGroup": API, "kind": "Group", "name": name}]);
    let tokens = "system:bootstrappers:kubeadm:default-node-token";
    let binding = |name: &str, role: &str, subject: &str| {
        json!({
            "apiVersion": format!("{API}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": API, "kind": "ClusterRole", "name": role}, "subjects": group(subject),
        })
    };
    let reader = |name: &str, map: &str| {
        let metadata = json!({"name": name, "namespace": "kube-system"});
        let subjects = json!([
            {"apiGroup": API, "kind": "Group", "name": "system:nodes"},
            {"apiGroup": API, "kind": "Group", "name": tokens},
        ]);
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [map], "verbs": ["get"]}]);
        [
            json!({"apiVersion": format!("{API}/v1"), "kind": "Role", "metadata": metadata, "rules": rules}),
            json!({
                "apiVersion": format!("{API}/v1"), "kind": "RoleBinding", "metadata": metadata,
                "roleRef": {"apiGroup": API, "kind": "Role", "name": name}, "subjects": subjects,
            }),
        ]
    };
    let mut objects = vec![
        json!({
            "apiVersion": format!("{API}/v1"), "kind": "ClusterRole", "metadata": {"name": "kubeadm:get-nodes"},
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}],
        }),
        binding("kubeadm:get-nodes", "kubeadm:get-nodes", tokens),
        binding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", tokens),
        binding(
            "kubeadm:node-autoapprove-bootstrap",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            tokens,
        ),
        binding("kubeadm:cluster-admins", "cluster-admin", "kubeadm:cluster-admins"),
    ];
    objects.extend(reader("kubeadm:nodes-kubeadm-config", "kubeadm-config"));
    objects.extend(reader("kubeadm:kubelet-config", "kubelet-config"));
    objects
}

/// The Secret of a bootstrap token that `kubeadm init` makes; without a time it is kubeadm's day.
pub fn bootstrap_token(id: &str, secret: &str, expiration: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "stringData": {
            "token-id": id,
            "token-secret": secret,
            "expiration": expiration,
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        },
    })
}
