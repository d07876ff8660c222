//! The options of lists and watches: which go together, and what they ask for.
//!
//! The rules and their words are those of apimachinery's
//! `meta/internalversion/validation` and of kube-apiserver's watch cache.

use windlass_apimachinery::FieldError;

use crate::request::Options;
use crate::status::{ApiError, GroupKind};

/// `resourceVersionMatch`, after it was found valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// Absent.
    Unset,
    /// `Exact`.
    Exact,
    /// `NotOlderThan`.
    NotOlderThan,
}

const MATCH: &str = "resourceVersionMatch";
const EXACT: &str = "Exact";
const NOT_OLDER_THAN: &str = "NotOlderThan";

impl VersionMatch {
    /// Reads a match that was validated.
    pub fn of(text: &str) -> Self {
        match text {
            EXACT => Self::Exact,
            NOT_OLDER_THAN => Self::NotOlderThan,
            _ => Self::Unset,
        }
    }
}

/// Refuses options of a list that do not go together.
///
/// # Errors
/// 422 with every cause.
pub fn check_list(options: &Options) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let mut forbid = |field: &str, why: &str| errors.push(FieldError::forbidden(field, why));
    let wanted = options.version_match.as_str();
    if !wanted.is_empty() {
        if options.resource_version.is_empty() {
            forbid(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if options.token.is_some() {
            forbid(MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
        if wanted == EXACT && options.resource_version == "0" {
            forbid(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if wanted != EXACT && wanted != NOT_OLDER_THAN {
            errors.push(FieldError::not_supported(MATCH, wanted, &[EXACT, NOT_OLDER_THAN, ""]));
        }
    }
    if options.send_initial_events.is_some() {
        errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    refuse(&errors)
}

/// Refuses options of a watch that do not go together.
///
/// # Errors
/// 422 with every cause.
pub fn check_watch(options: &Options) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let wanted = options.version_match.as_str();
    if options.send_initial_events.is_some() && wanted != NOT_OLDER_THAN {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(MATCH, why));
    }
    if !wanted.is_empty() {
        if options.send_initial_events.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(MATCH, why));
        }
        if wanted != NOT_OLDER_THAN {
            errors.push(FieldError::not_supported(MATCH, wanted, &[NOT_OLDER_THAN]));
        }
        if options.token.is_some() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(MATCH, why));
        }
    }
    refuse(&errors)
}

fn refuse(errors: &[FieldError]) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(GroupKind { group: "meta.k8s.io", kind: "ListOptions" }, "", errors))
}

/// Reads a resource version; `None` when it is empty.
///
/// # Errors
/// The words of what is wrong with it.
pub fn revision(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let overflows = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let why = if overflows { "value out of range" } else { "invalid syntax" };
    // Go reads no sign here.
    let parsed = if text.starts_with('+') { None } else { text.parse().ok() };
    parsed.map(Some).ok_or_else(|| {
        format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(check: fn(&Options) -> Result<(), ApiError>, query: &str) -> usize {
        let options = Options::of(query).unwrap();
        check(&options).err().and_then(|error| error.details).map_or(0, |details| details.causes.len())
    }

    #[test]
    fn every_contradiction_is_a_cause() {
        for (query, expected) in [
            ("", 0),
            ("resourceVersion=5&resourceVersionMatch=Exact&limit=1", 0),
            ("resourceVersionMatch=Exact", 1),
            ("resourceVersionMatch=exact", 2),
            ("resourceVersionMatch=Exact&continue=x", 2),
            ("resourceVersion=0&resourceVersionMatch=Exact", 1),
            ("sendInitialEvents=false", 1),
        ] {
            assert_eq!(causes(check_list, query), expected, "{query}");
        }
        for (query, expected) in [
            ("resourceVersion=5", 0),
            ("sendInitialEvents=1&resourceVersionMatch=NotOlderThan", 0),
            ("sendInitialEvents=1", 1),
            ("sendInitialEvents=0&resourceVersionMatch=Exact", 2),
            ("resourceVersionMatch=Latest", 2),
        ] {
            assert_eq!(causes(check_watch, query), expected, "{query}");
        }
    }

    #[test]
    fn versions_are_read_as_go_reads_them() {
        assert_eq!(revision(""), Ok(None));
        assert_eq!(revision("18446744073709551615"), Ok(Some(u64::MAX)));
        for (text, why) in [
            ("x", "invalid syntax"),
            ("-1", "invalid syntax"),
            ("+1", "invalid syntax"),
            ("18446744073709551616", "value out of range"),
        ] {
            assert!(revision(text).unwrap_err().ends_with(why), "{text}");
        }
    }
}
