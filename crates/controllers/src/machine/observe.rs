//! What a Machine looks at: its companions, its cluster, its Node, and the pods on it while it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Taint as NodeTaint};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use windlass_api::core::{
    Cluster, ContractRef, Machine, MachineDeployment, MachineSet, MachineSpec, MachineStatus,
    Polarity as GatePolarity, TaintPropagation,
};
use windlass_api::names;
use windlass_contract::Contract;
use windlass_model::{Condition, Polarity, Status, Time};
use windlass_plan::machine::{
    Bootstrap, Cluster as SeenCluster, Facts, Infrastructure, Labels, MachineTaint, Marks, Node as SeenNode,
    Observed, OwnerRef, Pod as SeenPod, Spec, Taint, TemplateFacts, Tracked, Workload, align, differences,
};
use windlass_plan::referent::{Known, Referent};
use windlass_runtime::{External, Pass, conditions, time, uid_of};
use windlass_workload::{Connected, Workloads};

use super::Error;
use crate::pausing;
use crate::references::{
    annotation, cluster_of, controller_of, group_kind, is_controlled_by, is_leaving, is_owned_by, label,
    look, observed,
};

/// The taint of Nodes whose kubelet does not answer.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Probes that must fail before a connection counts as lost (upstream's cluster cache).
const PROBE_FAILURES: u32 = 5;

/// Everything a pass reads, once.
pub(super) struct Scene {
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) paused: Condition,
    pub(super) bootstrap: Option<Referent<Arc<External>>>,
    pub(super) infrastructure: Referent<Arc<External>>,
    pub(super) connected: Option<Connected>,
    /// The Node as it is.
    pub(super) node: Option<Arc<Node>>,
    contracts: [Contract; 2],
    conditions: Vec<Condition>,
    seen_cluster: SeenCluster,
    workload: Workload,
    outdated: Option<Vec<String>>,
    now: Time,
}

/// `None` while the cache has not read everything yet; it wakes the Machine when it has.
pub(super) async fn observe(
    machine: &Machine,
    workloads: &Workloads,
    pass: &Pass,
) -> Result<Option<Scene>, Error> {
    let cluster = cluster_of(pass, &machine.spec.cluster_name);
    if cluster.is_none() && !is_leaving(machine) {
        return Ok(None);
    }
    let bootstrap = machine.spec.bootstrap.config_ref.as_ref().map(|reference| look(pass, reference));
    let infrastructure = look(pass, &machine.spec.infrastructure_ref);
    let unsynced = |target: &Referent<Arc<External>>| target.known == Known::Unsynced;
    if bootstrap.as_ref().is_some_and(unsynced) || unsynced(&infrastructure) {
        return Ok(None);
    }
    let Some(seen_cluster) = cluster_seen(machine, cluster.as_deref(), pass) else { return Ok(None) };
    let key = pass.key.sibling(&*machine.spec.cluster_name);
    let connected = workloads.get(&key).ok();
    let nodes = connected.as_ref().map(|connected| nodes_of(machine, &infrastructure, connected));
    let workload = if let (Some(connected), Some(nodes)) = (&connected, &nodes) {
        let pods = pods_to_evict(machine, &seen_cluster, nodes, &connected.client).await?;
        let older = of_older_revision(machine, pass);
        let seen = nodes.iter().map(|node| node_seen(machine, &infrastructure, node, older));
        Workload::Up { nodes: seen.collect(), pods }
    } else {
        let health = workloads.health(&key);
        // A process that has just started has not probed often enough to say that it is lost.
        let probed = health.last_success.is_some() || health.failures >= PROBE_FAILURES;
        Workload::Down { probed, last_success: health.last_success }
    };
    let node = nodes.filter(|nodes| nodes.len() == 1).and_then(|mut nodes| nodes.pop());
    Ok(Some(Scene {
        paused: pausing::condition(cluster.as_deref(), "Machine", &machine.metadata),
        conditions: machine.status.as_ref().map(|s| conditions::read_all(&s.conditions)).unwrap_or_default(),
        outdated: outdated(machine, pass),
        now: pass.now,
        contracts: contracts(machine, pass),
        cluster,
        bootstrap,
        infrastructure,
        connected,
        node,
        seen_cluster,
        workload,
    }))
}

