//! What the controller tells Prometheus. Labels are bounded: never an image, a node, or an error's text.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::Index;

/// Of what `Metrics::text` gives.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// In seconds; a pass over a thousand nodes takes some hundredths.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    outcome: Outcome,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    /// It was taken.
    Written,
    /// The API server does not want it.
    Refused,
    /// The API server did not answer, or was in trouble.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    writes: Family<WriteLabels, Counter>,
    pass_seconds: Histogram,
    leads: Gauge,
    caches: Family<StatusLabel, Gauge>,
    nodes: Gauge,
    warm_nodes: Gauge,
    sets: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("larder_controller"),
            writes: Family::default(),
            pass_seconds: Histogram::new(BUCKETS),
            leads: Gauge::default(),
            caches: Family::default(),
            nodes: Gauge::default(),
            warm_nodes: Gauge::default(),
            sets: Gauge::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let Self { registry, writes, pass_seconds, leads, caches, nodes, warm_nodes, sets } = &mut self;
        registry.register("writes", "Writes on the API server, by kind of object", writes.clone());
        registry.register("pass_seconds", "How long passes took, without writes", pass_seconds.clone());
        registry.register("leads", "1 on the replica that writes", leads.clone());
        registry.register("caches", "Image caches by status", caches.clone());
        registry.register("nodes", "Nodes", nodes.clone());
        registry.register("warm_nodes", "Nodes that hold all that is wanted of them", warm_nodes.clone());
        registry.register("sets", "Sets of images, one a node", sets.clone());
        self
    }

    /// A write has ended.
    pub(crate) fn wrote(&self, kind: &'static str, outcome: Outcome) {
        self.writes.get_or_create(&WriteLabels { kind, outcome }).inc();
    }

    /// This replica writes, or does not.
    pub(crate) fn leads(&self, leads: bool) {
        self.leads.set(i64::from(leads));
    }

    /// A pass has ended.
    pub(crate) fn passed(&self, took: Duration, index: &Index) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.pass_seconds.observe(took.as_secs_f64());
        self.nodes.set(count(index.nodes.len()));
        self.sets.set(count(index.sets.len()));
        self.warm_nodes.set(count(index.nodes.iter().filter(|(_, node)| node.says(Some(true))).count()));
        for (status, number) in index.caches_by_status() {
            self.caches.get_or_create(&StatusLabel { status }).set(count(number));
        }
    }

    /// All of it, in the `OpenMetrics` text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let metrics = Metrics::default();
        metrics.wrote("set", Outcome::Written);
        metrics.wrote("set", Outcome::Written);
        metrics.leads(true);
        metrics.passed(Duration::from_millis(20), &Index::default());
        let text = metrics.text();
        for line in [
            "larder_controller_writes_total{kind=\"set\",outcome=\"Written\"} 2",
            "larder_controller_leads 1",
            "larder_controller_caches{status=\"Succeeded\"} 0",
            "larder_controller_pass_seconds_bucket{le=\"0.05\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
