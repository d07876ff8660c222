//! Port-forwards to the pods of simulated clusters, and the etcd behind them: over sockets and in process.

#![expect(clippy::unwrap_used, reason = "helpers stand outside of test functions")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Place, post, token};
use futures::FutureExt;
use http::Request;
use kube::Client;
use tokio::io::AsyncReadExt;
use windlass_model::Key;
use windlass_runtime::Clock;
use windlass_store::Engine;
use windlass_workload::{
    Connector, Dial, Etcd, EtcdConnector, EtcdError, EtcdIdentity, Opened, PortForward, ServerCertificates,
    Tunnel, TunnelError,
};

const TOKEN: &str = "abcdef.0123456789abcdef";

/// A cluster with control plane machines `cp-0`, `cp-1` and so on.
async fn control_plane(place: &Place, machines: usize) -> Fixture {
    let cluster = Fixture::new("c");
    place.found(&cluster).await;
    place.boot(&cluster, "cp-0", true, cluster.init()).await;
    let secret = Fixture::token_secret("abcdef", "0123456789abcdef", place.clock.now(), 600);
    post(&place.admin(&cluster).await, "/api/v1/namespaces/kube-system/secrets", &secret).await;
    for number in 1..machines {
        place.boot(&cluster, &format!("cp-{number}"), true, cluster.join_control_plane(TOKEN)).await;
    }
    cluster
}

async fn listening() -> Place {
    Place::on(Engine::memory(), Clock::tokio(Clock::system().now()), true).await
}

fn forward(place: &Place, tunnel: impl Tunnel) -> PortForward {
    PortForward::new(Arc::new(tunnel), place.clock.clone(), place.tasks.spawner())
}

