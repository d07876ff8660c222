//! What a MachineDeployment looks at: its sets, their machines, its templates.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use windlass_api::core::{
    Cluster, Machine, MachineDeployment, MachineSet, RollingUpdate, RolloutStrategyType,
};
use windlass_api::names;
use windlass_model::{Condition, Time, Uid};
use windlass_plan::machine_deployment::{Amount, Machine as SeenMachine, Observed, Reported, Set, Strategy};
use windlass_plan::referent::{Known, Referent};
use windlass_runtime::{External, Outcome, Pass, conditions, time, uid_of};

use super::{Error, intent};
use crate::references::{annotation, cluster_of, controller_of, is_controlled_by, is_leaving, look, natural};
use crate::{pausing, templates};

/// Everything a pass reads, once.
pub(super) struct Scene {
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) paused: Condition,
    pub(super) selector: Selector,
    /// Sets that the deployment controls, by name.
    pub(super) sets: BTreeMap<String, Arc<MachineSet>>,
    /// Sets that it adopts, by name.
    pub(super) adoptable: BTreeMap<String, Arc<MachineSet>>,
    pub(super) bootstrap_template: Option<Referent<Arc<External>>>,
    pub(super) infrastructure_template: Referent<Arc<External>>,
    pub(super) fingerprint: String,
    pub(super) strategy: Strategy,
    uid: Uid,
    seen: Vec<Set>,
    orphans: Vec<String>,
    machines: Vec<SeenMachine>,
    missing_templates: Vec<String>,
    rollout_after: Option<Time>,
    now: Time,
}

/// `None` while the cache has not read everything yet; it wakes the deployment when it has.
pub(super) fn observe(deployment: &MachineDeployment, pass: &Pass) -> Result<Option<Scene>, Error> {
    let cluster = cluster_of(pass, &deployment.spec.cluster_name);
    if cluster.is_none() && !is_leaving(deployment) {
        return Ok(None);
    }
    let invalid = |field, text| Error::InvalidSpec { name: pass.key.name.clone(), field, text };
    let selector = Selector::try_from(deployment.spec.selector.clone());
    let selector = selector.map_err(|error| invalid("selector", error.to_string()))?;
    let strategy = strategy(deployment).map_err(|text| invalid("rollout.strategy", text))?;
    let template = &deployment.spec.template.spec;
    let bootstrap_template = template.bootstrap.config_ref.as_ref().map(|reference| look(pass, reference));
    let infrastructure_template = look(pass, &template.infrastructure_ref);
    let templates = [bootstrap_template.as_ref(), Some(&infrastructure_template)];
    if templates.iter().flatten().any(|template| template.known == Known::Unsynced) {
        return Ok(None);
    }
    let missing_templates = templates.into_iter().flatten().filter_map(templates::missing).collect();
    let uid = uid_of(deployment);
    let (sets, adoptable) = sets(deployment, &selector, pass);
    let machines: BTreeMap<&String, Vec<Arc<Machine>>> =
        sets.iter().map(|(name, set)| (name, machines(set, pass))).collect();
    let seen = sets.iter().map(|(name, set)| set_seen(deployment, strategy, set, &machines[name], pass));
    Ok(Some(Scene {
        paused: pausing::condition(cluster.as_deref(), "MachineDeployment", &deployment.metadata),
        fingerprint: intent::fingerprint(deployment),
        rollout_after: deployment.spec.rollout.after.as_ref().map(time::from_meta),
        seen: seen.collect(),
        machines: machines.values().flatten().map(|machine| machine_seen(machine, pass)).collect(),
        orphans: adoptable.keys().cloned().collect(),
        now: pass.now,
        uid,
        cluster,
        selector,
        sets,
        adoptable,
        bootstrap_template,
        infrastructure_template,
        strategy,
        missing_templates,
    }))
}

/// The strategy with upstream's defaults.
fn strategy(deployment: &MachineDeployment) -> Result<Strategy, String> {
    let strategy = deployment.spec.rollout.strategy.clone().unwrap_or_default();
    Ok(match strategy.type_ {
        RolloutStrategyType::OnDelete => Strategy::OnDelete,
        RolloutStrategyType::RollingUpdate => {
            let RollingUpdate { max_surge, max_unavailable } = strategy.rolling_update;
            Strategy::RollingUpdate {
                max_surge: amount(max_surge, 1)?,
                max_unavailable: amount(max_unavailable, 0)?,
            }
        }
    })
}

