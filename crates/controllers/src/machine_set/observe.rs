//! What a MachineSet looks at: its machines, what belongs to them, its templates and the control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use windlass_api::core::{Cluster, DeletionOrder, Machine, MachineSet};
use windlass_api::names;
use windlass_model::naming::Naming;
use windlass_model::{Condition, Key, Status, Time, Uid};
use windlass_plan::machine_set::{
    ControlPlane, DeleteOrder, Machine as Seen, Observed, SetVersion, preflight,
};
use windlass_plan::referent::{Known, Referent};
use windlass_runtime::{External, Pass, conditions, time, uid_of};

use super::{Error, intent, paused};
use crate::references::{annotation, cluster_of, controller_of, is_controlled_by, is_leaving, look, natural};
use crate::templates;

/// Everything a pass reads, once.
pub(super) struct Scene {
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) paused: Condition,
    pub(super) selector: Selector,
    /// Machines that the set controls, by name.
    pub(super) machines: BTreeMap<String, Arc<Machine>>,
    /// Machines that it adopts, by name.
    pub(super) adoptable: BTreeMap<String, Arc<Machine>>,
    pub(super) bootstrap_template: Option<Referent<Arc<External>>>,
    pub(super) infrastructure_template: Referent<Arc<External>>,
    uid: Uid,
    seen: Vec<Seen>,
    orphans: Vec<String>,
    taken: BTreeSet<String>,
    blocked: Vec<String>,
    missing_templates: Vec<String>,
    now: Time,
}

/// `None` while the cache has not read everything yet; it wakes the set when it has.
pub(super) fn observe(set: &MachineSet, pass: &Pass) -> Result<Option<Scene>, Error> {
    let cluster = cluster_of(pass, &set.spec.cluster_name);
    if cluster.is_none() && !is_leaving(set) {
        return Ok(None);
    }
    let selector = Selector::try_from(set.spec.selector.clone())
        .map_err(|error| Error::InvalidSelector { name: pass.key.name.clone(), text: error.to_string() })?;
    let uid = uid_of(set);
    let (machines, adoptable) = machines(set, &selector, pass);
    let template = &set.spec.template.spec;
    let bootstrap_template = template.bootstrap.config_ref.as_ref().map(|reference| look(pass, reference));
    let infrastructure_template = look(pass, &template.infrastructure_ref);
    let control_plane = cluster
        .as_ref()
        .and_then(|cluster| cluster.spec.control_plane_ref.as_ref())
        .map(|reference| look(pass, reference));
    let mut seen = Vec::new();
    for machine in machines.values() {
        let Some(one) = machine_seen(set, machine, pass) else { return Ok(None) };
        seen.push(one);
    }
    if unsynced(bootstrap_template.as_ref()) || unsynced(Some(&infrastructure_template)) {
        return Ok(None);
    }
    if unsynced(control_plane.as_ref()) {
        return Ok(None);
    }
    let desired = set.spec.replicas.map_or(0, natural) as usize;
    let templates = [bootstrap_template.as_ref(), Some(&infrastructure_template)];
    let missing_templates = templates.into_iter().flatten().filter_map(templates::missing).collect();
    Ok(Some(Scene {
        paused: paused(cluster.as_deref(), set),
        selector,
        orphans: adoptable.keys().cloned().collect(),
        // Only who creates needs to know them all.
        taken: if seen.len() < desired { taken(pass, &machines) } else { BTreeSet::new() },
        blocked: blocked(set, control_plane.as_ref(), pass),
        missing_templates,
        now: pass.now,
        uid,
        cluster,
        machines,
        adoptable,
        bootstrap_template,
        infrastructure_template,
        seen,
    }))
}

fn unsynced(target: Option<&Referent<Arc<External>>>) -> bool {
    target.is_some_and(|target| target.known == Known::Unsynced)
}

type Named = BTreeMap<String, Arc<Machine>>;

/// Machines that the set controls, and those that nobody controls and its selector matches.
fn machines(set: &MachineSet, selector: &Selector, pass: &Pass) -> (Named, Named) {
    let uid = uid_of(set);
    let named = |machine: Arc<Machine>| (machine.name_any(), machine);
    let own = pass.cache.owned_by::<Machine>(&uid);
    let own = own.into_iter().filter(|machine| is_controlled_by(&machine.metadata, &uid)).map(named);
    let free = |machine: &Arc<Machine>| {
        controller_of(&machine.metadata).is_none()
            && !is_leaving(&**machine)
            && selector.matches(machine.labels())
            && !selector.selects_all()
    };
    let all = pass.cache.of_cluster::<Machine>(&pass.key.namespace, &set.spec.cluster_name);
    let adoptable = all.into_iter().filter(free).map(named);
    (own.collect(), if is_leaving(set) { Named::new() } else { adoptable.collect() })
}

