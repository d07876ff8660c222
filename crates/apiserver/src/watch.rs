//! Watches: the initial state if asked for, then every change, bookmarks in
//! between, one line an event.
//!
//! The store keeps no buffer per watch: a slow client holds a position in the
//! history, and falls off its end instead of filling memory. Its stream then
//! ends, as kube-apiserver ends those it cannot keep up with: the client
//! watches again from where it was, and is told to list if that is too old.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep_until};
use windlass_store::{Entry, Event, ReadError, Watch, WatchEnd};

use crate::call::Call;
use crate::conversion::Conversion;
use crate::fanout::Shared;
use crate::listing;
use crate::render::{Change, Renderer};
use crate::select::Selection;
use crate::status::ApiError;

/// Time between bookmarks.
const BOOKMARKS: Duration = Duration::from_mins(1);
/// How long before its end a watch sends its last bookmark.
const FAREWELL: Duration = Duration::from_secs(2);
/// Shortest time a watch without a timeout of its own stays open.
const TIMEOUT_SECONDS: u64 = 1800;
/// Events that are ready at once travel together, up to about this size.
const TOGETHER: usize = 32 * 1024;

/// How a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// With the present state.
    State {
        /// The state must have this revision.
        at_least: u64,
        /// Whether a bookmark marks the end of the state.
        mark: bool,
    },
    /// With the first change after a revision.
    After(u64),
    /// With the next change.
    Now,
}

/// What a watch sends before it follows the changes.
#[derive(Default)]
struct Initial {
    /// The objects of the state, rendered when they are sent: a thousand
    /// watches that begin together share them.
    entries: std::vec::IntoIter<Arc<Entry>>,
    /// Revision of the bookmark after them.
    mark: Option<u64>,
}

/// An open watch.
struct Open {
    renderer: Renderer,
    shared: Shared,
    selection: Selection,
    watch: Watch,
    initial: Initial,
    /// Whether nothing was sent yet: tables describe their columns once.
    first: bool,
    bookmarks: bool,
    /// When the next bookmark is due.
    bookmark: Pin<Box<Sleep>>,
    deadline: Instant,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    conversion: Option<Conversion>,
    closed: bool,
}

