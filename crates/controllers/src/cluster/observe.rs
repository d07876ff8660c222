//! What a Cluster looks at: its two halves, everything with its label, and the connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use windlass_api::core::{
    Cluster, ContractRef, Machine, MachineDeployment, MachineSet, Polarity as GatePolarity, VersionCount,
};
use windlass_api::names;
use windlass_contract::Contract;
use windlass_model::{Condition, Polarity, Time, Uid};
use windlass_plan::cluster::{
    Connection, ControlPlane, Counters, Descendants, Endpoint, Facts, Group, Infrastructure,
    Machine as SeenMachine, Observed,
};
use windlass_plan::referent::{Known, Referent};
use windlass_runtime::{External, Pass, conditions, time, uid_of};
use windlass_workload::Workloads;

use crate::pausing;
use crate::references::{controller_of, group_kind, is_leaving, is_owned_by, label, look, natural, observed};

/// Everything a pass reads, once.
pub(super) struct Scene {
    pub(super) paused: Condition,
    pub(super) infrastructure: Option<Referent<Arc<External>>>,
    pub(super) control_plane: Option<Referent<Arc<External>>>,
    pub(super) deployments: BTreeMap<String, Arc<MachineDeployment>>,
    pub(super) sets: BTreeMap<String, Arc<MachineSet>>,
    pub(super) machines: BTreeMap<String, Arc<Machine>>,
    contracts: [Contract; 2],
    conditions: Vec<Condition>,
    connection: Connection,
    now: Time,
}

/// `None` while the cache has not read everything yet; it wakes the Cluster when it has.
pub(super) fn observe(cluster: &Cluster, workloads: &Workloads, pass: &Pass) -> Option<Scene> {
    let find = |reference: &Option<ContractRef>| reference.as_ref().map(|reference| look(pass, reference));
    let infrastructure = find(&cluster.spec.infrastructure_ref);
    let control_plane = find(&cluster.spec.control_plane_ref);
    let unsynced = |target: &Referent<Arc<External>>| target.known == Known::Unsynced;
    if infrastructure.iter().chain(&control_plane).any(unsynced) {
        return None;
    }
    let contract = |reference: &Option<ContractRef>| {
        reference.as_ref().map_or(Contract::V1Beta2, |one| pass.cache.contract(&group_kind(one)))
    };
    let (namespace, name) = (&pass.key.namespace, &pass.key.name);
    let health = workloads.health(&pass.key);
    let said = cluster.status.as_ref().map(|status| conditions::read_all(&status.conditions));
    Some(Scene {
        paused: pausing::condition(Some(cluster), "Cluster", &cluster.metadata),
        contracts: [contract(&cluster.spec.infrastructure_ref), contract(&cluster.spec.control_plane_ref)],
        deployments: named(pass.cache.of_cluster(namespace, name)),
        sets: named(pass.cache.of_cluster(namespace, name)),
        machines: named(pass.cache.of_cluster(namespace, name)),
        conditions: said.unwrap_or_default(),
        connection: Connection {
            established: health.established.is_some(),
            last_success: health.last_success,
            failures: health.failures,
        },
        now: pass.now,
        infrastructure,
        control_plane,
    })
}

fn named<K: ResourceExt>(objects: Vec<Arc<K>>) -> BTreeMap<String, Arc<K>> {
    objects.into_iter().map(|object| (object.name_any(), object)).collect()
}

/// Whether an object carries what makes it the Cluster's.
fn is_ours(cluster: &Cluster, object: &External) -> bool {
    is_owned_by(&object.metadata, &uid_of(cluster))
        && label(&object.metadata, names::LABEL_CLUSTER_NAME) == cluster.metadata.name.as_deref()
}

fn endpoint(complete: Option<(&str, i32)>) -> Option<Endpoint> {
    let (host, port) = complete?;
    Some(Endpoint { host: host.to_owned(), port: u16::try_from(port).ok()? })
}

fn infrastructure(cluster: &Cluster, object: &External, contract: Contract) -> Infrastructure {
    Infrastructure {
        deleting: object.metadata.deletion_timestamp.is_some(),
        owned: is_ours(cluster, object),
        provisioned: object.provisioned(contract),
        endpoint: endpoint(object.endpoint()),
        ready: object.condition("Ready").map(conditions::read),
    }
}

