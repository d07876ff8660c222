//! The layer that counts and times every call.

use std::sync::Arc;
use std::time::Duration;

use windlass_model::Time;

use super::{Layer, Layered};
use crate::{ErrorKind, Operation, Result, Token};

/// Where measurements go, and where their time comes from.
pub trait Meter: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Time;

    /// Takes note of one finished call.
    fn record(&self, call: Call);
}

impl<M: Meter + ?Sized> Meter for Arc<M> {
    fn now(&self) -> Time {
        (**self).now()
    }

    fn record(&self, call: Call) {
        (**self).record(call);
    }
}

/// One finished call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was called.
    pub operation: Operation,
    /// How it failed; `None` where it did not.
    pub failed: Option<ErrorKind>,
    /// How long it took.
    pub took: Duration,
}

/// The layer that measures.
#[derive(Debug)]
pub struct Metering<M>(M);

/// A provider whose calls are measured.
pub type Metered<P, M> = Layered<P, Metering<M>>;

impl<P, M: Meter> Metered<P, M> {
    /// Measures the calls to `inner`.
    pub fn new(inner: P, meter: M) -> Self {
        Self::with(inner, Metering(meter))
    }
}

impl<M: Meter> Layer for Metering<M> {
    async fn around<T: Send>(
        &self,
        operation: Operation,
        _token: &Token,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let start = self.0.now();
        let answer = call.await;
        let failed = answer.as_ref().err().map(|error| error.kind);
        self.0.record(Call { operation, failed, took: self.0.now().since(start) });
        answer
    }
}
