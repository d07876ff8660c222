//! Typed views of provider objects whose kind is known only at run time.
