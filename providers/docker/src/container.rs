//! What a node's container is made like. Pure.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigCgroupnsModeEnum, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};
use windlass_api::infrastructure::DockerMount;

use crate::engine::Facts;
use crate::names::Role;

/// Port of the API server in a node.
pub(crate) const API_SERVER: u16 = 6443;

/// What a node needs of the kernel beyond what every container may do; the list that is left of
/// `Privileged` where an engine cannot grant everything.
const CAPABILITIES: [&str; 23] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// How a node gets what it needs of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privileges {
    /// All there is, as users mostly have it.
    All,
    /// The list of capabilities that nodes need.
    Listed,
}

/// A node to make.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    pub(crate) image: &'a str,
    pub(crate) role: Role,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) mounts: &'a [DockerMount],
    /// Variables for everything in the container.
    pub(crate) environment: &'a [(String, String)],
    /// Id of the network.
    pub(crate) network: &'a str,
    pub(crate) ipv6: bool,
    /// Address of the host where the API server is published.
    pub(crate) publish_at: &'a str,
}

/// The request that makes a node's container.
pub(crate) fn node(node: &Node<'_>, facts: &Facts, privileges: Privileges) -> ContainerCreateBody {
    let control_plane = node.role == Role::ControlPlane;
    let mut environment: Vec<_> =
        node.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if control_plane {
        environment.push("KUBECONFIG=/etc/kubernetes/admin.conf".to_owned());
    }
    let ports = if control_plane { vec![API_SERVER] } else { vec![] };
    ContainerCreateBody {
        hostname: Some(node.name.to_owned()),
        image: Some(node.image.to_owned()),
        tty: Some(true),
        env: Some(environment),
        labels: Some(node.labels.clone().into_iter().collect()),
        volumes: Some(vec!["/var".to_owned()]),
        // An imported image cannot say it; systemd takes others as something else.
        stop_signal: Some("SIGRTMIN+3".to_owned()),
        exposed_ports: Some(exposed(&ports)),
        host_config: Some(HostConfig {
            port_bindings: Some(bindings(&ports, node.publish_at)),
            ..host(node, facts, privileges)
        }),
        ..ContainerCreateBody::default()
    }
}

