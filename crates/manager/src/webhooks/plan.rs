//! When authority over the webhooks changes hands: a function of what is kept, what is registered, and the time.
//!
//! API servers trust the authorities in the `caBundle` of a registration; every replica of the manager serves
//! with a certificate of the authority that is *active*. A rotation must never let a replica serve with a
//! certificate that is not trusted yet, or take trust from one that is still in use:
//!
//! 1. the next authority is made and kept beside the active one;
//! 2. all registrations trust both;
//! 3. after API servers have had time to notice, the next one becomes the active one;
//! 4. replicas make new certificates; the previous authority is trusted until it expires, and with it the last
//!    certificate it signed.
//!
//! Each step is one write. A leader that is lost after any of them leaves a state from which the next goes on.

use std::time::Duration;

use windlass_model::Time;

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long an authority is valid.
    pub lifetime: Duration,
    /// How long before its end the next one is made.
    pub overlap: Duration,
    /// How long API servers may take to notice a changed registration.
    pub settle: Duration,
    /// How often replicas look whether authority has changed hands.
    pub poll: Duration,
}

impl Policy {
    /// Everything in proportion to the lifetime of an authority, at least a few seconds of it.
    pub fn of(lifetime: Duration) -> Self {
        Self {
            lifetime,
            overlap: lifetime / 3,
            settle: (lifetime / 20).min(Duration::from_mins(1)),
            poll: (lifetime / 40).clamp(Duration::from_millis(200), Duration::from_secs(15)),
        }
    }
}

/// Until when the authorities last that are kept; a replica serves with certificates of the active one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Authorities {
    /// The one that signs.
    pub active: Option<Time>,
    /// The one that will.
    pub next: Option<Time>,
    /// The one that did.
    pub previous: Option<Time>,
}

/// What is known when a step is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// What is kept.
    pub authorities: Authorities,
    /// Since when all registrations are seen to trust all that is kept; `None` while one does not.
    pub registered: Option<Time>,
    /// The time.
    pub now: Time,
}

/// One write, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Keep a new authority as the only one: there is none that could be used.
    Begin,
    /// Keep a new authority as the next one.
    Prepare,
    /// Let the next one sign; the active one becomes the previous one.
    Promote,
    /// Forget what has expired.
    Forget,
    /// Let a registration trust what is kept.
    Register,
    /// Nothing until then.
    Rest(Time),
}

/// What is to be done next.
pub fn step(seen: &Seen, policy: &Policy) -> Step {
    let Seen { authorities: Authorities { active, next, previous }, registered, now } = *seen;
    let alive = |expiry: Option<Time>| expiry.filter(|expiry| *expiry > now);
    let Some(active) = alive(active) else {
        // Nobody could serve with the active one any more; waiting would help nobody.
        return if alive(next).is_some() { Step::Promote } else { Step::Begin };
    };
    if [next, previous].into_iter().flatten().any(|expiry| expiry <= now) {
        return Step::Forget;
    }
    let Some(registered) = registered else { return Step::Register };
    if next.is_some() {
        let noticed = registered.after(policy.settle);
        return if noticed <= now { Step::Promote } else { Step::Rest(noticed) };
    }
    if let Some(previous) = previous {
        return Step::Rest(previous);
    }
    let due = before(active, policy.overlap);
    if due <= now { Step::Prepare } else { Step::Rest(due) }
}

