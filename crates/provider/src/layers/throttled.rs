//! The layer that keeps to limits: a token bucket for each class of operations, shared fairly by clusters.
//!
//! Nobody waits in here. A call that is too early is answered [`ErrorKind::Throttled`] with the time of its
//! turn, and its place in the line is kept until it comes back.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use windlass_model::{Key, Time};

use super::{Layer, Layered};
use crate::{Error, ErrorKind, Operation, Origin, Result, Token};

/// How long a place in the line is kept for a caller who does not come when it is his turn.
const GRACE: Duration = Duration::from_secs(10);

/// Tells the time.
pub type Now = Arc<dyn Fn() -> Time + Send + Sync>;

/// How many calls may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In each second, on average; at least one.
    pub per_second: u32,
    /// At once, after a while without any; at least one.
    pub burst: u32,
}

/// The limits of one account at one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of calls that change nothing.
    pub reads: Rate,
    /// Of calls that make something.
    pub creates: Rate,
    /// Of calls that delete something.
    pub deletes: Rate,
}

impl Default for Limits {
    /// What a container engine on one machine, and most clouds' APIs, take without complaint.
    fn default() -> Self {
        Self {
            reads: Rate { per_second: 50, burst: 200 },
            creates: Rate { per_second: 5, burst: 20 },
            deletes: Rate { per_second: 10, burst: 50 },
        }
    }
}

/// The buckets of one backend. Share it between everything that counts towards the same limits.
///
/// An answer [`ErrorKind::Throttled`] of the backend closes the bucket of its class for as long as it says.
pub struct Throttle {
    now: Now,
    reads: Mutex<Gate>,
    creates: Mutex<Gate>,
    deletes: Mutex<Gate>,
}

/// A provider that keeps to limits.
pub type Throttled<P> = Layered<P, Arc<Throttle>>;

impl<P> Throttled<P> {
    /// Lets calls to `inner` through as `throttle` allows.
    pub fn new(inner: P, throttle: Arc<Throttle>) -> Self {
        Self::with(inner, throttle)
    }
}

impl Throttle {
    /// Full buckets of these sizes.
    pub fn new(limits: Limits, now: Now) -> Self {
        let Limits { reads, creates, deletes } = limits;
        let gate = |rate| Mutex::new(Gate::new(rate));
        Self { now, reads: gate(reads), creates: gate(creates), deletes: gate(deletes) }
    }

    fn gate(&self, operation: Operation) -> &Mutex<Gate> {
        match operation {
            Operation::FindMachine | Operation::FindCluster | Operation::ProposeCluster => &self.reads,
            Operation::CreateMachine | Operation::CreateCluster => &self.creates,
            Operation::DeleteMachine | Operation::DeleteCluster => &self.deletes,
        }
    }
}

impl Layer for Throttle {
    async fn around<T: Send>(
        &self,
        operation: Operation,
        token: &Token,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let gate = self.gate(operation);
        let admitted = gate.lock().unwrap_or_else(PoisonError::into_inner).admit(token, (self.now)());
        if let Err(retry_after) = admitted {
            let message = "too many calls at once; this one is made when its turn comes";
            return Err(Error::new(ErrorKind::Throttled { retry_after }, message));
        }
        let answer = call.await;
        if let Err(Error { kind: ErrorKind::Throttled { retry_after }, .. }) = &answer {
            let until = (self.now)().after(*retry_after);
            gate.lock().unwrap_or_else(PoisonError::into_inner).bucket.close(until);
        }
        answer
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

/// A bucket, as the one point in time at which it will be full again ("generic cell rate algorithm").
#[derive(Debug)]
struct Bucket {
    /// One call's share of time.
    interval: Duration,
    /// How far ahead of time the burst may run.
    tolerance: Duration,
    full: Time,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        let interval = Duration::from_secs(1) / rate.per_second.max(1);
        Self { interval, tolerance: interval.saturating_mul(rate.burst.max(1) - 1), full: Time::default() }
    }

    /// How long until one call can be made after `others` have been.
    fn wait(&self, others: u32, now: Time) -> Duration {
        let ahead = self.full.until(now) + self.interval.saturating_mul(others);
        ahead.saturating_sub(self.tolerance)
    }

    fn take(&mut self, now: Time) {
        self.full = self.full.max(now).after(self.interval);
    }

    /// Nothing until then, and no burst afterwards.
    fn close(&mut self, until: Time) {
        self.full = self.full.max(until.after(self.tolerance));
    }
}

/// A bucket with the lines before it, one for each cluster.
#[derive(Debug)]
struct Gate {
    bucket: Bucket,
    lines: BTreeMap<Key, Line>,
    served: u64,
}

/// The callers of one cluster that were told to come back.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<(Token, Time)>,
    /// When one of them was let through last, as a count.
    served: u64,
}

impl Gate {
    fn new(rate: Rate) -> Self {
        Self { bucket: Bucket::new(rate), lines: BTreeMap::new(), served: 0 }
    }

