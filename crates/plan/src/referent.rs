//! Objects that others refer to, as a cache knows them.

/// What is known of an object.
///
/// **Not known is not absent**: a cache that has not read a kind yet must not lead to *it was deleted*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known<T> {
    /// The cache has not read objects of this kind yet.
    Unsynced,
    /// There is no such object.
    Absent,
    /// The object.
    Present(T),
}

impl<T> Known<T> {
    /// The object, if it is known to exist.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(object) => Some(object),
            Self::Unsynced | Self::Absent => None,
        }
    }
}

/// A reference and what is known of its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referent<T> {
    /// `kind` of the reference, for messages.
    pub kind: String,
    /// `name` of the reference.
    pub name: String,
    /// The target.
    pub known: Known<T>,
}

impl<T> Referent<T> {
    /// The target, if it is known to exist.
    pub fn present(&self) -> Option<&T> {
        self.known.present()
    }
}
