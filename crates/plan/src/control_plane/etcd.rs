//! etcd membership: which changes keep the quorum.
//!
//! **Invariant:** no change is planned after which the members known to be healthy would not be a
//! majority of the voting members, and never more than one change at a time.

use std::collections::BTreeSet;

/// One member, as etcd lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// etcd's identifier.
    pub id: u64,
    /// The node it runs on; empty until it has started once.
    pub name: String,
    /// It does not vote yet.
    pub learner: bool,
}

/// What etcd says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Every member.
    pub members: Vec<Member>,
    /// The leader's identifier.
    pub leader: Option<u64>,
    /// Members that have raised an alarm (no space, corrupt).
    pub alarms: BTreeSet<u64>,
}

/// A change of the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// None: is it healthy as it is?
    None,
    /// A member more, which is not healthy at first.
    Add,
    /// One member less.
    Remove(u64),
}

/// Why a change is not safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsafe {
    /// A member has been added but has not started or does not vote yet: a change is under way.
    Unsettled,
    /// Too few healthy members would remain.
    Quorum {
        /// Healthy voting members after the change.
        healthy: usize,
        /// How many a majority is.
        required: usize,
    },
}

impl Membership {
    /// The member on a node.
    pub fn on(&self, node: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == node && !node.is_empty())
    }

    /// Whether the leader runs on `node`.
    pub fn leads(&self, node: &str) -> bool {
        self.leader.is_some() && self.on(node).map(|member| member.id) == self.leader
    }

    /// Members that run on none of `nodes`: left over from machines that went without removing them.
    pub fn strangers<'a>(&'a self, nodes: &'a BTreeSet<&'a str>) -> impl Iterator<Item = &'a Member> {
        self.members.iter().filter(|member| !nodes.contains(member.name.as_str()))
    }

    /// Whether `change` leaves a majority of healthy members (upstream's "target etcd cluster" check).
    ///
    /// `healthy` says it of each member. A new member counts as unhealthy unless there is only one: the
    /// step from one to two cannot be taken otherwise.
    ///
    /// # Errors
    /// [`Unsafe`] says why not.
    pub fn allows(&self, change: Change, healthy: impl Fn(&Member) -> bool) -> Result<(), Unsafe> {
        // A stranger that never started may be removed: it votes, and can never help.
        let unsettled = |member: &Member| {
            change != Change::Remove(member.id) && (member.learner || member.name.is_empty())
        };
        if self.members.iter().any(unsettled) {
            return Err(Unsafe::Unsettled);
        }
        let kept: Vec<_> = self.members.iter().filter(|member| change != Change::Remove(member.id)).collect();
        let added = usize::from(change == Change::Add);
        let voting = kept.len() + added;
        let alive = kept.iter().filter(|member| healthy(member)).count();
        let counted = alive + if change == Change::Add && self.members.len() <= 1 { added } else { 0 };
        let required = voting / 2 + 1;
        if counted < required {
            return Err(Unsafe::Quorum { healthy: counted, required });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a b- c? L` : member a healthy, b not, c unnamed; a trailing `*` marks the leader.
    fn cluster(text: &str) -> (Membership, BTreeSet<u64>) {
        let (mut membership, mut ill) = (Membership::default(), BTreeSet::new());
        for (id, word) in (1..).zip(text.split_whitespace()) {
            let name = word.trim_end_matches(['-', '?', '*', '~']);
            let name = if word.contains('?') { String::new() } else { name.to_owned() };
            membership.members.push(Member { id, name, learner: word.contains('~') });
            if word.contains('-') {
                ill.insert(id);
            }
            if word.contains('*') {
                membership.leader = Some(id);
            }
        }
        (membership, ill)
    }

    fn allows(text: &str, change: Change) -> bool {
        let (membership, ill) = cluster(text);
        membership.allows(change, |member| !ill.contains(&member.id)).is_ok()
    }

    #[test]
    fn knows_what_a_quorum_is() {
        let cases = [
            // members, healthy as is, may add, may remove the first
            ("a", true, true, false),
            ("a-", false, false, false),
            ("a b", true, true, true),
            ("a- b", false, false, true),
            ("a b c", true, true, true),
            ("a- b c", true, false, true),
            ("a b- c", true, false, false),
            ("a b c d e", true, true, true),
            ("a- b- c d e", true, false, true),
            ("a b- c- d e", true, false, false),
            ("a b c?", false, false, false),
            ("a b c~", false, false, false),
            ("c? a b", false, false, true),
        ];
        for (text, healthy, add, remove) in cases {
            assert_eq!(allows(text, Change::None), healthy, "{text}");
            assert_eq!(allows(text, Change::Add), add, "{text}: add");
            assert_eq!(allows(text, Change::Remove(1)), remove, "{text}: remove the first");
        }
    }

    #[test]
    fn finds_members_leaders_and_strangers() {
        let (membership, _) = cluster("a b* c?");
        assert!(membership.leads("b") && !membership.leads("a") && !membership.leads(""));
        assert_eq!(membership.on("a").map(|member| member.id), Some(1));
        assert_eq!(membership.on(""), None);
        let nodes = BTreeSet::from(["a", "b"]);
        assert_eq!(membership.strangers(&nodes).map(|member| member.id).collect::<Vec<_>>(), [3]);
    }

    /// Every cluster of up to seven members with every pattern of health: a permitted change leaves a
    /// majority of healthy members, counting a new member as ill (but for the unavoidable step to two).
    #[test]
    fn no_permitted_change_loses_the_quorum() {
        let mut permitted = 0;
        for size in 1_u64..=7 {
            for bits in 0_u32..1 << size {
                let ill = |member: &Member| bits & (1 << (member.id - 1)) != 0;
                let members: Vec<_> =
                    (1..=size).map(|id| Member { id, name: format!("n{id}"), learner: false }).collect();
                let membership = Membership { members, ..Membership::default() };
                let changes = std::iter::once(Change::Add).chain((1..=size).map(Change::Remove));
                for change in changes {
                    if membership.allows(change, |member| !ill(member)).is_err() {
                        continue;
                    }
                    permitted += 1;
                    let left = |member: &&Member| change != Change::Remove(member.id);
                    let alive = membership.members.iter().filter(left).filter(|m| !ill(m)).count();
                    let voting =
                        membership.members.iter().filter(left).count() + usize::from(change == Change::Add);
                    let step_to_two = size == 1 && change == Change::Add;
                    assert!(
                        alive > voting / 2 || (step_to_two && alive == 1),
                        "{bits:b} of {size}: {change:?}"
                    );
                    assert!(voting > 0, "the last member went");
                }
            }
        }
        assert!(permitted > 100, "{permitted} changes were permitted");
    }
}