impl Call<'_> {
    /// Opens a watch.
    ///
    /// # Errors
    /// 400 and 422 for options that do not go together. Everything later is an
    /// `ERROR` event on the stream.
    pub async fn watch(
        &self,
        renderer: Renderer,
    ) -> Result<impl Stream<Item = Bytes> + Send + 'static + use<>, ApiError> {
        listing::check_watch(&self.options)?;
        let selection = self.selection()?;
        let beginning = self.beginning()?;
        let seconds = self.options.timeout_seconds.unwrap_or_else(|| self.default_timeout());
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let namespace = Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let prefix = self.kind.collection(namespace);
        let (watch, initial) = match self.open(&selection, &prefix, beginning).await {
            Ok(opened) => opened,
            Err(error) => {
                let step = Step::Last(error_frame(&error));
                return Ok(futures::stream::unfold(step, Step::next));
            }
        };
        let (gone, stop) = (self.kind.gone.clone(), self.server.inner.stop.clone());
        let end = async move {
            tokio::select! {
                biased;
                () = gone.cancelled() => {}
                () = stop.cancelled() => {}
                () = sleep_until(deadline) => {}
            }
        };
        let open = Open {
            shared: self.server.inner.fanout.join(&renderer),
            renderer,
            selection,
            watch,
            initial,
            first: true,
            bookmarks: self.options.bookmarks,
            bookmark: Box::pin(sleep_until(next_bookmark(deadline))),
            deadline,
            end: Box::pin(end),
            conversion: self.server.conversion(&self.kind, &self.api_version),
            closed: false,
        };
        Ok(futures::stream::unfold(Step::Open(Box::new(open)), Step::next))
    }

    /// 30 to 60 minutes, so that clients do not all come back at once.
    fn default_timeout(&self) -> u64 {
        let mut random = [0; 2];
        self.server.random(&mut random);
        TIMEOUT_SECONDS + u64::from(u16::from_le_bytes(random)) % TIMEOUT_SECONDS
    }

    fn beginning(&self) -> Result<Beginning, ApiError> {
        let options = &self.options;
        let revision = listing::revision(&options.resource_version);
        // Without a reason of its own, which upstream answers too.
        let revision = revision.map_err(|why| ApiError::new(500, "", why))?.unwrap_or(0);
        let mark = options.bookmarks;
        Ok(match (options.send_initial_events, revision) {
            (Some(true), at_least) => Beginning::State { at_least, mark },
            (None, 0) => Beginning::State { at_least: 0, mark },
            (Some(false), 0) => Beginning::Now,
            (Some(false) | None, revision) => Beginning::After(revision),
        })
    }

    async fn open(
        &self,
        selection: &Selection,
        prefix: &str,
        beginning: Beginning,
    ) -> Result<(Watch, Initial), ApiError> {
        let store = &self.server.inner.store;
        let follow = |revision| store.watch(prefix, revision).map_err(too_old);
        match beginning {
            Beginning::Now => Ok((follow(store.revision())?, Initial::default())),
            Beginning::After(revision) => Ok((follow(revision)?, Initial::default())),
            Beginning::State { at_least, mark } => {
                self.wait_for(at_least).await?;
                let range = store.range(prefix, None, None, None).map_err(too_old)?;
                let readable = self.server.readable(&self.kind, &self.api_version, range.entries, true);
                let mut entries = readable.await?;
                if !selection.is_everything() {
                    let mut chosen = Vec::new();
                    for entry in entries {
                        if selection.matches(&self.kind, &self.api_version, &entry)? {
                            chosen.push(entry);
                        }
                    }
                    entries = chosen;
                }
                let mark = mark.then_some(range.revision);
                Ok((follow(range.revision)?, Initial { entries: entries.into_iter(), mark }))
            }
        }
    }
}

/// A change in the version that is watched.
async fn read(conversion: Option<Conversion>, event: Arc<Event>) -> Result<Arc<Event>, ApiError> {
    match conversion {
        None => Ok(event),
        Some(conversion) => conversion.event(event).await,
    }
}

fn next_bookmark(deadline: Instant) -> Instant {
    let next = Instant::now() + BOOKMARKS;
    let last = deadline.checked_sub(FAREWELL).unwrap_or(deadline);
    if next < last || Instant::now() >= last { next } else { last }
}

/// What the stream does next.
enum Step {
    Open(Box<Open>),
    /// Only this is left.
    Last(Bytes),
    Ended,
}

impl Step {
    async fn next(self) -> Option<(Bytes, Self)> {
        match self {
            Self::Ended => None,
            Self::Last(bytes) => Some((bytes, Self::Ended)),
            Self::Open(mut open) => {
                let bytes = open.bytes().await?;
                Some((bytes, Self::Open(open)))
            }
        }
    }
}

/// What a watch woke up for.
enum Wake {
    Change(Result<Arc<Event>, WatchEnd>),
    Bookmark,
    End,
}

impl Open {
    /// What is sent next: one frame, or several that are ready together;
    /// `None` at the end of the watch.
    async fn bytes(&mut self) -> Option<Bytes> {
        // Changes go before the end, but must not put it off for ever.
        if self.closed || Instant::now() >= self.deadline {
            return None;
        }
        let first = loop {
            if let Some(frame) = self.ready() {
                break frame;
            }
            if self.closed {
                return None;
            }
            if let Some(frame) = self.wait().await? {
                break frame;
            }
        };
        let mut more = VecDeque::new();
        let mut size = first.len();
        while size < TOGETHER && !self.closed {
            let Some(frame) = self.ready() else { break };
            size += frame.len();
            more.push_back(frame);
        }
        if more.is_empty() {
            return Some(first);
        }
        let mut together = BytesMut::with_capacity(size);
        together.extend_from_slice(&first);
        for frame in &more {
            together.extend_from_slice(frame);
        }
        Some(together.freeze())
    }

