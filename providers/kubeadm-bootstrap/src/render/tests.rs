//! Golden files, and cloud-init's own opinion of them.

use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};
use windlass_api::bootstrap::{Encoding, KubeadmConfigSpec};
use windlass_api::core::ClusterNetwork;
use windlass_model::Secret;
use windlass_pki::{KeyPair, Purpose};

use super::*;

fn spec(value: Value) -> KubeadmConfigSpec {
    serde_json::from_value(value).unwrap()
}

fn certificates() -> Certificates {
    let pair = |purpose: Purpose| KeyPair {
        certificate: format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            purpose.suffix()
        ),
        key: Some(Secret::new(format!(
            "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
            purpose.suffix()
        ))),
    };
    Certificates {
        pairs: Purpose::ALL.into_iter().map(|purpose| (purpose, pair(purpose))).collect(),
        etcd_client: Some(KeyPair {
            certificate: "-----BEGIN CERTIFICATE-----\n".to_owned(),
            key: Some(Secret::new("-----BEGIN KEY-----\n".to_owned())),
        }),
    }
}

fn timeouts() -> Value {
    json!({
        "controlPlaneComponentHealthCheckSeconds": 240, "kubeletHealthCheckSeconds": 241,
        "kubernetesAPICallSeconds": 61, "etcdAPICallSeconds": 121, "tlsBootstrapSeconds": 301, "discoverySeconds": 302,
    })
}

fn network() -> ClusterNetwork {
    serde_json::from_value(json!({
        "pods": { "cidrBlocks": ["10.244.0.0/16", "fd00::/56"] },
        "services": { "cidrBlocks": ["10.96.0.0/12"] },
        "serviceDomain": "cluster.local",
    }))
    .unwrap()
}

/// Discovery as the controller fills it in.
fn discovery() -> Value {
    json!({ "bootstrapToken": {
        "token": "abcdef.0123456789abcdef",
        "apiServerEndpoint": "10.0.0.1:6443",
        "caCertHashes": ["sha256:9594f00b42e63eee96ccde8aec6ac992245f512a7878142402cac727acc0d0aa"],
    } })
}

/// A spec in which nearly everything is set.
fn full() -> KubeadmConfigSpec {
    spec(json!({
        "clusterConfiguration": {
            "apiServer": {
                "certSANs": ["localhost", "127.0.0.1"],
                "extraArgs": [{ "name": "audit-log-maxage", "value": "30" }, { "name": "profiling", "value": "false" }],
                "extraEnvs": [{ "name": "GOGC", "value": "50" }],
                "extraVolumes": [{ "name": "audit", "hostPath": "/var/log/audit", "mountPath": "/audit", "readOnly": false, "pathType": "DirectoryOrCreate" }],
            },
            "controllerManager": { "extraArgs": [{ "name": "node-cidr-mask-size", "value": "24" }] },
            "scheduler": { "extraArgs": [{ "name": "v", "value": "2" }] },
            "etcd": { "local": { "dataDir": "/var/lib/etcd", "extraArgs": [{ "name": "quota-backend-bytes", "value": "8589934592" }] } },
            "dns": { "imageTag": "v1.12.0" },
            "imageRepository": "registry.example.com/k8s",
            "featureGates": { "ControlPlaneKubeletLocalMode": true },
            "certificateValidityPeriodDays": 365,
            "caCertificateValidityPeriodDays": 3650,
            "encryptionAlgorithm": "ECDSA-P256",
        },
        "initConfiguration": {
            "nodeRegistration": {
                "name": "{{ ds.meta_data.local_hostname }}",
                "criSocket": "unix:///run/containerd/containerd.sock",
                "kubeletExtraArgs": [{ "name": "node-ip", "value": "10.0.0.2" }],
                "taints": [],
                "ignorePreflightErrors": ["Swap"],
                "imagePullPolicy": "IfNotPresent",
                "imagePullSerial": false,
            },
            "localAPIEndpoint": { "advertiseAddress": "10.0.0.2", "bindPort": 6443 },
            "bootstrapTokens": [{ "token": "fedcba.0123456789abcdef", "ttlSeconds": 7200, "usages": ["signing", "authentication"] }],
            "skipPhases": ["addon/kube-proxy"],
            "patches": { "directory": "/etc/kubernetes/patches" },
            "timeouts": { "controlPlaneComponentHealthCheckSeconds": 300, "etcdAPICallSeconds": 120 },
        },
        "bootCommands": ["modprobe br_netfilter"],
        "preKubeadmCommands": ["echo \"127.0.0.1 {{ ds.meta_data.local_hostname }}\" >> /etc/hosts", "swapoff -a"],
        "postKubeadmCommands": ["echo done"],
        "users": [
            { "name": "ops", "groups": "adm,sudo", "sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/bash", "lockPassword": true, "inactive": true, "sshAuthorizedKeys": ["ssh-ed25519 AAAA ops"] },
        ],
        "ntp": { "enabled": true, "servers": ["0.pool.ntp.org"] },
        "diskSetup": {
            "partitions": [
                { "device": "/dev/sdb", "layout": true, "overwrite": false, "tableType": "gpt" },
                { "device": "/dev/sdc", "diskLayout": [{ "percentage": 40, "partitionType": "Linux" }, { "percentage": 60, "partitionType": "LinuxSwap" }] },
            ],
            "filesystems": [{ "device": "/dev/sdb", "filesystem": "ext4", "label": "etcd", "partition": "auto", "extraOpts": ["-E", "lazy_itable_init=1"] }],
        },
        "mounts": [["LABEL=etcd", "/var/lib/etcd"]],
        "verbosity": 5,
    }))
}

