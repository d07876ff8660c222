//! [`Time`] as Kubernetes writes it, and back.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time as MetaTime};
use windlass_model::Time;

/// A `metav1.Time`: whole seconds, as Kubernetes stores them.
pub fn meta(time: Time) -> MetaTime {
    MetaTime(Timestamp::from_second(time.as_secs()).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// A `metav1.MicroTime`.
pub fn micro(time: Time) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(time.0).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// From a `metav1.Time`.
pub fn from_meta(time: &MetaTime) -> Time {
    Time(time.0.as_microsecond())
}

/// From a `metav1.MicroTime`.
pub fn from_micro(time: &MicroTime) -> Time {
    Time(time.0.as_microsecond())
}

/// From RFC 3339 text, as it stands in objects of unknown kind.
pub fn parse(text: &str) -> Option<Time> {
    text.parse::<Timestamp>().ok().map(|stamp| Time(stamp.as_microsecond()))
}

/// RFC 3339 in whole seconds: `2026-01-02T03:04:05Z`.
pub fn format(time: Time) -> String {
    Timestamp::from_second(time.as_secs()).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let time = Time::from_secs(1_767_322_800);
        assert_eq!(from_meta(&meta(time)), time);
        assert_eq!(from_micro(&micro(Time(time.0 + 7))), Time(time.0 + 7));
        assert_eq!(format(time), "2026-01-02T03:00:00Z");
        assert_eq!(parse(&format(time)), Some(time));
        assert_eq!(parse("yesterday"), None);
    }
}
