//! The Kubernetes API over a store: one generic code path for every kind.
//!
//! A [`Server`] answers requests from sockets and from clients in the same
//! process alike:
//!
//! ```text
//! request → route → authorize → Call → read | watch | write | delete → render → response
//!                                             │
//!                       decode → prune → default → own → admit → validate → commit
//! ```
//!
//! Built-in kinds are rows of a table with a compiled-in schema, custom kinds
//! come from definitions; after that both take the same path. Reads are served
//! from the store's memory without parsing; a write parses its object once.
//! Many servers live in one process and share their [`kinds::KindSet`].

mod access;
mod actions;
pub mod admission;
mod allocate;
mod apply;
mod authn;
mod backup;
mod body;
mod bootstrap;
mod call;
mod change;
mod collect;
mod components;
mod content;
mod conversion;
mod crd;
mod decode;
mod delete;
mod devices;
mod discovery;
mod encode;
mod fanout;
mod flow;
mod gc;
mod gzip;
pub mod kinds;
mod limits;
mod listing;
mod lists;
mod namespaces;
mod negotiate;
mod object;
mod openapi;
mod outgoing;
mod patches;
mod pods;
mod prepare;
pub mod protobuf;
mod read;
mod render;
mod request;
mod rules;
mod scale;
mod select;
mod serve;
mod server;
mod service;
mod status;
mod strategy;
mod token;
mod user;
mod watch;
pub mod webhooks;
mod write;

pub use access::{Access, Announced};
pub use admission::{Admission, AdmissionRequest, AdmitAll, Operation, Origin, WriteObserver, WriteRecord};
pub use backup::BackupSource;
pub use body::Body;
pub use conversion::Converter;
pub use kinds::KindSet;
pub use pods::{PodName, PodPorts};
pub use serve::{TlsError, self_signed, tls};
pub use server::{Clock, Random, Server, ServerBuilder, StartError};
pub use service::InProcess;
pub use status::ApiError;
pub use user::UserInfo;
