//! Watches that are open while a script goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// The open streams of a script, by the titles of the steps that opened them.
pub struct Streams {
    /// Whether bookmarks are left out that a clock sends.
    skip_bookmarks: bool,
    open: BTreeMap<String, Arc<Stream>>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Stream {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    rest: Vec<u8>,
    events: Vec<Value>,
    ended: bool,
}

/// Whether this is a bookmark that comes when a clock says so.
fn is_bookmark(event: &Value) -> bool {
    event["type"] == "BOOKMARK" && !event.to_string().contains("k8s.io/initial-events-end")
}

impl Stream {
    fn receive(&self, bytes: &[u8], skip_bookmarks: bool) {
        let mut state = self.state.lock();
        state.rest.extend_from_slice(bytes);
        while let Some(end) = state.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = state.rest.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            let event = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.trim().to_owned()));
            if !(skip_bookmarks && is_bookmark(&event)) {
                state.events.push(event);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_waiters();
    }

    /// Waits until `holds`, at most so long.
    async fn wait(&self, longest: Duration, holds: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(&self.state.lock()) {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(longest, wait).await;
    }
}

impl Streams {
    /// None yet.
    pub fn new(skip_bookmarks: bool) -> Self {
        Self { skip_bookmarks, open: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Follows a body under a title.
    pub fn follow(&mut self, title: &str, mut body: Incoming) {
        let stream = Arc::new(Stream::default());
        self.open.insert(title.to_owned(), Arc::clone(&stream));
        let skip_bookmarks = self.skip_bookmarks;
        self.tasks.spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                if let Some(bytes) = frame.data_ref() {
                    stream.receive(bytes, skip_bookmarks);
                }
            }
            stream.end();
        });
    }

    /// Takes the events so far, once at least `count` came or `longest` passed, and after `quiet`.
    ///
    /// # Errors
    /// When there is no such stream.
    pub async fn take(
        &self,
        title: &str,
        count: usize,
        longest: Duration,
        quiet: Duration,
    ) -> Result<Vec<Value>> {
        let stream = self.stream(title)?;
        stream.wait(longest, |state| state.events.len() >= count || state.ended).await;
        tokio::time::sleep(quiet).await;
        Ok(std::mem::take(&mut stream.state.lock().events))
    }

    /// Waits until the server ended the stream; what came since, and whether it did.
    ///
    /// # Errors
    /// When there is no such stream.
    pub async fn closed(&self, title: &str, longest: Duration) -> Result<(Vec<Value>, bool)> {
        let stream = self.stream(title)?;
        stream.wait(longest, |state| state.ended).await;
        let mut state = stream.state.lock();
        Ok((std::mem::take(&mut state.events), state.ended))
    }

    fn stream(&self, title: &str) -> Result<&Arc<Stream>> {
        self.open.get(title).with_context(|| format!("no step opened a stream called {title}"))
    }
}
