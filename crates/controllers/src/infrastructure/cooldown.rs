//! Which objects must not be tried again yet, whatever wakes them.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use windlass_model::Time;
use windlass_provider::{ErrorKind, Token};

/// How long a request that was refused rests. A change of the spec ends it; this is for what people repair
/// outside (an image, a permission, a name that was taken), which nobody tells us.
const REFUSED: Duration = Duration::from_secs(20);
/// How long a provider that is full is left alone.
const FULL: Duration = Duration::from_secs(20);
/// How long something a request builds on has to appear.
const MISSING: Duration = Duration::from_secs(5);

/// The objects that rest, and those whose provider cannot be asked. What a restart forgets costs one more
/// try.
#[derive(Debug, Default)]
pub(super) struct Cooldown {
    resting: Mutex<BTreeMap<Token, Rest>>,
    unseen: Mutex<BTreeMap<Token, Time>>,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Time,
    /// The generation that was refused: another one may be tried at once.
    generation: Option<i64>,
}

impl Cooldown {
    /// How long this object still rests, in this generation.
    pub(super) fn left(&self, token: &Token, generation: Option<i64>, now: Time) -> Option<Duration> {
        let rest = *self.resting.lock().get(token)?;
        let same = rest.generation.is_none() || rest.generation == generation;
        Some(rest.until.until(now)).filter(|left| same && !left.is_zero())
    }

    /// Lets the object rest after a failure, and says how long. `None` leaves it to the runtime's backoff.
    pub(super) fn rest(
        &self,
        token: &Token,
        kind: ErrorKind,
        generation: Option<i64>,
        now: Time,
    ) -> Option<Duration> {
        let (pause, generation) = match kind {
            ErrorKind::Throttled { retry_after } => (retry_after, None),
            ErrorKind::OutOfCapacity => (FULL, generation),
            ErrorKind::Rejected => (REFUSED, generation),
            ErrorKind::NotFound => (MISSING, generation),
            ErrorKind::Transient => return None,
        };
        self.resting.lock().insert(token.clone(), Rest { until: now.after(pause), generation });
        Some(pause)
    }

    /// The object may be tried at any time.
    pub(super) fn forget(&self, token: &Token) {
        self.resting.lock().remove(token);
    }

    /// The provider could not be asked about this object: for how long that has been so.
    pub(super) fn unseen(&self, token: &Token, now: Time) -> Duration {
        now.since(*self.unseen.lock().entry(token.clone()).or_insert(now))
    }

    /// The provider answered.
    pub(super) fn seen(&self, token: &Token) {
        self.unseen.lock().remove(token);
    }
}

#[cfg(test)]
mod tests {
    use windlass_model::Uid;

    use super::*;

    #[test]
    fn each_kind_rests_in_its_way() {
        let retry_after = Duration::from_mins(1);
        for (kind, same_generation, next_generation) in [
            (ErrorKind::Throttled { retry_after }, Some(60), Some(60)),
            (ErrorKind::OutOfCapacity, Some(20), None),
            (ErrorKind::Rejected, Some(20), None),
            (ErrorKind::NotFound, Some(5), None),
            (ErrorKind::Transient, None, None),
        ] {
            let (cooldown, token, now) =
                (Cooldown::default(), Token::of(&Uid::from("t")), Time::from_secs(100));
            cooldown.rest(&token, kind, Some(1), now);
            let left = |generation| cooldown.left(&token, Some(generation), now).map(|left| left.as_secs());
            assert_eq!((left(1), left(2)), (same_generation, next_generation), "{kind:?}");
            assert_eq!(cooldown.left(&token, Some(1), Time::from_secs(161)), None, "{kind:?} passes");
            cooldown.forget(&token);
            assert_eq!(left(1), None);
        }
    }

    #[test]
    fn being_out_of_sight_is_counted_from_its_beginning() {
        let (cooldown, token) = (Cooldown::default(), Token::of(&Uid::from("t")));
        let unseen = |second| cooldown.unseen(&token, Time::from_secs(second)).as_secs();
        assert_eq!((unseen(100), unseen(107), unseen(130)), (0, 7, 30));
        cooldown.seen(&token);
        assert_eq!(unseen(200), 0);
    }
}
