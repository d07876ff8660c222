//! What a pass looks at in the workload cluster: nodes, static pods, etcd.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node as KubeNode, Pod as KubePod};
use kube::api::{Api, ListParams};
use windlass_api::core::Machine;
use windlass_api::names::node::ROLE_CONTROL_PLANE;
use windlass_model::{Condition, Status, Time};
use windlass_plan::control_plane::Etcd;
use windlass_plan::control_plane::etcd::{Member, Membership};
use windlass_plan::control_plane::health::{self, COMPONENTS, ETCD_POD, Node, Pod, Reach, Sight};
use windlass_runtime::{Pass, conditions, time};
use windlass_workload::{Connected, EtcdError};

use crate::certificates;
use crate::controller::{KubeadmControlPlaneError as Error, KubeadmControlPlanes};
use crate::observe::Scene;
use crate::pods::classify;

/// Longest wait for one answer of a workload cluster.
const PATIENCE: Duration = Duration::from_secs(15);
/// What was seen last counts this long after the last answer of a cluster that is down (upstream's
/// `--remote-conditions-grace-period`).
const GRACE: Duration = Duration::from_mins(5);
/// The namespace of static pods and of kubeadm's own notes.
pub(crate) const NAMESPACE: &str = "kube-system";
/// Written by `kubeadm init` when the API server answers.
pub(crate) const KUBEADM_CONFIG: &str = "kubeadm-config";
/// Troubles younger than this are not worth waking anybody for (as upstream).
const YOUNG: Duration = Duration::from_secs(10);
/// On nodes whose kubelet has not reported for a while.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Looks, and notes in the scene what was seen.
pub(crate) async fn look(
    controller: &KubeadmControlPlanes,
    scene: &mut Scene,
    pass: &Pass,
) -> Result<(), Error> {
    let cluster = scene.cluster_key();
    if scene.world.deleting {
        // Nothing that it says matters any more, and it may not answer.
        return Ok(());
    }
    scene.fresh = true;
    if !scene.world.infrastructure_provisioned {
        note(scene, Reach::NoInfrastructure, None, pass.now);
        return Ok(());
    }
    let connected = match controller.workloads.get(&cluster) {
        Ok(connected) => connected,
        Err(why) if scene.world.initialized => {
            // A process that has just started knows no better than the one before it.
            let last = controller.workloads.health(&cluster).last_success.unwrap_or(why.since);
            scene.fresh = pass.now.since(last) >= GRACE;
            note(scene, Reach::Down(format!("Remote connection down: {why}")), None, pass.now);
            return Ok(());
        }
        Err(_) => {
            // A machine has just got a step further: perhaps its API server is up.
            controller.workloads.nudge(&cluster);
            note(scene, Reach::NotInitialized, None, pass.now);
            return Ok(());
        }
    };
    if !scene.world.initialized {
        let api: Api<ConfigMap> = Api::namespaced(connected.client.clone(), NAMESPACE);
        scene.world.initialized = patient(api.get_opt(KUBEADM_CONFIG)).await?.is_some();
    }
    if !scene.world.initialized {
        note(scene, Reach::NotInitialized, None, pass.now);
        return Ok(());
    }
    let api: Api<KubePod> = Api::namespaced(connected.client.clone(), NAMESPACE);
    let pods = patient(api.list(&ListParams::default().labels("tier=control-plane"))).await?;
    let named = |pod: KubePod| Some((pod.metadata.name.clone()?, classify(&pod)));
    let pods: BTreeMap<String, Pod> = pods.items.into_iter().filter_map(named).collect();
    ask_etcd(controller, scene, &connected, pass).await?;
    note(scene, Reach::Up, Some((&connected, &pods)), pass.now);
    scene.world.strays = strays(scene, &connected);
    Ok(())
}

/// Waits for a remote answer, but not for ever.
pub(crate) async fn patient<T>(answer: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
    let late = |_| kube::Error::Service("no answer within 15 s".into());
    let answer = tokio::time::timeout(PATIENCE, answer).await.map_err(late).and_then(|answer| answer);
    answer.map_err(|error| Error::Workload(Box::new(error)))
}

/// etcd's members, as the member that was last known to be healthy lists them.
async fn ask_etcd(
    controller: &KubeadmControlPlanes,
    scene: &mut Scene,
    connected: &Connected,
    pass: &Pass,
) -> Result<(), Error> {
    if scene.world.etcd == Etcd::External {
        return Ok(());
    }
    let Some(identity) = certificates::etcd_identity(controller, scene, pass).await? else {
        scene.world.etcd = Etcd::Unseen("there is no certificate to ask with".to_owned());
        return Ok(());
    };
    let mut nodes: Vec<(bool, String)> = scene
        .world
        .machines
        .iter()
        .zip(&scene.machines)
        .filter_map(|(seen, machine)| Some((!seen.member_healthy(), node_of(machine, connected)?)))
        .collect();
    nodes.sort();
    let nodes: Vec<String> = nodes.into_iter().map(|(_, name)| name).collect();
    if nodes.is_empty() {
        scene.world.etcd = Etcd::Unseen("no control plane node has joined yet".to_owned());
        return Ok(());
    }
    let cluster = scene.cluster_key();
    let asked = async {
        let etcd = controller.etcd.connect(&cluster, &nodes, &identity).await?;
        let members = etcd.members().await?;
        let alarms = etcd.alarms().await?;
        // Without a leader nothing can be changed, but the members are known.
        let leader = etcd.leader().await.ok();
        Ok::<_, EtcdError>(Membership {
            members: members
                .into_iter()
                .map(|member| Member { id: member.id, name: member.name, learner: member.learner })
                .collect(),
            leader,
            alarms: alarms.into_iter().map(|(id, _)| id).collect(),
        })
    };
    scene.world.etcd = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(membership)) => Etcd::Seen(membership),
        Ok(Err(error)) => Etcd::Unseen(chain(&error)),
        Err(_) => Etcd::Unseen("etcd does not answer within 15 s".to_owned()),
    };
    Ok(())
}