fn before(time: Time, duration: Duration) -> Time {
    Time(time.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        lifetime: Duration::from_secs(90),
        overlap: Duration::from_secs(30),
        settle: Duration::from_secs(4),
        poll: Duration::from_secs(2),
    };

    /// `active next previous registered` in seconds, `-` for none.
    fn seen(text: &str, now: i64) -> Seen {
        let times: Vec<Option<Time>> =
            text.split(' ').map(|word| word.parse().ok().map(Time::from_secs)).collect();
        let [active, next, previous, registered] = times.try_into().unwrap();
        Seen { authorities: Authorities { active, next, previous }, registered, now: Time::from_secs(now) }
    }

    #[test]
    fn one_step_at_a_time() {
        let rest = |seconds| Step::Rest(Time::from_secs(seconds));
        for (text, now, expected) in [
            ("- - - -", 0, Step::Begin),
            ("90 - - -", 0, Step::Register),
            ("90 - - 1", 1, rest(60)),
            ("90 - - 1", 60, Step::Prepare),
            ("90 150 - -", 60, Step::Register),
            ("90 150 - 61", 62, rest(65)),
            ("90 150 - 61", 65, Step::Promote),
            ("150 - 90 -", 65, Step::Register),
            ("150 - 90 66", 66, rest(90)),
            ("150 - 90 66", 90, Step::Forget),
            ("150 - - 91", 91, rest(120)),
            // Nobody led for long.
            ("90 - - 1", 90, Step::Begin),
            ("90 150 - -", 91, Step::Promote),
            ("90 150 - -", 151, Step::Begin),
            ("150 60 - -", 61, Step::Forget),
        ] {
            assert_eq!(step(&seen(text, now), &POLICY), expected, "{text} at {now}");
        }
    }

    /// An authority, by number, with its end.
    type Kept = Option<(u32, Time)>;

    /// What is kept and registered, two replicas that look now and then, and an API server that is late.
    struct World {
        active: Kept,
        next: Kept,
        previous: Kept,
        registered: [Vec<u32>; 2],
        /// What the API server knows, with the second it learned it.
        noticed: [Vec<(i64, Vec<u32>)>; 2],
        replicas: [Kept; 2],
        made: u32,
        writes: u32,
    }

    impl World {
        fn new() -> Self {
            Self {
                active: None,
                next: None,
                previous: None,
                registered: [vec![], vec![]],
                noticed: [vec![], vec![]],
                replicas: [None, None],
                made: 0,
                writes: 0,
            }
        }

        fn bundle(&self) -> Vec<u32> {
            let kept = [self.active, self.next, self.previous];
            let mut bundle: Vec<u32> = kept.into_iter().flatten().map(|(number, _)| number).collect();
            bundle.sort_unstable();
            bundle
        }

        fn make(&mut self, now: Time) -> (u32, Time) {
            self.made += 1;
            (self.made, now.after(POLICY.lifetime))
        }

        fn write(&mut self, step: Step, now: Time) {
            self.writes += 1;
            let alive = |kept: Kept| kept.filter(|(_, expiry)| *expiry > now);
            match step {
                Step::Begin => (self.active, self.next, self.previous) = (Some(self.make(now)), None, None),
                Step::Prepare => self.next = Some(self.make(now)),
                Step::Promote => {
                    (self.active, self.next, self.previous) = (self.next, None, alive(self.active));
                }
                Step::Forget => (self.next, self.previous) = (alive(self.next), alive(self.previous)),
                Step::Register => {
                    let bundle = self.bundle();
                    let which = usize::from(self.registered[0] == bundle);
                    self.registered[which].clone_from(&bundle);
                    // The API server notices in three seconds, less than is waited for.
                    self.noticed[which].push((now.as_secs() + 3, bundle));
                }
                Step::Rest(_) => panic!("resting writes nothing"),
            }
        }

        /// Every replica is trusted by what the API server knows, and its certificate has not expired.
        fn check(&self, now: i64) {
            for (number, expiry) in self.replicas.into_iter().flatten() {
                assert!(expiry.as_secs() > now, "a certificate expired at {now}");
                for known in &self.noticed {
                    let Some((_, trusted)) = known.iter().rev().find(|(at, _)| *at <= now) else { continue };
                    assert!(trusted.contains(&number), "{number} is not trusted at {now}: {trusted:?}");
                }
            }
        }
    }

    /// Leads for a thousand seconds; the leader is lost, with all it remembers, after every `lost`th write.
    fn lead(lost: u32) -> World {
        let mut world = World::new();
        let mut registered = None;
        let mut absent_until = 0;
        for now in 0..1000 {
            for (replica, period) in [2, 5].into_iter().enumerate() {
                if now % period == 0 {
                    world.replicas[replica] = world.active;
                }
            }
            world.check(now);
            let time = Time::from_secs(now);
            while now >= absent_until {
                let bundle = world.bundle();
                let all = world.registered.iter().all(|trusted| *trusted == bundle);
                registered = if all { registered.or(Some(time)) } else { None };
                let expiry = |kept: Kept| kept.map(|(_, expiry)| expiry);
                let authorities = Authorities {
                    active: expiry(world.active),
                    next: expiry(world.next),
                    previous: expiry(world.previous),
                };
                let step = step(&Seen { authorities, registered, now: time }, &POLICY);
                if matches!(step, Step::Rest(_)) {
                    break;
                }
                world.write(step, time);
                if lost > 0 && world.writes.is_multiple_of(lost) {
                    (registered, absent_until) = (None, now + 7);
                }
            }
        }
        world
    }

    #[test]
    fn no_replica_is_ever_mistrusted() {
        let undisturbed = lead(0);
        // A rotation takes seven writes: prepare, register twice, promote, forget, register twice.
        assert!(undisturbed.made > 10 && undisturbed.writes > 60, "{}", undisturbed.writes);
        for lost in 1..=9 {
            assert!(lead(lost).made > 8, "the leader is lost after each {lost}th write");
        }
    }
}
