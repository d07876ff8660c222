//! OpenAPI documents.

use http::{HeaderMap, Response};

use crate::body::Body;
use crate::kinds::KindSet;
use crate::status::ApiError;

/// OpenAPI documents of a set of kinds, built at first use.
#[derive(Debug, Default)]
pub struct OpenApi {}

impl OpenApi {
    /// `/openapi/v2`.
    pub fn v2(&self, _headers: &HeaderMap, _version: &str) -> Result<Response<Body>, ApiError> {
        Err(ApiError::no_such_path())
    }

    /// `/openapi/v3`.
    pub fn index(&self, _kinds: &KindSet) -> Result<Response<Body>, ApiError> {
        Err(ApiError::no_such_path())
    }

    /// `/openapi/v3/<path>`.
    pub fn document(&self, _kinds: &KindSet, _path: &str, _query: &str) -> Result<Response<Body>, ApiError> {
        Err(ApiError::no_such_path())
    }
}
