//! The etcd members of a cluster: who votes, who leads. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use windlass_provider::Token;

/// The membership of one etcd cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Members by id. A member stays until somebody removes it, whatever happens to its machine.
    pub members: BTreeMap<u64, EtcdMember>,
    /// Id of the leader, while there is one.
    pub leader: Option<u64>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdMember {
    /// Its name, which is that of its node.
    pub name: String,
    /// The machine it runs on.
    pub machine: Token,
    /// Where the other members reach it.
    pub peer_url: String,
}

/// Why etcd refuses a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdRefusal {
    /// Too few members run.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// No member has this id.
    #[error("etcdserver: member not found")]
    NotFound,
    /// Too few of the other members run.
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    /// Only the leader does this.
    #[error("etcdserver: not leader")]
    NotLeader,
    /// There is no member that could lead instead.
    #[error("etcdserver: bad leader transferee")]
    NoSuchTransferee,
    /// The member that should lead does not run.
    #[error("etcdserver: request timed out, leader transfer took too long")]
    NotRunning,
}

/// The id of the member on a machine; never zero.
pub fn member_id(machine: &Token) -> u64 {
    let digest = Sha256::digest(format!("etcd/{machine}"));
    digest[..8].iter().fold(0, |id, byte| id << 8 | u64::from(*byte)).max(1)
}

impl Membership {
    /// Adds the member of a machine; nothing changes if it is there.
    pub fn add(&mut self, machine: &Token, name: &str, address: &str) {
        let peer_url = format!("https://{address}:2380");
        let member = EtcdMember { name: name.to_owned(), machine: machine.clone(), peer_url };
        self.members.entry(member_id(machine)).or_insert(member);
    }

    /// Whether more than half of the members run.
    pub fn has_quorum(&self, runs: &dyn Fn(&Token) -> bool) -> bool {
        let running = self.members.values().filter(|member| runs(&member.machine)).count();
        !self.members.is_empty() && running * 2 > self.members.len()
    }

    /// Lets a running member lead if the leader does not run any more; the leader stays if it does.
    pub fn elect(&mut self, runs: &dyn Fn(&Token) -> bool) {
        if !self.has_quorum(runs) {
            self.leader = None;
            return;
        }
        let leads = |id: &u64| self.members.get(id).is_some_and(|member| runs(&member.machine));
        if !self.leader.as_ref().is_some_and(leads) {
            self.leader = self.members.keys().find(|id| leads(id)).copied();
        }
    }

    /// Removes a member. One that does not run may always go; one that does must leave a quorum of what is then
    /// the whole (etcd's `mayRemoveMember`).
    ///
    /// # Errors
    /// [`EtcdRefusal`] where etcd would refuse.
    pub fn remove(&mut self, id: u64, runs: &dyn Fn(&Token) -> bool) -> Result<(), EtcdRefusal> {
        if !self.has_quorum(runs) {
            return Err(EtcdRefusal::NoLeader);
        }
        let running = self.members.values().filter(|member| runs(&member.machine)).count();
        let member = self.members.get(&id).ok_or(EtcdRefusal::NotFound)?;
        if runs(&member.machine) && running <= 1 + (self.members.len() - 1) / 2 {
            return Err(EtcdRefusal::Unhealthy);
        }
        self.members.remove(&id);
        self.elect(runs);
        Ok(())
    }

    /// Lets the leader `from` hand over to the member `to`.
    ///
    /// # Errors
    /// [`EtcdRefusal`] where etcd would refuse.
    pub fn hand_over(
        &mut self,
        from: u64,
        to: u64,
        runs: &dyn Fn(&Token) -> bool,
    ) -> Result<(), EtcdRefusal> {
        if !self.has_quorum(runs) {
            return Err(EtcdRefusal::NoLeader);
        }
        if self.leader != Some(from) {
            return Err(EtcdRefusal::NotLeader);
        }
        let member = self.members.get(&to).ok_or(EtcdRefusal::NoSuchTransferee)?;
        if !runs(&member.machine) {
            return Err(EtcdRefusal::NotRunning);
        }
        self.leader = Some(to);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use windlass_model::Uid;

    use super::*;

    fn token(name: &str) -> Token {
        Token::of(&Uid::from(name))
    }

    /// Members named by letters; capitals run. The leader is the first name after `>`.
    fn membership(notation: &str) -> (Membership, Vec<Token>) {
        let (mut membership, mut running) = (Membership::default(), vec![]);
        for name in notation.split_whitespace() {
            let plain = name.trim_start_matches('>').to_lowercase();
            membership.add(&token(&plain), &plain, "10.0.0.1");
            if name.starts_with('>') {
                membership.leader = Some(member_id(&token(&plain)));
            }
            if name.trim_start_matches('>').chars().all(char::is_uppercase) {
                running.push(token(&plain));
            }
        }
        (membership, running)
    }

    fn leader(membership: &Membership) -> String {
        membership.leader.and_then(|id| membership.members.get(&id)).map_or("-".into(), |m| m.name.clone())
    }

    #[test]
    fn elections() {
        for (notation, leads) in
            [("A", "a"), ("a", "-"), ("A >B C", "b"), ("A >b c", "-"), ("A b", "-"), (">a B C", "b or c")]
        {
            let (mut membership, running) = membership(notation);
            membership.elect(&|machine| running.contains(machine));
            let now = leader(&membership);
            assert!(
                leads.split(" or ").any(|name| name == now),
                "{notation}: {now} leads, should be {leads}"
            );
        }
    }

    #[test]
    fn changes_need_a_quorum() {
        for (notation, remove, expected) in [
            ("A >B C", "b", Ok(2)),
            ("A >B c", "c", Ok(2)),
            ("A >B c", "a", Err(EtcdRefusal::Unhealthy)),
            ("A >B", "b", Ok(1)),
            (">A", "a", Err(EtcdRefusal::Unhealthy)),
            ("A >b c", "b", Err(EtcdRefusal::NoLeader)),
            (">A", "z", Err(EtcdRefusal::NotFound)),
        ] {
            let (mut membership, running) = membership(notation);
            let runs = |machine: &Token| running.contains(machine);
            let done = membership.remove(member_id(&token(remove)), &runs).map(|()| membership.members.len());
            assert_eq!(done, expected, "{notation} without {remove}");
        }
    }

    #[test]
    fn only_the_leader_hands_over_and_only_to_a_running_member() {
        for (notation, from, to, expected) in [
            ("A >B c", "b", "c", Err(EtcdRefusal::NotRunning)),
            ("A >B c", "b", "z", Err(EtcdRefusal::NoSuchTransferee)),
            ("A >B c", "a", "b", Err(EtcdRefusal::NotLeader)),
            ("a >B c", "b", "a", Err(EtcdRefusal::NoLeader)),
            ("A >B c", "b", "a", Ok("a".to_owned())),
        ] {
            let (mut membership, running) = membership(notation);
            let runs = |machine: &Token| running.contains(machine);
            let [from, to] = [from, to].map(|name| member_id(&token(name)));
            let done = membership.hand_over(from, to, &runs).map(|()| leader(&membership));
            assert_eq!(done, expected, "{notation}");
        }
    }
}
