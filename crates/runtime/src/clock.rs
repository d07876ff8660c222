//! The one place that reads the machine's clock.

use windlass_model::Time;

/// Tells the time; an argument everywhere else.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Tokio { start: Time, origin: tokio::time::Instant },
}

impl Clock {
    /// The machine's wall clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// `start` plus the time that has passed for tokio since this call: virtual where tokio's time is paused.
    pub fn tokio(start: Time) -> Self {
        Self(Source::Tokio { start, origin: tokio::time::Instant::now() })
    }

    /// The time now.
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::System => wall(),
            Source::Tokio { start, origin } => start.after(origin.elapsed()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
fn wall() -> Time {
    Time(jiff::Timestamp::now().as_microsecond())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn virtual_time_passes_with_tokio() {
        let clock = Clock::tokio(Time::from_secs(100));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), Time::from_secs(105));
    }
}