/// The contracts that the kinds of the two companions speak.
fn contracts(machine: &Machine, pass: &Pass) -> [Contract; 2] {
    let of = |reference: &ContractRef| pass.cache.contract(&group_kind(reference));
    let bootstrap = machine.spec.bootstrap.config_ref.as_ref().map_or(Contract::V1Beta2, of);
    [bootstrap, of(&machine.spec.infrastructure_ref)]
}

/// What of the cluster matters to the Machine. A Machine without one goes as if its cluster went.
fn cluster_seen(machine: &Machine, cluster: Option<&Cluster>, pass: &Pass) -> Option<SeenCluster> {
    let Some(cluster) = cluster else {
        return Some(SeenCluster { deleting: true, ..SeenCluster::default() });
    };
    let status = cluster.status.clone().unwrap_or_default();
    let initialized = conditions::find(&status.conditions, "ControlPlaneInitialized")
        .filter(|condition| condition.status == "True")
        .map(|condition| time::from_meta(&condition.last_transition_time));
    let mut seen = SeenCluster {
        deleting: is_leaving(cluster),
        infrastructure_provisioned: status.initialization.infrastructure_provisioned == Some(true),
        control_plane_initialized: status.initialization.control_plane_initialized == Some(true),
        control_plane_initialized_at: initialized,
        ..SeenCluster::default()
    };
    if !is_leaving(machine) {
        return Some(seen);
    }
    // Only who goes asks whether its Node is worth the trouble.
    if let Some(reference) = &cluster.spec.control_plane_ref {
        match look(pass, reference).known {
            Known::Unsynced => return None,
            Known::Absent => seen.control_plane_deleting = true,
            Known::Present(object) => {
                seen.control_plane_deleting = object.metadata.deletion_timestamp.is_some();
                seen.external_control_plane = object.status.external_managed_control_plane == Some(true);
            }
        }
    }
    let all = pass.cache.of_cluster::<Machine>(&pass.key.namespace, &machine.spec.cluster_name);
    let stays = |peer: &&Arc<Machine>| {
        label(&peer.metadata, names::LABEL_CONTROL_PLANE).is_some()
            && !is_leaving(&***peer)
            && uid_of(&***peer) != uid_of(machine)
    };
    seen.control_plane_machines = all.iter().filter(stays).count();
    Some(seen)
}

/// Nodes with the Machine's provider ID; before there is one, nobody knows.
fn nodes_of(
    machine: &Machine,
    infrastructure: &Referent<Arc<External>>,
    connected: &Connected,
) -> Vec<Arc<Node>> {
    let reported = infrastructure.present().and_then(|object| object.spec.provider_id.clone());
    match machine.spec.provider_id.clone().or(reported).filter(|id| !id.is_empty()) {
        Some(id) => connected.node_by_provider_id(&id),
        None => Vec::new(),
    }
}

