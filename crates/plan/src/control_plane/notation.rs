//! Control planes in a line of text, for tests.
//!
//! A word a machine: `name[@domain][,flag]*`, oldest first. Flags: `old` (outdated), `ill` (components
//! not healthy), `sick` (etcd member not healthy), `new` (no node yet), `going` (being deleted), `held`
//! (our hook is on it), `held-by-others`, `reached` (deletion has come to the hook), `marked` (to be
//! deleted first), `lately` (what is ill or sick has been so for less than ten seconds), `failing` (its health
//! check fails).

use std::collections::BTreeSet;

use windlass_model::{Condition, Status, Time};

use super::health::{COMPONENTS, ETCD_MEMBER, ETCD_POD, NODE_LABELS};
use super::{Hooks, Machine};

pub(crate) fn machines(text: &str) -> Vec<Machine> {
    text.split_whitespace().zip(1..).map(|(word, age)| machine(word, age)).collect()
}

fn machine(word: &str, age: i64) -> Machine {
    let mut parts = word.split(',');
    let head = parts.next().unwrap_or_default();
    let flags: Vec<_> = parts.collect();
    let has = |flag| flags.contains(&flag);
    let (name, domain) = head.split_once('@').map_or((head, None), |(name, domain)| (name, Some(domain)));
    let say = |kind: &'static str, ill: bool| {
        let status = if has("new") { Status::Unknown } else { Status::of(!ill) };
        Condition::new(kind, status, if ill { "Failed" } else { "Running" })
    };
    let conditions: Vec<Condition> = COMPONENTS
        .iter()
        .chain([&ETCD_POD])
        .map(|kind| say(kind, has("ill")))
        .chain([say(ETCD_MEMBER, has("sick")), say(NODE_LABELS, false)])
        .collect();
    let troubles = conditions.iter().filter(|condition| !condition.is_true());
    let lately = troubles.map(|condition| condition.kind.to_string()).collect();
    Machine {
        lately: if has("lately") { lately } else { BTreeSet::new() },
        failing: has("failing"),
        name: name.to_owned(),
        created: Time::from_secs(age),
        deleting: has("going").then(|| Time::from_secs(100 + age)),
        domain: domain.map(str::to_owned),
        node: (!has("new")).then(|| name.to_owned()),
        outdated: if has("old") { vec!["Version v1.34.0, v1.35.0 required".to_owned()] } else { Vec::new() },
        marked: has("marked"),
        conditions,
        hooks: Hooks { ours: has("held"), others: has("held-by-others"), reached: has("reached") },
    }
}
