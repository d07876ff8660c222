//! How a pass over an object ends when nothing failed.

use std::time::Duration;

/// What should happen to the object next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing until an event wakes the object (or the safety resync, hours later).
    #[default]
    Rest,
    /// Another pass after this long, or at the next event.
    Again(Duration),
    /// Everything the object held is gone: the runtime removes the controller's finalizer.
    Released,
}

impl Outcome {
    /// Both parts of a pass together: the sooner timer wins, and an object is released only when both say so.
    #[must_use]
    pub fn soonest(self, other: Self) -> Self {
        match (self, other) {
            (Self::Again(one), Self::Again(two)) => Self::Again(one.min(two)),
            (Self::Again(after), Self::Rest | Self::Released)
            | (Self::Rest | Self::Released, Self::Again(after)) => Self::Again(after),
            (Self::Released, Self::Released) => Self::Released,
            (Self::Rest, Self::Rest | Self::Released) | (Self::Released, Self::Rest) => Self::Rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soonest_wins_and_release_needs_both() {
        let (rest, released) = (Outcome::Rest, Outcome::Released);
        let again = |secs| Outcome::Again(Duration::from_secs(secs));
        for (one, other, both) in [
            (rest, rest, rest),
            (rest, again(5), again(5)),
            (again(5), again(3), again(3)),
            (released, released, released),
            (released, rest, rest),
            (released, again(1), again(1)),
        ] {
            assert_eq!(one.soonest(other), both, "{one:?} + {other:?}");
            assert_eq!(other.soonest(one), both, "{other:?} + {one:?}");
        }
    }
}