fn node_seen(
    machine: &Machine,
    infrastructure: &Referent<Arc<External>>,
    node: &Node,
    older: Option<bool>,
) -> SeenNode {
    let spec = node.spec.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    let tainted = |key: &str| spec.taints.iter().flatten().any(|taint| taint.key == key);
    let volumes = status.volumes_attached.into_iter().flatten().map(|volume| volume.name);
    let said = status.conditions.into_iter().flatten().map(|condition| {
        let reason = condition.reason.unwrap_or_default();
        Condition::new(condition.type_, Status::parse(&condition.status), reason)
            .because(condition.message.unwrap_or_default())
    });
    let interruptible =
        infrastructure.present().is_some_and(|object| object.status.interruptible == Some(true));
    let (none, name) = (Labels::new(), node.name_any());
    let map = |map: &Option<BTreeMap<String, String>>| map.clone().unwrap_or_else(|| none.clone());
    let owner = controller_of(&machine.metadata);
    let alignment = align(&Tracked {
        node: &name,
        labels: &map(&node.metadata.labels),
        annotations: &map(&node.metadata.annotations),
        taints: &spec.taints.iter().flatten().map(taint).collect::<Vec<_>>(),
        namespace: machine.metadata.namespace.as_deref().unwrap_or_default(),
        cluster: &machine.spec.cluster_name,
        machine: machine.metadata.name.as_deref().unwrap_or_default(),
        owner: owner.map(|owner| OwnerRef { kind: &owner.kind, name: &owner.name }),
        machine_labels: &map(&machine.metadata.labels),
        machine_annotations: &map(&machine.metadata.annotations),
        machine_taints: &machine.spec.taints.iter().map(machine_taint).collect::<Vec<_>>(),
        outdated: older,
        interruptible,
    });
    SeenNode {
        deleting: node.metadata.deletion_timestamp.is_some(),
        unschedulable: spec.unschedulable == Some(true),
        unreachable: tainted(UNREACHABLE),
        volumes: volumes.collect(),
        conditions: said.collect(),
        alignment,
        name,
    }
}

fn taint(taint: &NodeTaint) -> Taint {
    Taint { key: taint.key.clone(), value: taint.value.clone(), effect: taint.effect.clone() }
}

fn machine_taint(taint: &windlass_api::core::MachineTaint) -> MachineTaint {
    MachineTaint {
        taint: Taint {
            key: taint.key.clone(),
            value: taint.value.clone(),
            effect: taint.effect.as_str().to_owned(),
        },
        always: taint.propagation == TaintPropagation::Always,
    }
}

/// Whether the Machine's set is of an older revision than its deployment; none while one of them is not there.
fn of_older_revision(machine: &Machine, pass: &Pass) -> Option<bool> {
    let Some(owner) = controller_of(&machine.metadata).filter(|owner| owner.kind == "MachineSet") else {
        return Some(false);
    };
    let set = pass.cache.get::<MachineSet>(&pass.key.sibling(&*owner.name))?;
    let Some(owner) = controller_of(&set.metadata).filter(|owner| owner.kind == "MachineDeployment") else {
        return Some(false);
    };
    let deployment = pass.cache.get::<MachineDeployment>(&pass.key.sibling(&*owner.name))?;
    let revision = |meta| annotation(meta, names::ANNOTATION_REVISION)?.parse::<u64>().ok();
    Some(revision(&set.metadata)? < revision(&deployment.metadata)?)
}

/// Pods that a drain has to evict, read live, and only once the Node is cordoned: before, more may come.
async fn pods_to_evict(
    machine: &Machine,
    cluster: &SeenCluster,
    nodes: &[Arc<Node>],
    client: &kube::Client,
) -> Result<Vec<SeenPod>, Error> {
    let excluded = annotation(&machine.metadata, names::ANNOTATION_EXCLUDE_NODE_DRAINING).is_some();
    let [node] = nodes else { return Ok(Vec::new()) };
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    if !is_leaving(machine) || cluster.deleting || excluded || !cordoned || is_drained(machine) {
        return Ok(Vec::new());
    }
    let name = node.name_any();
    let params = ListParams::default().fields(&format!("spec.nodeName={name}"));
    let pods = Api::<Pod>::all(client.clone()).list(&params).await.map_err(|error| Error::Observe {
        name: machine.name_any(),
        node: name.clone(),
        source: Box::new(error),
    })?;
    // A server that does not know the selector answers with all pods.
    let here = pods
        .items
        .into_iter()
        .filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(&name));
    let seen = here.filter(evictable).map(|pod| SeenPod {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        deleting: pod.metadata.deletion_timestamp.is_some(),
    });
    Ok(seen.collect())
}

