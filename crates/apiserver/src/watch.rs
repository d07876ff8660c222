//! Watches: the initial state if asked for, then every change, bookmarks in
//! between, one frame an event.
//!
//! The store keeps no buffer per watch: a slow client holds a position in the
//! history, and falls off its end with 410 instead of filling memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use windlass_apimachinery::FieldError;
use windlass_store::{Entry, Event, ReadError, Watch, WatchEnd};

use crate::call::Call;
use crate::read::list_options;
use crate::render::Renderer;
use crate::request::VersionMatch;
use crate::select::Selection;
use crate::status::ApiError;

/// Time between bookmarks.
const BOOKMARKS: Duration = Duration::from_mins(1);
/// How long before its end a watch sends its last bookmark.
const FAREWELL: Duration = Duration::from_secs(2);
/// Shortest time a watch without a timeout of its own stays open.
const TIMEOUT_SECONDS: u64 = 1800;

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

/// An open watch.
struct Open {
    renderer: Renderer,
    selection: Selection,
    watch: Watch,
    ready: VecDeque<Bytes>,
    bookmarks: bool,
    /// When the next bookmark is due.
    bookmark: std::pin::Pin<Box<Sleep>>,
    deadline: Instant,
    gone: CancellationToken,
    stop: CancellationToken,
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
        let selection = self.selection()?;
        let beginning = self.beginning()?;
        let seconds = self.options.timeout_seconds.unwrap_or_else(|| self.default_timeout());
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let namespace = Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let prefix = self.kind.collection(namespace);
        let opened = self.open(&renderer, &selection, &prefix, beginning).await;
        let (watch, ready) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let frames = VecDeque::from([error_frame(&error)]);
                return Ok(futures::stream::unfold(Step::Draining(frames), Step::next));
            }
        };
        let open = Open {
            renderer,
            selection,
            watch,
            ready,
            bookmarks: self.options.bookmarks,
            bookmark: Box::pin(sleep_until(next_bookmark(deadline))),
            deadline,
            gone: self.kind.gone.clone(),
            stop: self.server.inner.stop.clone(),
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
        let revision = options.resource_version;
        match (options.send_initial_events, options.version_match) {
            (Some(_), VersionMatch::Unset | VersionMatch::Exact) => {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                Err(list_options(&FieldError::forbidden("resourceVersionMatch", why)))
            }
            (None, VersionMatch::Exact | VersionMatch::NotOlderThan) => {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                Err(list_options(&FieldError::forbidden("resourceVersionMatch", why)))
            }
            (Some(true), VersionMatch::NotOlderThan) => {
                Ok(Beginning::State { at_least: revision.unwrap_or(0), mark: options.bookmarks })
            }
            (None, VersionMatch::Unset) => Ok(match revision {
                None | Some(0) => Beginning::State { at_least: 0, mark: false },
                Some(revision) => Beginning::After(revision),
            }),
            (Some(false), VersionMatch::NotOlderThan) => Ok(match revision {
                None | Some(0) => Beginning::Now,
                Some(revision) => Beginning::After(revision),
            }),
        }
    }

    async fn open(
        &self,
        renderer: &Renderer,
        selection: &Selection,
        prefix: &str,
        beginning: Beginning,
    ) -> Result<(Watch, VecDeque<Bytes>), ApiError> {
        let store = &self.server.inner.store;
        let follow = |revision| store.watch(prefix, revision).map_err(too_old);
        match beginning {
            Beginning::Now => Ok((follow(store.revision())?, VecDeque::new())),
            Beginning::After(revision) => Ok((follow(revision)?, VecDeque::new())),
            Beginning::State { at_least, mark } => {
                self.wait_for(at_least).await?;
                let range = store.range(prefix, None, None, None).map_err(too_old)?;
                let mut frames = VecDeque::with_capacity(range.entries.len() + 1);
                for entry in &range.entries {
                    if selection.matches(&self.kind, &self.api_version, entry)? {
                        frames.push_back(renderer.event("ADDED", entry, entry.mod_revision)?);
                    }
                }
                if mark {
                    frames.push_back(renderer.bookmark(range.revision, true));
                }
                Ok((follow(range.revision)?, frames))
            }
        }
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
    /// Only these frames are left.
    Draining(VecDeque<Bytes>),
}

impl Step {
    async fn next(self) -> Option<(Bytes, Self)> {
        match self {
            Self::Draining(mut frames) => {
                let frame = frames.pop_front()?;
                Some((frame, Self::Draining(frames)))
            }
            Self::Open(mut open) => {
                let frame = open.frame().await?;
                Some((frame, Self::Open(open)))
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
    /// The next frame; `None` at the end of the watch.
    async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.closed {
                return None;
            }
            let wake = tokio::select! {
                biased;
                () = self.stop.cancelled() => Wake::End,
                () = self.gone.cancelled() => Wake::End,
                change = self.watch.next() => Wake::Change(change),
                () = &mut self.bookmark, if self.bookmarks => Wake::Bookmark,
                () = sleep_until(self.deadline) => Wake::End,
            };
            match wake {
                Wake::End | Wake::Change(Err(WatchEnd::Removed | WatchEnd::Closed)) => return None,
                Wake::Bookmark => self.push_bookmark(),
                Wake::Change(Ok(event)) => match self.render(&event) {
                    Ok(frame) => self.ready.extend(frame),
                    Err(error) => self.fail(&error),
                },
                Wake::Change(Err(WatchEnd::Lagged { delivered, oldest })) => {
                    self.fail(&too_old(ReadError::Expired { requested: delivered, oldest }));
                }
            }
        }
    }

    fn push_bookmark(&mut self) {
        self.bookmark.as_mut().reset(next_bookmark(self.deadline));
        let frame = self.renderer.bookmark(self.watch.progress(), false);
        self.ready.push_back(frame);
    }

    fn fail(&mut self, error: &ApiError) {
        self.ready.push_back(error_frame(error));
        self.closed = true;
    }

    /// What a change means to this watch: an object may enter and leave its
    /// selection without being created or deleted.
    fn render(&self, event: &Event) -> Result<Option<Bytes>, ApiError> {
        let matches = |entry: &Option<Arc<Entry>>| match entry {
            Some(entry) => self.selection.matches(self.renderer.kind(), self.renderer.api_version(), entry),
            None => Ok(false),
        };
        let (kind, entry) = match (matches(&event.previous)?, matches(&event.entry)?) {
            (false, true) => ("ADDED", &event.entry),
            (true, true) => ("MODIFIED", &event.entry),
            (true, false) => ("DELETED", &event.previous),
            (false, false) => return Ok(None),
        };
        entry.as_ref().map(|entry| self.renderer.event(kind, entry, event.revision)).transpose()
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