    /// Lets the caller through, or says when to come back.
    fn admit(&mut self, token: &Token, now: Time) -> std::result::Result<(), Duration> {
        self.forget_late(now);
        if self.lines.is_empty() && self.bucket.wait(0, now).is_zero() {
            self.bucket.take(now);
            return Ok(());
        }
        let cluster = token.origin().map(|Origin { cluster, .. }| cluster.clone()).unwrap_or_default();
        let line = self.lines.entry(cluster.clone()).or_default();
        let known = line.waiting.iter().position(|(waiter, _)| waiter == token);
        let index = known.unwrap_or_else(|| {
            line.waiting.push_back((token.clone(), now));
            line.waiting.len() - 1
        });
        let wait = self.bucket.wait(self.before(&cluster, index), now);
        let line = self.lines.entry(cluster).or_default();
        if !wait.is_zero() {
            line.waiting[index].1 = now.after(wait);
            return Err(wait);
        }
        line.waiting.remove(index);
        self.served += 1;
        line.served = self.served;
        self.bucket.take(now);
        Ok(())
    }

    /// How many go before the waiter at `index` of a cluster's line: the lines take turns, and of those
    /// with a waiter at the same place goes first who was served longer ago.
    fn before(&self, cluster: &Key, index: usize) -> u32 {
        let own = self.lines.get(cluster).map_or(0, |line| line.served);
        let others = self.lines.iter().filter(|(key, _)| *key != cluster).map(|(key, line)| {
            let level = line.waiting.len() > index && (line.served, key) < (own, cluster);
            line.waiting.len().min(index) + usize::from(level)
        });
        u32::try_from(others.sum::<usize>() + index).unwrap_or(u32::MAX)
    }

    /// Who does not come back loses the place; lines are kept while anybody waits.
    fn forget_late(&mut self, now: Time) {
        for line in self.lines.values_mut() {
            line.waiting.retain(|(_, turn)| now.since(*turn) <= GRACE);
        }
        if self.lines.values().all(|line| line.waiting.is_empty()) {
            self.lines.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass_model::Uid;

    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 2 };

    fn token(name: &str) -> Token {
        let cluster = Key::new("default", &name[..1]);
        Token::of(&Uid::from(name)).from_object(Key::new("default", name), cluster)
    }

    /// Lets callers come, and come back when they were told to, until all are through. Callers are
    /// `name@milliseconds`; told is who got through, in order, with the time.
    fn play(gate: &mut Gate, callers: &str) -> Vec<(String, i64)> {
        let mut coming: Vec<_> = callers
            .split(' ')
            .map(|caller| {
                let (name, at) = caller.split_once('@').unwrap();
                (Time(at.parse::<i64>().unwrap() * 1000), name.to_owned())
            })
            .collect();
        let mut through = Vec::new();
        while !coming.is_empty() {
            coming.sort();
            let (now, name) = coming.remove(0);
            match gate.admit(&token(&name), now) {
                Ok(()) => through.push((name, now.0 / 1000)),
                Err(wait) => coming.push((now.after(wait), name)),
            }
        }
        through
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let told = play(&mut Gate::new(RATE), "a1@0 a2@0 a3@0 a4@0 a5@1000");
        let told: Vec<_> = told.iter().map(|(name, at)| format!("{name}@{at}")).collect();
        assert_eq!(told, ["a1@0", "a2@0", "a3@100", "a4@200", "a5@1000"]);
    }

    #[test]
    fn a_noisy_cluster_does_not_starve_others() {
        let noisy: Vec<_> = (10..60).map(|nth| format!("a{nth}@0")).collect();
        let told = play(&mut Gate::new(RATE), &format!("{} b1@250 b2@250 c1@250", noisy.join(" ")));
        let when = |name: &str| told.iter().find(|(other, _)| other == name).unwrap().1;
        assert!(when("b1") <= 500 && when("c1") <= 500, "{told:?}");
        assert!(when("b2") <= 800, "{told:?}");
        assert_eq!(told.len(), 53);
        assert_eq!(told.last().unwrap().1, 5_100, "the rate holds, and nothing is lost: {told:?}");
    }

    #[test]
    fn who_does_not_come_back_holds_nobody_up() {
        let mut gate = Gate::new(RATE);
        for name in ["a1", "a2"] {
            assert_eq!(gate.admit(&token(name), Time(0)), Ok(()));
        }
        let turn = gate.admit(&token("a3"), Time(0)).unwrap_err();
        assert_eq!(turn, Duration::from_millis(100));
        assert_eq!(gate.admit(&token("b1"), Time(0).after(turn)), Err(turn), "the place of a3 is kept");
        let late = Time(0).after(turn + GRACE + Duration::from_millis(1));
        assert_eq!(gate.admit(&token("b2"), late), Ok(()));
        assert_eq!(gate.lines.values().map(|line| line.waiting.len()).sum::<usize>(), 1, "b1 waits still");
    }

    #[test]
    fn a_closed_bucket_opens_when_it_was_told_to_and_without_a_burst() {
        let mut gate = Gate::new(RATE);
        gate.bucket.close(Time::from_secs(7));
        let told = play(&mut gate, "a1@0 a2@0 a3@7000");
        let told: Vec<_> = told.iter().map(|(name, at)| format!("{name}@{at}")).collect();
        assert_eq!(told, ["a1@7000", "a2@7100", "a3@7200"]);
    }
}
