//! Decides which MachineSets a MachineDeployment has, and how many machines each of them may have.
//!
//! A deployment never touches machines. It keeps one *current* set, whose template is the deployment's,
//! and moves replicas to it from the others: within surge and unavailability ([`rolling`]), as people
//! delete machines ([`Strategy::OnDelete`]), or not at all while paused ([`paused`]).
//!
//! **Invariant**, checked by [`lint`]: replicas over all sets stay within replicas + surge, and no step of
//! a plan can bring availability below the minimum even if the sets delete their available machines
//! first. The one exception is written down at [`rolling`].

mod paused;
mod report;
mod rolling;

use std::collections::BTreeMap;

use windlass_model::{Time, Uid, child_name};

pub use report::{Machine, Phase, Reported, Status, status};

/// A number of machines, or a share of the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// That many.
    Count(u32),
    /// Percent of the replicas.
    Percent(u32),
}

impl Amount {
    fn scaled(self, replicas: u32, round: impl Fn(u64) -> u64) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                u32::try_from(round(u64::from(percent) * u64::from(replicas))).unwrap_or(u32::MAX)
            }
        }
    }
}

/// `spec.rollout.strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Replace machines step by step.
    RollingUpdate {
        /// How many machines more than wanted may exist.
        max_surge: Amount,
        /// How many machines less than wanted may be available.
        max_unavailable: Amount,
    },
    /// Replace a machine when somebody deletes it.
    OnDelete,
}

/// The two bounds of a rollout in machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Machines more than wanted.
    pub surge: u32,
    /// Machines less than wanted that may be unavailable.
    pub unavailable: u32,
}

impl Strategy {
    /// The bounds for `replicas`: surge rounds up, unavailability down, and both zero means that one
    /// machine may be unavailable (else nothing could ever move).
    pub fn bounds(self, replicas: u32) -> Bounds {
        match self {
            Self::OnDelete => Bounds { surge: 0, unavailable: 0 },
            Self::RollingUpdate { max_surge, max_unavailable } => {
                let surge = max_surge.scaled(replicas, |hundredths| hundredths.div_ceil(100));
                let unavailable = max_unavailable.scaled(replicas, |hundredths| hundredths / 100);
                let stuck = surge == 0 && unavailable == 0;
                Bounds { surge, unavailable: if stuck { 1 } else { unavailable.min(replicas) } }
            }
        }
    }
}

/// What the executor saw of one MachineDeployment, already validated.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// `metadata.name`, the base of the sets' names.
    pub name: &'a str,
    /// `metadata.uid`, the seed of the sets' names.
    pub uid: &'a Uid,
    /// `spec.replicas`; `None` while nobody has set it.
    pub desired: Option<u32>,
    /// `spec.paused`: the *rollout* is paused; scaling goes on.
    pub paused: bool,
    /// The deployment itself is to go: its sets go first.
    pub deleting: bool,
    /// `spec.rollout.strategy`.
    pub strategy: Strategy,
    /// `spec.rollout.after`, once it has passed: older sets are not current whatever their template.
    pub rollout_after: Option<Time>,
    /// The template's fields that cannot change in place, as one text: equal texts, equal templates.
    pub fingerprint: &'a str,
    /// Sets that the deployment controls, the ones being deleted included.
    pub sets: &'a [Set],
    /// Sets that the selector matches and nobody controls, by name: the deployment adopts them.
    pub orphans: &'a [String],
}

/// One MachineSet of the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// `metadata.name`.
    pub name: String,
    /// When it was created.
    pub created: Time,
    /// On its way out.
    pub deleting: bool,
    /// Its template equals the deployment's, fields that change in place left out.
    pub matches: bool,
    /// `spec.replicas`.
    pub desired: u32,
    /// `status.replicas`: machines that exist, those being deleted included.
    pub replicas: u32,
    /// `status.availableReplicas`.
    pub available: u32,
    /// Its status is about its present spec (`observedGeneration`).
    pub observed: bool,
    /// Annotation `revision`; 0 without one.
    pub revision: u64,
    /// Annotation `max-replicas` from the last time the set was written; scaling while paused is
    /// proportional to it.
    pub max_replicas: Option<u32>,
    /// Annotation `disable-machine-create` is `true`.
    pub create_disabled: bool,
    /// Labels, annotations or in-place fields differ from what the deployment says.
    pub drifted: bool,
}

/// Everything the deployment decides about one set; the rest is copied from its template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// `metadata.name`.
    pub name: String,
    /// The set is the current one: its template is the deployment's, and new.
    pub current: bool,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Annotation `revision`.
    pub revision: u64,
    /// Annotation `disable-machine-create`.
    pub create_disabled: bool,
}

/// One step that can be executed alone and repeated safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create the current set. Its name is derived, so that a repeated create finds the first one.
    Create(Intent),
    /// Make the deployment the controller of a set that nobody controls.
    Adopt {
        /// Name of the MachineSet.
        name: String,
    },
    /// Write an existing set.
    Write {
        /// What it shall be.
        intent: Intent,
        /// `spec.replicas` before.
        from: u32,
    },
    /// Delete a set that has no machines left, or whose deployment goes.
    Delete {
        /// Name of the MachineSet.
        name: String,
    },
}

