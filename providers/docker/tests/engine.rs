//! The provider against a real engine. Without one these tests fail: they are behind the feature `engine-tests`.
//!
//! They need no registry and no node image: image and load balancer are busybox, made here.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests stand outside of test functions"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::KillContainerOptionsBuilder;
use common::image;
use common::world::World;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use windlass_docker::{Docker, Published};
use windlass_model::{Key, Secret, Uid};
use windlass_pki::{Identity, Kubeconfig};
use windlass_provider::conformance;
use windlass_provider::{
    AddressKind, ClusterInfrastructure, ClusterRequest, Endpoint, Error, Instance, InstanceState,
    MachineRequest, Machines, Token,
};
use windlass_workload::{ConnectError, Connector};

const PROVISIONED: &str = "ContainerProvisioned";
const BOOTSTRAP: &str = "BootstrapCompleted";

fn token(name: &str) -> Token {
    Token::of(&Uid::from(name))
}

/// What a machine says about one thing.
fn message<'a>(instance: &'a Instance, condition: &str) -> &'a str {
    &instance.conditions.iter().find(|it| it.kind == condition).unwrap().message
}

/// Waits for news of a machine. Others that use the engine are told of, too.
async fn hear_of(news: &mut UnboundedReceiver<Key>, name: &str) {
    let own = async { while news.recv().await != Some(Key::new("default", name)) {} };
    tokio::time::timeout(Duration::from_secs(30), own).await.expect("no news of the machine");
}

#[tokio::test]
async fn machines_pass_the_conformance_suite() {
    let world = World::new("machines", true).await;
    let report = conformance::machines(&world).await;
    world.clear().await;
    assert_eq!(report.verdict().map_err(|report| report.to_string()), Ok(vec![]));
}

#[tokio::test]
async fn clusters_pass_the_conformance_suite() {
    let world = World::new("clusters", false).await;
    let report = conformance::clusters(&world).await;
    world.clear().await;
    assert_eq!(report.verdict().map_err(|report| report.to_string()), Ok(vec![]));
}

#[tokio::test]
async fn a_node_runs_its_data_and_says_when_it_is_done() {
    let world = World::new("boot", true).await;
    let data = "#cloud-config\nwrite_files:\n- {path: /etc/made/by, content: us, permissions: '0600'}\n\
                runcmd:\n- cat /etc/made/by\n- [sh, -c, 'echo on {{ ds.meta_data.hostname }}']\n";
    let request = MachineRequest {
        bootstrap_data: Secret::new(format!("## template: jinja\n{data}").into_bytes()),
        failure_domain: Some("fd1".to_owned()),
        ..world.worker("a", &[])
    };
    let docker = world.provider();
    let mut news = docker.news();
    let made = Machines::create(&docker, &token("boot-a"), &request).await.unwrap();
    assert_eq!((made.provider_id.as_str(), &made.state), ("docker:////dk-boot-a", &InstanceState::Running));
    // Nobody asks: the machine says so by itself.
    let done = loop {
        hear_of(&mut news, "a").await;
        let seen = Machines::find(&docker, &token("boot-a")).await.unwrap().unwrap();
        if seen.conditions.iter().all(windlass_model::Condition::is_true) {
            break seen;
        }
    };
    assert_eq!(done.failure_domain.as_deref(), Some("fd1"));
    assert_eq!(done.next_change, None);
    let log = world.inside("dk-boot-a", "cat /opt/windlass/bootstrap/state/log; ls -l /etc/made/by").await;
    assert!(log.starts_with("uson dk-boot-a\n-rw-------"), "{log}");
    assert_eq!(world.inside("dk-boot-a", "ls /opt/windlass/bootstrap").await, "plan.json\nrun\nstate\n");
    world.clear().await;
}