fn files() -> Vec<HostFile> {
    let mut appended = HostFile::root("/etc/environment", "0644", "LANG=C\n");
    appended.append = true;
    let mut binary = HostFile::root("/opt/blob", "0600", [0xff, 0xfe, 0x00]);
    binary.owner = Some("ops:ops".to_owned());
    vec![appended, binary]
}

fn text(data: &Secret<Vec<u8>>) -> String {
    String::from_utf8(data.expose().clone()).unwrap()
}

/// A spec in which nearly everything that Ignition knows is set.
fn full_ignition(strict: bool) -> KubeadmConfigSpec {
    let mut full = full();
    full.boot_commands.clear();
    full.format = Some(Format::Ignition);
    let changed = spec(json!({
        "users": [
            { "name": "ops", "gecos": "Ops", "groups": "adm, sudo", "homeDir": "/home/ops", "primaryGroup": "ops", "sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/bash", "passwd": "$6$x", "lockPassword": false, "sshAuthorizedKeys": ["ssh-ed25519 AAAA ops"] },
            { "name": "dev", "lockPassword": true },
        ],
        "diskSetup": {
            "partitions": [
                { "device": "/dev/sdb", "layout": true, "overwrite": true, "tableType": "gpt" },
                { "device": "/dev/sdc", "diskLayout": [{ "percentage": 100 }], "tableType": "gpt" },
                { "device": "/dev/sdd", "layout": false },
            ],
            "filesystems": [{ "device": "/dev/sdb", "filesystem": "ext4", "label": "etcd", "overwrite": false, "extraOpts": ["-E", "lazy_itable_init=1"] }],
        },
        "mounts": [["etcd", "/var/lib/etcd-data", "noatime", "nofail"], ["LABEL=etcd", "/a"], ["/dev/sdc", "/b"]],
        "ignition": { "containerLinuxConfig": {
            "additionalConfig": "systemd:\n  units:\n  - name: kubeadm.service\n    dropins:\n    - name: 10-flatcar.conf\n      contents: |\n        [Unit]\n        Requires=containerd.service\nstorage:\n  files:\n  - path: /etc/late\n    mode: 0600\n    contents:\n      inline: last\n  colour: red\n",
            "strict": strict,
        } },
    }));
    KubeadmConfigSpec {
        users: changed.users,
        disk_setup: changed.disk_setup,
        mounts: changed.mounts,
        ignition: changed.ignition,
        ..full
    }
}