/// Names of Machines that are not the set's.
fn taken(pass: &Pass, own: &Named) -> BTreeSet<String> {
    let all = pass.cache.list::<Machine>(&pass.key.namespace);
    all.iter().map(|machine| machine.name_any()).filter(|name| !own.contains_key(name)).collect()
}

fn machine_seen(set: &MachineSet, machine: &Machine, pass: &Pass) -> Option<Seen> {
    let spec = &machine.spec;
    let status = machine.status.clone().unwrap_or_default();
    let find = |kind: &str| conditions::find(&status.conditions, kind).map(conditions::read);
    let is_false = |kind: &str| find(kind).is_some_and(|condition| condition.status == Status::False);
    let bootstrap = spec.bootstrap.config_ref.as_ref().map(|reference| look(pass, reference));
    let infrastructure = look(pass, &spec.infrastructure_ref);
    if unsynced(bootstrap.as_ref()) || unsynced(Some(&infrastructure)) {
        return None;
    }
    let absent = |target: &Referent<Arc<External>>| target.known == Known::Absent;
    let untouched =
        status.initialization.infrastructure_provisioned != Some(true) && spec.provider_id.is_none();
    let metas: Vec<_> = [bootstrap.as_ref(), Some(&infrastructure)]
        .into_iter()
        .flatten()
        .filter_map(|target| target.present().map(|object| object.metadata.clone()))
        .collect();
    Some(Seen {
        name: machine.name_any(),
        created: machine.creation_timestamp().map_or(pass.now, |at| time::from_meta(&at)),
        deleting: is_leaving(machine),
        deleting_since: machine.metadata.deletion_timestamp.as_ref().map(time::from_meta),
        marked: annotation(&machine.metadata, names::ANNOTATION_DELETE_MACHINE).is_some(),
        updating: annotation(&machine.metadata, UPDATE_IN_PROGRESS).is_some(),
        unhealthy: status.node_ref.is_none() || is_false("NodeHealthy") || is_false("HealthCheckSucceeded"),
        lacks_bootstrap: bootstrap.as_ref().is_some_and(absent) && spec.bootstrap.data_secret_name.is_none(),
        lacks_infrastructure: absent(&infrastructure) && untouched,
        drifted: intent::drifted(set, machine, &metas),
        version: spec.version.clone(),
        ready: find("Ready"),
        available: find("Available"),
        up_to_date: find("UpToDate"),
        owner_remediated: find("OwnerRemediated"),
        health_check_failed: is_false("HealthCheckSucceeded"),
    })
}

/// Annotation of machines that are being updated in place.
const UPDATE_IN_PROGRESS: &str = "in-place-updates.internal.cluster.x-k8s.io/update-in-progress";

/// What the preflight checks say.
fn blocked(set: &MachineSet, control_plane: Option<&Referent<Arc<External>>>, pass: &Pass) -> Vec<String> {
    let template = &set.spec.template.spec;
    let config = template.bootstrap.config_ref.as_ref();
    let version = SetVersion {
        version: template.version.as_deref(),
        kubeadm: config.is_some_and(|reference| reference.kind == "KubeadmConfigTemplate"),
    };
    let skip = annotation(&set.metadata, names::ANNOTATION_SKIP_PREFLIGHT_CHECKS).unwrap_or_default();
    let seen = control_plane.and_then(|target| {
        let object = target.present()?;
        let listed = object.status.versions.iter().map(|count| count.version.clone());
        let mut running: Vec<_> = listed.collect();
        if running.is_empty() {
            running.extend(object.status.version.clone());
        }
        let label = format!("{} {}", target.kind, Key::new(&*pass.key.namespace, &*target.name));
        Some(ControlPlane { label, version: object.spec.version.clone(), running })
    });
    preflight(seen.as_ref(), &version, skip)
}

impl Scene {
    /// The planner's view.
    pub(super) fn observed<'a>(&'a self, set: &'a MachineSet) -> Observed<'a> {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let values = vec![(".cluster.name", set.spec.cluster_name.as_str()), (".machineSet.name", name)];
        Observed {
            naming: Naming { template: set.spec.machine_naming.template.as_deref(), base: name, values },
            uid: &self.uid,
            desired: set.spec.replicas.map(natural),
            deleting: is_leaving(set),
            create_disabled: annotation(&set.metadata, names::ANNOTATION_DISABLE_MACHINE_CREATE)
                == Some("true"),
            order: match set.spec.deletion.order {
                None | Some(DeletionOrder::Random) => DeleteOrder::Random,
                Some(DeletionOrder::Newest) => DeleteOrder::Newest,
                Some(DeletionOrder::Oldest) => DeleteOrder::Oldest,
            },
            machines: &self.seen,
            orphans: &self.orphans,
            taken: &self.taken,
            blocked: &self.blocked,
            missing_templates: &self.missing_templates,
            now: self.now,
        }
    }
}
