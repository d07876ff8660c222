//! The metrics of the loop, under upstream's names.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::Arc;

use crate::kind::GroupKind;
use crate::queue::Done;

/// The registry of the process, and the loop's own families in it; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    total: Family<Pass, Counter>,
    seconds: Family<Controller, Histogram, fn() -> Histogram>,
    stale: Family<Stale, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pass {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stale {
    controller: &'static str,
    cached_kind: String,
}

/// 1 ms to 16 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Metrics {
    /// A fresh registry with the loop's families.
    pub fn new() -> Self {
        let total = Family::default();
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let stale = Family::default();
        let mut registry = Registry::default();
        registry.register("capi_reconcile", "Passes by controller and result", total.clone());
        registry.register("capi_reconcile_time_seconds", "Duration of passes", seconds.clone());
        registry.register(
            "capi_reconcile_stale_cache_skips",
            "Passes that had to wait until the cache had seen the last write",
            stale.clone(),
        );
        Self { registry: Arc::new(Mutex::new(registry)), total, seconds, stale }
    }

    /// Registers further families.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock());
    }

    /// Everything in the OpenMetrics text format.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }

    pub(crate) fn pass(&self, controller: &'static str, done: Done, took: Duration) {
        let result = match done {
            Done::Rest { .. } | Done::Gone => "success",
            Done::Again(_) => "requeue_after",
            Done::Retry => "requeue",
            Done::Failed => "error",
        };
        self.total.get_or_create(&Pass { controller, result }).inc();
        self.seconds.get_or_create(&Controller { controller }).observe(took.as_secs_f64());
    }

    pub(crate) fn stale(&self, controller: &'static str, kind: &GroupKind) {
        self.stale.get_or_create(&Stale { controller, cached_kind: kind.kind.clone() }).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(…)")
    }
}
