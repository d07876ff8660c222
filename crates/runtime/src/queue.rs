//! The work queue: keys only, one pass per key at a time, no clock of its own.
//!
//! The queue is plain data: whoever drives it passes `now` in and asks when to come back. It never drops a
//! wake-up: an event during a pass runs the key once more afterwards, an event on a parked key is kept until
//! the key is woken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use windlass_model::Key;

/// Who is waiting for the pass. Higher goes first; within one priority the order is first in, first out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Nobody: resync and the objects found at the start.
    Background,
    /// The system, on its way to something: objects created, children that changed, timers.
    Create,
    /// An object on its way out, which holds money or names.
    Delete,
    /// A person who changed what they want.
    User,
}

/// How a pass ended, as far as the queue cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing until the next event, or `resync` later.
    Rest {
        /// When to look again although nothing happened.
        resync: Duration,
    },
    /// Again after this long.
    Again(Duration),
    /// Failed: again after the key's backoff.
    Failed,
    /// Again at once, without counting as a failure (a conflict).
    Retry,
    /// The object is gone: forget the key.
    Gone,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start a pass of this key.
    Run(Key),
    /// Nothing is due before this point.
    Wait(Instant),
    /// Nothing is due at all.
    Idle,
}

/// First delay after a failure.
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest delay after failures: a person who repairs the cause waits at most this long.
pub const BACKOFF_MAX: Duration = Duration::from_secs(20);

/// Retries at once before a conflict counts as a failure.
const RETRIES: u32 = 5;

/// The delay after `failures` failures in a row (1, 2, …): doubled each time, and spread by up to a quarter
/// by the key's hash so that a thousand objects that failed together do not come back together.
pub fn backoff(key: &Key, failures: u32) -> Duration {
    let doubled =
        BACKOFF_MIN.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    spread(key, doubled.min(BACKOFF_MAX), 4)
}

/// `base` less up to a `part`-th of it, decided by the key alone.
pub fn spread(key: &Key, base: Duration, part: u32) -> Duration {
    let share = f64::from(u32::try_from(hash(key) % 1000).unwrap_or(0)) / 1000.0;
    base.saturating_sub((base / part).mul_f64(share))
}

