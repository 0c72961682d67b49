//! The aggregator's metrics. No label has more values than are written here: never an image, a node or an error.

use super::super::text::Text;
use super::ledger::{BUCKETS, Counts, Fleet, Outcomes, Snapshot};

/// All metrics.
pub(super) fn text(snapshot: &Snapshot) -> String {
    let Counts { succeeded, failed, bytes, dropped, shortened, repeated, refused } = &snapshot.counts;
    let Fleet { nodes, images, present, missing } = snapshot.fleet();
    let outcomes = [("failed", failed), ("succeeded", succeeded)];
    let mut text = Text::default();

    text.head(
        "larder_prefetch_attempts_total",
        "counter",
        "Attempts at pulling an image that nodes told of.",
    );
    for (outcome, of) in outcomes {
        text.labelled("larder_prefetch_attempts_total", "outcome", outcome, of.count);
    }
    text.head("larder_prefetch_attempt_duration_seconds", "histogram", "How long attempts took.");
    for (outcome, of) in outcomes {
        text.histogram("larder_prefetch_attempt_duration_seconds", outcome, of);
    }
    text.single(
        "larder_prefetch_bytes_total",
        "counter",
        "Sizes of the images that attempts made present.",
        *bytes,
    );
    text.single("larder_prefetch_nodes", "gauge", "Nodes that the kept results are of.", nodes);
    text.single("larder_prefetch_images", "gauge", "Images that the kept results are of.", images);
    let help = "Pairs of a node and an image among the kept results: present after a successful attempt, else missing.";
    text.head("larder_prefetch_node_images", "gauge", help);
    text.labelled("larder_prefetch_node_images", "state", "missing", missing);
    text.labelled("larder_prefetch_node_images", "state", "present", present);

    let kept = snapshot.records.len();
    text.single("larder_metrics_results", "gauge", "Results that are kept.", kept);
    text.single("larder_metrics_results_limit", "gauge", "The most results that are kept.", snapshot.limit);
    let help = "Results that were dropped, the oldest first, because the limit was reached.";
    text.single("larder_metrics_results_dropped_total", "counter", help, *dropped);
    let help = "Results of which a text was cut, because it was too long.";
    text.single("larder_metrics_results_shortened_total", "counter", help, *shortened);
    let help = "Results that were sent again, and counted once.";
    text.single("larder_metrics_results_repeated_total", "counter", help, *repeated);
    let help = "Submissions that were refused: without the token, or not of this protocol.";
    text.single("larder_metrics_submissions_refused_total", "counter", help, *refused);
    text.into()
}

impl Text {
    fn histogram(&mut self, name: &str, outcome: &str, of: &Outcomes) {
        let mut sum = 0;
        for (bound, count) in BUCKETS.iter().zip(of.buckets) {
            sum += count;
            self.line(format_args!("{name}_bucket{{outcome=\"{outcome}\",le=\"{bound}\"}} {sum}"));
        }
        self.line(format_args!("{name}_bucket{{outcome=\"{outcome}\",le=\"+Inf\"}} {}", of.count));
        let (seconds, rest) = (of.milliseconds / 1000, of.milliseconds % 1000);
        self.line(format_args!("{name}_sum{{outcome=\"{outcome}\"}} {seconds}.{rest:03}"));
        self.line(format_args!("{name}_count{{outcome=\"{outcome}\"}} {}", of.count));
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use larder_proto::prefetch_metrics::Result as Message;

    use super::super::ledger::SharedLedger;
    use super::*;

    fn ledger() -> SharedLedger {
        let ledger = SharedLedger::new(NonZeroUsize::MIN);
        for (id, error, duration_ms) in [("1", "no", 1001), ("2", "", 700_000), ("3", "", 1000)] {
            let (image, node) = ("a".to_owned(), "n".to_owned());
            let (attempt_id, error) = (id.to_owned(), error.to_owned());
            ledger.add(Message { attempt_id, image, node, error, duration_ms, ..Message::default() });
        }
        ledger
    }

    #[test]
    fn every_metric_has_help_and_type_before_its_samples() {
        let text = text(&ledger().snapshot());
        let mut described = std::collections::HashSet::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["#", "HELP", name, _, ..] => assert!(described.insert((*name).to_owned()), "{line}"),
                ["#", "TYPE", name, "counter" | "gauge" | "histogram"] => assert!(described.contains(*name)),
                [sample, value] => {
                    let name = sample.split('{').next().unwrap();
                    let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                    assert!(described.contains(base.unwrap_or(name)), "{line}");
                    assert!(value.parse::<f64>().is_ok(), "{line}");
                }
                _ => panic!("{line}"),
            }
        }
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn buckets_add_up_and_dropped_results_are_counted() {
        let text = text(&ledger().snapshot());
        let expected = [
            "larder_prefetch_attempts_total{outcome=\"succeeded\"} 2",
            "larder_prefetch_attempt_duration_seconds_bucket{outcome=\"failed\",le=\"1\"} 0",
            "larder_prefetch_attempt_duration_seconds_bucket{outcome=\"failed\",le=\"2\"} 1",
            "larder_prefetch_attempt_duration_seconds_bucket{outcome=\"succeeded\",le=\"600\"} 1",
            "larder_prefetch_attempt_duration_seconds_bucket{outcome=\"succeeded\",le=\"+Inf\"} 2",
            "larder_prefetch_attempt_duration_seconds_sum{outcome=\"succeeded\"} 701.000",
            "larder_prefetch_node_images{state=\"present\"} 1",
            "larder_metrics_results 1",
            "larder_metrics_results_dropped_total 2",
        ];
        for line in expected {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
