//! Text that must not be printed.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A string of an API object that may be a credential: it travels in JSON like any string, but `Debug`
/// shows only that it is there, and there is no `Display`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sensitive(String);

impl Sensitive {
    /// The text itself. The caller sees to it that it ends in no log, error or condition.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True if there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Sensitive {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Sensitive {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_text_and_json_keeps_it() {
        let token = Sensitive::from("abcdef.0123456789abcdef");
        assert_eq!(format!("{token:?}"), "[redacted]");
        assert_eq!(serde_json::to_string(&token).unwrap(), r#""abcdef.0123456789abcdef""#);
    }
}
