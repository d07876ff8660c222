//! How long each stage of a machine's boot takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use windlass_provider::Token;

/// How long the stages of one machine's boot take, chance included: rolled once, when it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// From the request until the machine runs.
    pub vm: Duration,
    /// From then until kubeadm has done its work.
    pub node: Duration,
    /// From then until its API server answers.
    pub api_server: Duration,
    /// From the node until its etcd member has started.
    pub etcd: Duration,
}

/// A value in the spec that is no duration or no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.backend.inMemory.{stage}.provisioning.{field}: `{value}` is not {expected}")]
pub struct DelayError {
    stage: &'static str,
    field: &'static str,
    value: String,
    expected: &'static str,
}

impl Delays {
    /// The delays of the machine of this token: `startupDuration`, and of `startupJitter` times it a share
    /// that follows from the token (upstream's meaning of the two fields).
    ///
    /// # Errors
    /// Names the field that cannot be read.
    pub fn of(spec: &Value, token: &Token) -> Result<Self, DelayError> {
        Ok(Self {
            vm: delay(spec, "vm", token)?,
            node: delay(spec, "node", token)?,
            api_server: delay(spec, "apiServer", token)?,
            etcd: delay(spec, "etcd", token)?,
        })
    }
}

fn delay(spec: &Value, stage: &'static str, token: &Token) -> Result<Duration, DelayError> {
    let provisioning = &spec[stage]["provisioning"];
    let text = |field: &'static str| provisioning[field].as_str().filter(|text| !text.is_empty());
    let wrong = |field, value: &str, expected| DelayError { stage, field, value: value.to_owned(), expected };
    let Some(startup) = text("startupDuration") else { return Ok(Duration::ZERO) };
    let startup = go_duration(startup)
        .ok_or_else(|| wrong("startupDuration", startup, "a duration such as 2s or 1m30s"))?;
    let Some(jitter) = text("startupJitter") else { return Ok(startup) };
    let factor: f64 = jitter
        .parse()
        .ok()
        .filter(|factor| (0.0..=1000.0).contains(factor))
        .ok_or_else(|| wrong("startupJitter", jitter, "a factor such as 0.2"))?;
    Ok(startup + startup.mul_f64(factor * share(token, stage)))
}

/// A number in `0..1` that follows from token and stage.
fn share(token: &Token, stage: &str) -> f64 {
    let digest = Sha256::new().chain_update(token.as_str()).chain_update([0]).chain_update(stage).finalize();
    let word = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    f64::from(word) / (f64::from(u32::MAX) + 1.0)
}

/// A duration as Go writes it: `1h2m3.5s`, `500ms`, `0`; no sign.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let behind = &rest[digits..];
        let unit = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let seconds = match &behind[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &behind[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_model::Uid;

    use super::*;

    #[test]
    fn go_durations() {
        for (text, millis) in
            [("2s", 2000), ("1m30s", 90_000), ("500ms", 500), ("1h0.5s", 3_600_500), ("0", 0), ("0s", 0)]
        {
            assert_eq!(go_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "2", "s", "-1s", "2 s", "2d", "1e400s"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[test]
    fn jitter_adds_a_share_that_follows_from_the_token() {
        let spec = json!({"vm": {"provisioning": {"startupDuration": "10s", "startupJitter": "0.5"}}});
        let delays = |token: &str| Delays::of(&spec, &Token::of(&Uid::from(token))).unwrap();
        assert_eq!(delays("a"), delays("a"));
        let (least, most) = (Duration::from_secs(10), Duration::from_secs(15));
        let all: Vec<_> = (0..50).map(|n| delays(&format!("t{n}")).vm).collect();
        assert!(all.iter().all(|vm| (least..most).contains(vm)), "{all:?}");
        let (first, last) = (*all.iter().min().unwrap(), *all.iter().max().unwrap());
        assert!(last > first + Duration::from_secs(3), "{all:?}");
        assert_eq!(delays("a").etcd, Duration::ZERO);
    }

    #[test]
    fn what_is_no_duration_is_named() {
        for (spec, says) in [
            (
                json!({"node": {"provisioning": {"startupDuration": "soon"}}}),
                "inMemory.node.provisioning.startupDuration: `soon`",
            ),
            (
                json!({"etcd": {"provisioning": {"startupDuration": "1s", "startupJitter": "-1"}}}),
                "etcd.provisioning.startupJitter: `-1`",
            ),
        ] {
            let error = Delays::of(&spec, &Token::of(&Uid::from("a"))).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
