//! What people embed: controllers, providers and an optional API server behind one builder.