/// 64-bit FNV-1a of a key, finished so that similar names spread.
fn hash(key: &Key) -> u64 {
    let bytes = key.namespace.bytes().chain(std::iter::once(0)).chain(key.name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Resting, possibly until a timer.
    Idle,
    /// Due at the point in `due`: settling after an event, or waiting for a timer.
    Ready(u64),
    /// Waiting for the cache; `again` says that somebody woke it meanwhile.
    Parked,
    /// In a pass.
    Running,
}

#[derive(Clone, Debug)]
struct Entry {
    place: Place,
    priority: Priority,
    /// When the timer goes off; `None` without one.
    due: Option<Instant>,
    /// Woken while running.
    dirty: bool,
    failures: u32,
    /// Conflicts in a row.
    retries: u32,
}

/// The queue of one controller.
#[derive(Debug)]
pub struct Queue {
    settle: Duration,
    entries: BTreeMap<Key, Entry>,
    /// Due keys, best first: (inverse priority, order of arrival, key).
    ready: BTreeSet<(std::cmp::Reverse<Priority>, u64, Key)>,
    /// Timers: keys that become ready at a point in time.
    timers: BTreeSet<(Instant, Key)>,
    arrivals: u64,
}

impl Queue {
    /// An empty queue; `settle` is how long a key waits after its first event so that a burst is one pass.
    pub fn new(settle: Duration) -> Self {
        Self {
            settle,
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            arrivals: 0,
        }
    }

    /// Something happened to `key`.
    pub fn add(&mut self, key: &Key, priority: Priority, now: Instant) {
        let settled = now + self.settle;
        self.schedule(key, priority, settled);
    }

    /// `key` wants a pass after `delay`, or sooner if something happens.
    pub fn add_after(&mut self, key: &Key, priority: Priority, delay: Duration, now: Instant) {
        self.schedule(key, priority, now + delay);
    }

    fn schedule(&mut self, key: &Key, priority: Priority, at: Instant) {
        let entry = self.entries.entry(key.clone()).or_insert(Entry {
            place: Place::Idle,
            priority: Priority::Background,
            due: None,
            dirty: false,
            failures: 0,
            retries: 0,
        });
        match entry.place {
            Place::Running => {
                entry.priority = if entry.dirty { entry.priority.max(priority) } else { priority };
                entry.dirty = true;
            }
            // It runs as soon as the cache has caught up, which sees this event as well.
            Place::Parked => entry.priority = entry.priority.max(priority),
            Place::Ready(arrival) => {
                if priority > entry.priority {
                    self.ready.remove(&(std::cmp::Reverse(entry.priority), arrival, key.clone()));
                    entry.priority = priority;
                    self.ready.insert((std::cmp::Reverse(priority), arrival, key.clone()));
                }
            }
            Place::Idle => {
                match entry.due {
                    Some(due) if due <= at => entry.priority = entry.priority.max(priority),
                    Some(due) => {
                        self.timers.remove(&(due, key.clone()));
                        entry.priority = priority;
                        entry.due = Some(at);
                    }
                    None => {
                        entry.priority = priority;
                        entry.due = Some(at);
                    }
                }
                if let Some(due) = entry.due {
                    self.timers.insert((due, key.clone()));
                }
            }
        }
    }

    /// The best key that is due, or when to ask again. A key that is returned counts as running until
    /// [`Queue::done`] or [`Queue::park`].
    pub fn next(&mut self, now: Instant) -> Next {
        while let Some((due, _)) = self.timers.first()
            && *due <= now
            && let Some((_, key)) = self.timers.pop_first()
        {
            self.arrivals += 1;
            let arrival = self.arrivals;
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.place = Place::Ready(arrival);
                entry.due = None;
                self.ready.insert((std::cmp::Reverse(entry.priority), arrival, key));
            }
        }
        if let Some((_, _, key)) = self.ready.pop_first() {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.place = Place::Running;
                entry.dirty = false;
            }
            return Next::Run(key);
        }
        self.timers.first().map_or(Next::Idle, |(due, _)| Next::Wait(*due))
    }

    /// The key that [`Queue::next`] returned cannot run yet: it stays away until [`Queue::unpark`].
    pub fn park(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.place == Place::Running
        {
            entry.place = Place::Parked;
            entry.dirty = false;
        }
    }

    /// What the parked key waited for has happened.
    pub fn unpark(&mut self, key: &Key, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.place == Place::Parked
        {
            entry.place = Place::Idle;
            entry.due = Some(now);
            self.timers.insert((now, key.clone()));
        }
    }

    /// The pass of `key` has ended.
    pub fn done(&mut self, key: &Key, done: Done, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.place != Place::Running {
            return;
        }
        entry.place = Place::Idle;
        // A conflict that catching up does not cure is a failure like any other.
        entry.retries = if done == Done::Retry { entry.retries + 1 } else { 0 };
        let done = if entry.retries > RETRIES { Done::Failed } else { done };
        let dirty = std::mem::take(&mut entry.dirty).then_some(entry.priority);
        let timer = match done {
            Done::Rest { resync } => Some((Priority::Background, resync)),
            Done::Again(after) => Some((Priority::Create, after)),
            Done::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                Some((Priority::Create, backoff(key, entry.failures)))
            }
            Done::Retry => Some((entry.priority, Duration::ZERO)),
            Done::Gone => None,
        };
        match done {
            Done::Rest { .. } | Done::Again(_) | Done::Gone => entry.failures = 0,
            Done::Failed | Done::Retry => {}
        }
        if let Some((priority, after)) = timer {
            self.add_after(key, priority, after, now);
        }
        match (dirty, done) {
            (Some(priority), _) => self.add(key, priority, now),
            (None, Done::Gone) => {
                self.entries.remove(key);
            }
            (None, Done::Rest { .. } | Done::Again(_) | Done::Failed | Done::Retry) => {}
        }
    }

    /// How many keys are due or running, timers aside.
    pub fn busy(&self) -> usize {
        self.entries.values().filter(|entry| entry.place != Place::Idle).count()
    }

    /// How many keys are parked.
    pub fn parked(&self) -> usize {
        self.entries.values().filter(|entry| entry.place == Place::Parked).count()
    }

    /// How many times in a row the key has failed.
    pub fn failures(&self, key: &Key) -> u32 {
        self.entries.get(key).map_or(0, |entry| entry.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    const SETTLE: Duration = Duration::from_millis(20);
    const REST: Done = Done::Rest { resync: Duration::from_hours(10) };

    /// A queue at a time of its own.
    struct Bench {
        queue: Queue,
        start: Instant,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { queue: Queue::new(SETTLE), start: now, now }
        }

        fn add(&mut self, name: &str, priority: Priority) {
            self.queue.add(&key(name), priority, self.now);
        }

        fn pass(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        /// The keys that may run now, in order, without ending any.
        fn take(&mut self) -> Vec<String> {
            let mut keys = Vec::new();
            while let Next::Run(key) = self.queue.next(self.now) {
                keys.push(key.name);
            }
            keys
        }

        fn done(&mut self, name: &str, done: Done) {
            self.queue.done(&key(name), done, self.now);
        }

        /// When something is due next, in milliseconds since the beginning.
        fn due(&mut self) -> Option<u128> {
            match self.queue.next(self.now) {
                Next::Wait(at) => Some((at - self.start).as_millis()),
                Next::Run(_) | Next::Idle => None,
            }
        }
    }

    #[test]
    fn people_go_first_and_equals_in_order() {
        let mut bench = Bench::new();
        for (name, priority) in [
            ("resync", Priority::Background),
            ("made", Priority::Create),
            ("made-later", Priority::Create),
            ("going", Priority::Delete),
            ("edited", Priority::User),
            ("resync-edited", Priority::Background),
        ] {
            bench.add(name, priority);
            bench.pass(1);
        }
        bench.add("resync-edited", Priority::User);
        bench.pass(100);
        assert_eq!(bench.take(), ["edited", "resync-edited", "going", "made", "made-later", "resync"]);
    }

    #[test]
    fn a_key_that_is_due_rises_with_a_better_event() {
        let mut bench = Bench::new();
        bench.add("a", Priority::Create);
        bench.add("b", Priority::Background);
        bench.add("c", Priority::Background);
        bench.pass(20);
        let Next::Run(first) = bench.queue.next(bench.now) else { unreachable!() };
        bench.add("c", Priority::User);
        assert_eq!(first.name, "a");
        assert_eq!(bench.take(), ["c", "b"]);
    }

    #[test]
    fn a_burst_is_one_pass_and_a_stream_does_not_put_it_off() {
        let mut bench = Bench::new();
        for _ in 0..4 {
            bench.add("a", Priority::Create);
            bench.pass(6);
        }
        assert_eq!(bench.take(), ["a"], "20 ms after the first event, whatever came since");
        bench.done("a", REST);
        assert_eq!(bench.take(), [""; 0]);
    }

    #[test]
    fn a_key_never_runs_twice_at_once_and_no_event_is_lost() {
        let mut bench = Bench::new();
        bench.add("a", Priority::Create);
        bench.pass(20);
        assert_eq!(bench.take(), ["a"]);
        bench.add("a", Priority::User);
        bench.pass(1_000);
        assert_eq!(bench.take(), [""; 0], "it is still running");
        bench.done("a", REST);
        bench.pass(20);
        assert_eq!(bench.take(), ["a"], "the event during the pass");
    }

    #[test]
    fn failures_back_off_and_success_forgets_them() {
        let mut bench = Bench::new();
        bench.add("a", Priority::Create);
        bench.pass(20);
        let mut delays = Vec::new();
        for _ in 0..14 {
            assert_eq!(bench.take(), ["a"]);
            let before = (bench.now - bench.start).as_millis();
            bench.done("a", Done::Failed);
            let due = bench.due().unwrap();
            delays.push(due - before);
            bench.pass(u64::try_from(due - before).unwrap() + 1);
        }
        let rising = delays.windows(2).all(|pair| pair[0] < pair[1] || pair[1] >= 15_000);
        assert!(rising && delays[0] <= 50 && delays[0] >= 37 && delays[13] <= 20_000, "{delays:?}");
        assert_eq!(bench.queue.failures(&key("a")), 14);
        bench.take();
        bench.done("a", Done::Again(Duration::from_secs(5)));
        assert_eq!(bench.queue.failures(&key("a")), 0);
    }

    #[test]
    fn an_event_does_not_wait_for_the_backoff() {
        let mut bench = Bench::new();
        bench.add("a", Priority::Create);
        bench.pass(20);
        for _ in 0..10 {
            bench.take();
            bench.done("a", Done::Failed);
            bench.pass(60_000);
        }
        bench.take();
        bench.done("a", Done::Failed);
        bench.add("a", Priority::User);
        bench.pass(20);
        assert_eq!(bench.take(), ["a"]);
    }

    #[test]
    fn backoff_is_spread_by_the_key() {
        let delays: BTreeSet<_> = (0..100).map(|n| backoff(&key(&format!("cluster-{n}")), 8)).collect();
        assert!(delays.len() > 50, "{} different delays", delays.len());
        assert_eq!(backoff(&key("a"), 3), backoff(&key("a"), 3));
    }

    #[test]
    fn a_retry_is_immediate_and_no_failure() {
        let mut bench = Bench::new();
        bench.add("a", Priority::User);
        bench.pass(20);
        bench.take();
        for _ in 0..RETRIES {
            bench.done("a", Done::Retry);
            assert_eq!(bench.take(), ["a"]);
        }
        assert_eq!(bench.queue.failures(&key("a")), 0);
        bench.done("a", Done::Retry);
        assert_eq!(bench.take(), [""; 0], "one that nothing cures backs off");
    }

    #[test]
    fn a_parked_key_runs_only_when_woken() {
        let mut bench = Bench::new();
        bench.add("a", Priority::Create);
        bench.pass(20);
        bench.take();
        bench.queue.park(&key("a"));
        bench.add("a", Priority::User);
        bench.pass(10_000);
        assert_eq!(bench.take(), [""; 0]);
        assert_eq!(bench.queue.parked(), 1);
        bench.queue.unpark(&key("a"), bench.now);
        assert_eq!(bench.take(), ["a"]);
    }

    #[test]
    fn a_key_that_is_gone_leaves_nothing_behind() {
        let mut bench = Bench::new();
        bench.add("a", Priority::Delete);
        bench.pass(20);
        bench.take();
        bench.done("a", Done::Gone);
        assert_eq!((bench.queue.entries.len(), bench.queue.next(bench.now)), (0, Next::Idle));
    }

    #[test]
    fn timers_go_off_and_the_sooner_one_counts() {
        let mut bench = Bench::new();
        bench.add("a", Priority::Create);
        bench.pass(20);
        bench.take();
        bench.done("a", Done::Again(Duration::from_secs(5)));
        bench.queue.add_after(&key("a"), Priority::Create, Duration::from_secs(9), bench.now);
        assert_eq!(bench.due(), Some(5_020));
        bench.queue.add_after(&key("a"), Priority::Create, Duration::from_secs(1), bench.now);
        assert_eq!(bench.due(), Some(1_020));
        bench.pass(1_000);
        assert_eq!(bench.take(), ["a"]);
    }
}
