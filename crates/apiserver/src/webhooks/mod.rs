//! Webhooks: HTTPS servers of others that the API server asks.

mod admit;
mod ask;
mod client;
mod connect;
mod failure;
mod hook;
mod review;
mod select;
mod served;
mod services;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use admit::Question;
pub use client::{Caller, ClientConfig, ServiceReference};
pub use failure::CallError;
pub(crate) use hook::Index;
pub use services::Services;
