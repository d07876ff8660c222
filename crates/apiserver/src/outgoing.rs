//! Answers on their way out of a socket, and clients that do not take them.
//!
//! An answer lies in memory until its client has read it. HTTP/2 makes it easy
//! not to: a client gives no window, answers pings and stays. So a piece of an
//! answer that nobody takes ends its stream after a while, and a client of
//! HTTP/1.1 its connection: a watch goes on where it was with its next request.
//! Of the long answers that are not made as they are read, a user may leave so
//! much unread; then it is turned away until it has read some.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{AbortHandle, AbortRegistration, Abortable};
use http::Response;
use http_body::{Frame, SizeHint};
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::body::Body;

/// How long a client may leave what it asked for, where the server is told
/// nothing else.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// What is handed to a connection at a time.
const PIECE: usize = 64 << 10;
/// Shorter answers are handed over whole and are not looked after.
const SHORT: usize = 16 << 10;
/// What clients of one user may leave unread of answers that are in memory as
/// a whole.
const SHARE: usize = 64 << 20;
/// How many requests a connection may give up before their answers, beyond
/// those whose answers it waits for.
const GIVEN_UP: usize = 512;

tokio::task_local! {
    /// The stream of HTTP/2 that a task works for.
    static STREAM: Arc<Taking>;
}

/// Whether somebody takes the answer of a stream.
#[derive(Debug)]
pub struct Taking {
    /// Ends the stream.
    end: AbortHandle,
    /// Since when a piece lies there.
    since: Mutex<Option<Instant>>,
}

impl Taking {
    fn new() -> (Arc<Self>, AbortRegistration) {
        let (end, registration) = AbortHandle::new_pair();
        (Arc::new(Self { end, since: Mutex::default() }), registration)
    }

    fn is_overdue(&self, patience: Duration) -> bool {
        self.since.lock().is_some_and(|since| since.elapsed() >= patience)
    }
}

/// The streams of one connection.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    /// The connection itself, where it is one stream: HTTP/1.1.
    whole: Arc<Taking>,
    /// Streams with answers that are looked after.
    open: Mutex<Vec<Weak<Taking>>>,
    /// Requests given up before their answers, less those answered since.
    given_up: AtomicUsize,
    enough: CancellationToken,
}

impl Streams {
    /// A connection without streams.
    pub fn new() -> Self {
        Self(Arc::new(Connection {
            whole: Taking::new().0,
            open: Mutex::default(),
            given_up: AtomicUsize::new(0),
            enough: CancellationToken::new(),
        }))
    }

    /// Ends streams whose answers nobody takes; returns when it is for the
    /// whole connection to end.
    pub async fn supervise(&self, patience: Duration) {
        let mut look = tokio::time::interval(patience / 4);
        loop {
            tokio::select! {
                () = self.0.enough.cancelled() => {
                    tracing::debug!("a client gives up its requests without end: its connection is closed");
                    return;
                }
                _ = look.tick() => {}
            }
            if self.0.whole.is_overdue(patience) {
                return;
            }
            self.0.open.lock().retain(|stream| {
                let Some(stream) = stream.upgrade() else { return false };
                if stream.is_overdue(patience) {
                    stream.end.abort();
                }
                true
            });
        }
    }

    /// Counts a request until its answer is there.
    pub fn asked(&self) -> Asked {
        Asked { connection: Arc::clone(&self.0), answered: false }
    }

    /// The answer of the stream that this task works for.
    pub fn answer(&self, mut response: Response<Body>) -> Response<Outgoing> {
        let lease = response.extensions_mut().remove::<Arc<Lease>>();
        let (parts, body) = response.into_parts();
        let (body, rest) = match body {
            Body::Full(Some(bytes)) if bytes.len() > SHORT => (Body::Full(None), bytes),
            body => (body, Bytes::new()),
        };
        let taking = match &body {
            Body::Full(_) if rest.is_empty() => None,
            Body::Full(_) | Body::Pieces(_) | Body::Stream(_) => Some(self.look_after()),
        };
        Response::from_parts(parts, Outgoing { body, rest, taking, _lease: lease })
    }

