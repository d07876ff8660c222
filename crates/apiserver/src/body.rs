//! Response bodies: one buffer, or a stream of frames.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use serde_json::Value;

use crate::lists::Pieces;
use crate::negotiate::JSON;
use crate::status::ApiError;

/// A response body.
pub enum Body {
    /// All of it.
    Full(Option<Bytes>),
    /// One piece after the other, each made when it is sent: lists.
    Pieces(Box<Pieces>),
    /// Frames as they come: watches.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.as_ref().map_or(0, Bytes::len)),
            Self::Pieces(pieces) => pieces.fmt(f),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Body {
    /// Bytes that lie in memory until they are read: those of lists are shared
    /// with the store, those of streams are made when they are asked for.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Full(bytes) => bytes.as_ref().map_or(0, Bytes::len),
            Self::Pieces(pieces) => pieces.held(),
            Self::Stream(_) => 0,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => Poll::Ready(pieces.next().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => {
                stream.as_mut().poll_next(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Pieces(_) | Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A JSON response of these bytes.
pub fn json(code: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    typed(code, HeaderValue::from_static(JSON), bytes)
}

/// A response of these bytes in a media type.
pub fn typed(code: StatusCode, media: HeaderValue, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Full(Some(bytes.into())));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A list. Short ones are sent in one piece, whose length is known; of long
/// ones nothing is made before it is asked for.
pub fn list(mut pieces: Pieces) -> Response<Body> {
    if !pieces.is_short() {
        let mut response = json(StatusCode::OK, Bytes::new());
        *response.body_mut() = Body::Pieces(Box::new(pieces));
        return response;
    }
    let first = pieces.next().unwrap_or_default();
    match pieces.next() {
        None => json(StatusCode::OK, first),
        Some(second) => {
            let all: Vec<Bytes> = [first, second].into_iter().chain(pieces).collect();
            json(StatusCode::OK, all.concat())
        }
    }
}

/// A JSON response of a value.
pub fn value(code: StatusCode, value: &Value) -> Response<Body> {
    json(code, value.to_string())
}

/// A plain text response.
pub fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    typed(code, HeaderValue::from_static("text/plain; charset=utf-8"), text)
}

/// The response of an error.
pub fn error(error: &ApiError) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if error.is_page() {
        return text(code, format!("{error}\n"));
    }
    let mut response = value(code, &error.to_value());
    let retry = error.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// Adds a `Warning` header as `kubectl` prints it.
pub fn warn(response: &mut Response<Body>, text: &str) {
    let quoted: String = text
        .chars()
        .filter(|c| !c.is_control())
        .flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c]))
        .collect();
    if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
        response.headers_mut().append(header::WARNING, value);
    }
}
