//! Scaling while a rollout is paused: every set grows or shrinks in proportion to its size.

use super::{Set, Strategy, Targets};

/// The `spec.replicas` that each set should have.
pub(super) fn targets(sets: &[&Set], current: Option<&Set>, desired: u32, strategy: Strategy) -> Targets {
    let mut targets: Targets = sets.iter().map(|set| (set.name.clone(), set.desired)).collect();
    if let Some(only) = only_active(sets) {
        targets.insert(only.name.clone(), desired);
        return targets;
    }
    if let Some(current) = current.filter(|set| set.desired == desired && set.available == desired) {
        for set in sets.iter().filter(|set| set.name != current.name) {
            targets.insert(set.name.clone(), 0);
        }
        return targets;
    }
    match strategy {
        Strategy::RollingUpdate { .. } => proportional(sets, desired, strategy, &mut targets),
        Strategy::OnDelete => {}
    }
    targets
}

/// The one set with replicas; among none, the latest.
fn only_active<'a>(sets: &[&'a Set]) -> Option<&'a Set> {
    let mut active = sets.iter().copied().filter(|set| set.desired > 0);
    match (active.next(), active.next()) {
        (Some(only), None) => Some(only),
        (Some(_), Some(_)) => None,
        (None, _) => sets.iter().copied().max_by(|a, b| a.created.cmp(&b.created).then(b.name.cmp(&a.name))),
    }
}

/// Shares the difference out by size; what rounding leaves over goes to the largest set.
fn proportional(sets: &[&Set], desired: u32, strategy: Strategy, targets: &mut Targets) {
    let most = if desired == 0 { 0 } else { desired + strategy.bounds(desired).surge };
    let present: u32 = sets.iter().map(|set| set.desired).sum();
    let growing = most >= present;
    let mut left = most.abs_diff(present);
    let mut ordered: Vec<&Set> = sets.iter().copied().filter(|set| set.desired > 0).collect();
    ordered.sort_by(|a, b| {
        let age = if growing { b.created.cmp(&a.created) } else { a.created.cmp(&b.created) };
        b.desired.cmp(&a.desired).then(age).then_with(|| a.name.cmp(&b.name))
    });
    for set in &ordered {
        let before = set.max_replicas.filter(|max| *max > 0).unwrap_or(present.max(1));
        let share = rounded(u64::from(set.desired) * u64::from(most), u64::from(before));
        let step = share.abs_diff(set.desired).min(left);
        let moves = if growing { share > set.desired } else { share < set.desired };
        if moves {
            let step = if growing { step } else { step.min(set.desired) };
            targets.insert(set.name.clone(), if growing { set.desired + step } else { set.desired - step });
            left -= step;
        }
    }
    for set in &ordered {
        let target = targets.entry(set.name.clone()).or_default();
        let step = if growing { left } else { left.min(*target) };
        *target = if growing { *target + step } else { *target - step };
        left -= step;
    }
}

/// `dividend / divisor`, rounded half up.
fn rounded(dividend: u64, divisor: u64) -> u32 {
    u32::try_from((2 * dividend + divisor) / (2 * divisor)).unwrap_or(u32::MAX)
}
