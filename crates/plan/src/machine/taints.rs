//! Taints of a Node that follow its Machine, and those that the controllers set themselves.

/// Since the Node came: pods stay away until its Machine has been seen.
const UNINITIALIZED: &str = "node.cluster.x-k8s.io/uninitialized";
/// While a rollout goes on, on Nodes of an older template: pods had better not move there.
const OUTDATED: (&str, &str) = ("node.cluster.x-k8s.io/outdated-revision", "PreferNoSchedule");

/// A taint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`. There is one taint per key and effect.
    pub effect: String,
}

/// A taint of a Machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineTaint {
    /// The taint.
    pub taint: Taint,
    /// It is put back whenever it is missing; else it is put there once.
    pub always: bool,
}

/// What has to be written to the Node's taints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaintChange {
    /// To put there, in place of those with the same key and effect.
    pub put: Vec<Taint>,
    /// To take away: key and effect.
    pub gone: Vec<(String, String)>,
}

impl TaintChange {
    /// Whether nothing has to be written.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }
}

/// The change that brings the Node's taints `present` in line, and which of them follow the Machine from now on,
/// as the Node remembers it; none while there is nothing to remember.
///
/// `tracked` is what it remembers so far; a Node that remembers nothing is new. `outdated` says whether a newer
/// template is being rolled out, if that is known.
pub(super) fn change(
    present: &[Taint],
    wanted: &[MachineTaint],
    tracked: Option<&str>,
    outdated: Option<bool>,
) -> (TaintChange, Option<String>) {
    let mut change = TaintChange::default();
    let stale = present.iter().filter(|taint| taint.key == UNINITIALIZED);
    change.gone.extend(stale.map(|taint| (taint.key.clone(), taint.effect.clone())));

    let (key, effect) = OUTDATED;
    let marked = present.iter().any(|taint| taint.key == key && taint.effect == effect);
    match outdated {
        Some(true) if !marked => {
            change.put.push(Taint { key: key.to_owned(), value: None, effect: effect.to_owned() });
        }
        Some(false) if marked => change.gone.push((key.to_owned(), effect.to_owned())),
        Some(_) | None => {}
    }

    let due = wanted.iter().filter(|one| one.always || tracked.is_none()).map(|one| &one.taint);
    change.put.extend(due.filter(|taint| !present.contains(taint)).cloned());
    // One that is kept no more but set once is left to whoever wants it gone.
    let listed =
        |key: &str, effect: &str| wanted.iter().any(|w| w.taint.key == key && w.taint.effect == effect);
    let before = tracked.unwrap_or_default().split(',').filter_map(|entry| entry.rsplit_once(':'));
    for (key, effect) in before.filter(|(key, effect)| !listed(key, effect)) {
        if present.iter().any(|taint| taint.key == key && taint.effect == effect) {
            change.gone.push((key.to_owned(), effect.to_owned()));
        }
    }
    let remembers = tracked.is_some() || !wanted.is_empty();
    (change, remembers.then(|| remembered(wanted)))
}

/// The taints that are kept, sorted, as the Node remembers them.
fn remembered(wanted: &[MachineTaint]) -> String {
    let kept = wanted.iter().filter(|one| one.always);
    let mut kept: Vec<_> = kept.map(|one| format!("{}:{}", one.taint.key, one.taint.effect)).collect();
    kept.sort();
    kept.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `key[=value]:effect`, separated by spaces; `N`, `P` and `X` are the effects.
    fn taints(words: &str) -> Vec<Taint> {
        let effect = |letter| match letter {
            "N" => "NoSchedule",
            "P" => "PreferNoSchedule",
            _ => "NoExecute",
        };
        words
            .split_whitespace()
            .map(|word| {
                let (key, letter) = word.rsplit_once(':').unwrap();
                let (key, value) =
                    key.split_once('=').map_or((key, None), |(key, value)| (key, Some(value.to_owned())));
                Taint { key: key.to_owned(), value, effect: effect(letter).to_owned() }
            })
            .collect()
    }

    /// A Node, from pass to pass: its taints, what it remembers, and what the Machine says.
    fn pass(node: &mut Vec<Taint>, tracked: &mut Option<String>, always: &str, once: &str, outdated: bool) {
        let of = |words, always| taints(words).into_iter().map(move |taint| MachineTaint { taint, always });
        let wanted: Vec<_> = of(always, true).chain(of(once, false)).collect();
        let (change, remembered) = change(node, &wanted, tracked.as_deref(), Some(outdated));
        let same = |one: &Taint, key: &str, effect: &str| one.key == key && one.effect == effect;
        node.retain(|taint| {
            let replaced = change.put.iter().any(|put| same(taint, &put.key, &put.effect));
            !replaced && !change.gone.iter().any(|(key, effect)| same(taint, key, effect))
        });
        node.extend(change.put);
        node.sort();
        *tracked = remembered;
        let (again, _) = super::change(node, &wanted, tracked.as_deref(), Some(outdated));
        assert!(again.is_empty(), "once is enough: {again:?}");
    }

    #[test]
    fn taints_follow_the_machine_and_foreign_ones_stay() {
        let mut node = taints("foreign:N node.cluster.x-k8s.io/uninitialized:N");
        let mut tracked = None;
        let steps = [
            // kept, put once, outdated; the Node after it; what it remembers
            ("", "", false, "foreign:N", None),
            ("a=1:N", "b:X", false, "a=1:N b:X foreign:N", Some("a:NoSchedule")),
            ("a=2:N", "b:X", false, "a=2:N b:X foreign:N", Some("a:NoSchedule")),
            ("a=2:N c:P", "", false, "a=2:N b:X c:P foreign:N", Some("a:NoSchedule,c:PreferNoSchedule")),
            // No longer kept, but still wanted once: it stays and is nobody's.
            ("c:P", "a=2:N", false, "a=2:N b:X c:P foreign:N", Some("c:PreferNoSchedule")),
            ("", "", false, "a=2:N b:X foreign:N", Some("")),
            // Put once means once.
            ("", "d:N", false, "a=2:N b:X foreign:N", Some("")),
            ("", "", true, "a=2:N b:X foreign:N node.cluster.x-k8s.io/outdated-revision:P", Some("")),
            ("", "", false, "a=2:N b:X foreign:N", Some("")),
        ];
        for (at, (always, once, outdated, after, remembered)) in steps.into_iter().enumerate() {
            pass(&mut node, &mut tracked, always, once, outdated);
            assert_eq!(node, taints(after), "step {at}");
            assert_eq!(tracked.as_deref(), remembered, "step {at}");
        }
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let node = taints("node.cluster.x-k8s.io/outdated-revision:P");
        assert!(change(&node, &[], None, None).0.is_empty());
    }
}