    /// A frame that needs no waiting.
    fn ready(&mut self) -> Option<Bytes> {
        if let Some(entry) = self.initial.entries.next() {
            let rendered = self.renderer.event(Change::Added, &entry, entry.mod_revision, self.first);
            return Some(self.sent(rendered));
        }
        if let Some(revision) = self.initial.mark.take() {
            let frame = self.renderer.bookmark(revision, true, self.first);
            return Some(self.sent(Ok(frame)));
        }
        if self.conversion.is_some() {
            // Converting takes waiting.
            return None;
        }
        loop {
            match self.watch.try_next() {
                Ok(None) => return None,
                Ok(Some(event)) => {
                    if let Some(frame) = self.render(&event) {
                        return Some(frame);
                    }
                }
                Err(_) => {
                    self.closed = true;
                    return None;
                }
            }
        }
    }

    /// Waits for something to send; the inner `None` is nothing after all,
    /// the outer one the end.
    async fn wait(&mut self) -> Option<Option<Bytes>> {
        let wake = tokio::select! {
            biased;
            // Before the end: what happened before it is seen.
            change = self.watch.next() => Wake::Change(change),
            () = &mut self.end => Wake::End,
            () = &mut self.bookmark, if self.bookmarks => Wake::Bookmark,
        };
        match wake {
            Wake::End | Wake::Change(Err(_)) => None,
            Wake::Bookmark => {
                self.bookmark.as_mut().reset(next_bookmark(self.deadline));
                let frame = self.renderer.bookmark(self.watch.progress(), false, self.first);
                Some(Some(self.sent(Ok(frame))))
            }
            Wake::Change(Ok(event)) => match read(self.conversion.clone(), event).await {
                Ok(event) => Some(self.render(&event)),
                Err(error) => Some(Some(self.sent(Err(error)))),
            },
        }
    }

    /// Notes that something is sent; an error is the last of it.
    fn sent(&mut self, rendered: Result<Bytes, ApiError>) -> Bytes {
        self.first = false;
        rendered.unwrap_or_else(|error| {
            self.closed = true;
            error_frame(&error)
        })
    }

    /// What a change means to this watch: an object may enter and leave its
    /// selection without being created or deleted.
    fn render(&mut self, event: &Event) -> Option<Bytes> {
        let (change, entry) = match self.meaning(event) {
            Ok(meaning) => meaning?,
            Err(error) => return Some(self.sent(Err(error))),
        };
        let (renderer, first) = (&self.renderer, self.first);
        let render = || renderer.event(change, entry, event.revision, first);
        let rendered = self.shared.frame(event.revision, change, first, render);
        Some(self.sent(rendered))
    }

    fn meaning<'e>(&self, event: &'e Event) -> Result<Option<(Change, &'e Entry)>, ApiError> {
        let matches = |entry: &Option<Arc<Entry>>| match entry {
            Some(entry) => self.selection.matches(self.renderer.kind(), self.renderer.api_version(), entry),
            None => Ok(false),
        };
        let (change, entry) = match (matches(&event.previous)?, matches(&event.entry)?) {
            (false, true) => (Change::Added, &event.entry),
            (true, true) => (Change::Modified, &event.entry),
            (true, false) => (Change::Deleted, &event.previous),
            (false, false) => return Ok(None),
        };
        Ok(entry.as_deref().map(|entry| (change, entry)))
    }
}

fn too_old(error: ReadError) -> ApiError {
    match error {
        ReadError::Expired { requested, oldest } => {
            ApiError::expired(format!("too old resource version: {requested} ({oldest})"))
        }
        ReadError::TooLarge { requested, current } => {
            ApiError::too_large_resource_version(requested, current)
        }
    }
}

/// Errors of an open watch are events on its stream.
fn error_frame(error: &ApiError) -> Bytes {
    let event: Value = json!({"type": "ERROR", "object": error.to_value()});
    Bytes::from(format!("{event}\n"))
}