#[tokio::test]
async fn a_failing_command_is_named_with_the_end_of_its_log() {
    let world = World::new("fail", true).await;
    let commands =
        ["echo first", "echo 'token abcdef.0123456789abcdef is bad' >&2; exit 3", "echo unreached"];
    let docker = world.provider();
    Machines::create(&docker, &token("fail-a"), &world.worker("a", &commands)).await.unwrap();
    let failed = world.until(&docker, &token("fail-a"), BOOTSTRAP, "BootstrapFailed").await;
    assert_eq!(failed.state, InstanceState::Running, "the container runs, only its boot has failed");
    let said = message(&failed, BOOTSTRAP);
    for part in [
        "(step 2 of 3) ended with exit code 3",
        "  | first\n  | token <masked> is bad\n",
        "delete the Machine",
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    assert!(!said.contains("0123456789abcdef") && !said.contains("unreached"), "{said}");
    // A new process says the same.
    let again = world.until(&world.provider(), &token("fail-a"), BOOTSTRAP, "BootstrapFailed").await;
    assert_eq!(message(&again, BOOTSTRAP), said);
    world.clear().await;
}

#[tokio::test]
async fn a_boot_is_followed_by_the_next_process_and_not_repeated() {
    let world = World::new("follow", true).await;
    let first = world.provider();
    let request = world.worker("a", &["echo once >>/count", "while ! test -e /go; do sleep 0.1; done"]);
    Machines::create(&first, &token("follow-a"), &request).await.unwrap();
    world.until(&first, &token("follow-a"), BOOTSTRAP, "WaitingForBootstrap").await;
    drop(first);

    let second = world.provider();
    let mut news = second.news();
    let seen = Machines::find(&second, &token("follow-a")).await.unwrap().unwrap();
    assert!(message(&seen, BOOTSTRAP).contains("(step 2 of 2)"), "{seen:?}");
    assert!(seen.next_change.is_some(), "somebody must look when the time is up");
    world.inside("dk-follow-a", "touch /go").await;
    hear_of(&mut news, "a").await;
    world.until(&second, &token("follow-a"), BOOTSTRAP, "Completed").await;
    assert_eq!(world.inside("dk-follow-a", "cat /count").await, "once\n");
    world.clear().await;
}

#[tokio::test]
async fn a_boot_that_is_too_slow_or_cut_off_says_so() {
    let world = World::new("slow", true).await;
    let docker = world.provider();
    let spec = json!({ "customImage": image::NODE, "bootstrapTimeout": "2s" });
    let request = MachineRequest { spec, ..world.worker("a", &["echo waiting for godot; sleep 60"]) };
    Machines::create(&docker, &token("slow-a"), &request).await.unwrap();
    let late = world.until(&docker, &token("slow-a"), BOOTSTRAP, "BootstrapTimedOut").await;
    let said = message(&late, BOOTSTRAP);
    assert!(said.contains("not done after 2 s: it is at `echo waiting for godot; sleep 60`"), "{said}");
    assert!(said.contains("the log ends with:\n  | waiting for godot"), "{said}");

    let mut news = docker.news();
    let kill = KillContainerOptionsBuilder::new().signal("KILL").build();
    world.engine.kill_container("dk-slow-a", Some(kill)).await.unwrap();
    hear_of(&mut news, "a").await;
    let dead = world.until(&docker, &token("slow-a"), PROVISIONED, "ContainerStopped").await;
    assert_eq!(dead.state, InstanceState::Pending);
    assert!(message(&dead, PROVISIONED).contains("`docker start dk-slow-a` starts it again"), "{dead:?}");
    assert!(message(&dead, BOOTSTRAP).contains("was stopped during `echo waiting"), "{dead:?}");

    world.engine.start_container("dk-slow-a", None).await.unwrap();
    let back = world.until(&docker, &token("slow-a"), PROVISIONED, "Provisioned").await;
    assert_eq!(back.state, InstanceState::Running);
    let back = world.until(&docker, &token("slow-a"), BOOTSTRAP, "BootstrapFailed").await;
    assert!(message(&back, BOOTSTRAP).contains("stopped in the middle"), "{back:?}");
    world.clear().await;
}

#[tokio::test]
async fn a_node_gets_what_its_object_asks_for() {
    let world = World::new("asks", true).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "from the host").unwrap();
    let environment = BTreeMap::from([("HTTPS_PROXY".to_owned(), "http://proxy:1".to_owned())]);
    let docker = world.provider_in(environment);
    let spec = json!({
        "customImage": image::NODE,
        "preLoadImages": [image::NODE],
        "extraMounts": [{ "hostPath": folder.path(), "containerPath": "/mnt/host", "readOnly": true }],
    });
    let commands = [
        "echo https_proxy=$https_proxy kubeconfig=$KUBECONFIG",
        "cat /mnt/host/file; touch /mnt/host/x || echo read-only",
    ];
    let request = MachineRequest { spec, ..world.control_plane("a", &commands) };
    Machines::create(&docker, &token("asks-a"), &request).await.unwrap();
    let done = world.until(&docker, &token("asks-a"), BOOTSTRAP, "Completed").await;
    let log = world.inside("dk-asks-a", "cat /opt/windlass/bootstrap/state/log").await;
    for part in [
        "loaded by --namespace=k8s.io images import --digests",
        "https_proxy=http://proxy:1 kubeconfig=/etc/kubernetes/admin.conf",
        "from the host",
        "read-only",
    ] {
        assert!(log.contains(part), "{part} is not in: {log}");
    }
    assert_eq!(
        world.inside("dk-asks-a", "ls /opt/windlass").await,
        "bootstrap\n",
        "images go once they are loaded"
    );
    // Privileged where the engine grants it; else it says so.
    let made = world.engine.inspect_container("dk-asks-a", None).await.unwrap().host_config.unwrap();
    let listed = message(&done, PROVISIONED).contains("refuses privileged containers");
    assert_eq!(made.privileged, Some(!listed), "{made:?}");
    assert_eq!(made.cap_add.unwrap_or_default().contains(&"SYS_ADMIN".to_owned()), listed);
    world.clear().await;
}

