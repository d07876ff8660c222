//! The tokens of pages: where the next one begins, and at which revision.
//!
//! They look like kube-apiserver's (`storage/continue.go`), so that a token
//! says the same to both and is refused in the same words.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::json;

const VERSION: &str = "meta.k8s.io/v1";

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Revision of the list; `None` for the latest, when the one of the first
    /// page was forgotten.
    pub revision: Option<u64>,
    /// Last key of the page before, without the prefix of the collection.
    pub after: String,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Wire {
    v: String,
    rv: i64,
    start: String,
}

/// Go ignores the spare bits of the last character.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

impl Token {
    /// The text clients send back.
    pub fn encode(&self) -> String {
        let rv = self.revision.and_then(|revision| i64::try_from(revision).ok()).unwrap_or(-1);
        let text = json!(Wire { v: VERSION.to_owned(), rv, start: format!("/{}\0", self.after) }).to_string();
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Reads a token.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(text: &str) -> Result<Self, String> {
        let bytes = LENIENT
            .decode(text)
            .map_err(|error| format!("continue key is not valid: {}", base64_error(text, &error)))?;
        let wire: Wire = serde_json::from_slice(&bytes)
            .map_err(|error| format!("continue key is not valid: {}", json_error(&bytes, &error)))?;
        if wire.v != VERSION {
            return Err(format!(
                "continue key is not valid: server does not recognize this encoded version {:?}",
                wire.v
            ));
        }
        if wire.rv == 0 {
            return Err(format!(
                "continue key is not valid: incorrect encoded start resourceVersion (version {VERSION})"
            ));
        }
        if wire.start.is_empty() {
            return Err(format!("continue key is not valid: encoded start key empty (version {VERSION})"));
        }
        let start = wire.start.strip_prefix('/').unwrap_or(&wire.start);
        if start.split('/').any(|part| part == "." || part == "..") || start.contains("//") {
            return Err(format!("continue key is not valid: {}", wire.start));
        }
        let after = start.strip_suffix('\0').unwrap_or(start).to_owned();
        Ok(Self { revision: u64::try_from(wire.rv).ok(), after })
    }
}

fn base64_error(text: &str, error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
            text.len().saturating_sub(1)
        }
    };
    format!("illegal base64 data at input byte {at}")
}

/// What Go's decoder says about bytes that are not the JSON of a token.
fn json_error(bytes: &[u8], error: &serde_json::Error) -> String {
    let Some(at) = bytes.iter().position(|byte| !byte.is_ascii_whitespace()) else {
        return "unexpected end of JSON input".to_owned();
    };
    let quoted = |byte: u8| match char::from(byte) {
        '\'' => r"'\''".to_owned(),
        c if c.is_ascii_graphic() || c == ' ' => format!("'{c}'"),
        c => format!("'\\u{:04x}'", u32::from(c)),
    };
    let rest = &bytes[at..];
    for literal in ["null", "true", "false"] {
        if rest[0] != literal.as_bytes()[0] {
            continue;
        }
        for (index, expected) in literal.bytes().enumerate().skip(1) {
            match rest.get(index) {
                Some(found) if *found == expected => {}
                Some(found) => {
                    let (found, expected) = (quoted(*found), char::from(expected));
                    return format!(
                        "invalid character {found} in literal {literal} (expecting '{expected}')"
                    );
                }
                None => return "unexpected end of JSON input".to_owned(),
            }
        }
    }
    match rest[0] {
        b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' => error.to_string(),
        other => format!("invalid character {} looking for beginning of value", quoted(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_look_like_upstreams() {
        for token in [
            Token { revision: Some(264), after: "a".to_owned() },
            Token { revision: None, after: "ns/name".to_owned() },
        ] {
            assert_eq!(Token::decode(&token.encode()), Ok(token));
        }
        let upstream = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjY0LCJzdGFydCI6Ii9hXHUwMDAwIn0";
        assert_eq!(Token::decode(upstream), Ok(Token { revision: Some(264), after: "a".to_owned() }));
    }

    #[test]
    fn broken_tokens_are_refused_in_gos_words() {
        let wire = |v: &str, rv: i64, start: &str| {
            URL_SAFE_NO_PAD.encode(json!({"v": v, "rv": rv, "start": start}).to_string())
        };
        for (text, expected) in [
            ("x".to_owned(), "illegal base64 data at input byte 0"),
            ("a+b".to_owned(), "illegal base64 data at input byte 1"),
            ("garbage".to_owned(), "invalid character '\\u0081' looking for beginning of value"),
            ("bm90IGpzb24".to_owned(), "invalid character 'o' in literal null (expecting 'u')"),
            (wire("v9", 1, "/a"), "server does not recognize this encoded version \"v9\""),
            (wire(VERSION, 0, "/a"), "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
            (wire(VERSION, 1, ""), "encoded start key empty (version meta.k8s.io/v1)"),
            (wire(VERSION, 1, "/../a"), "/../a"),
        ] {
            assert_eq!(Token::decode(&text), Err(format!("continue key is not valid: {expected}")), "{text}");
        }
    }
}
