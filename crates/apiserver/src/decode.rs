//! Request bodies: bytes to objects, strictly.

use http::HeaderMap;
use serde_json::Value;
use windlass_apimachinery::meta;

use windlass_apimachinery::json as strict;

use crate::call::Call;
use crate::negotiate::{BodyFormat, body_format};
use crate::protobuf;
use crate::request::FieldValidation;
use crate::status::ApiError;

/// Longest request body.
pub const BODY_LIMIT: usize = 3 << 20;

/// A body and the keys it holds twice.
struct Decoded {
    value: Value,
    duplicates: Vec<String>,
}

fn json(bytes: &[u8]) -> Result<Decoded, ApiError> {
    let decoded = strict::decode(bytes)
        .map_err(|error| ApiError::bad_request(format!("error decoding the body: {error}")))?;
    Ok(Decoded { value: decoded.value, duplicates: decoded.duplicates })
}

/// YAML, of which JSON is a part.
///
/// # Errors
/// 400 when it is neither.
pub fn yaml(bytes: &[u8]) -> Result<Value, ApiError> {
    let bad = |error: &dyn std::fmt::Display| {
        ApiError::bad_request(format!("error decoding the body as YAML: {error}"))
    };
    let text = std::str::from_utf8(bytes).map_err(|error| bad(&error))?;
    serde_saphyr::from_str(text).map_err(|error| bad(&error))
}

/// The body of a delete, or null when there is none.
///
/// # Errors
/// 400 when it cannot be read, 415 for unknown media types.
pub fn options(headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    match body_format(headers)? {
        BodyFormat::Json => Ok(json(body)?.value),
        BodyFormat::Yaml => yaml(body),
        BodyFormat::Protobuf => protobuf::decode(body),
    }
}

impl Call<'_> {
    /// The object in a body, without fields its kind does not know.
    ///
    /// # Errors
    /// 400 when the body cannot be read or, in strict mode, says too much.
    pub fn decode(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
        let decoded = match body_format(headers)? {
            BodyFormat::Json => json(body)?,
            BodyFormat::Yaml => Decoded { value: yaml(body)?, duplicates: Vec::new() },
            BodyFormat::Protobuf => Decoded { value: protobuf::decode(body)?, duplicates: Vec::new() },
        };
        let mut object = decoded.value;
        self.known_fields(&mut object, &decoded.duplicates)?;
        Ok(object)
    }

    /// The value of a patch.
    ///
    /// # Errors
    /// 400 when it cannot be read.
    pub fn decode_patch(&self, body: &[u8]) -> Result<Value, ApiError> {
        let decoded = json(body)?;
        self.report(decoded.duplicates.iter().map(|path| duplicate(path)).collect())?;
        Ok(decoded.value)
    }

    /// Drops unknown fields; refuses or reports them as the client asked.
    ///
    /// # Errors
    /// 400 in strict mode.
    pub fn known_fields(&self, object: &mut Value, duplicates: &[String]) -> Result<(), ApiError> {
        let unknown = self.clean(object)?;
        let findings = unknown
            .iter()
            .map(|path| format!("unknown field \"{path}\""))
            .chain(duplicates.iter().map(|path| duplicate(path)))
            .collect();
        self.report(findings)
    }

    /// Drops unknown fields; returns their paths.
    ///
    /// # Errors
    /// 400 when the metadata is not of its form.
    pub fn clean(&self, object: &mut Value) -> Result<Vec<String>, ApiError> {
        if self.kind.builtin {
            self.version().schema().settle(object);
        }
        let mut unknown = meta::coerce(object).map_err(|error| ApiError::bad_request(error.to_string()))?;
        unknown.extend(self.version().schema().prune(object));
        self.version().typed(object).map_err(|error| self.undecodable(&error))?;
        Ok(unknown)
    }

    pub(crate) fn undecodable(&self, error: &str) -> ApiError {
        let (kind, version) = (&self.kind.kind, &self.version().name);
        ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
    }

    fn report(&self, findings: Vec<String>) -> Result<(), ApiError> {
        if findings.is_empty() {
            return Ok(());
        }
        match self.options.field_validation {
            FieldValidation::Ignore => Ok(()),
            FieldValidation::Warn => {
                for finding in findings {
                    self.warn(finding);
                }
                Ok(())
            }
            FieldValidation::Strict => {
                let (kind, list) = (&self.kind.kind, findings.join(", "));
                let text = format!(
                    "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {list}",
                    self.version().name
                );
                Err(ApiError::bad_request(text))
            }
        }
    }
}

fn duplicate(path: &str) -> String {
    format!("duplicate field \"{path}\"")
}
