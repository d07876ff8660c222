//! Calls to providers, as metrics.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use windlass_model::Time;
use windlass_provider::{Call, ErrorKind, Meter};
use windlass_runtime::{Clock, Metrics};

/// The families of all backends: `windlass_provider_calls_total` by backend, operation and result, and
/// `windlass_provider_call_seconds` by backend and operation.
#[derive(Clone)]
pub struct CallMetrics {
    clock: Clock,
    calls: Family<Ended, Counter>,
    seconds: Family<Made, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    backend: &'static str,
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Made {
    backend: &'static str,
    operation: &'static str,
}

/// 1 ms to 65 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 9))
}

impl CallMetrics {
    /// Registers the families, once for a process.
    pub fn new(metrics: &Metrics, clock: Clock) -> Self {
        let calls = Family::default();
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let made = Self { clock, calls, seconds };
        metrics.register(|registry| {
            let what = "Calls to infrastructure providers by backend, operation and result";
            registry.register("windlass_provider_calls", what, made.calls.clone());
            let what = "Duration of calls to infrastructure providers";
            registry.register("windlass_provider_call_seconds", what, made.seconds.clone());
        });
        made
    }

    /// What measures the calls to one backend.
    pub fn of(&self, backend: &'static str) -> Arc<dyn Meter> {
        Arc::new(BackendMeter { backend, metrics: self.clone() })
    }
}

impl fmt::Debug for CallMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallMetrics(…)")
    }
}

struct BackendMeter {
    backend: &'static str,
    metrics: CallMetrics,
}

impl Meter for BackendMeter {
    fn now(&self) -> Time {
        self.metrics.clock.now()
    }

    fn record(&self, Call { operation, failed, took }: Call) {
        let (backend, operation) = (self.backend, operation.as_str());
        let result = failed.map_or("Ok", ErrorKind::as_str);
        self.metrics.calls.get_or_create(&Ended { backend, operation, result }).inc();
        self.metrics.seconds.get_or_create(&Made { backend, operation }).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use windlass_provider::Operation;

    use super::*;

    #[test]
    fn calls_are_counted_by_how_they_ended() {
        let metrics = Metrics::new();
        let meter = CallMetrics::new(&metrics, Clock::system()).of("docker");
        let took = Duration::from_millis(300);
        for failed in [None, Some(ErrorKind::Rejected), None] {
            meter.record(Call { operation: Operation::CreateMachine, failed, took });
        }
        let text = metrics.text().unwrap();
        for line in [
            r#"windlass_provider_calls_total{backend="docker",operation="create_machine",result="Ok"} 2"#,
            r#"windlass_provider_calls_total{backend="docker",operation="create_machine",result="Rejected"} 1"#,
            r#"windlass_provider_call_seconds_count{backend="docker",operation="create_machine"} 3"#,
        ] {
            assert!(text.contains(line), "{text} lacks {line}");
        }
    }
}
