//! Test notation and the in-process environment.

pub mod observer;
pub mod tools;