/// What a data URL of ours holds.
fn content_of(url: &str) -> Vec<u8> {
    if let Some(packed) = url.strip_prefix("data:;base64,") {
        return base64::Engine::decode(&base64::engine::general_purpose::STANDARD, packed).unwrap();
    }
    let mut bytes = url.strip_prefix("data:,").unwrap().bytes();
    let mut content = Vec::new();
    while let Some(byte) = bytes.next() {
        content.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    content
}

/// Ignition for people: the contents of files as lists of lines.
fn readable(ignition: &str) -> String {
    let mut config: Value = serde_json::from_str(ignition).unwrap();
    for file in config["storage"]["files"].as_array_mut().unwrap() {
        let source = &mut file["contents"]["source"];
        let content = content_of(source.as_str().unwrap());
        *source = match String::from_utf8(content) {
            Ok(text) => json!(text.split('\n').collect::<Vec<_>>()),
            Err(error) => json!(error.into_bytes()),
        };
    }
    serde_json::to_string_pretty(&config).unwrap()
}

fn rendered(name: &str) -> String {
    let text = text(&render_case(name).unwrap().data);
    if name.starts_with("ignition") { readable(&text) } else { text }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn render_case(name: &str) -> Result<Rendered, RenderError> {
    let (certificates, network) = (certificates(), network());
    let cluster = || ClusterFacts { name: "prod", endpoint: "10.0.0.1:6443", network: &network };
    let init = Task::Init { cluster: cluster(), certificates: &certificates };
    let minimal_join = spec(json!({ "joinConfiguration": {
        "discovery": discovery(),
        "nodeRegistration": { "criSocket": "unix:///var/run/containerd/containerd.sock" },
    } }));
    let (spec, version, task, files) = match name {
        "init" => (
            spec(json!({ "clusterConfiguration": { "apiServer": { "certSANs": ["localhost"] } } })),
            "v1.35.0",
            init,
            Vec::new(),
        ),
        "init_full" => (full(), "v1.35.0", init, files()),
        "init_v1beta3" => (full(), "v1.30.4", init, Vec::new()),
        "join_control_plane" => {
            (minimal_join, "v1.35.0", Task::JoinControlPlane { certificates: &certificates }, Vec::new())
        }
        "join_worker" => (minimal_join, "v1.35.0", Task::JoinWorker, Vec::new()),
        "join_worker_v1beta3" => (
            spec(json!({ "joinConfiguration": {
                "discovery": discovery(),
                "timeouts": { "discoverySeconds": 90 },
                "nodeRegistration": { "kubeletExtraArgs": [{ "name": "node-ip", "value": "::" }], "imagePullSerial": true },
            } })),
            "v1.29.0",
            Task::JoinWorker,
            Vec::new(),
        ),
        "join_worker_file" => (
            spec(json!({ "joinConfiguration": { "discovery": { "file": {
                "kubeConfigPath": "/run/kubeadm/discovery.yaml",
                "kubeConfig": {
                    "cluster": { "server": "https://10.0.0.1:6443", "certificateAuthorityData": "Q0E=" },
                    "user": { "exec": { "command": "aws-iam", "args": ["token"], "env": [{ "name": "REGION", "value": "x" }] } },
                },
            } } } })),
            "v1.35.0",
            Task::JoinWorker,
            Vec::new(),
        ),
        "init_external_etcd" => {
            let external = spec(json!({
                "clusterConfiguration": {
                    "certificatesDir": "/etc/pki",
                    "etcd": { "external": {
                        "endpoints": ["https://10.0.0.9:2379"], "caFile": "/etc/etcd/ca.crt", "certFile": "/etc/etcd/client.crt", "keyFile": "/etc/etcd/client.key",
                    } },
                },
                "initConfiguration": { "timeouts": timeouts() },
            }));
            (external, "v1.35.0", init, Vec::new())
        }
        "join_control_plane_full" => {
            let mut join = json!({
                "caCertPath": "/etc/kubernetes/pki/ca.crt",
                "controlPlane": { "localAPIEndpoint": { "advertiseAddress": "fd00::2", "bindPort": 7443 } },
                "discovery": discovery(),
                "nodeRegistration": {
                    "name": "node-1",
                    "taints": [{ "key": "a", "value": "b", "effect": "NoExecute" }],
                    "kubeletExtraArgs": [{ "name": "node-labels", "value": "a=b" }],
                    "ignorePreflightErrors": ["all"], "imagePullPolicy": "Never", "imagePullSerial": true,
                },
                "patches": { "directory": "/etc/kubernetes/patches" },
                "skipPhases": ["preflight"],
                "timeouts": timeouts(),
            });
            join["discovery"]["bootstrapToken"]["unsafeSkipCAVerification"] = json!(true);
            join["discovery"]["tlsBootstrapToken"] = json!("fedcba.0123456789abcdef");
            let spec = spec(json!({ "joinConfiguration": join, "verbosity": 0 }));
            (spec, "v1.35.0", Task::JoinControlPlane { certificates: &certificates }, Vec::new())
        }
        "join_worker_auth_provider" => (
            spec(json!({ "joinConfiguration": { "discovery": {
                "tlsBootstrapToken": "fedcba.0123456789abcdef",
                "file": {
                    "kubeConfigPath": "/run/kubeadm/discovery.yaml",
                    "kubeConfig": {
                        "cluster": { "server": "https://10.0.0.1:6443", "tlsServerName": "api", "insecureSkipTLSVerify": true, "proxyURL": "http://proxy:3128" },
                        "user": { "authProvider": { "name": "oidc", "config": { "client-id": "x" } } },
                    },
                },
            } } })),
            "v1.35.0",
            Task::JoinWorker,
            Vec::new(),
        ),
        "ignition_init" => {
            let mut encoded = HostFile::root("/opt/encoded", "0600", "Zm9v\nCg==\n");
            encoded.encoding = Some(Encoding::Base64);
            encoded.owner = Some("ops:".to_owned());
            let plain = HostFile {
                owner: Some(":ops".to_owned()),
                permissions: None,
                ..HostFile::root("/opt/plain", "", "x")
            };
            let mut files = files();
            files.extend([encoded, plain]);
            (full_ignition(false), "v1.35.0", init, files)
        }
        "ignition_join_worker" => {
            let minimal = KubeadmConfigSpec { format: Some(Format::Ignition), ..minimal_join };
            (minimal, "v1.35.0", Task::JoinWorker, Vec::new())
        }
        "ignition_strict" => (full_ignition(true), "v1.35.0", init, Vec::new()),
        other => panic!("no such case: {other}"),
    };
    render(&spec, &version.parse().unwrap(), &task, &files, &spec.users)
}

const IGNITION: [&str; 2] = ["ignition_init", "ignition_join_worker"];

const CASES: [&str; 10] = [
    "init_external_etcd",
    "join_control_plane_full",
    "join_worker_auth_provider",
    "init",
    "init_full",
    "init_v1beta3",
    "join_control_plane",
    "join_worker",
    "join_worker_v1beta3",
    "join_worker_file",
];

#[test]
fn looks_like_the_golden_files() {
    for case in CASES.into_iter().chain(IGNITION) {
        insta::assert_snapshot!(case, rendered(case));
    }
}

#[test]
fn cloud_init_accepts_it() {
    let available =
        Command::new("cloud-init").arg("--version").output().is_ok_and(|out| out.status.success());
    if !available {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "cloud-init is not installed: apt-get install cloud-init"
        );
        println!("skipped: cloud-init is not installed");
        return;
    }
    for case in CASES {
        let path = std::env::temp_dir().join(format!("windlass-{}-{case}.yaml", std::process::id()));
        // cloud-init 22.4 checks the first line for `#cloud-config` before it looks at the template header.
        let plain = rendered(case).replacen("## template: jinja\n", "", 1);
        std::fs::File::create(&path).unwrap().write_all(plain.as_bytes()).unwrap();
        let checked =
            Command::new("cloud-init").args(["schema", "--config-file"]).arg(&path).output().unwrap();
        std::fs::remove_file(&path).unwrap();
        let said = [checked.stdout, checked.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(checked.status.success() && said.contains("Valid cloud-config"), "{case}: {said}");
    }
}

#[test]
fn kubeadms_documents_say_what_the_spec_says() {
    let document: Value = serde_saphyr::from_str(&rendered("init_full")).unwrap();
    let file = |path: &str| {
        let files = document["write_files"].as_array().unwrap();
        files.iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("{path} is not written"))["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple(&file("/run/kubeadm/kubeadm.yaml")).unwrap();
    let [cluster, init] = &documents[..] else { panic!("{} documents", documents.len()) };
    let expectations = [
        (cluster, "/apiVersion", json!("kubeadm.k8s.io/v1beta4")),
        (cluster, "/kubernetesVersion", json!("v1.35.0")),
        (cluster, "/clusterName", json!("prod")),
        (cluster, "/controlPlaneEndpoint", json!("10.0.0.1:6443")),
        (cluster, "/networking/podSubnet", json!("10.244.0.0/16,fd00::/56")),
        (cluster, "/certificateValidityPeriod", json!("8760h0m0s")),
        (cluster, "/encryptionAlgorithm", json!("ECDSA-P256")),
        (cluster, "/apiServer/extraArgs/0/value", json!("30")),
        (init, "/nodeRegistration/taints", json!([])),
        (init, "/nodeRegistration/name", json!("{{ ds.meta_data.local_hostname }}")),
        (init, "/bootstrapTokens/0/ttl", json!("2h0m0s")),
        (init, "/timeouts/controlPlaneComponentHealthCheck", json!("5m0s")),
        (init, "/timeouts/etcdAPICall", json!("2m0s")),
    ];
    for (document, pointer, expected) in expectations {
        assert_eq!(document.pointer(pointer), Some(&expected), "{pointer}");
    }
    for name in ["ca.crt", "ca.key", "sa.pub", "sa.key", "front-proxy-ca.crt", "etcd/ca.key"] {
        assert!(file(&format!("/etc/kubernetes/pki/{name}")).starts_with("-----BEGIN"), "{name}");
    }
}

/// A spec with a change, and the beginning of what is said of it.
#[test]
fn what_cannot_be_rendered_is_refused() {
    let ignition = |mut value: Value| {
        value["format"] = json!("ignition");
        value
    };
    let layout = json!([{ "percentage": 50 }, { "percentage": 50 }]);
    let file = |content: &str, encoding: &str| {
        let mut file = HostFile::root("/x", "0644", content);
        file.encoding = serde_json::from_value(json!(encoding)).unwrap();
        vec![file]
    };
    let none = Vec::new;
    #[rustfmt::skip]
    let cases = [
        ("v1.21.3", json!({}), none(), "cannot write a configuration for kubeadm v1.21.3: Machine spec.version must be v1.22.0 or newer"),
        ("v1.35.0", ignition(json!({ "bootCommands": ["x"] })), none(), "cannot render bootCommands for Ignition: use preKubeadmCommands"),
        ("v1.35.0", ignition(json!({ "mounts": [["etcd", "/x"]] })), none(), "cannot render mounts[0][0] for Ignition: give the label"),
        ("v1.35.0", ignition(json!({ "mounts": [["/dev/sda"]] })), none(), "cannot render mounts[0] for Ignition: name a file system"),
        ("v1.35.0", ignition(json!({ "users": [{ "name": "u", "inactive": true }] })), none(), "cannot render users[u].inactive for Ignition"),
        ("v1.35.0", ignition(json!({ "diskSetup": { "partitions": [{ "device": "/d", "diskLayout": layout }] } })), none(), "cannot render diskSetup.partitions[0].diskLayout for Ignition: Ignition knows no percentages"),
        ("v1.35.0", ignition(json!({ "diskSetup": { "filesystems": [{ "device": "/d", "filesystem": "ext4", "partition": "1" }] } })), none(), "cannot render diskSetup.filesystems[0].partition for Ignition"),
        ("v1.35.0", ignition(json!({ "diskSetup": { "filesystems": [{ "device": "/d", "filesystem": "ext4", "replaceFS": "x" }] } })), none(), "cannot render diskSetup.filesystems[0].replaceFS for Ignition"),
        ("v1.35.0", ignition(json!({})), file("!", "base64"), "cannot render files[/x].content for Ignition: it is no base64"),
        ("v1.35.0", ignition(json!({})), file("x", "gzip"), "cannot render files[/x].encoding for Ignition: use base64"),
        ("v1.35.0", ignition(json!({ "ignition": { "containerLinuxConfig": { "additionalConfig": "a: [" } } })), none(), "cannot use ignition.containerLinuxConfig.additionalConfig: it is no YAML"),
    ];
    for (version, value, files, expected) in cases {
        let spec = spec(value);
        let refused = render(&spec, &version.parse().unwrap(), &Task::JoinWorker, &files, &spec.users);
        let said = refused.map(drop).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{said}\ninstead of\n{expected}");
    }
}

#[test]
fn strictness_makes_an_error_of_what_is_unknown() {
    assert_eq!(render_case("ignition_init").unwrap().oddities, ["storage.colour is unknown"]);
    let said = render_case("ignition_strict").map(drop).unwrap_err().to_string();
    assert!(said.contains("additionalConfig: storage.colour is unknown"), "{said}");
}

/// What upstream's users write drop-ins and commands for.
#[test]
fn ignition_runs_kubeadm_once_between_the_users_commands() {
    let config: Value = serde_json::from_str(&text(&render_case("ignition_init").unwrap().data)).unwrap();
    let file = |path: &str| {
        let files = config["storage"]["files"].as_array().unwrap();
        let found = files.iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("no {path}"));
        String::from_utf8(content_of(found["contents"]["source"].as_str().unwrap())).unwrap()
    };
    let script = file("/etc/kubeadm.sh");
    let order = [
        "set -e",
        "swapoff -a",
        "kubeadm init --config /etc/kubeadm.yml --v 5",
        "/run/cluster-api/bootstrap-success.complete",
        "mv /etc/kubeadm.yml /tmp/",
        "echo done",
    ];
    let places: Vec<_> =
        order.iter().map(|part| script.find(part).unwrap_or_else(|| panic!("no {part}"))).collect();
    assert!(places.is_sorted(), "{script}");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&file("/etc/kubeadm.yml")).unwrap();
    assert_eq!(
        documents.iter().map(|document| &document["kind"]).collect::<Vec<_>>(),
        ["ClusterConfiguration", "InitConfiguration"]
    );
    assert!(file("/etc/kubernetes/pki/ca.key").starts_with("-----BEGIN"));
    assert_eq!(file("/opt/encoded"), "foo\n");
}

#[test]
fn data_that_no_secret_holds_names_what_is_large() {
    let sized = |size: usize| HostFile::root(format!("/opt/{size}"), "0644", vec![b'x'; size]);
    let small = [sized(10), sized(1_000_000)];
    let spec = KubeadmConfigSpec::default();
    let render =
        |files: &[HostFile]| render(&spec, &"v1.35.0".parse().unwrap(), &Task::JoinWorker, files, &[]);
    assert!(render(&small).is_ok());
    let large = [sized(10), sized(1_000_000), sized(60_000), sized(20)];
    let said = render(&large).map(drop).unwrap_err().to_string();
    assert!(
        said.contains("/opt/1000000 (1000000 bytes), /opt/60000 (60000 bytes), /opt/20 (20 bytes): make"),
        "{said}"
    );
}

/// What a machine without cloud-init or Ignition would do with it: the same files, and kubeadm.
#[test]
fn it_reads_back_as_what_was_written() {
    use windlass_provider::bootstrap::{KubeadmVerb, Metadata, parse};

    let metadata = Metadata { hostname: "host-0".to_owned(), ..Metadata::default() };
    for case in CASES.into_iter().chain(IGNITION) {
        let Rendered { data, format, .. } = render_case(case).unwrap();
        let boot = parse(format.as_str(), data.expose(), &metadata)
            .unwrap_or_else(|error| panic!("{case} does not parse: {error}"));
        let join = case.contains("join");
        let config = match (format, join) {
            (Format::Ignition, _) => "/etc/kubeadm.yml",
            (Format::CloudConfig, true) => "/run/kubeadm/kubeadm-join-config.yaml",
            (Format::CloudConfig, false) => "/run/kubeadm/kubeadm.yaml",
        };
        let document = String::from_utf8(boot.file(config).unwrap()).unwrap();
        assert!(document.contains("apiVersion: kubeadm.k8s.io/v1beta"), "{case}: {document}");
        assert!(!document.contains("{{") || format == Format::Ignition, "{case}: {document}");
        let call = boot.kubeadm().unwrap_or_else(|| panic!("{case}: kubeadm is not found"));
        assert_eq!(call.verb, if join { KubeadmVerb::Join } else { KubeadmVerb::Init }, "{case}");
        assert_eq!(call.config.as_deref(), Some(config), "{case}");
        if case == "init_external_etcd" {
            assert_eq!(boot.file("/etc/etcd/client.key").unwrap(), b"-----BEGIN KEY-----\n");
            assert_eq!(boot.file("/etc/pki/etcd/ca.key"), None, "the key of somebody else's etcd");
        } else if !join || case.starts_with("join_control_plane") {
            let authority = boot.file("/etc/kubernetes/pki/ca.key").unwrap();
            assert!(authority.starts_with(b"-----BEGIN RSA PRIVATE KEY-----\nca\n"), "{case}");
        }
        if case == "init_full" || case == "ignition_init" {
            assert_eq!(boot.file("/opt/blob").unwrap(), [0xff, 0xfe, 0x00], "{case}");
            assert_eq!(boot.file("/etc/environment").unwrap(), b"LANG=C\n", "{case}");
        }
        if case == "ignition_init" {
            assert_eq!(boot.file("/etc/late").unwrap(), b"last");
            assert_eq!(boot.file("/opt/encoded").unwrap(), b"foo\n");
        }
    }
}
