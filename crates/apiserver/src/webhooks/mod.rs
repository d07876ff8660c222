//! Webhooks: HTTPS servers of others that the API server asks.

mod client;
mod failure;
mod services;
#[cfg(test)]
mod tests;
mod tls;

pub use client::{Caller, ClientConfig, ServiceReference};
pub use failure::CallError;
pub use services::Services;
