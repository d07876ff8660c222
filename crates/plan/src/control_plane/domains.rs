//! Failure domains: where the next machine goes, and which machine goes first.

use std::collections::BTreeMap;

use super::Machine;

/// The failure domain for a new machine: the one with the fewest current machines, then with the fewest
/// of all, then the first by name. `None` where the cluster has no domains for control planes.
pub fn for_new_machine(domains: &[String], machines: &[Machine]) -> Option<String> {
    let count = |domain: &String, all: bool| {
        machines
            .iter()
            .filter(|machine| machine.domain.as_ref() == Some(domain))
            .filter(|machine| all || (machine.outdated.is_empty() && machine.deleting.is_none()))
            .count()
    };
    domains.iter().min_by_key(|domain| (count(domain, false), count(domain, true), *domain)).cloned()
}

/// The machine that goes next, when one has to.
///
/// The class decides first (outdated and marked for deletion, marked, outdated with unhealthy components,
/// outdated, any), then the failure domain with the most of that class, then age. A machine without a
/// domain, or in one that is no longer listed, goes before all others of its class.
pub fn to_remove<'a>(domains: &[String], machines: &'a [Machine]) -> Option<&'a Machine> {
    type Class = fn(&Machine) -> bool;
    let classes: [Class; 5] = [
        |machine| machine.marked && !machine.outdated.is_empty(),
        |machine| machine.marked,
        |machine| !machine.outdated.is_empty() && !machine.components_healthy(),
        |machine| !machine.outdated.is_empty(),
        |_| true,
    ];
    let present: Vec<_> = machines.iter().filter(|machine| machine.deleting.is_none()).collect();
    let eligible: Vec<_> = classes
        .iter()
        .map(|class| present.iter().copied().filter(|machine| class(machine)).collect::<Vec<_>>())
        .find(|class| !class.is_empty())?;
    let oldest = |among: Vec<&'a Machine>| among.into_iter().min_by_key(|m| (m.created, m.name.as_str()));
    if domains.is_empty() {
        return oldest(eligible);
    }
    let listed = |machine: &&Machine| machine.domain.as_ref().is_some_and(|domain| domains.contains(domain));
    let astray: Vec<_> = eligible.iter().copied().filter(|machine| !listed(machine)).collect();
    if !astray.is_empty() {
        return oldest(astray);
    }
    let mut by_domain: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for machine in &present {
        if let Some(domain) = machine.domain.as_deref() {
            let entry = by_domain.entry(domain).or_default();
            entry.0 += usize::from(eligible.iter().any(|other| other.name == machine.name));
            entry.1 += 1;
        }
    }
    let (fullest, _) = by_domain.iter().max_by_key(|(name, counts)| (**counts, std::cmp::Reverse(**name)))?;
    oldest(eligible.into_iter().filter(|machine| machine.domain.as_deref() == Some(fullest)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::notation::machines;
    use super::*;

    fn domains(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn new_machines_go_where_there_are_fewest() {
        let cases = [
            ("", "a", None),
            ("x y z", "", Some("x")),
            ("x y z", "a@x", Some("y")),
            ("x y z", "a@x b@y c@z d@x", Some("y")),
            // An outdated machine does not count, nor does one that goes; of two such domains, the emptier.
            ("x y", "a@x,old b@y", Some("x")),
            ("x y", "a@x b@y,going", Some("y")),
            ("x y z", "a@x,old b@y,old c@y,old", Some("z")),
            ("x y", "a@x,old b@y,old c@y,old", Some("x")),
        ];
        for (names, world, expected) in cases {
            let found = for_new_machine(&domains(names), &machines(world));
            assert_eq!(found.as_deref(), expected, "{names}: {world}");
        }
    }

    #[test]
    fn the_right_machine_goes_first() {
        let cases = [
            // Age is the order of the words.
            ("", "a b c", Some("a")),
            ("", "a,going b c", Some("b")),
            ("", "a b,old c", Some("b")),
            ("", "a,old b,old,ill c", Some("b")),
            ("", "a,old b,marked c", Some("b")),
            ("", "a,old b,marked c,marked,old", Some("c")),
            ("x y", "a@x b@y c@y", Some("b")),
            ("x y", "a@x b@y c@y,marked", Some("c")),
            ("x y", "a@x b@y c@gone", Some("c")),
            ("x y", "a@x b@y c", Some("c")),
            // Equally many eligible: the domain with more machines in all.
            ("x y", "a@x,old b@y,old c@y", Some("b")),
            ("", "a,going", None),
        ];
        for (names, world, expected) in cases {
            let machines = machines(world);
            let found = to_remove(&domains(names), &machines).map(|machine| machine.name.as_str());
            assert_eq!(found, expected, "{names}: {world}");
        }
    }
}
