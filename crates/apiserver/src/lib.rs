//! The Kubernetes API over a store: one generic code path for every kind.