fn amount(value: Option<IntOrString>, default: u32) -> Result<Amount, String> {
    match value {
        None => Ok(Amount::Count(default)),
        Some(IntOrString::Int(number)) => Ok(Amount::Count(natural(number))),
        Some(IntOrString::String(text)) => text
            .strip_suffix('%')
            .and_then(|percent| percent.parse().ok())
            .map(Amount::Percent)
            .ok_or_else(|| format!("`{text}` is neither a number nor a percentage")),
    }
}

type Named = BTreeMap<String, Arc<MachineSet>>;

fn sets(deployment: &MachineDeployment, selector: &Selector, pass: &Pass) -> (Named, Named) {
    let uid = uid_of(deployment);
    let named = |set: Arc<MachineSet>| (set.name_any(), set);
    let own = pass.cache.owned_by::<MachineSet>(&uid);
    let own = own.into_iter().filter(|set| is_controlled_by(&set.metadata, &uid)).map(named);
    let free = |set: &Arc<MachineSet>| {
        controller_of(&set.metadata).is_none()
            && !is_leaving(&**set)
            && !selector.selects_all()
            && selector.matches(set.labels())
    };
    let all = pass.cache.of_cluster::<MachineSet>(&pass.key.namespace, &deployment.spec.cluster_name);
    let adoptable = all.into_iter().filter(free).map(named);
    (own.collect(), if is_leaving(deployment) { Named::new() } else { adoptable.collect() })
}

fn machines(set: &MachineSet, pass: &Pass) -> Vec<Arc<Machine>> {
    let uid = uid_of(set);
    let mut machines = pass.cache.owned_by::<Machine>(&uid);
    machines.retain(|machine| is_controlled_by(&machine.metadata, &uid));
    machines
}

fn set_seen(
    deployment: &MachineDeployment,
    strategy: Strategy,
    set: &MachineSet,
    machines: &[Arc<Machine>],
    pass: &Pass,
) -> Set {
    let number = |name: &str| annotation(&set.metadata, name).and_then(|text| text.parse::<u32>().ok());
    let available = |machine: &&Arc<Machine>| {
        let status = machine.status.as_ref();
        !is_leaving(&***machine)
            && status.is_some_and(|status| conditions::is_true(&status.conditions, "Available"))
    };
    let many = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Set {
        name: set.name_any(),
        created: set.creation_timestamp().map_or(pass.now, |at| time::from_meta(&at)),
        deleting: is_leaving(set),
        matches: intent::matches(deployment, set),
        desired: set.spec.replicas.map_or(0, natural),
        replicas: many(machines.len()),
        available: many(machines.iter().filter(available).count()),
        // Counted from the machines themselves, which the set's spec is compared with.
        observed: true,
        revision: annotation(&set.metadata, names::ANNOTATION_REVISION)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        max_replicas: number(names::ANNOTATION_MAX_REPLICAS),
        create_disabled: annotation(&set.metadata, names::ANNOTATION_DISABLE_MACHINE_CREATE) == Some("true"),
        drifted: intent::drifted(deployment, strategy, set),
    }
}

fn machine_seen(machine: &Machine, pass: &Pass) -> SeenMachine {
    let status = machine.status.clone().unwrap_or_default();
    let find = |kind: &str| conditions::find(&status.conditions, kind).map(conditions::read);
    SeenMachine {
        name: machine.name_any(),
        created: machine.creation_timestamp().map_or(pass.now, |at| time::from_meta(&at)),
        version: machine.spec.version.clone(),
        ready: find("Ready"),
        available: find("Available"),
        up_to_date: find("UpToDate"),
        owner_remediated: find("OwnerRemediated"),
    }
}

impl Scene {
    /// The planner's view.
    pub(super) fn observed<'a>(&'a self, deployment: &'a MachineDeployment) -> Observed<'a> {
        Observed {
            name: deployment.metadata.name.as_deref().unwrap_or_default(),
            uid: &self.uid,
            desired: deployment.spec.replicas.map(natural),
            paused: deployment.spec.paused == Some(true),
            deleting: is_leaving(deployment),
            strategy: self.strategy,
            rollout_after: self.rollout_after.filter(|after| *after <= self.now),
            fingerprint: &self.fingerprint,
            sets: &self.seen,
            orphans: &self.orphans,
        }
    }

    /// What the status is made of besides.
    pub(super) fn reported(&self) -> Reported<'_> {
        Reported { machines: &self.machines, missing_templates: &self.missing_templates, now: self.now }
    }

    /// A rollout that lies in the future is looked at when its time comes.
    pub(super) fn next_rollout(&self) -> Outcome {
        match self.rollout_after {
            Some(after) if after > self.now => Outcome::Again(after.until(self.now)),
            Some(_) | None => Outcome::Rest,
        }
    }
}
