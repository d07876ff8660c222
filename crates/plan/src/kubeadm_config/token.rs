//! Bootstrap tokens: short-lived, and kept alive until their machine has joined. Those of pools are replaced
//! all the time: the next host of a pool may start whenever somebody scales it.

use std::time::Duration;

use windlass_model::Time;

use super::Hosts;

/// How long a bootstrap token lives without upkeep (upstream's `--bootstrap-token-ttl`).
pub const TTL: Duration = Duration::from_mins(15);

/// What to do about the token of data that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Look again after this long.
    Later(Duration),
    /// Write this expiry, then look again after [`check`].
    Extend(Time),
    /// It is gone from the workload cluster: make it again with this expiry.
    Restore(Time),
    /// Make another one and write the data anew.
    Rotate,
}

/// How often a token that is still needed is looked at: three times in its life.
pub fn check(ttl: Duration) -> Duration {
    ttl / 3
}

/// Decides by the token's expiry in the workload cluster (`None`: there is no such token).
///
/// A token is extended once less than five sixths of its life remain, so that every look but the first
/// one extends it and a plane that is down for ten minutes still finds it alive. That of a pool whose hosts
/// have all joined is not extended: many may know it by now, so that it is replaced at half of its life.
pub fn upkeep(hosts: Hosts, expires: Option<Time>, ttl: Duration, now: Time) -> Upkeep {
    let until = now.after(ttl);
    match (hosts, expires) {
        (Hosts::Machine { .. }, None) => Upkeep::Restore(until),
        (Hosts::Pool { .. }, None) => Upkeep::Rotate,
        (Hosts::Pool { complete: true }, Some(expires)) if expires.until(now) < ttl / 2 => Upkeep::Rotate,
        (Hosts::Pool { complete: true }, Some(_)) => Upkeep::Later(check(ttl)),
        (Hosts::Machine { .. } | Hosts::Pool { complete: false }, Some(expires)) => {
            if expires.until(now) < ttl * 5 / 6 { Upkeep::Extend(until) } else { Upkeep::Later(check(ttl)) }
        }
    }
}

/// Letters of kubeadm's tokens.
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// kubeadm's form of a token, `[a-z0-9]{6}.[a-z0-9]{16}`, from 22 random bytes.
///
/// A byte falls on one of 36 letters; the bias of 256 mod 36 costs the 16 secret letters less than half a
/// bit of their 82.
pub fn token(random: &[u8; 22]) -> (String, String) {
    let text: String =
        random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect();
    (text[..6].to_owned(), text[6..].to_owned())
}

/// The two parts of a written token; `None` if it does not have kubeadm's form.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let legal =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| ALPHABET.contains(&byte));
    (legal(id, 6) && legal(secret, 16)).then_some((id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Time {
        Time::from_secs(minutes * 60)
    }

    const MACHINE: Hosts = Hosts::Machine { joined: false };
    const GROWING: Hosts = Hosts::Pool { complete: false };
    const COMPLETE: Hosts = Hosts::Pool { complete: true };

    #[test]
    fn decides_by_what_remains() {
        let now = at(100);
        // Minutes that remain; nothing if the token is gone.
        let cases = [
            (MACHINE, Some(15), Upkeep::Later(Duration::from_mins(5))),
            (MACHINE, Some(13), Upkeep::Later(Duration::from_mins(5))),
            (MACHINE, Some(12), Upkeep::Extend(at(115))),
            (MACHINE, Some(-1), Upkeep::Extend(at(115))),
            (MACHINE, None, Upkeep::Restore(at(115))),
            (GROWING, Some(13), Upkeep::Later(Duration::from_mins(5))),
            (GROWING, Some(12), Upkeep::Extend(at(115))),
            (GROWING, None, Upkeep::Rotate),
            (COMPLETE, Some(8), Upkeep::Later(Duration::from_mins(5))),
            (COMPLETE, Some(7), Upkeep::Rotate),
            (COMPLETE, None, Upkeep::Rotate),
        ];
        for (hosts, remains, expected) in cases {
            let expires = remains.map(|minutes| at(100 + minutes));
            assert_eq!(upkeep(hosts, expires, TTL, now), expected, "{hosts:?} {remains:?}");
        }
    }

    /// Whatever the lifetime, and whenever the pool grows: a host that starts between two looks finds a
    /// token in its data that lives for as long as a host needs, which is at least a sixth of it.
    #[test]
    fn a_token_that_is_looked_after_never_expires() {
        for (hosts, ttl) in [
            (MACHINE, TTL),
            (MACHINE, Duration::from_hours(24)),
            (GROWING, TTL),
            (COMPLETE, TTL),
            (COMPLETE, Duration::from_mins(3)),
        ] {
            let (mut now, mut expires) = (at(0), at(0).after(ttl));
            for _ in 0..20 {
                let wait = match upkeep(hosts, Some(expires), ttl, now) {
                    Upkeep::Later(wait) => wait,
                    Upkeep::Extend(until) => {
                        expires = until;
                        check(ttl)
                    }
                    Upkeep::Rotate => {
                        expires = now.after(ttl);
                        check(ttl)
                    }
                    Upkeep::Restore(_) => panic!("it is still there"),
                };
                now = now.after(wait);
                let left = expires.until(now);
                assert!(left >= ttl / 6, "{hosts:?}, {ttl:?}: {left:?} left");
            }
        }
    }

    #[test]
    fn tokens_have_kubeadms_form() {
        let (id, secret) = token(&[255; 22]);
        let written = format!("{id}.{secret}");
        assert_eq!(parse(&written), Some((id.as_str(), secret.as_str())));
        for wrong in
            ["", "abcdef", "abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcde.f0123456789abcdef"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_ne!(token(&[1; 22]), token(&[2; 22]));
    }
}
