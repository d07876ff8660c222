//! Counts every mutating request that the plane's API server accepted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use windlass_apiserver::{Origin, WriteObserver, WriteRecord};
use windlass_runtime::Metrics;

/// A counter a kind of write: by whom, what, on which resource.
#[derive(Clone, Default)]
pub struct WriteCounter(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    origin: &'static str,
    component: String,
    verb: &'static str,
    resource: String,
    subresource: String,
    no_op: String,
}

impl WriteCounter {
    /// A counter in the process' registry, as `windlass_api_writes_total`.
    pub fn new(metrics: &Metrics) -> Self {
        let counter = Self::default();
        let family = counter.0.clone();
        metrics.register(|registry| {
            registry.register(
                "windlass_api_writes",
                "Mutating requests accepted by the management API",
                family,
            );
        });
        counter
    }
}

impl WriteObserver for WriteCounter {
    fn wrote(&self, record: &WriteRecord<'_>) {
        if record.dry_run {
            return;
        }
        let origin = match record.origin {
            Origin::Client => "client",
            Origin::Gc => "gc",
            Origin::Bootstrap => "bootstrap",
        };
        let labels = Labels {
            origin,
            component: component(record.user_agent).to_owned(),
            verb: record.verb,
            resource: record.resource.to_owned(),
            subresource: record.subresource.to_owned(),
            no_op: record.no_op.to_string(),
        };
        self.0.get_or_create(&labels).inc();
    }
}

/// The program of a user agent: what stands before its version. Bounded, because clients choose it.
fn component(user_agent: &str) -> &str {
    let program = user_agent.split(['/', ' ']).next().unwrap_or_default();
    let known = program.starts_with("windlass") || program == "kubectl" || program == "helm";
    if known { program } else { "other" }
}

#[cfg(test)]
mod tests {
    #[test]
    fn foreign_agents_are_one() {
        assert_eq!(super::component("kubectl/v1.35.2 (linux/amd64)"), "kubectl");
        assert_eq!(super::component("windlass-machineset"), "windlass-machineset");
        assert_eq!(super::component("Mozilla/5.0"), "other");
        assert_eq!(super::component(""), "other");
    }
}
