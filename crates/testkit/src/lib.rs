//! Test notation and the in-process environment.

pub mod tools;
