//! Executors of the core controllers and of infrastructure providers.
