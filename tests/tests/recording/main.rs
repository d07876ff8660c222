//! Upstream's recording as expectation: the same user at work, and every object must settle as upstream's did.

mod facts;
mod listed;
mod order;
mod replay;
mod roles;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};

use crate::facts::facts;
use crate::listed::Listed;
use crate::replay::Replay;
use crate::roles::Named;
use crate::upstream::Recording;

/// What the user does, and how many objects there are when that has settled.
const PHASES: [(&str, usize); 10] = [
    ("create", 24),
    ("scale-md", 28),
    ("scale-kcp", 36),
    ("upgrade-kcp", 36),
    ("upgrade-md", 36),
    ("label-inplace", 36),
    ("scale-down-kcp", 28),
    ("pause", 28),
    ("unpause", 28),
    ("delete", 0),
];

/// How often rest is awaited before what differs counts: on a busy machine, a pause is not yet the end.
const PATIENCE: usize = 60;

/// A fact that is not the same, and the roles and phases in which it is not.
#[derive(Default)]
struct Differences(BTreeMap<Difference, BTreeSet<(String, String)>>);

/// Kind, path, upstream's value, ours; `-` where there is none.
type Difference = (String, String, String, String);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_settle_as_upstreams_do() -> Result<()> {
    let recording = Recording::read(include_str!("../../recording/upstream.jsonl"))?;
    let phases: Vec<_> =
        recording.phases.iter().map(|(phase, objects)| (phase.as_str(), objects.len())).collect();
    assert_eq!(phases, PHASES);
    let listed = Listed::read(include_str!("../../recording/differences.txt"))?;
    let mut replay = Replay::start(&recording.created).await?;

    let mut differences = Differences::default();
    for (phase, expected) in &recording.phases {
        replay.act(phase).await?;
        let expected = roles::named(expected.iter());
        for _ in 0..PATIENCE {
            replay.rest().await?;
            let found = Differences::between(&expected, &roles::named(replay.objects()), phase);
            let unlisted = found.0.keys().any(|(kind, path, ..)| !listed.covers(kind, path));
            differences.replace(phase, found);
            if !unlisted {
                break;
            }
        }
    }
    let deleted = replay.deleted();
    replay.end().await;

    let found = differences.0.keys().map(|(kind, path, ..)| (kind.as_str(), path.as_str()));
    let unused = listed.unused(&found);
    differences.0.retain(|(kind, path, ..), _| !listed.covers(kind, path));
    assert!(differences.0.is_empty(), "{differences}");
    assert_eq!(unused, Vec::<String>::new(), "lines of differences.txt that nothing needs");
    order::check(&recording.deleted).map_err(|wrong| anyhow!("upstream: {wrong}"))?;
    order::check(&deleted).map_err(|wrong| anyhow!("ours: {wrong}"))?;
    let set = |deleted: Vec<String>| deleted.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(set(deleted), set(recording.deleted), "what goes with the cluster");
    Ok(())
}

impl Differences {
    fn between(upstream: &Named, ours: &Named, phase: &str) -> Self {
        let (none, mut differences) = (serde_json::Value::Null, Self::default());
        for object in upstream.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
            let theirs = facts(upstream.get(object).unwrap_or(&none));
            let own = facts(ours.get(object).unwrap_or(&none));
            let (kind, role) = object.split_once('/').unwrap_or((object, ""));
            for path in theirs.keys().chain(own.keys()).collect::<BTreeSet<_>>() {
                let (theirs, own) = (theirs.get(path), own.get(path));
                if theirs != own {
                    let text = |value: Option<&String>| value.map_or("-".to_owned(), Clone::clone);
                    let difference = (kind.to_owned(), path.clone(), text(theirs), text(own));
                    let place = (role.to_owned(), phase.to_owned());
                    differences.0.entry(difference).or_default().insert(place);
                }
            }
        }
        differences
    }

    /// Takes what was found in `phase` for all that there is in it.
    fn replace(&mut self, phase: &str, found: Self) {
        for places in self.0.values_mut() {
            places.retain(|(_, of)| of != phase);
        }
        for (difference, places) in found.0 {
            self.0.entry(difference).or_default().extend(places);
        }
        self.0.retain(|_, places| !places.is_empty());
    }
}

impl std::fmt::Display for Differences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} differences from upstream that differences.txt does not list", self.0.len())?;
        for ((kind, path, upstream, ours), places) in &self.0 {
            let roles: BTreeSet<_> = places.iter().map(|(role, _)| role.as_str()).collect();
            let phases: BTreeSet<_> = places.iter().map(|(_, phase)| phase.as_str()).collect();
            let (roles, phases) = (Vec::from_iter(roles).join(", "), Vec::from_iter(phases).join(", "));
            writeln!(f, "{kind} {path}\n    upstream {upstream}\n    ours     {ours}")?;
            writeln!(f, "    of {roles} in {phases}")?;
        }
        Ok(())
    }
}