fn chain(error: &EtcdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The node of a machine: by its reference, or else by its provider ID.
fn kube_node_of(machine: &Machine, connected: &Connected) -> Option<std::sync::Arc<KubeNode>> {
    let reference = machine.status.as_ref().and_then(|status| status.node_ref.as_ref());
    match reference {
        Some(node) => connected.node(&node.name),
        None => connected.node_by_provider_id(machine.spec.provider_id.as_deref()?).into_iter().next(),
    }
}

fn node_of(machine: &Machine, connected: &Connected) -> Option<String> {
    kube_node_of(machine, connected)?.metadata.name.clone()
}

/// Puts what was seen of each machine into the scene.
fn note(scene: &mut Scene, reach: Reach, seen: Option<(&Connected, &BTreeMap<String, Pod>)>, now: Time) {
    if !scene.fresh {
        // Nothing new: the conditions as last written stand.
        scene.world.reach = reach;
        return;
    }
    let no_taint = taint_removed(scene);
    let etcd = scene.world.etcd.clone();
    for (machine, view) in scene.machines.iter().zip(&mut scene.world.machines) {
        let node = seen.and_then(|(connected, _)| kube_node_of(machine, connected));
        let node = node.as_deref().map(|node| look_at(node, no_taint));
        if let Some(node) = &node {
            view.node = Some(node.name.clone());
        }
        let pods = match (&node, seen) {
            (Some(node), Some((_, pods))) => pods_of(&node.name, pods),
            (None, _) | (_, None) => BTreeMap::new(),
        };
        let sight = Sight {
            deleting: view.deleting.is_some(),
            infrastructure_kind: &machine.spec.infrastructure_ref.kind,
            provider_id: machine.spec.provider_id.as_deref(),
            node,
            pods,
            etcd: match &etcd {
                Etcd::External => None,
                Etcd::Unseen(why) => Some(Err(why)),
                Etcd::Seen(membership) => Some(Ok(membership)),
            },
        };
        view.conditions = health::conditions(&reach, &sight);
        view.lately = lately(machine, &view.conditions, now);
    }
    scene.world.reach = reach;
}

/// Which of the conditions seen are not true, and were true until a moment ago.
fn lately(machine: &Machine, seen: &[Condition], now: Time) -> BTreeSet<String> {
    let said = machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let young = |kind: &str| match conditions::find(said, kind) {
        Some(said) if said.status == Status::True.as_str() => true,
        Some(said) => now.since(time::from_meta(&said.last_transition_time)) < YOUNG,
        None => true,
    };
    let troubles = seen.iter().filter(|condition| !condition.is_true());
    troubles.filter(|condition| young(&condition.kind)).map(|condition| condition.kind.to_string()).collect()
}

/// Control plane nodes that are no machine's. While a machine has no node yet, a node may be its own.
fn strays(scene: &Scene, connected: &Connected) -> Vec<String> {
    let known: Vec<_> = scene.machines.iter().map(|machine| node_of(machine, connected)).collect();
    if known.contains(&None) {
        return Vec::new();
    }
    let ours = |node: &KubeNode| {
        node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(ROLE_CONTROL_PLANE))
    };
    let nodes = connected.nodes();
    let names = nodes.iter().filter(|node| ours(node)).map(|node| node.metadata.name.clone());
    names.filter(|name| !known.contains(name)).flatten().collect()
}

fn pods_of(node: &str, pods: &BTreeMap<String, Pod>) -> BTreeMap<&'static str, Pod> {
    let components = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    COMPONENTS
        .into_iter()
        .zip(components)
        .chain([(ETCD_POD, "etcd")])
        .map(|(kind, component)| {
            (kind, pods.get(&format!("{component}-{node}")).cloned().unwrap_or(Pod::Missing))
        })
        .collect()
}

fn look_at(node: &KubeNode, no_taint: bool) -> Node {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    Node {
        name: node.metadata.name.clone().unwrap_or_default(),
        labelled: node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(ROLE_CONTROL_PLANE)),
        tainted: no_taint
            || taints.is_some_and(|taints| taints.iter().any(|taint| taint.key == ROLE_CONTROL_PLANE)),
        unreachable: taints.is_some_and(|taints| {
            taints.iter().any(|taint| taint.key == UNREACHABLE && taint.effect == "NoExecute")
        }),
    }
}

/// Whether the spec leaves kubeadm's taint out on purpose.
fn taint_removed(scene: &Scene) -> bool {
    let spec = &scene.object.spec.kubeadm_config_spec;
    [&spec.init_configuration.node_registration, &spec.join_configuration.node_registration]
        .into_iter()
        .filter_map(|registration| registration.taints.as_ref())
        .any(|taints| !taints.iter().any(|taint| taint.key == ROLE_CONTROL_PLANE))
}
