//! YAML as Kubernetes reads it: `y` and `no` are texts.

use anyhow::Result;
use serde_json::Value;

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

/// One document.
///
/// # Errors
/// When it is not YAML.
pub fn one(text: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str_with_options(text, options())?)
}

/// All documents.
///
/// # Errors
/// When one is not YAML.
pub fn all(text: &str) -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_multiple_with_options(text, options())?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn short_words_are_texts() {
        assert_eq!(one("{a: y, b: no, c: true}").unwrap(), json!({"a": "y", "b": "no", "c": true}));
        assert_eq!(all("a: 1\n---\nb: on\n").unwrap(), [json!({"a": 1}), json!({"b": "on"})]);
    }
}
