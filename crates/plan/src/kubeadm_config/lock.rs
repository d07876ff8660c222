//! The init lock: a ConfigMap `<cluster>-lock` that names the one machine that may run `kubeadm init`.
//!
//! Creating the ConfigMap takes the lock, so the API server decides between competitors.

/// What to do about the lock before rendering data for `kubeadm init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody holds it: create it.
    Take,
    /// This machine holds it: go on.
    Mine,
    /// A machine that is gone holds it: delete it, then try again.
    Break,
    /// Another machine holds it: wait.
    Held,
}

/// Decides by the lock's content: who holds it, and whether that machine still exists.
///
/// `holder` is `None` without a ConfigMap; an unreadable one belongs to nobody (`Some(None)`), and is
/// broken: its content is written in one request with its creation, so nobody works under it.
pub fn lock(holder: Option<Option<&str>>, machine: &str, exists: impl Fn(&str) -> bool) -> Lock {
    match holder {
        None => Lock::Take,
        Some(Some(holder)) if holder == machine => Lock::Mine,
        Some(Some(holder)) if exists(holder) => Lock::Held,
        Some(None | Some(_)) => Lock::Break,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_vanished_machine_loses_the_lock() {
        let machines = ["a", "b"];
        let decide = |holder| lock(holder, "a", |name| machines.contains(&name));
        assert_eq!(decide(None), Lock::Take);
        assert_eq!(decide(Some(Some("a"))), Lock::Mine);
        assert_eq!(decide(Some(Some("b"))), Lock::Held);
        assert_eq!(decide(Some(Some("gone"))), Lock::Break);
        assert_eq!(decide(Some(None)), Lock::Break);
    }

    /// Every interleaving of two machines that look and then act, one request a step: at most one ever
    /// believes that it holds the lock.
    #[test]
    fn two_machines_never_hold_it_both() {
        #[derive(Clone, Default)]
        struct World {
            holder: Option<&'static str>,
            seen: [Option<Lock>; 2],
            holds: [bool; 2],
        }
        fn step(world: &World, who: usize) -> World {
            let mut next = world.clone();
            let name = ["a", "b"][who];
            match world.seen[who] {
                None => next.seen[who] = Some(lock(world.holder.map(Some), name, |_| true)),
                Some(decided) => {
                    // A create is refused when somebody else was faster.
                    if decided == Lock::Take && world.holder.is_none() {
                        next.holder = Some(name);
                        next.holds[who] = true;
                    }
                    next.holds[who] |= decided == Lock::Mine;
                    next.seen[who] = None;
                }
            }
            next
        }
        let mut worlds = vec![World::default()];
        for _ in 0..8 {
            worlds = worlds.iter().flat_map(|world| [step(world, 0), step(world, 1)]).collect();
            assert!(worlds.iter().all(|world| !(world.holds[0] && world.holds[1])));
        }
        assert!(worlds.iter().any(|world| world.holds[1]));
    }
}