/// The next steps and what keeps others from being taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a plan does nothing until it is executed"]
pub struct Plan {
    /// In this order; each may fail alone.
    pub actions: Vec<Action>,
    /// The deployment's own annotation `revision`: the current set's.
    pub revision: Option<u64>,
    /// Name of the current set, planned or present.
    pub current: Option<String>,
    /// Why nothing more happens, for conditions and `describe`.
    pub waiting: Vec<String>,
    /// Nothing is left of a deployment that is to go: its finalizer may be removed.
    pub released: bool,
}

/// Plans one pass towards the deployment's template and number of machines.
pub fn plan(seen: &Observed<'_>) -> Plan {
    if seen.deleting {
        return teardown(seen);
    }
    let Some(desired) = seen.desired else {
        return Plan { waiting: vec!["Waiting for spec.replicas set".to_owned()], ..Plan::default() };
    };
    if !seen.orphans.is_empty() {
        // First see what there is, then decide.
        let adopt = |name: &String| Action::Adopt { name: name.clone() };
        return Plan { actions: seen.orphans.iter().map(adopt).collect(), ..Plan::default() };
    }
    let sets: Vec<&Set> = seen.sets.iter().filter(|set| !set.deleting).collect();
    let current = find_current(&sets, seen.rollout_after);
    if seen.paused {
        let targets = paused::targets(&sets, current, desired, seen.strategy);
        return write_all(seen, &sets, current, &targets);
    }
    let bounds = seen.strategy.bounds(desired);
    let Some(current) = current else { return first_step(seen, &sets, desired, bounds) };
    let targets = match seen.strategy {
        Strategy::RollingUpdate { .. } => rolling::targets(&sets, current, desired, bounds),
        Strategy::OnDelete => on_delete(&sets, current, desired),
    };
    let mut plan = write_all(seen, &sets, Some(current), &targets);
    if complete(&sets, current, desired) {
        let done = |set: &&&Set| set.name != current.name && set.replicas == 0 && set.observed;
        let done: Vec<&Set> = sets.iter().filter(done).copied().collect();
        // A write to a set that goes is wasted.
        plan.actions.retain(|action| {
            !matches!(action, Action::Write { intent, .. } if done.iter().any(|set| set.name == intent.name))
        });
        plan.actions.extend(done.iter().map(|set| Action::Delete { name: set.name.clone() }));
    }
    plan
}

/// The set with the deployment's template: the largest, then the oldest, then by name.
fn find_current<'a>(sets: &[&'a Set], rollout_after: Option<Time>) -> Option<&'a Set> {
    let fresh = |set: &&Set| rollout_after.is_none_or(|after| set.created >= after);
    let mut matching: Vec<&Set> = sets.iter().copied().filter(|set| set.matches).filter(fresh).collect();
    matching.sort_by(|a, b| {
        b.desired.cmp(&a.desired).then(a.created.cmp(&b.created)).then_with(|| a.name.cmp(&b.name))
    });
    matching.first().copied()
}

/// Creates the current set with as many machines as there is room for.
fn first_step(seen: &Observed<'_>, sets: &[&Set], desired: u32, bounds: Bounds) -> Plan {
    let name = set_name(seen);
    if seen.sets.iter().any(|set| set.name == name) {
        let waiting = vec![format!("Waiting for an earlier MachineSet {name} to be gone")];
        return Plan { waiting, ..Plan::default() };
    }
    let room = (desired + bounds.surge).saturating_sub(total(sets));
    let revision = next_revision(sets);
    let create_disabled = false;
    let intent =
        Intent { name: name.clone(), current: true, replicas: room.min(desired), revision, create_disabled };
    let mut plan = Plan {
        actions: vec![Action::Create(intent)],
        revision: Some(revision),
        current: Some(name),
        ..Plan::default()
    };
    // The old sets stay as they are until the new one is seen; only OnDelete stops them from growing.
    let unchanged = sets.iter().map(|set| (set.name.clone(), set.desired)).collect();
    plan.actions.extend(writes(seen, sets, None, &unchanged, revision));
    plan
}

/// `<deployment>-<suffix>`, the same after a crash; another one for another template or rollout time.
fn set_name(seen: &Observed<'_>) -> String {
    let after = seen.rollout_after.map_or_else(String::new, |time| time.as_secs().to_string());
    child_name(seen.name, &[&seen.uid.0, seen.fingerprint, &after])
}

/// Label value `machine-template-hash`: a number of the template and the set's own suffix, which makes it
/// unique even where the numbers collide.
pub fn template_hash(fingerprint: &str, set_name: &str) -> String {
    let hash = fingerprint
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash}-{}", set_name.rsplit('-').next().unwrap_or(set_name))
}

fn next_revision(old: &[&Set]) -> u64 {
    old.iter().map(|set| set.revision).max().unwrap_or(0) + 1
}