/// The servers in the load balancer's configuration, as `name=weight`, and how often it was told to read it.
async fn servers(world: &World) -> (Vec<String>, usize) {
    let balancer = format!("{}-lb", world.name);
    let config = world.inside(&balancer, "cat /usr/local/etc/haproxy/haproxy.cfg").await;
    let servers = config.lines().filter_map(|line| line.trim().strip_prefix("server ")).map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        format!("{}={}", words[0], words[3])
    });
    let reloads = world.inside(&balancer, "cat /reloads 2>/dev/null").await.lines().count();
    (servers.collect(), reloads)
}

#[tokio::test]
async fn the_load_balancer_follows_the_control_plane() {
    let world = World::new("lb", false).await;
    let docker = world.provider();
    let cluster = ClusterInfrastructure::create(&docker, &token("lb"), &world.its_cluster()).await.unwrap();
    assert_eq!(cluster.state, InstanceState::Running);
    let weighty =
        BTreeMap::from([("devmachine.infrastructure.cluster.x-k8s.io/weight".to_owned(), "7".to_owned())]);
    let second = MachineRequest { annotations: weighty.clone(), ..world.control_plane("b", &["true"]) };
    Machines::create(&docker, &token("lb-a"), &world.control_plane("a", &["true"])).await.unwrap();
    Machines::create(&docker, &token("lb-b"), &second).await.unwrap();
    Machines::create(&docker, &token("lb-w"), &world.worker("w", &["true"])).await.unwrap();
    assert_eq!(servers(&world).await.0, ["dk-lb-a=100", "dk-lb-b=7"]);

    // A new process finds nothing to do, and sees a changed annotation.
    let docker = world.provider();
    let (_, reloads) = servers(&world).await;
    Machines::follow(&docker, &token("lb-a"), &BTreeMap::new()).await.unwrap();
    assert_eq!(servers(&world).await.1, reloads, "reloaded without a reason");
    Machines::follow(
        &docker,
        &token("lb-b"),
        &BTreeMap::from([(weighty.keys().next().unwrap().clone(), "9".to_owned())]),
    )
    .await
    .unwrap();
    assert_eq!(servers(&world).await.0, ["dk-lb-a=100", "dk-lb-b=9"]);

    // Somebody breaks it: the next look at the cluster by a new process repairs it.
    world.inside("dk-lb-lb", "echo broken >/usr/local/etc/haproxy/haproxy.cfg").await;
    ClusterInfrastructure::follow(&world.provider(), &token("lb"), &world.its_cluster()).await.unwrap();
    assert_eq!(servers(&world).await.0.len(), 2, "the configuration was not repaired");

    // First no new connections, then nothing.
    Machines::delete(&docker, &token("lb-b")).await.unwrap();
    let leaving = Machines::find(&docker, &token("lb-b")).await.unwrap().unwrap();
    assert_eq!(leaving.state, InstanceState::Deleting);
    assert_eq!(servers(&world).await.0, ["dk-lb-a=100", "dk-lb-b=0"]);
    Machines::delete(&docker, &token("lb-b")).await.unwrap();
    assert!(Machines::find(&docker, &token("lb-b")).await.unwrap().is_some(), "it had no time to drain");
    tokio::time::sleep(leaving.next_change.unwrap()).await;
    Machines::delete(&docker, &token("lb-b")).await.unwrap();
    assert_eq!(Machines::find(&docker, &token("lb-b")).await.unwrap(), None);
    assert_eq!(servers(&world).await.0, ["dk-lb-a=100"]);
    // The last one needs no time: nobody could take its connections.
    Machines::delete(&docker, &token("lb-a")).await.unwrap();
    assert_eq!(Machines::find(&docker, &token("lb-a")).await.unwrap(), None);

    // As long as a node is there, so is the network.
    ClusterInfrastructure::delete(&docker, &token("lb")).await.unwrap();
    assert!(world.engine.inspect_network(&world.name, None).await.is_ok());
    Machines::delete(&docker, &token("lb-w")).await.unwrap();
    world.clear().await;
}

