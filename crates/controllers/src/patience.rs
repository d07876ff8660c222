//! How long a status may wait to be written.
//!
//! While something comes into being its status changes many times in a second, and most of what is written
//! then is stale when somebody reads it. A difference that somebody acts on is written at once; one that
//! only says how far things are may wait a moment, so that the next one comes along.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use windlass_model::{Key, Time};
use windlass_runtime::{Cached, ManagementError, Outcome, Pass};

/// Remembers since when statuses have been waiting. What a crash forgets only waits a moment longer.
#[derive(Debug)]
pub struct Patience {
    longest: Duration,
    waiting: Mutex<BTreeMap<Key, Time>>,
}

impl Default for Patience {
    /// Two seconds: longer than a simulated machine takes to come up, also where fifty clusters come up at
    /// once on two cores; short enough for a person who watches.
    fn default() -> Self {
        Self::new(Duration::from_secs(2))
    }
}

impl Patience {
    /// Nothing waits longer than `longest`.
    pub fn new(longest: Duration) -> Self {
        Self { longest, waiting: Mutex::default() }
    }

    /// How long a difference found at `now` has still to wait; `None` when its time has come.
    fn hold(&self, key: &Key, now: Time) -> Option<Duration> {
        let mut waiting = self.waiting.lock();
        let since = *waiting.entry(key.clone()).or_insert(now);
        let left = self.longest.saturating_sub(now.since(since));
        if left.is_zero() {
            waiting.remove(key);
            return None;
        }
        Some(left)
    }

    /// Nothing of the object waits any more: it is gone, or says what it should.
    pub(crate) fn forget(&self, key: &Key) {
        self.waiting.lock().remove(key);
    }

    /// Writes the status if it differs: at once if `urgent`, else when it has waited long enough.
    pub(crate) async fn report<K: Cached + PartialEq>(
        &self,
        pass: &Pass,
        before: &K,
        after: &K,
        urgent: bool,
    ) -> Result<Outcome, ManagementError> {
        if before == after {
            self.forget(&pass.key);
            return Ok(Outcome::Rest);
        }
        if !urgent && let Some(left) = self.hold(&pass.key, pass.now) {
            return Ok(Outcome::Again(left));
        }
        self.forget(&pass.key);
        pass.management.update_status(before, after).await?;
        Ok(Outcome::Rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_waits_once_and_then_no_more() {
        let patience = Patience::new(Duration::from_secs(3));
        let key = Key::new("default", "a");
        let at = |seconds| patience.hold(&key, Time::from_secs(seconds));
        assert_eq!(at(10), Some(Duration::from_secs(3)));
        assert_eq!(at(12), Some(Duration::from_secs(1)));
        assert_eq!(at(13), None);
        assert_eq!(at(14), Some(Duration::from_secs(3)));
        patience.forget(&key);
        assert_eq!(at(20), Some(Duration::from_secs(3)));
    }
}
