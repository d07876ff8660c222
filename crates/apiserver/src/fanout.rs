//! Events that many watches send: rendered once, shared by all.
//!
//! Watches of one kind in one form send the same bytes. The first to render an
//! event leaves them here for the others, who come within milliseconds. A
//! watch that is alone in its form keeps nothing, so that a process with
//! hundreds of quiet servers pays nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::render::{Change, Form, Renderer};

/// How many frames of a form are kept at most; who is further behind renders
/// them again.
const FRAMES: usize = 64;
/// How many bytes of them.
const BYTES: usize = 1 << 20;

/// The forms watched on one server.
#[derive(Default)]
pub struct Fanout {
    forms: Mutex<HashMap<Form, Weak<Recent>>>,
}

#[derive(Default)]
struct Recent(Mutex<Frames>);

#[derive(Default)]
struct Frames {
    frames: VecDeque<(Key, Bytes)>,
    bytes: usize,
}

/// Revision, what happened, and whether it is the first event of its watch.
type Key = (u64, Change, bool);

/// One watch's share in the frames of its form.
pub struct Shared(Arc<Recent>);

impl Fanout {
    /// Takes part in the frames of a form, until the result is dropped.
    pub fn join(&self, renderer: &Renderer) -> Shared {
        let mut forms = self.forms.lock();
        let form = renderer.form();
        if let Some(recent) = forms.get(&form).and_then(Weak::upgrade) {
            return Shared(recent);
        }
        forms.retain(|_, recent| recent.strong_count() > 0);
        let recent = Arc::default();
        forms.insert(form, Arc::downgrade(&recent));
        Shared(recent)
    }
}

impl Shared {
    /// The frame of an event: another watch's, or made now.
    ///
    /// # Errors
    /// Those of `render`.
    pub fn frame<E>(
        &self,
        revision: u64,
        change: Change,
        first: bool,
        render: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        if Arc::strong_count(&self.0) == 1 {
            return render();
        }
        let key = (revision, change, first);
        // Rendered with the lock held: the others would only do the same.
        let mut frames = self.0.0.lock();
        if let Some(bytes) = frames.find(key) {
            return Ok(bytes);
        }
        let bytes = render()?;
        frames.keep(key, bytes.clone());
        Ok(bytes)
    }
}

impl Frames {
    fn find(&self, key: Key) -> Option<Bytes> {
        self.frames.iter().rev().find(|(known, _)| *known == key).map(|(_, bytes)| bytes.clone())
    }

    fn keep(&mut self, key: Key, bytes: Bytes) {
        self.bytes += bytes.len();
        self.frames.push_back((key, bytes));
        while self.frames.len() > FRAMES || self.bytes > BYTES {
            let Some((_, oldest)) = self.frames.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(shared: &Shared, revision: u64, text: &str) -> (Bytes, bool) {
        let mut made = false;
        let bytes = shared.frame(revision, Change::Added, false, || {
            made = true;
            Ok::<_, ()>(Bytes::from(text.to_owned()))
        });
        (bytes.unwrap(), made)
    }

    #[test]
    fn frames_are_made_once_for_all_but_kept_for_nobody() {
        let alone = Shared(Arc::default());
        assert!(frame(&alone, 1, "a").1);
        assert!(frame(&alone, 1, "a").1, "nobody to keep it for");
        let other = Shared(Arc::clone(&alone.0));
        assert_eq!(frame(&alone, 2, "b"), (Bytes::from("b"), true));
        assert_eq!(frame(&other, 2, "not made"), (Bytes::from("b"), false));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let shared = Shared(Arc::default());
        let _other = Shared(Arc::clone(&shared.0));
        let big = "x".repeat(BYTES / 4);
        for revision in 0..200 {
            frame(&shared, revision, if revision < 100 { "small" } else { &big });
            let frames = shared.0.0.lock();
            assert!(frames.frames.len() <= FRAMES && frames.bytes <= BYTES);
            let counted: usize = frames.frames.iter().map(|(_, bytes)| bytes.len()).sum();
            assert_eq!(counted, frames.bytes);
        }
    }
}
