//! Lists on their way out: written piece by piece from the stored bytes.
//!
//! A list of ten thousand objects is neither parsed nor built in memory. Its
//! entries are shared with the store, and a piece of the answer is made when
//! the client takes it.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use windlass_store::Entry;

use crate::render::Renderer;
use crate::status::ApiError;

/// Size of a piece: a few frames of HTTP/2.
const PIECE: usize = 64 * 1024;

/// The pieces of a list.
pub struct Pieces {
    renderer: Renderer,
    /// What comes before the first object.
    head: Option<Bytes>,
    entries: std::vec::IntoIter<Arc<Entry>>,
    first: bool,
    ended: bool,
    size: usize,
    /// All of it, where it was made as a whole.
    whole: Option<Bytes>,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pieces({} objects left)", self.entries.len())
    }
}

impl Pieces {
    /// The pieces of `head`, the objects and the end of the list.
    ///
    /// # Errors
    /// 500 when an object is malformed: later it could not be said any more.
    pub fn new(renderer: Renderer, head: Bytes, entries: Vec<Arc<Entry>>) -> Result<Self, ApiError> {
        let mut size = head.len();
        for entry in &entries {
            size += renderer.check(entry)?;
        }
        Ok(Self {
            renderer,
            head: Some(head),
            entries: entries.into_iter(),
            first: true,
            ended: false,
            size,
            whole: None,
        })
    }

    /// A list that is complete already.
    pub fn whole(renderer: Renderer, text: String) -> Self {
        let (size, whole) = (text.len(), Some(Bytes::from(text)));
        Self { renderer, head: None, entries: Vec::new().into_iter(), first: true, ended: true, size, whole }
    }

    /// Whether this is one piece, or hardly more.
    pub fn is_short(&self) -> bool {
        self.ended || self.size <= PIECE
    }

    /// Bytes that are written already.
    pub fn held(&self) -> usize {
        self.whole.as_ref().map_or(0, Bytes::len)
    }

    /// About how long the whole list is.
    pub fn size(&self) -> usize {
        self.size
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(whole) = self.whole.take() {
            return Some(whole);
        }
        if self.ended {
            return None;
        }
        let mut piece = BytesMut::with_capacity(PIECE.min(self.size) + 4096);
        if let Some(head) = self.head.take() {
            piece.put_slice(&head);
        }
        while piece.len() < PIECE {
            let Some(entry) = self.entries.next() else {
                if self.size > PIECE && !piece.is_empty() {
                    // The end goes by itself, when all before it was taken.
                    break;
                }
                piece.put_slice(b"]}");
                self.ended = true;
                break;
            };
            if !self.first {
                piece.put_u8(b',');
            }
            self.first = false;
            if let Err(error) = self.renderer.item(&mut piece, &entry) {
                // Checked before: the client sees a list that breaks off.
                tracing::error!(key = &*entry.key, %error, "cannot write an object of a list");
                self.ended = true;
                break;
            }
        }
        Some(piece.freeze())
    }
}
