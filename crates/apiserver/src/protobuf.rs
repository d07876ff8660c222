//! Request bodies in Kubernetes' protobuf envelope.

use serde_json::Value;

use crate::negotiate::{JSON, YAML};
use crate::status::ApiError;

/// The object in a protobuf body.
///
/// # Errors
/// 415 for kinds whose messages are not known here.
pub fn decode(_body: &[u8]) -> Result<Value, ApiError> {
    Err(ApiError::unsupported_media_type(&[JSON, YAML]))
}