#[tokio::test]
async fn a_killed_api_server_leaves_the_load_balancer_and_comes_back() {
    let world = World::new("kill", false).await;
    let docker = world.provider();
    ClusterInfrastructure::create(&docker, &token("kill"), &world.its_cluster()).await.unwrap();
    for name in ["a", "b"] {
        let request = world.control_plane(name, &["true"]);
        Machines::create(&docker, &token(&format!("kill-{name}")), &request).await.unwrap();
    }
    for name in ["kill-a", "kill-b"] {
        world.until(&docker, &token(name), BOOTSTRAP, "Completed").await;
    }
    let mut news = docker.news();
    let kill = KillContainerOptionsBuilder::new().signal("KILL").build();
    world.engine.kill_container("dk-kill-a", Some(kill)).await.unwrap();
    hear_of(&mut news, "a").await;
    world.until(&docker, &token("kill-a"), PROVISIONED, "ContainerStopped").await;
    assert_eq!(servers(&world).await.0, ["dk-kill-b=100"]);
    world.engine.start_container("dk-kill-a", None).await.unwrap();
    let back = world.until(&docker, &token("kill-a"), PROVISIONED, "Provisioned").await;
    assert!(back.conditions.iter().all(windlass_model::Condition::is_true), "{back:?}");
    assert_eq!(servers(&world).await.0, ["dk-kill-a=100", "dk-kill-b=100"]);
    world.clear().await;
}

/// Keeps what it was asked to dial.
#[derive(Default)]
struct Asked(Mutex<Vec<(String, Option<String>)>>);

#[async_trait]
impl Connector for Asked {
    async fn connect(&self, _: &Key, kubeconfig: &Kubeconfig) -> Result<kube::Client, ConnectError> {
        self.0.lock().push((kubeconfig.server.clone(), kubeconfig.tls_server_name.clone()));
        Err(ConnectError::Unauthorized)
    }
}