fn host(node: &Node<'_>, facts: &Facts, privileges: Privileges) -> HostConfig {
    let all = privileges == Privileges::All;
    let security = ["seccomp=unconfined", "apparmor=unconfined"];
    let mut temporary = vec!["/tmp", "/run"];
    if !all {
        temporary.push("/dev/shm");
    }
    HostConfig {
        privileged: Some(all),
        cap_add: (!all).then(|| CAPABILITIES.map(str::to_owned).to_vec()),
        device_cgroup_rules: (!all).then(|| vec!["a *:* rwm".to_owned()]),
        devices: devices(facts, all),
        security_opt: Some(security.map(str::to_owned).to_vec()),
        // What the `docker` command calls `systempaths=unconfined`.
        masked_paths: (!all).then(Vec::new),
        readonly_paths: (!all).then(Vec::new),
        tmpfs: Some(temporary.into_iter().map(|path| (path.to_owned(), String::new())).collect()),
        binds: Some(binds(node.mounts, facts)),
        network_mode: Some(node.network.to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        userns_mode: facts.user_namespaces.then(|| "host".to_owned()),
        restart_policy: Some(restart()),
        sysctls: node.ipv6.then(|| {
            let names = ["net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.all.forwarding"];
            names.into_iter().zip(["0", "1"]).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        }),
        ..HostConfig::default()
    }
}

/// Once again after a failure, such as a restart of the engine; what fails twice stays down and can be seen.
pub(crate) fn restart() -> RestartPolicy {
    RestartPolicy { name: Some(RestartPolicyNameEnum::ON_FAILURE), maximum_retry_count: Some(1) }
}

fn devices(facts: &Facts, all: bool) -> Option<Vec<DeviceMapping>> {
    let mut paths = vec![];
    if !all {
        paths.push("/dev/kmsg");
    }
    if facts.rootless {
        paths.push("/dev/fuse");
    }
    let device = |path: &str| DeviceMapping {
        path_on_host: Some(path.to_owned()),
        path_in_container: Some(path.to_owned()),
        cgroup_permissions: Some("rwm".to_owned()),
    };
    (!paths.is_empty()).then(|| paths.into_iter().map(device).collect())
}

fn binds(mounts: &[DockerMount], facts: &Facts) -> Vec<String> {
    let mut binds = vec!["/lib/modules:/lib/modules:ro".to_owned()];
    if facts.needs_device_mapper {
        binds.push("/dev/mapper:/dev/mapper".to_owned());
    }
    for mount in mounts {
        let (host, inside) = (mount.host_path.as_deref(), mount.container_path.as_deref());
        let mut options = vec![];
        if mount.read_only == Some(true) {
            options.push("ro");
        }
        if facts.selinux {
            options.push("Z");
        }
        let options = if options.is_empty() { String::new() } else { format!(":{}", options.join(",")) };
        binds.push(format!("{}:{}{options}", host.unwrap_or_default(), inside.unwrap_or_default()));
    }
    binds
}

/// What is wrong with a mount, if anything, ending in what to do.
pub(crate) fn unfit(mounts: &[DockerMount]) -> Option<String> {
    mounts.iter().enumerate().find_map(|(index, mount)| {
        let field = |name: &str| format!("spec.backend.docker.extraMounts[{index}].{name}");
        let paths = [("hostPath", &mount.host_path), ("containerPath", &mount.container_path)];
        paths.into_iter().find_map(|(name, path)| match path.as_deref() {
            None | Some("") => Some(format!("{} is missing; set it to an absolute path", field(name))),
            Some(path) if !path.starts_with('/') => {
                Some(format!("{} is `{path}`; make it an absolute path", field(name)))
            }
            Some(path) if path.contains(':') => Some(format!(
                "{} is `{path}`; the engine takes no path with a colon, link to it under another name",
                field(name)
            )),
            Some(_) => None,
        })
    })
}

/// Ports as the engine's API names them.
pub(crate) fn exposed(ports: &[u16]) -> Vec<String> {
    ports.iter().map(|port| format!("{port}/tcp")).collect()
}

/// Each port published at an address, on a port that the engine chooses.
pub(crate) fn bindings(ports: &[u16], at: &str) -> HashMap<String, Option<Vec<PortBinding>>> {
    let binding = PortBinding { host_ip: Some(at.to_owned()), host_port: Some(String::new()) };
    exposed(ports).into_iter().map(|port| (port, Some(vec![binding.clone()]))).collect()
}

/// Variables that tell programs of a proxy, in both spellings; what is on the node network needs none.
pub(crate) fn proxies(from: &BTreeMap<String, String>, subnets: &[String]) -> Vec<(String, String)> {
    let value = |name: &str| {
        let found = from.get(name).or_else(|| from.get(&name.to_lowercase()));
        found.filter(|value| !value.is_empty()).cloned()
    };
    let (http, https) = (value("HTTP_PROXY"), value("HTTPS_PROXY"));
    if http.is_none() && https.is_none() {
        return vec![];
    }
    let direct = value("NO_PROXY").into_iter().chain(subnets.iter().cloned());
    let direct = direct.chain([".svc".to_owned(), ".cluster.local".to_owned()]).collect::<Vec<_>>().join(",");
    let all = [("HTTP_PROXY", http), ("HTTPS_PROXY", https), ("NO_PROXY", Some(direct))];
    let set = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    set.flat_map(|(name, value)| [(name.to_owned(), value.clone()), (name.to_lowercase(), value)]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mount(host: &str, inside: &str, read_only: bool) -> DockerMount {
        DockerMount {
            host_path: Some(host.to_owned()),
            container_path: Some(inside.to_owned()),
            read_only: Some(read_only),
        }
    }

    fn made(role: Role, facts: &Facts, privileges: Privileges) -> Value {
        let environment = [("HTTP_PROXY".to_owned(), "http://proxy".to_owned())];
        let mounts = [mount("/data", "/mnt/data", true), mount("/cache", "/cache", false)];
        let one = Node {
            name: "c1-a",
            image: "kindest/node:v1.35.0",
            role,
            labels: BTreeMap::from([("x".to_owned(), "y".to_owned())]),
            mounts: &mounts,
            environment: &environment,
            network: "net",
            ipv6: role == Role::ControlPlane,
            publish_at: "127.0.0.1",
        };
        serde_json::to_value(node(&one, facts, privileges)).unwrap()
    }

    fn compare(name: &str, made: &Value) {
        let golden = format!("{}/src/container/{name}.json", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("WINDLASS_GOLDEN").is_some() {
            std::fs::write(&golden, format!("{made:#}\n")).unwrap();
        }
        let expected: Value = serde_json::from_str(&std::fs::read_to_string(&golden).unwrap()).unwrap();
        assert_eq!(*made, expected, "{name}; WINDLASS_GOLDEN=1 writes the file anew");
    }

    #[test]
    fn the_requests_are_the_golden_ones() {
        let plain = Facts::default();
        compare("privileged", &made(Role::ControlPlane, &plain, Privileges::All));
        compare("listed", &made(Role::Worker, &plain, Privileges::Listed));
    }

    #[test]
    fn a_node_suits_its_engine() {
        let facts = Facts {
            rootless: true,
            user_namespaces: true,
            selinux: true,
            cgroup_v1: false,
            needs_device_mapper: true,
        };
        let host = &made(Role::Worker, &facts, Privileges::All)["HostConfig"];
        assert_eq!(host["UsernsMode"], "host");
        assert_eq!(host["Devices"][0]["PathOnHost"], "/dev/fuse");
        let binds = [
            "/lib/modules:/lib/modules:ro",
            "/dev/mapper:/dev/mapper",
            "/data:/mnt/data:ro,Z",
            "/cache:/cache:Z",
        ];
        assert_eq!(host["Binds"], json!(binds));
        assert_eq!(host["PortBindings"], json!({}), "a worker serves nobody on the host");
    }

    #[test]
    fn mounts_that_cannot_be_are_named() {
        let none = DockerMount::default();
        for (mounts, says) in [
            (vec![mount("/a", "/b", false)], None),
            (vec![none], Some("extraMounts[0].hostPath is missing")),
            (
                vec![mount("/a", "/b", false), mount("/a", "b", false)],
                Some("extraMounts[1].containerPath is `b`; make it"),
            ),
            (vec![mount("/a:b", "/b", false)], Some("no path with a colon")),
        ] {
            let fault = unfit(&mounts);
            match says {
                None => assert_eq!(fault, None),
                Some(says) => assert!(fault.as_deref().is_some_and(|it| it.contains(says)), "{fault:?}"),
            }
        }
    }

    #[test]
    fn proxies_are_told_in_both_spellings() {
        let from =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(proxies(&from(&[("NO_PROXY", "x")]), &[]), vec![], "nothing to avoid");
        let told =
            proxies(&from(&[("https_proxy", "http://p"), ("NO_PROXY", "x")]), &["10.0.0.0/24".to_owned()]);
        let told: Vec<_> = told.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let direct = "x,10.0.0.0/24,.svc,.cluster.local";
        let direct = [format!("NO_PROXY={direct}"), format!("no_proxy={direct}")];
        assert_eq!(told[..2], ["HTTPS_PROXY=http://p", "https_proxy=http://p"]);
        assert_eq!(told[2..], direct);
    }
}
