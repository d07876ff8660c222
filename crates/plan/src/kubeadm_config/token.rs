//! Bootstrap tokens: short-lived, and kept alive until their machine has joined.

use std::time::Duration;

use windlass_model::Time;

/// How long a bootstrap token lives without upkeep (upstream's `--bootstrap-token-ttl`).
pub const TTL: Duration = Duration::from_mins(15);

/// What to do about the token of data that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Look again after this long.
    Later(Duration),
    /// Write this expiry, then look again after [`CHECK`].
    Extend(Time),
    /// It is gone from the workload cluster: make it again with this expiry.
    Restore(Time),
}

/// How often a token that is still needed is looked at: three times in its life.
pub const CHECK: Duration = Duration::from_mins(5);

/// Decides by the token's expiry in the workload cluster (`None`: there is no such token).
///
/// A token is extended once less than five sixths of its life remain, so that every look but the first
/// one extends it and a plane that is down for ten minutes still finds it alive.
pub fn upkeep(expires: Option<Time>, now: Time) -> Upkeep {
    match expires {
        None => Upkeep::Restore(now.after(TTL)),
        Some(expires) if expires.until(now) < TTL * 5 / 6 => Upkeep::Extend(now.after(TTL)),
        Some(_) => Upkeep::Later(CHECK),
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

    #[test]
    fn a_token_that_is_looked_after_never_expires() {
        let (mut now, mut expires) = (at(0), at(15));
        for _ in 0..20 {
            let wait = match upkeep(Some(expires), now) {
                Upkeep::Later(wait) => wait,
                Upkeep::Extend(until) => {
                    expires = until;
                    CHECK
                }
                Upkeep::Restore(_) => panic!("it is still there"),
            };
            now = now.after(wait);
            assert!(
                expires.until(now) >= Duration::from_mins(5),
                "{} min left",
                expires.until(now).as_secs() / 60
            );
        }
        assert_eq!(upkeep(None, at(3)), Upkeep::Restore(at(18)));
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
