//! What goes wrong where a seed decides: crashes, faults, late news.

use std::time::Duration;

use windlass_model::Time;

use crate::effect::{Effect, Fault, Moment};
use crate::rng::Rng;

/// The bad luck of one life. Each seed has only some kinds of it: luck that is always bad in every way
/// hides what one kind alone would show (swarm testing).
#[derive(Clone, Debug)]
pub struct Chaos {
    rng: Rng,
    /// The effect at which the process dies; none in the last life of a run.
    crash: Option<(usize, Moment)>,
    /// Faults of calls, in a thousand.
    faults: u64,
    /// Lost answers, in a thousand.
    lost: u64,
    /// Late news, in a thousand, and by how much at most.
    late: u64,
    longest: Duration,
    /// No more faults after this.
    until: Time,
}

/// What happens at one side of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Go,
    /// The process dies.
    Die,
    /// A fault.
    Fail(Fault),
}

impl Chaos {
    /// The luck of life number `life` of `seed`. It dies unless it is the `last`; faults end at `until`.
    pub fn new(seed: u64, life: u32, last: bool, until: Time) -> Self {
        let mut kinds = Rng::new(seed, "kinds of bad luck");
        let faults = if kinds.chance(600) { 20 + kinds.below(120) } else { 0 };
        let lost = if kinds.chance(600) { 10 + kinds.below(60) } else { 0 };
        let late = if kinds.chance(600) { 50 + kinds.below(500) } else { 0 };
        let longest = Duration::from_millis(kinds.pick(&[5, 50, 500, 3000]));
        let mut rng = Rng::new(seed, &format!("luck of life {life}"));
        // Early crashes are as likely as late ones, whatever the length of the scenario.
        let bound = rng.pick(&[5, 20, 60, 150]);
        let moment = if rng.chance(500) { Moment::Before } else { Moment::After };
        let number = usize::try_from(rng.below(bound)).unwrap_or(0);
        let crash = (!last).then_some((number, moment));
        Self { rng, crash, faults, lost, late, longest, until }
    }

    /// What happens at this side of this effect.
    pub fn judge(&mut self, effect: &Effect, moment: Moment, now: Time) -> Verdict {
        if self.crash == Some((effect.number, moment)) {
            return Verdict::Die;
        }
        if now >= self.until {
            return Verdict::Go;
        }
        let share = match moment {
            Moment::Before => self.faults,
            Moment::After => self.lost,
        };
        if !self.rng.chance(share) {
            return Verdict::Go;
        }
        Verdict::Fail(match moment {
            Moment::Before if can_conflict(effect) => {
                self.rng.pick(&[Fault::Conflict, Fault::Throttled, Fault::Internal, Fault::Timeout])
            }
            Moment::Before => self.rng.pick(&[Fault::Throttled, Fault::Internal, Fault::Timeout]),
            // "Conflict" and "throttled" mean that nothing happened.
            Moment::After => self.rng.pick(&[Fault::Internal, Fault::Timeout]),
        })
    }

    /// Whether a read fails.
    pub fn read_fault(&mut self, now: Time) -> Option<Fault> {
        let bad = now < self.until && self.rng.chance(self.faults / 4);
        bad.then(|| self.rng.pick(&[Fault::Throttled, Fault::Internal]))
    }

    /// How late the next piece of news is.
    pub fn watch_delay(&mut self) -> Duration {
        if !self.rng.chance(self.late) {
            return Duration::ZERO;
        }
        let longest = u64::try_from(self.longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.rng.below(longest) + 1)
    }
}

/// Whether somebody else may have been faster.
fn can_conflict(effect: &Effect) -> bool {
    [": patch ", ": update "].iter().any(|verb| effect.site.0.contains(verb))
}
