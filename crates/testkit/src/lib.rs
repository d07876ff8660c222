//! Test notation and the in-process environment.
