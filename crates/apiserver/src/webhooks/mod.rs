//! Webhooks: HTTPS servers of others that the API server asks.

mod admit;
mod client;
mod failure;
mod hook;
mod review;
mod services;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use admit::Question;
pub use client::{Caller, ClientConfig, ServiceReference};
pub use failure::CallError;
pub(crate) use hook::Index;
pub(crate) use review::Verb;
pub use services::Services;