/// Machines that exist or will, by the larger of spec and status.
fn total(sets: &[&Set]) -> u32 {
    sets.iter().map(|set| set.desired.max(set.replicas)).sum()
}

/// Machines follow people's deletions: an old set shrinks to what is left of it, then gives up what is
/// more than wanted, the oldest first; the current one fills up to the replicas.
fn on_delete(sets: &[&Set], current: &Set, desired: u32) -> Targets {
    let mut targets: Targets = sets.iter().map(|set| (set.name.clone(), set.desired)).collect();
    let old = oldest_first(sets, current);
    for set in &old {
        if set.observed {
            targets.insert(set.name.clone(), set.desired.min(set.replicas));
        }
    }
    let room = desired.saturating_sub(total(&old)).min(desired);
    let own = current.desired.min(desired);
    targets.insert(current.name.clone(), own.max(room.min(desired)));
    let mut surplus = targets.values().sum::<u32>().saturating_sub(desired);
    for set in &old {
        let target = targets.entry(set.name.clone()).or_default();
        let step = surplus.min(*target);
        *target -= step;
        surplus -= step;
    }
    targets
}

/// Wanted `spec.replicas` by set.
type Targets = BTreeMap<String, u32>;

fn oldest_first<'a>(sets: &[&'a Set], current: &Set) -> Vec<&'a Set> {
    let mut old: Vec<&Set> = sets.iter().copied().filter(|set| set.name != current.name).collect();
    old.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
    old
}

fn write_all(seen: &Observed<'_>, sets: &[&Set], current: Option<&Set>, targets: &Targets) -> Plan {
    let revision = current.map(|current| {
        let old: Vec<&Set> = sets.iter().copied().filter(|set| set.name != current.name).collect();
        next_revision(&old).max(current.revision)
    });
    Plan {
        actions: writes(seen, sets, current, targets, revision.unwrap_or_default()),
        revision,
        current: current.map(|set| set.name.clone()),
        ..Plan::default()
    }
}

/// One write for each set that is not as it should be.
fn writes(
    seen: &Observed<'_>,
    sets: &[&Set],
    current: Option<&Set>,
    targets: &Targets,
    revision: u64,
) -> Vec<Action> {
    let plan_one = |set: &&Set| {
        let is_current = current.is_some_and(|current| current.name == set.name);
        let intent = Intent {
            name: set.name.clone(),
            current: is_current,
            replicas: targets.get(&set.name).copied().unwrap_or(set.desired),
            revision: if is_current { revision } else { set.revision },
            create_disabled: seen.strategy == Strategy::OnDelete && !is_current && !seen.paused,
        };
        let same = intent.replicas == set.desired
            && intent.revision == set.revision
            && intent.create_disabled == set.create_disabled
            && !set.drifted;
        (!same).then_some(Action::Write { intent, from: set.desired })
    };
    sets.iter().filter_map(plan_one).collect()
}

/// Every machine is of the current set, and available.
fn complete(sets: &[&Set], current: &Set, desired: u32) -> bool {
    current.observed
        && current.desired == desired
        && current.replicas == desired
        && current.available == desired
        && sets.iter().all(|set| set.name == current.name || set.desired == 0)
}

fn teardown(seen: &Observed<'_>) -> Plan {
    let doomed = seen.sets.iter().filter(|set| !set.deleting);
    let mut plan = Plan {
        actions: doomed.map(|set| Action::Delete { name: set.name.clone() }).collect(),
        released: seen.sets.is_empty(),
        ..Plan::default()
    };
    if !plan.released {
        plan.waiting.push(format!("Deleting {} MachineSets", seen.sets.len()));
    }
    plan
}

/// Names what is wrong with a plan; empty for every plan this module makes.
pub fn lint(seen: &Observed<'_>, plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    let (Some(desired), false) = (seen.desired, seen.deleting) else { return notes };
    let bounds = seen.strategy.bounds(desired);
    let live: Vec<&Set> = seen.sets.iter().filter(|set| !set.deleting).collect();
    let mut targets: Targets = live.iter().map(|set| (set.name.clone(), set.desired)).collect();
    for action in &plan.actions {
        match action {
            Action::Create(intent) | Action::Write { intent, .. } => {
                targets.insert(intent.name.clone(), intent.replicas);
            }
            Action::Adopt { .. } => {}
            Action::Delete { name } => {
                targets.remove(name);
                if live.iter().any(|set| set.name == *name && set.replicas > 0) {
                    notes.push(format!("deletes {name}, which still has machines"));
                }
            }
        }
    }
    let replicas_of = |name: &String| live.iter().find(|set| set.name == *name).map_or(0, |set| set.replicas);
    let before = total(&live);
    let after: u32 = targets.iter().map(|(name, target)| (*target).max(replicas_of(name))).sum();
    if after > before && after > desired + bounds.surge {
        notes.push(format!("{after} machines where {desired} + {} may be", bounds.surge));
    }
    if let Strategy::RollingUpdate { .. } = seen.strategy {
        notes.extend(rolling::lint(&live, &targets, desired, bounds));
    }
    notes
}

#[cfg(test)]
mod tests;
