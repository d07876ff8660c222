//! Which machine of a surplus goes first.

use windlass_model::Time;

use super::Machine;

/// `spec.deletion.order`: what decides among machines that nothing else distinguishes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeleteOrder {
    /// By name: any order will do, and names are as good as dice and repeatable.
    #[default]
    Random,
    /// The youngest first.
    Newest,
    /// The oldest first.
    Oldest,
}

/// Sorts from the first to go to the last to go; ties are broken by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    class: Class,
    /// Meaningful within [`Class::Plain`] only.
    age: Age,
    name: String,
}

/// Upstream's delete priorities 100, 80, 75, 50 and below 50, as an order instead of as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Deleting,
    Marked,
    Updating,
    Unhealthy,
    Plain,
}

/// Smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Age(u64);

/// After ten days upstream's exponential age scale has flattened; whole seconds are all it tells apart.
fn age(machine: &Machine, order: DeleteOrder, now: Time) -> Age {
    let seconds = now.since(machine.created).as_secs();
    match order {
        DeleteOrder::Random => Age(0),
        DeleteOrder::Newest => Age(seconds),
        DeleteOrder::Oldest => Age(u64::MAX - seconds),
    }
}

/// Where `machine` stands in the queue to go.
pub fn rank(machine: &Machine, order: DeleteOrder, now: Time) -> Rank {
    let class = if machine.deleting {
        Class::Deleting
    } else if machine.marked {
        Class::Marked
    } else if machine.updating {
        Class::Updating
    } else if machine.unhealthy {
        Class::Unhealthy
    } else {
        Class::Plain
    };
    let age = if class == Class::Plain { age(machine, order, now) } else { Age(0) };
    Rank { class, age, name: machine.name.clone() }
}