/// What comes after the drain has begun. A control plane machine whose etcd member is gone by then may be the one that
/// would have to answer.
fn is_drained(machine: &Machine) -> bool {
    let deletion = machine.status.as_ref().and_then(|status| status.deletion.as_ref());
    deletion.is_some_and(|deletion| deletion.wait_for_pre_terminate_hook_start_time.is_some())
}

/// Not the pods of DaemonSets, which would come back, nor static ones, nor those that ask to be left alone.
fn evictable(pod: &Pod) -> bool {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let owner = |kind: &str| pod.owner_references().iter().any(|owner| owner.kind == kind);
    let skip = pod.labels().get(names::LABEL_DRAIN).is_some_and(|value| value.eq_ignore_ascii_case("skip"));
    !(owner("DaemonSet") || owner("Node") || pod.annotations().contains_key(MIRROR) || skip)
}

/// How the set that owns the Machine differs from its deployment; `None` for any other Machine.
fn outdated(machine: &Machine, pass: &Pass) -> Option<Vec<String>> {
    let owner = controller_of(&machine.metadata).filter(|owner| owner.kind == "MachineSet")?;
    let set = pass.cache.get::<MachineSet>(&pass.key.sibling(&*owner.name))?;
    let owner = controller_of(&set.metadata).filter(|owner| owner.kind == "MachineDeployment")?;
    let deployment = pass.cache.get::<MachineDeployment>(&pass.key.sibling(&*owner.name))?;
    let mut lines = differences(
        &template_facts(&set.spec.template.spec),
        &template_facts(&deployment.spec.template.spec),
    );
    let after = deployment.spec.rollout.after.as_ref().map(time::from_meta);
    let created = set.creation_timestamp().as_ref().map(time::from_meta);
    if after.is_some_and(|after| after <= pass.now && created.is_some_and(|created| created < after)) {
        lines.push("MachineDeployment spec.rollout.after has passed".to_owned());
    }
    Some(lines)
}

fn template_facts(template: &MachineSpec) -> TemplateFacts {
    let secret = template.bootstrap.data_secret_name.clone().unwrap_or_default();
    let config = template.bootstrap.config_ref.as_ref();
    TemplateFacts {
        version: template.version.clone(),
        failure_domain: template.failure_domain.clone(),
        bootstrap: config.map_or_else(
            || ("Secret".to_owned(), secret),
            |reference| (reference.kind.clone(), reference.name.clone()),
        ),
        infrastructure: (template.infrastructure_ref.kind.clone(), template.infrastructure_ref.name.clone()),
    }
}

impl Scene {
    /// The planner's view.
    pub(super) fn observed<'a>(&'a self, machine: &'a Machine) -> Observed<'a> {
        let status = machine.status.clone().unwrap_or_default();
        let ready = conditions::find(&status.conditions, "Ready");
        let ready = ready.filter(|condition| condition.status == "True");
        let controlled = controller_of(&machine.metadata).is_some();
        let labelled = [names::LABEL_SET_NAME, names::LABEL_POOL_NAME, names::LABEL_CONTROL_PLANE_NAME];
        let has_cluster =
            self.cluster.as_deref().is_none_or(|cluster| is_owned_by(&machine.metadata, &uid_of(cluster)));
        Observed {
            name: machine.metadata.name.as_deref().unwrap_or_default(),
            deleting: machine.metadata.deletion_timestamp.as_ref().map(time::from_meta),
            spec: spec(machine),
            facts: facts(&status),
            conditions: &self.conditions,
            ready_since: ready.map(|condition| time::from_meta(&condition.last_transition_time)),
            cluster: self.seen_cluster.clone(),
            bootstrap: self
                .bootstrap
                .as_ref()
                .map(|target| observed(target, |object| bootstrap(machine, object, self.contracts[0]))),
            infrastructure: observed(&self.infrastructure, |object| {
                infrastructure(machine, object, self.contracts[1])
            }),
            orphan: !controlled
                && !has_cluster
                && !is_leaving(machine)
                && labelled.iter().all(|name| label(&machine.metadata, name).is_none()),
            workload: self.workload.clone(),
            outdated: self.outdated.clone(),
            now: self.now,
        }
    }
}

