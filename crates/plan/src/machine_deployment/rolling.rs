//! Replaces machines step by step within surge and unavailability.
//!
//! Availability is judged at its worst: a set that shrinks may delete its available machines first, and
//! what it was told to delete before may still count as available. A step is taken only if enough stays
//! available even then.
//!
//! **The one exception.** When nothing moves, the current set is fully available, and an old set has
//! machines that are not, the oldest such set gives up one machine although its worst case falls one
//! below the minimum: without this a broken old machine would block its own replacement forever. A set
//! deletes unhealthy machines first, so that the worst case does not come true as long as it sees them so.

use super::{Bounds, Set, Targets, oldest_first, total};

/// The `spec.replicas` that each set should have now.
pub(super) fn targets(sets: &[&Set], current: &Set, desired: u32, bounds: Bounds) -> Targets {
    let mut targets: Targets = sets.iter().map(|set| (set.name.clone(), set.desired)).collect();
    targets.insert(current.name.clone(), grown(sets, current, desired, bounds));
    let minimum = desired.saturating_sub(bounds.unavailable);
    let old = oldest_first(sets, current);
    for only_unavailable in [true, false] {
        for set in &old {
            shrink(set, sets, current, &mut targets, minimum, only_unavailable);
        }
    }
    if stuck(sets, &targets)
        && let Some(set) = broken(&old, current, desired)
    {
        targets.insert(set.name.clone(), set.desired - 1);
    }
    targets
}

/// The current set grows into the room that surge leaves, and shrinks at once when it is too large.
fn grown(sets: &[&Set], current: &Set, desired: u32, bounds: Bounds) -> u32 {
    if current.desired >= desired {
        return desired;
    }
    let room = (desired + bounds.surge).saturating_sub(total(sets));
    current.desired + room.min(desired - current.desired)
}

/// Takes from `set` what can go: its unavailable machines in the first round, any in the second.
fn shrink(
    set: &Set,
    sets: &[&Set],
    current: &Set,
    targets: &mut Targets,
    minimum: u32,
    only_unavailable: bool,
) {
    let now = targets.get(&set.name).copied().unwrap_or(set.desired);
    let unavailable = current.desired.saturating_sub(current.available);
    let planned: u32 = targets.values().sum();
    let surplus = planned.saturating_sub(minimum + unavailable);
    let eligible = if only_unavailable { now.saturating_sub(set.available) } else { now };
    // The largest step whose worst case leaves enough.
    let step = (1..=eligible.min(surplus)).rev().find(|step| {
        let mut next = targets.clone();
        next.insert(set.name.clone(), now - step);
        safe(sets, targets, &next, minimum)
    });
    if let Some(step) = step {
        targets.insert(set.name.clone(), now - step);
    }
}

/// Whether going from `before` to `after` keeps the minimum, or cannot cost any available machine.
fn safe(sets: &[&Set], before: &Targets, after: &Targets, minimum: u32) -> bool {
    let worst = worst_available(sets, after);
    worst >= minimum || worst == worst_available(sets, before)
}

/// Available machines if every set deletes its available ones first.
fn worst_available(sets: &[&Set], targets: &Targets) -> u32 {
    let left = |set: &&Set| {
        let target = targets.get(&set.name).copied().unwrap_or(set.desired);
        let deletions = set.desired.max(set.replicas).saturating_sub(target);
        set.available.saturating_sub(deletions)
    };
    sets.iter().map(left).sum()
}

/// Nothing moves: no set is to change, and none is still on its way to what it was told.
fn stuck(sets: &[&Set], targets: &Targets) -> bool {
    sets.iter().all(|set| {
        targets.get(&set.name) == Some(&set.desired) && set.replicas == set.desired && set.observed
    })
}

/// The oldest old set with unavailable machines, while the current set has none and is not done.
fn broken<'a>(old: &[&'a Set], current: &Set, desired: u32) -> Option<&'a Set> {
    let waiting = current.desired < desired || old.iter().any(|set| set.desired > 0);
    (waiting && current.available == current.desired)
        .then(|| old.iter().copied().find(|set| set.desired > 0 && set.available < set.desired))?
}

/// A step beyond the worst case that is not the written exception.
pub(super) fn lint(sets: &[&Set], targets: &Targets, desired: u32, bounds: Bounds) -> Option<String> {
    let minimum = desired.saturating_sub(bounds.unavailable);
    let before: Targets = sets.iter().map(|set| (set.name.clone(), set.desired)).collect();
    if safe(sets, &before, targets, minimum) {
        return None;
    }
    let shrunk = |set: &&&Set| targets.get(&set.name).is_some_and(|target| *target < set.desired);
    let mut moved = sets.iter().filter(shrunk);
    let exception = matches!((moved.next(), moved.next()), (Some(set), None)
        if set.available < set.desired && targets.get(&set.name) == Some(&(set.desired - 1)));
    // A deployment that is scaled down loses machines because fewer are wanted, not by a rollout.
    let scaled_down = sets.iter().map(|set| set.desired).sum::<u32>() > desired + bounds.surge;
    (!exception && !scaled_down).then(|| format!("availability may fall below {minimum}"))
}