#[tokio::test]
async fn a_cluster_is_published_restarted_and_reached() {
    let world = World::new("public", false).await;
    let docker = world.provider();
    let mut request = world.its_cluster();
    request.spec["failureDomains"] = json!([{ "name": "fd1", "controlPlane": true }, { "name": "fd2" }]);
    let made = ClusterInfrastructure::create(&docker, &token("public"), &request).await.unwrap();
    assert_eq!(made.failure_domains, [("fd1".to_owned(), true), ("fd2".to_owned(), false)].into());
    let endpoint = made.endpoint.clone().unwrap();
    assert_eq!(endpoint.port, 6443);
    let published = made.annotations["docker.windlass.dev/published-endpoint"].clone();
    assert!(published.starts_with("127.0.0.1:"), "{published}");

    let asked = Arc::new(Asked::default());
    let connector = Published::new(docker.clone(), asked.clone());
    let identity = Identity::Token(Secret::new("t".to_owned()));
    let server = |server: &str| Kubeconfig {
        server: server.to_owned(),
        ca_pem: None,
        tls_server_name: None,
        identity: identity.clone(),
    };
    for (cluster, at) in [
        (world.cluster_key(), format!("https://{endpoint}")),
        (Key::new("other", world.name.clone()), format!("https://{endpoint}")),
        (world.cluster_key(), "https://example.com:6443".to_owned()),
    ] {
        assert!(connector.connect(&cluster, &server(&at)).await.is_err());
    }
    let expected = [
        (format!("https://{published}"), Some(endpoint.host.clone())),
        (format!("https://{endpoint}"), None),
        ("https://example.com:6443".to_owned(), None),
    ];
    assert_eq!(*asked.0.lock(), expected);

    // A stopped load balancer is started again, and keeps the address that everybody knows.
    let mut news = docker.cluster_news();
    let kill = KillContainerOptionsBuilder::new().signal("KILL").build();
    world.engine.kill_container("dk-public-lb", Some(kill)).await.unwrap();
    request.endpoint = Some(endpoint.clone());
    let heard = tokio::time::timeout(Duration::from_secs(30), news.recv()).await;
    assert_eq!(heard.expect("no news of the load balancer"), Some(world.cluster_key()));
    let back = ClusterInfrastructure::follow(&docker, &token("public"), &request).await.unwrap().unwrap();
    assert_eq!((back.state, back.endpoint), (InstanceState::Running, Some(endpoint)));
    // One that has another address says so.
    request.endpoint = Some(Endpoint { host: "10.9.9.9".to_owned(), port: 6443 });
    let moved = ClusterInfrastructure::follow(&docker, &token("public"), &request).await.unwrap().unwrap();
    assert_eq!(moved.conditions[0].reason, "AddressChanged");
    assert!(moved.conditions[0].message.contains("know 10.9.9.9"), "{moved:?}");
    ClusterInfrastructure::delete(&docker, &token("public")).await.unwrap();
    assert_eq!(conformance::Harness::leftovers(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn machines_have_addresses_of_both_families_where_the_network_has() {
    let world = World::new("stack", false).await;
    let docker = world.provider();
    ClusterInfrastructure::create(&docker, &token("stack"), &world.its_cluster()).await.unwrap();
    let made = Machines::create(&docker, &token("stack-a"), &world.worker("a", &["true"])).await.unwrap();
    let network = world.engine.inspect_network(&world.name, None).await.unwrap();
    let addresses = made.addresses.iter().filter(|it| it.kind == AddressKind::InternalIP);
    let families: Vec<_> = addresses.map(|it| it.address.contains(':')).collect();
    let expected: &[bool] = if network.enable_ipv6 == Some(true) { &[false, true] } else { &[false] };
    assert_eq!(families, expected);
    assert_eq!(made.addresses[0].address, "dk-stack-a");
    world.clear().await;
}

#[tokio::test]
async fn an_ipv6_cluster_is_reached_over_ipv6() {
    let world = World::new("six", false).await;
    let docker = world.provider();
    let request = ClusterRequest { prefers_ipv6: true, ..world.its_cluster() };
    let made = ClusterInfrastructure::create(&docker, &token("six"), &request).await.unwrap();
    Machines::create(&docker, &token("six-a"), &world.control_plane("a", &["true"])).await.unwrap();
    let network = world.engine.inspect_network(&world.name, None).await.unwrap();
    let six = network.enable_ipv6 == Some(true);
    assert_eq!(made.endpoint.unwrap().host.contains(':'), six);
    let config = world.inside("dk-six-lb", "cat /usr/local/etc/haproxy/haproxy.cfg").await;
    assert_eq!(config.contains("bind :::6443 v6only"), six, "{config}");
    assert_eq!(config.contains("server dk-six-a [fd"), six, "{config}");
    let made = world.engine.inspect_container("dk-six-a", None).await.unwrap().host_config.unwrap();
    let sysctls = made.sysctls.unwrap_or_default();
    assert_eq!(sysctls.get("net.ipv6.conf.all.disable_ipv6").map(String::as_str), six.then_some("0"));
    world.clear().await;
}

#[tokio::test]
async fn a_long_pull_holds_nobody_up_and_its_end_is_told() {
    let world = World::new("pull", true).await;
    let docker = world.provider();
    let mut news = docker.news();
    // A registry that takes calls and says nothing.
    let registry = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let image = format!("{}/dk-none:1", registry.local_addr().unwrap());
    let request =
        MachineRequest { spec: json!({ "customImage": image }), ..world.worker("long-pull", &["true"]) };
    let made = Machines::create(&docker, &token("pull-a"), &request).await.unwrap();
    let seen = Machines::follow(&docker, &token("pull-a"), &BTreeMap::new()).await.unwrap();
    assert_eq!(seen.as_ref(), Some(&made), "the machine is not forgotten");
    assert_eq!(
        (&made.state, message(&made, PROVISIONED)),
        (&InstanceState::Pending, &*format!("pulling the image {image}"))
    );
    assert!(world.containers().await.is_empty());
    drop(registry);
    // Tests beside this one have machines of other names: an engine tells everybody of all.
    hear_of(&mut news, "long-pull").await;
    assert_eq!(Machines::follow(&docker, &token("pull-a"), &BTreeMap::new()).await.unwrap(), None);
    let error = refused(&docker, &token("pull-a"), &request).await;
    assert!(error.message.contains(&format!("`docker pull {image}`")), "{error}");
    world.clear().await;
}

#[tokio::test]
async fn a_network_of_somebody_else_stays() {
    let world = World::new("net", true).await;
    let docker = world.provider();
    let made = ClusterInfrastructure::create(&docker, &token("net"), &world.its_cluster()).await.unwrap();
    assert!(made.endpoint.is_some());
    ClusterInfrastructure::delete(&docker, &token("net")).await.unwrap();
    assert_eq!(ClusterInfrastructure::find(&docker, &token("net")).await.unwrap(), None);
    assert!(
        world.engine.inspect_network(&world.name, None).await.is_ok(),
        "it is not the provider's to remove"
    );
    world.clear().await;
}

/// What a create is refused with.
async fn refused(docker: &Docker, token: &Token, request: &MachineRequest) -> Error {
    Machines::create(docker, token, request).await.unwrap_err()
}

#[tokio::test]
async fn what_cannot_be_says_why_and_what_to_do() {
    let world = World::new("cannot", true).await;
    let docker = world.provider();
    let spec = json!({ "customImage": "localhost:1/dk-none" });
    let error =
        refused(&docker, &token("cannot-a"), &MachineRequest { spec, ..world.worker("a", &[]) }).await;
    let image = "localhost:1/dk-none:latest";
    assert!(error.message.contains(&format!("`docker pull {image}`")), "{error}");
    assert!(error.message.contains("spec.backend.docker.customImage"), "{error}");
    let spec = json!({ "customImage": image::NODE, "preLoadImages": ["localhost:1/dk-none:1"] });
    let error =
        refused(&docker, &token("cannot-b"), &MachineRequest { spec, ..world.worker("b", &[]) }).await;
    assert!(error.message.contains("spec.backend.docker.preLoadImages"), "{error}");

    conformance::Harness::occupy(&world, conformance::Sort::Machine, "c").await.unwrap();
    let error = refused(&docker, &token("cannot-c"), &world.worker("c", &[])).await;
    assert!(error.message.contains("`docker rm dk-cannot-c`"), "{error}");

    world.proxy.afflict(conformance::Trouble::Unreachable);
    let error =
        Machines::find(&docker, &token("cannot-a")).await.map(|found: Option<Instance>| found).unwrap_err();
    assert!(error.message.contains("cannot reach the Docker engine at unix://"), "{error}");
    assert!(error.message.contains("DOCKER_HOST"), "{error}");
    world.proxy.relieve();
    world.clear().await;
}