async fn connect(
    forward: &PortForward,
    nodes: &[&str],
    identity: &EtcdIdentity,
) -> Result<Box<dyn Etcd>, EtcdError> {
    let nodes: Vec<_> = nodes.iter().map(|node| (*node).to_owned()).collect();
    forward.connect(&Key::new("default", "c"), &nodes, identity).await
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What a manager of members does, from the first question to the last.
async fn manage(place: &Place, cluster: &Fixture, client: Client) {
    let forward = forward(place, client.clone());
    let identity = cluster.etcd_identity();
    let etcd = connect(&forward, &["cp-2", "cp-1", "cp-0"], &identity).await.unwrap();
    let ids: BTreeMap<_, _> = etcd.members().await.unwrap().into_iter().map(|it| (it.name, it.id)).collect();
    assert_eq!(ids.keys().collect::<Vec<_>>(), ["cp-0", "cp-1", "cp-2"]);
    assert_eq!(etcd.alarms().await.unwrap(), []);
    for (name, id) in &ids {
        let status = etcd.status(name).await.unwrap();
        assert!(status.is_healthy() && status.db_size > 0 && !status.learner, "{status:?}");
        assert_eq!((status.id, status.leader), (*id, Some(ids["cp-0"])));
    }
    // We are connected to cp-2; only cp-0 can do it.
    etcd.move_leader(ids["cp-1"]).await.unwrap();
    assert_eq!(etcd.leader().await.unwrap(), ids["cp-1"]);
    assert!(matches!(etcd.remove_member(42).await, Err(EtcdError::UnknownMember(42))));
    assert_eq!(format!("{forward:?}"), "PortForward { connections: 3 }", "each connection is used again");

    let until = client.not_after(&cluster.key, "cp-1").await.unwrap();
    let year = Duration::from_hours(365 * 24);
    let left = until.until(place.clock.now());
    assert!(left <= year && left + Duration::from_mins(10) > year, "{left:?}");
    let error = client.not_after(&cluster.key, "cp-9").await.unwrap_err();
    assert!(chain(&error).contains("not found"), "{}", chain(&error));

    etcd.remove_member(ids["cp-0"]).await.unwrap();
    let error = etcd.status("cp-0").await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert_eq!(etcd.members().await.unwrap().len(), 2);
    place.machines().delete(&token("cp-0")).await.unwrap();
    let error = connect(&forward, &["cp-0"], &identity).await.err().unwrap();
    assert!(chain(&error).contains("not found"), "{}", chain(&error));
    assert!(connect(&forward, &["cp-0", "cp-1"], &identity).await.is_ok(), "the next node is asked");
}

#[tokio::test(start_paused = true)]
async fn members_are_managed_in_process() {
    let place = Place::new().await;
    let cluster = control_plane(&place, 3).await;
    manage(&place, &cluster, place.admin(&cluster).await).await;
}

#[tokio::test]
async fn members_are_managed_over_sockets() {
    let place = listening().await;
    let cluster = control_plane(&place, 3).await;
    let kubeconfig = cluster.kubeconfig(place.port(&cluster).await);
    let client = Dial.connect(&cluster.key, &kubeconfig).await.unwrap();
    manage(&place, &cluster, client).await;
}

#[tokio::test(start_paused = true)]
async fn only_etcds_own_certificates_are_taken() {
    let place = Place::new().await;
    let cluster = control_plane(&place, 1).await;
    let forward = forward(&place, place.admin(&cluster).await);
    let (ours, theirs) = (cluster.etcd_identity(), Fixture::new("other").etcd_identity());
    let impostor = EtcdIdentity { ca_pem: ours.ca_pem.clone(), ..theirs.clone() };
    let gullible = EtcdIdentity { ca_pem: theirs.ca_pem.clone(), ..ours.clone() };
    let unfit = EtcdIdentity { key_pem: windlass_model::Secret::new("hunter2".to_owned()), ..ours.clone() };
    for (who, says) in
        [(impostor, "connection error"), (gullible, "invalid peer certificate"), (unfit, "client key")]
    {
        let text = chain(&connect(&forward, &["cp-0"], &who).await.err().unwrap());
        assert!(text.contains(says) && !text.contains("hunter2"), "{text}");
    }
    connect(&forward, &["cp-0"], &ours).await.unwrap();
}

/// Leads to another pod than asked for.
struct Misled(Client, &'static str);

#[async_trait]
impl Tunnel for Misled {
    async fn open(&self, cluster: &Key, _: &str, port: u16) -> Result<Opened, TunnelError> {
        self.0.open(cluster, self.1, port).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_does_not_hand_the_leadership_over() {
    let place = Place::new().await;
    let cluster = control_plane(&place, 3).await;
    let forward = forward(&place, Misled(place.admin(&cluster).await, "etcd-cp-1"));
    let etcd = connect(&forward, &["cp-0"], &cluster.etcd_identity()).await.unwrap();
    let members = etcd.members().await.unwrap();
    let to = members.iter().find(|member| member.name == "cp-2").unwrap().id;
    let error = etcd.move_leader(to).await.unwrap_err();
    assert!(error.is_retryable() && chain(&error).contains("not leader"), "{}", chain(&error));
}

/// Never gets through to these pods.
struct Silent(Client, Vec<&'static str>);

#[async_trait]
impl Tunnel for Silent {
    async fn open(&self, cluster: &Key, pod: &str, port: u16) -> Result<Opened, TunnelError> {
        if self.1.contains(&pod) {
            std::future::pending::<()>().await;
        }
        self.0.open(cluster, pod, port).await
    }
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_off_cost_little_time_and_never_more_than_a_call() {
    let place = Place::new().await;
    let cluster = control_plane(&place, 3).await;
    let client = place.admin(&cluster).await;
    for (silent, answered, within) in [
        (vec![], true, 0),
        (vec!["etcd-cp-0"], true, 2),
        (vec!["etcd-cp-0", "etcd-cp-1"], true, 4),
        (vec!["etcd-cp-0", "etcd-cp-1", "etcd-cp-2"], false, 15),
    ] {
        let forward = forward(&place, Silent(client.clone(), silent.clone()));
        let begun = place.clock.now();
        let connected = connect(&forward, &["cp-0", "cp-1", "cp-2"], &cluster.etcd_identity()).await;
        let took = place.clock.now().since(begun);
        assert_eq!(connected.is_ok(), answered, "{silent:?}");
        assert!(took <= Duration::from_millis(within * 1000 + 100), "{silent:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_member_and_with_disuse() {
    let place = Place::new().await;
    let cluster = control_plane(&place, 3).await;
    let forward = forward(&place, place.admin(&cluster).await);
    let identity = cluster.etcd_identity();
    let etcd = connect(&forward, &["cp-2"], &identity).await.unwrap();
    place.machines().delete(&token("cp-2")).await.unwrap();
    let error = etcd.members().await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(format!("{forward:?}"), "PortForward { connections: 0 }");

    connect(&forward, &["cp-0"], &identity).await.unwrap();
    tokio::time::sleep(Duration::from_secs(12)).await;
    connect(&forward, &["cp-0"], &identity).await.unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(format!("{forward:?}"), "PortForward { connections: 1 }");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(format!("{forward:?}"), "PortForward { connections: 0 }");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_forwarded_says_why() {
    let place = Place::new().await;
    let cluster = control_plane(&place, 1).await;
    let client = place.admin(&cluster).await;
    for (pod, port, says) in [
        ("etcd-cp-0", 80, "connection refused"),
        ("kube-scheduler-cp-0", 2379, "connection refused"),
        ("etcd-cp-9", 2379, "not found"),
    ] {
        let text = match client.open(&cluster.key, pod, port).await {
            Ok(mut opened) => {
                let text = opened.complaint.await.unwrap();
                assert_eq!(opened.stream.read(&mut [0]).await.unwrap(), 0, "the stream ends");
                text
            }
            Err(error) => chain(&error),
        };
        assert!(text.contains(says), "{pod}: {text}");
    }
    let path = "/api/v1/namespaces/kube-system/pods/etcd-cp-0/portforward?ports=2379";
    let plain = client.request_text(Request::get(path).body(vec![]).unwrap()).await.unwrap_err();
    assert!(plain.to_string().contains("unable to upgrade"), "{plain}");
    let refused = client.request_text(Request::delete(path).body(vec![]).unwrap()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 405), "{refused}");
    assert!(client.open(&cluster.key, "etcd-cp-0", 2379).await.unwrap().complaint.now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn each_machine_has_certificates_of_its_own() {
    let place = Place::new().await;
    let cluster = control_plane(&place, 1).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    place.boot(&cluster, "cp-1", true, cluster.join_control_plane(TOKEN)).await;
    let until = async |place: &Place, node: &str| {
        let client = place.admin(&cluster).await;
        client.not_after(&cluster.key, node).await.unwrap()
    };
    let (first, second) = (until(&place, "cp-0").await, until(&place, "cp-1").await);
    assert!(second.until(first) >= Duration::from_mins(5), "{first:?} {second:?}");
    let place = place.restart().await;
    assert_eq!((until(&place, "cp-0").await, until(&place, "cp-1").await), (first, second));

    let left = forward(&place, place.admin(&cluster).await);
    let etcd = connect(&left, &["cp-1"], &cluster.etcd_identity()).await.unwrap();
    let gone = etcd.members().await.unwrap().into_iter().find(|member| member.name == "cp-0").unwrap();
    etcd.remove_member(gone.id).await.unwrap();
    place.machines().delete(&token("cp-0")).await.unwrap();
    assert_eq!(until(&place, "cp-1").await, second);
}