    fn look_after(&self) -> Arc<Taking> {
        let Ok(stream) = STREAM.try_with(Arc::clone) else { return Arc::clone(&self.0.whole) };
        let mut open = self.0.open.lock();
        if open.len() == open.capacity() {
            open.retain(|stream| stream.strong_count() > 0);
        }
        open.push(Arc::downgrade(&stream));
        stream
    }
}

/// Runs the streams of HTTP/2, each so that it can be ended from outside.
impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        let (taking, registration) = Taking::new();
        let work = Abortable::new(STREAM.scope(taking, work), registration);
        TokioExecutor::new().execute(async move {
            let _ended_early = work.await.is_err();
        });
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
pub struct Asked {
    connection: Arc<Connection>,
    answered: bool,
}

impl Asked {
    /// The answer is there.
    pub fn answered(mut self) {
        self.answered = true;
        let less = |count: usize| count.checked_sub(1);
        let _ = self.connection.given_up.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.answered && self.connection.given_up.fetch_add(1, Ordering::Relaxed) >= GIVEN_UP {
            self.connection.enough.cancel();
        }
    }
}

/// A body that notes when it is taken.
#[derive(Debug)]
pub struct Outgoing {
    body: Body,
    /// What is left of a long body that was there as a whole.
    rest: Bytes,
    taking: Option<Arc<Taking>>,
    _lease: Option<Arc<Lease>>,
}

impl Outgoing {
    /// What goes next. The last byte of a long body goes by itself: nobody
    /// hears of what is handed over last, whether it was taken or not.
    fn piece(&mut self) -> Bytes {
        let last = matches!(self.body, Body::Full(None)) && self.taking.is_some();
        let most = if last { self.rest.len().saturating_sub(1).max(1) } else { self.rest.len() };
        self.rest.split_to(PIECE.min(most).min(self.rest.len()))
    }

    /// Notes since when a piece lies there.
    fn note(&self, since: Option<Instant>) {
        if let Some(taking) = &self.taking {
            *taking.since.lock() = since;
        }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => {
                    self.note(None);
                    return other;
                }
            }
        }
        let piece = self.piece();
        self.note(Some(Instant::now()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() {
            self.body.size_hint()
        } else {
            SizeHint::with_exact(self.rest.len() as u64)
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.note(None);
    }
}

/// How much of the long answers in memory whose users have not read yet.
#[derive(Debug, Default)]
pub struct Unread {
    total: AtomicUsize,
    users: Mutex<HashMap<Arc<str>, usize>>,
}

impl Unread {
    /// Whether a user has left so much unread that it gets nothing more.
    pub fn is_enough(&self, user: &str) -> bool {
        self.total.load(Ordering::Relaxed) >= SHARE
            && self.users.lock().get(user).is_some_and(|bytes| *bytes >= SHARE)
    }

    /// Counts an answer for its user, until it is read.
    pub fn count(self: &Arc<Self>, user: &str, response: &mut Response<Body>) {
        let bytes = response.body().held();
        if bytes <= PIECE {
            return;
        }
        let user: Arc<str> = Arc::from(user);
        self.total.fetch_add(bytes, Ordering::Relaxed);
        *self.users.lock().entry(Arc::clone(&user)).or_default() += bytes;
        let lease = Lease { unread: Arc::clone(self), user, bytes };
        response.extensions_mut().insert(Arc::new(lease));
    }
}

/// The memory of an answer.
#[derive(Debug)]
pub struct Lease {
    unread: Arc<Unread>,
    user: Arc<str>,
    bytes: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.unread.total.fetch_sub(self.bytes, Ordering::Relaxed);
        let mut users = self.unread.users.lock();
        if let Some(bytes) = users.get_mut(&self.user) {
            *bytes -= self.bytes;
            if *bytes == 0 {
                users.remove(&self.user);
            }
        }
    }
}
