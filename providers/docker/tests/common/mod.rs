//! An engine, an image that is made here, and a wire that can be cut.

pub mod image;
pub mod proxy;
pub mod world;