fn control_plane(cluster: &Cluster, object: &External, contract: Contract) -> ControlPlane {
    let number = |number: Option<i32>| number.map(natural);
    ControlPlane {
        deleting: object.metadata.deletion_timestamp.is_some(),
        owned: is_ours(cluster, object),
        initialized: object.control_plane_initialized(contract),
        endpoint: endpoint(object.endpoint()),
        counters: Counters {
            desired: number(object.spec.replicas),
            replicas: number(object.status.replicas),
            ready: number(object.status.ready_replicas),
            available: number(object.available_replicas(contract)),
            up_to_date: number(object.up_to_date_replicas(contract)),
            versions: versions(&object.status.versions),
        },
        conditions: conditions::read_all(&object.status.conditions),
    }
}

fn versions(counts: &[VersionCount]) -> BTreeMap<String, u32> {
    let count = |one: &VersionCount| (one.version.clone(), one.replicas.map_or(0, natural));
    counts.iter().map(count).collect()
}

fn deployment(object: &MachineDeployment) -> Group {
    let status = object.status.clone().unwrap_or_default();
    let number = |number: Option<i32>| number.map(natural);
    Group {
        name: object.name_any(),
        deleting: is_leaving(object),
        stand_alone: true,
        counters: Counters {
            desired: number(object.spec.replicas),
            replicas: number(status.replicas),
            ready: number(status.ready_replicas),
            available: number(status.available_replicas),
            up_to_date: number(status.up_to_date_replicas),
            versions: versions(&status.versions),
        },
        conditions: conditions::read_all(&status.conditions),
    }
}

fn set(object: &MachineSet) -> Group {
    let status = object.status.clone().unwrap_or_default();
    let number = |number: Option<i32>| number.map(natural);
    Group {
        name: object.name_any(),
        deleting: is_leaving(object),
        stand_alone: controller_of(&object.metadata).is_none(),
        counters: Counters {
            desired: number(object.spec.replicas),
            replicas: number(status.replicas),
            ready: number(status.ready_replicas),
            available: number(status.available_replicas),
            up_to_date: number(status.up_to_date_replicas),
            versions: versions(&status.versions),
        },
        conditions: conditions::read_all(&status.conditions),
    }
}

fn machine(object: &Machine, owner: &Uid, now: Time) -> SeenMachine {
    let status = object.status.clone().unwrap_or_default();
    SeenMachine {
        name: object.name_any(),
        deleting: is_leaving(object),
        stand_alone: controller_of(&object.metadata).is_none() && is_owned_by(&object.metadata, owner),
        created: object.creation_timestamp().map_or(now, |at| time::from_meta(&at)),
        has_node: status.node_ref.is_some(),
        version: object.spec.version.clone(),
        conditions: conditions::read_all(&status.conditions),
    }
}

impl Scene {
    /// The planner's view.
    pub(super) fn observed<'a>(&'a self, cluster: &'a Cluster) -> Observed<'a> {
        let gate = |polarity: Option<GatePolarity>| match polarity {
            None | Some(GatePolarity::Positive) => Polarity::Positive,
            Some(GatePolarity::Negative) => Polarity::Negative,
        };
        let gates = &cluster.spec.availability_gates;
        Observed {
            deleting: is_leaving(cluster),
            endpoint: endpoint(cluster.spec.control_plane_endpoint.complete()),
            facts: facts(cluster),
            conditions: &self.conditions,
            infrastructure: self
                .infrastructure
                .as_ref()
                .map(|target| observed(target, |object| infrastructure(cluster, object, self.contracts[0]))),
            control_plane: self
                .control_plane
                .as_ref()
                .map(|target| observed(target, |object| control_plane(cluster, object, self.contracts[1]))),
            descendants: self.descendants(cluster),
            connection: self.connection,
            availability_gates: gates
                .iter()
                .map(|one| (one.condition_type.clone(), gate(one.polarity)))
                .collect(),
            now: self.now,
        }
    }

    fn descendants(&self, cluster: &Cluster) -> Descendants {
        let uid = uid_of(cluster);
        let governs =
            |machine: &&Arc<Machine>| label(&machine.metadata, names::LABEL_CONTROL_PLANE).is_some();
        let (control_plane, workers): (Vec<_>, Vec<_>) = self.machines.values().partition(governs);
        let seen = |machines: Vec<&Arc<Machine>>| {
            machines.into_iter().map(|object| machine(object, &uid, self.now)).collect()
        };
        Descendants {
            deployments: self.deployments.values().map(|object| deployment(object)).collect(),
            sets: self.sets.values().map(|object| set(object)).collect(),
            workers: seen(workers),
            control_plane: seen(control_plane),
        }
    }
}

pub(super) fn facts(cluster: &Cluster) -> Facts {
    let initialization = cluster.status.as_ref().map(|status| status.initialization).unwrap_or_default();
    Facts {
        provisioned: initialization.infrastructure_provisioned == Some(true),
        initialized: initialization.control_plane_initialized == Some(true),
    }
}
