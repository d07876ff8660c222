//! The layer that tells the log what was asked of whom, for what, and how it ended.

use tracing::Instrument;
use tracing::field::Empty;
use windlass_model::Key;

use super::{Layer, Layered};
use crate::{Operation, Origin, Result, Token};

/// The layer that traces the calls to one backend.
#[derive(Clone, Copy, Debug)]
pub struct Tracing(&'static str);

/// A provider whose calls are traced.
pub type Traced<P> = Layered<P, Tracing>;

impl<P> Traced<P> {
    /// Traces the calls to `inner`, the backend of this name.
    pub fn new(inner: P, backend: &'static str) -> Self {
        Self::with(inner, Tracing(backend))
    }
}

impl Layer for Tracing {
    /// A span of level debug for each call. Requests are not in it: they hold bootstrap data.
    async fn around<T: Send>(
        &self,
        operation: Operation,
        token: &Token,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let span = tracing::debug_span!(
            "provider",
            backend = self.0,
            operation = operation.as_str(),
            %token,
            cluster = Empty,
            object = Empty,
            outcome = Empty,
        );
        if let Some(Origin { cluster, object }) = token.origin() {
            if *cluster != Key::default() {
                span.record("cluster", tracing::field::display(cluster));
            }
            span.record("object", tracing::field::display(object));
        }
        let answer = call.instrument(span.clone()).await;
        let outcome = answer.as_ref().map_or_else(|error| error.kind.as_str(), |_| "Ok");
        span.record("outcome", outcome);
        span.in_scope(|| match &answer {
            Ok(_) => tracing::debug!("answered"),
            Err(error) => tracing::debug!(%error, "refused"),
        });
        answer
    }
}
