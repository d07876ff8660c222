//! Kubernetes versions.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A Kubernetes version, `v` + semantic version.
///
/// Ordering follows semver §11: pre-releases come before their release, and build metadata does not
/// order (Cluster API still treats versions that differ in it as *different*, which `==` does here).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// `1`.
    pub major: u64,
    /// The minor that the skew rules count.
    pub minor: u64,
    /// Patch release.
    pub patch: u64,
    /// Pre-release identifiers without the dash; empty for a release.
    pub pre: String,
    /// Build metadata without the plus; may be empty.
    pub build: String,
}

/// Why a text is no version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseVersionError(String);

impl fmt::Display for ParseVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a version of the form v1.35.0", self.0)
    }
}

impl std::error::Error for ParseVersionError {}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseVersionError(text.to_owned()))
    }
}

/// Strict semver, the leading `v` optional.
fn parse(text: &str) -> Option<Version> {
    let rest = text.strip_prefix('v').unwrap_or(text);
    let (rest, build) = match rest.split_once('+') {
        Some((rest, build)) => (rest, identifiers(build, false)?),
        None => (rest, String::new()),
    };
    let (core, pre) = match rest.split_once('-') {
        Some((core, pre)) => (core, identifiers(pre, true)?),
        None => (rest, String::new()),
    };
    let mut numbers = core.split('.').map(number);
    let version =
        Version { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()??, pre, build };
    numbers.next().is_none().then_some(version)
}

/// A number without leading zeros.
fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok())?
}

/// Dot-separated identifiers; `strict` forbids leading zeros in numeric ones (pre-releases).
fn identifiers(text: &str, strict: bool) -> Option<String> {
    let legal = |part: &str| {
        let word = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let numeric = part.bytes().all(|byte| byte.is_ascii_digit());
        word && !(strict && numeric && part.len() > 1 && part.starts_with('0'))
    };
    text.split('.').all(legal).then(|| text.to_owned())
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

impl PartialOrd for Version {
    /// `None` for versions that differ in build metadata only: different, but neither is newer.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let core = |v: &Self| (v.major, v.minor, v.patch);
        let order = core(self).cmp(&core(other)).then_with(|| compare_pre(&self.pre, &other.pre));
        (order != Ordering::Equal || self.build == other.build).then_some(order)
    }
}

/// semver §11.3–11.4.
fn compare_pre(one: &str, other: &str) -> Ordering {
    match (one.is_empty(), other.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (one.split('.'), other.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for text in ["v1.35.0", "v1.35.0-rc.1", "v1.35.4+windlass.1", "v1.36.0-alpha.0+x"] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
        for text in ["", "v1", "1.35", "v1.35.01", "v1.35.0-", "v1.35.0-01", "v1.35.0.1", "latest", "v1.35.x"]
        {
            assert!(text.parse::<Version>().is_err(), "{text} parsed");
        }
    }

    #[test]
    fn orders_as_semver() {
        let sorted =
            ["v1.34.9", "v1.35.0-alpha.1", "v1.35.0-alpha.beta", "v1.35.0-rc.2", "v1.35.0-rc.10", "v1.35.0"];
        for pair in sorted.windows(2) {
            let (a, b): (Version, Version) = (pair[0].parse().unwrap(), pair[1].parse().unwrap());
            assert!(a < b, "{a} < {b}");
        }
        let (a, b): (Version, Version) = ("v1.35.0+a".parse().unwrap(), "v1.35.0+b".parse().unwrap());
        assert_eq!(a.partial_cmp(&b), None);
    }
}