fn spec(machine: &Machine) -> Spec {
    let spec = &machine.spec;
    let seconds = |number: Option<i32>, default: u64| {
        Duration::from_secs(number.map_or(default, |number| u64::try_from(number).unwrap_or(0)))
    };
    let hooks = |prefix: &str| {
        let names = machine.annotations().keys();
        names.filter(|name| name.starts_with(prefix)).cloned().collect()
    };
    let gate = |polarity: Option<GatePolarity>| match polarity {
        None | Some(GatePolarity::Positive) => Polarity::Positive,
        Some(GatePolarity::Negative) => Polarity::Negative,
    };
    Spec {
        data_secret: spec.bootstrap.data_secret_name.clone(),
        provider_id: spec.provider_id.clone(),
        failure_domain: spec.failure_domain.clone(),
        min_ready: seconds(spec.min_ready_seconds, 0),
        readiness_gates: spec
            .readiness_gates
            .iter()
            .map(|one| (one.condition_type.clone(), gate(one.polarity)))
            .collect(),
        drain_timeout: seconds(spec.deletion.node_drain_timeout_seconds, 0),
        detach_timeout: seconds(spec.deletion.node_volume_detach_timeout_seconds, 0),
        // Upstream's default, should admission have been passed by.
        node_deletion_timeout: seconds(spec.deletion.node_deletion_timeout_seconds, 10),
        exclude_drain: annotation(&machine.metadata, names::ANNOTATION_EXCLUDE_NODE_DRAINING).is_some(),
        exclude_detach: annotation(&machine.metadata, names::ANNOTATION_EXCLUDE_WAIT_FOR_NODE_VOLUME_DETACH)
            .is_some(),
        pre_drain_hooks: hooks(names::ANNOTATION_PRE_DRAIN_DELETE_HOOK),
        pre_terminate_hooks: hooks(names::ANNOTATION_PRE_TERMINATE_DELETE_HOOK),
    }
}

fn facts(status: &MachineStatus) -> Facts {
    let deletion = status.deletion.clone().unwrap_or_default();
    Facts {
        bootstrapped: status.initialization.bootstrap_data_secret_created == Some(true),
        provisioned: status.initialization.infrastructure_provisioned == Some(true),
        node: status.node_ref.as_ref().map(|node| node.name.clone()),
        marks: Marks {
            pre_drain_hook: deletion.wait_for_pre_drain_hook_start_time.as_ref().map(time::from_meta),
            drain: deletion.node_drain_start_time.as_ref().map(time::from_meta),
            detach: deletion.wait_for_node_volume_detach_start_time.as_ref().map(time::from_meta),
            pre_terminate_hook: deletion.wait_for_pre_terminate_hook_start_time.as_ref().map(time::from_meta),
        },
    }
}

/// Whether a companion carries what makes it the Machine's.
fn is_ours(machine: &Machine, object: &External) -> bool {
    is_controlled_by(&object.metadata, &uid_of(machine))
        && label(&object.metadata, names::LABEL_CLUSTER_NAME) == Some(&machine.spec.cluster_name)
}

fn bootstrap(machine: &Machine, object: &External, contract: Contract) -> Bootstrap {
    Bootstrap {
        deleting: object.metadata.deletion_timestamp.is_some(),
        owned: is_ours(machine, object),
        created: object.data_secret_created(contract),
        secret: object.status.data_secret_name.clone(),
        ready: object.condition("Ready").map(conditions::read),
    }
}

fn infrastructure(machine: &Machine, object: &External, contract: Contract) -> Infrastructure {
    Infrastructure {
        deleting: object.metadata.deletion_timestamp.is_some(),
        owned: is_ours(machine, object),
        provisioned: object.provisioned(contract),
        provider_id: object.spec.provider_id.clone(),
        failure_domain: object.spec.failure_domain.clone(),
        ready: object.condition("Ready").map(conditions::read),
    }
}
