//! How long requests over sockets may take, and how much of their bodies may
//! be in memory at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::json;

use crate::body::{self, Body};
use crate::decode::BODY_LIMIT;
use crate::flow::Class;
use crate::status::ApiError;

/// How long a request may take (kube-apiserver's `--request-timeout`), the
/// reading of its body included.
const REQUEST: Duration = Duration::from_mins(1);
/// How long a write may take (`requestTimeoutUpperBound` of upstream's
/// handlers).
const WRITE: Duration = Duration::from_secs(34);
/// Memory for the bodies of requests under way.
const BODIES: usize = 128 << 20;

/// Largest object that etcd takes; custom ones are JSON there as here.
const OBJECT: usize = 1536 << 10;
/// The same for compiled-in kinds, which are shorter in etcd: protobuf escapes
/// nothing.
const BUILTIN_OBJECT: usize = 2 * OBJECT;

/// Refuses to store what is too large, in the words of etcd. What was that
/// large `before` may become smaller.
///
/// # Errors
/// 500, as upstream.
pub fn check_stored(builtin: bool, bytes: usize, before: usize) -> Result<(), ApiError> {
    let most = if builtin { BUILTIN_OBJECT } else { OBJECT };
    if bytes <= most.max(before) {
        return Ok(());
    }
    Err(ApiError::new(500, "", "etcdserver: request is too large"))
}

/// The memory that request bodies take, by user.
#[derive(Debug, Default)]
pub struct Bodies(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    users: HashMap<Arc<str>, usize>,
}

impl Bodies {
    /// Reads the body of a request. It takes room as it comes: what is only
    /// announced takes none. A user gets half of what the others have left, so
    /// that there is always room for one more.
    ///
    /// # Errors
    /// 413 for bodies that are too long, 400 for those that break off, 429 when
    /// the user has too much under way.
    pub async fn read<B>(
        &self,
        user: &str,
        request: Request<B>,
    ) -> Result<(Request<Bytes>, Room<'_>), ApiError>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        let mut room = Room { bodies: self, user: Arc::from(user), bytes: 0 };
        if !body.is_end_stream() && length(&parts.headers).is_some_and(|length| length > BODY_LIMIT) {
            return Err(ApiError::too_large(BODY_LIMIT));
        }
        let mut body = std::pin::pin!(body);
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.as_mut().frame().await {
            let frame = frame.map_err(|_| ApiError::bad_request("the body broke off"))?;
            let Ok(piece) = frame.into_data() else { continue };
            room.grow(piece.len())?;
            if room.bytes > BODY_LIMIT {
                return Err(ApiError::too_large(BODY_LIMIT));
            }
            if first.is_empty() {
                first = piece;
            } else {
                if whole.is_empty() {
                    whole.extend_from_slice(&first);
                }
                whole.extend_from_slice(&piece);
            }
        }
        let body = if whole.is_empty() { first } else { whole.freeze() };
        Ok((Request::from_parts(parts, body), room))
    }
}

/// The room of one body; it is given up when dropped.
#[derive(Debug)]
pub struct Room<'a> {
    bodies: &'a Bodies,
    user: Arc<str>,
    bytes: usize,
}

impl Room<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        if bytes == 0 {
            return Ok(());
        }
        let mut held = self.bodies.0.lock();
        let own = held.users.get(&self.user).copied().unwrap_or(0);
        let others = held.bytes - own;
        if own + bytes > (BODIES - others) / 2 {
            return Err(ApiError::too_many_requests());
        }
        held.bytes += bytes;
        *held.users.entry(Arc::clone(&self.user)).or_default() += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.bodies.0.lock();
        held.bytes -= self.bytes;
        if let Some(own) = held.users.get_mut(&self.user) {
            *own -= self.bytes;
            if *own == 0 {
                held.users.remove(&self.user);
            }
        }
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
