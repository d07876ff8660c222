//! How long requests over sockets may take, and how much of their bodies may
//! be in memory at a time.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::body::{self, Body};
use crate::decode::BODY_LIMIT;
use crate::flow::Class;
use crate::service::collect;
use crate::status::ApiError;

/// How long a request may take (kube-apiserver's `--request-timeout`), the
/// reading of its body included.
const REQUEST: Duration = Duration::from_mins(1);
/// How long a write may take (`requestTimeoutUpperBound` of upstream's
/// handlers).
const WRITE: Duration = Duration::from_secs(34);
/// Memory for the bodies of requests under way.
const BODIES: usize = 128 << 20;
/// Bodies are counted in pages.
const PAGE: usize = 4 << 10;

/// The memory that request bodies take.
#[derive(Debug)]
pub struct Bodies(Semaphore);

impl Default for Bodies {
    fn default() -> Self {
        Self(Semaphore::new(BODIES / PAGE))
    }
}

impl Bodies {
    /// Reads the body of a request when there is room for it. A body of unknown
    /// length takes room for the longest allowed.
    ///
    /// # Errors
    /// 413 for bodies that are too long, 400 for those that break off.
    pub async fn read<B>(
        &self,
        request: Request<B>,
    ) -> Result<(Request<Bytes>, Option<SemaphorePermit<'_>>), ApiError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let length = if request.body().is_end_stream() { Some(0) } else { length(request.headers()) };
        if length.is_some_and(|length| length > BODY_LIMIT) {
            return Err(ApiError::too_large(BODY_LIMIT));
        }
        let pages = length.unwrap_or(BODY_LIMIT).div_ceil(PAGE);
        let room = match u32::try_from(pages) {
            Ok(pages) if pages > 0 => self.0.acquire_many(pages).await.ok(),
            _ => None,
        };
        Ok((collect(request).await?, room))
    }
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How long a request may take: what its `timeout` asks for, but no longer than
/// the server allows; `None` for streams that last.
///
/// # Errors
/// 400 when `timeout` is no duration.
pub fn allowed_time(class: Class, query: &str) -> Result<Option<Duration>, ApiError> {
    let most = match class {
        Class::Endless => return Ok(None),
        Class::Write => WRITE,
        Class::List | Class::Read => REQUEST,
    };
    let Some(asked) =
        query.split('&').find_map(|pair| pair.strip_prefix("timeout=")).filter(|text| !text.is_empty())
    else {
        return Ok(Some(most));
    };
    let asked = crate::request::percent_decode(asked, true).unwrap_or_else(|| asked.to_owned());
    let Some(seconds) = go_duration(&asked) else {
        let why = format!("invalid timeout specified in the request URL - time: invalid duration {asked:?}");
        return Err(ApiError::bad_request(why));
    };
    let asked = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Ok(Some(if asked.is_zero() { most } else { asked.min(most) }))
}

/// Seconds of a duration as Go writes it: `1m30s`, `-5s`, `1.5h`, `0`.
fn go_duration(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match rest.get(..end)? {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number * unit;
        rest = rest.get(end..)?;
    }
    Some(sign * seconds)
}

/// The answer to a request that took too long: a Status without its type, as
/// plain text, as upstream's filter writes it.
pub fn timed_out() -> Response<Body> {
    let status = json!({
        "metadata": {}, "status": "Failure", "reason": "Timeout", "details": {}, "code": 504,
        "message": "Timeout: request did not complete within the allotted timeout",
    });
    body::text(StatusCode::GATEWAY_TIMEOUT, status.to_string())
}

/// The answer to one request too many.
pub fn too_many() -> Response<Body> {
    let mut response =
        body::text(StatusCode::TOO_MANY_REQUESTS, "Too many requests, please try again later.\n");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_ask_for_less_time() {
        for (class, query, expected) in [
            (Class::Read, "", "Ok(Some(60s))"),
            (Class::Write, "dryRun=All", "Ok(Some(34s))"),
            (Class::Write, "timeout=10s", "Ok(Some(10s))"),
            (Class::Read, "timeout=1m30s", "Ok(Some(60s))"),
            (Class::Read, "timeout=500ms&x=y", "Ok(Some(500ms))"),
            (Class::Read, "timeout=0", "Ok(Some(60s))"),
            (Class::Read, "timeout=-5s", "Ok(Some(60s))"),
            (Class::Endless, "timeout=abc", "Ok(None)"),
            (Class::Read, "timeout=abc", "400"),
            (Class::Read, "timeout=5", "400"),
        ] {
            let found = match allowed_time(class, query) {
                Err(error) => error.code.to_string(),
                ok => format!("{:?}", ok.map_err(|error| error.code)),
            };
            assert_eq!(found, expected, "{query}");
        }
    }
}
