//! What is kept of the results, and what is counted of all of them. Bounded in every direction.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use larder_proto::prefetch_metrics::Result as Message;
use serde::Serialize;

/// Bytes of an attempt's id; a UUID has 36.
const MAX_ID: usize = 64;
/// Bytes of an image's name; name, tag and digest of the longest reference are shorter.
const MAX_IMAGE: usize = 512;
/// Bytes of an error: the layers of wrapping that CRI adds, and a registry's words.
const MAX_ERROR: usize = 1024;
/// Bytes of a node's name: that of a DNS subdomain.
const MAX_NODE: usize = 253;
/// Marks a text that was cut.
const CUT: &str = "...";
/// Upper bounds of the durations' buckets, in seconds: from a present image to the usual longest attempt.
pub(super) const BUCKETS: [u64; 10] = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600];

/// One result, in the names and with the omissions that image-prefetcher's JSON has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Record {
    #[serde(skip_serializing_if = "String::is_empty")]
    attempt_id: String,
    #[serde(skip_serializing_if = "is_zero")]
    started_at: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    image: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    #[serde(skip_serializing_if = "is_zero")]
    duration_ms: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    node: String,
    #[serde(skip_serializing_if = "is_zero")]
    size_bytes: u64,
}

/// How all attempts of one outcome went, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    pub(super) count: u64,
    pub(super) milliseconds: u64,
    /// How many fell into each bucket, and no smaller one.
    pub(super) buckets: [u64; BUCKETS.len()],
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) succeeded: Outcomes,
    pub(super) failed: Outcomes,
    pub(super) bytes: u64,
    /// Results that made room for later ones.
    pub(super) dropped: u64,
    /// Results of which a text was cut.
    pub(super) shortened: u64,
    /// Results that were there already.
    pub(super) repeated: u64,
    /// Submissions that were refused, whatever the reason.
    pub(super) refused: u64,
}

/// Everything at one moment. The records are shared, not copied.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) counts: Counts,
    pub(super) limit: usize,
    pub(super) records: Vec<Arc<Record>>,
}

/// How the images on the nodes are, as far as the kept results tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fleet {
    pub(super) nodes: usize,
    pub(super) images: usize,
    /// Pairs of a node and an image with a successful attempt.
    pub(super) present: usize,
    /// Pairs without one.
    pub(super) missing: usize,
}

#[derive(Debug)]
struct Ledger {
    limit: usize,
    records: VecDeque<Arc<Record>>,
    ids: HashSet<String>,
    counts: Counts,
}

/// The one ledger of an aggregator.
#[derive(Clone, Debug)]
pub(super) struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    pub(super) fn new(limit: NonZeroUsize) -> Self {
        let ledger = Ledger {
            limit: limit.get(),
            records: VecDeque::new(),
            ids: HashSet::new(),
            counts: Counts::default(),
        };
        Self(Arc::new(Mutex::new(ledger)))
    }

    /// Keeps a result, unless it is kept already.
    pub(super) fn add(&self, message: Message) {
        let (record, cut) = Record::new(message);
        self.ledger().add(record, cut);
    }

    /// Counts a submission that was refused.
    pub(super) fn refuse(&self) {
        self.ledger().counts.refused += 1;
    }

    /// Everything, as it is now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let ledger = self.ledger();
        let records = ledger.records.iter().cloned().collect();
        Snapshot { counts: ledger.counts, limit: ledger.limit, records }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing panics while it is held; a poisoned ledger would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn add(&mut self, record: Record, cut: bool) {
        if self.ids.contains(&record.attempt_id) {
            self.counts.repeated += 1;
            return;
        }
        self.counts.add(&record, cut);
        if self.records.len() == self.limit
            && let Some(oldest) = self.records.pop_front()
        {
            self.ids.remove(&oldest.attempt_id);
            self.counts.dropped += 1;
        }
        self.ids.insert(record.attempt_id.clone());
        self.records.push_back(Arc::new(record));
    }
}

impl Counts {
    fn add(&mut self, record: &Record, cut: bool) {
        let outcomes = if record.error.is_empty() { &mut self.succeeded } else { &mut self.failed };
        outcomes.count += 1;
        outcomes.milliseconds = outcomes.milliseconds.saturating_add(record.duration_ms);
        if let Some(bucket) = BUCKETS.iter().position(|bound| record.duration_ms <= bound * 1000) {
            outcomes.buckets[bucket] += 1;
        }
        self.bytes = self.bytes.saturating_add(record.size_bytes);
        self.shortened += u64::from(cut);
    }
}

impl Record {
    /// The record of a message, and whether a text of it was cut.
    fn new(message: Message) -> (Self, bool) {
        let Message { attempt_id, started_at, image, error, duration_ms, node, size_bytes } = message;
        let mut cut = false;
        let mut short = |text: String, limit| {
            let (text, was_cut) = shorten(text, limit);
            cut |= was_cut;
            text
        };
        let record = Self {
            attempt_id: short(attempt_id, MAX_ID),
            started_at,
            image: short(image, MAX_IMAGE),
            error: short(error, MAX_ERROR),
            duration_ms,
            node: short(node, MAX_NODE),
            size_bytes,
        };
        (record, cut)
    }
}

impl Snapshot {
    /// What the kept results say of nodes and images.
    pub(super) fn fleet(&self) -> Fleet {
        let mut pairs: HashMap<(&str, &str), bool> = HashMap::new();
        for record in &self.records {
            *pairs.entry((&record.node, &record.image)).or_default() |= record.error.is_empty();
        }
        let present = pairs.values().filter(|present| **present).count();
        Fleet {
            nodes: pairs.keys().map(|(node, _)| *node).collect::<HashSet<&str>>().len(),
            images: pairs.keys().map(|(_, image)| *image).collect::<HashSet<&str>>().len(),
            present,
            missing: pairs.len() - present,
        }
    }
}

/// At most `limit` bytes of `text`, in memory too, and whether any are missing.
fn shorten(mut text: String, limit: usize) -> (String, bool) {
    let cut = text.len() > limit;
    if cut {
        text.truncate(text.floor_char_boundary(limit - CUT.len()));
        text.push_str(CUT);
    }
    text.shrink_to_fit();
    (text, cut)
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, node: &str, image: &str, error: &str) -> Message {
        Message {
            attempt_id: id.to_owned(),
            started_at: 1_700_000_000,
            image: image.to_owned(),
            error: error.to_owned(),
            duration_ms: 1500,
            node: node.to_owned(),
            size_bytes: if error.is_empty() { 100 } else { 0 },
        }
    }

    fn ledger(limit: usize) -> SharedLedger {
        SharedLedger::new(NonZeroUsize::new(limit).unwrap())
    }

    #[test]
    fn a_result_that_comes_twice_counts_once() {
        let ledger = ledger(10);
        for _ in 0..2 {
            ledger.add(message("1", "n", "a", ""));
        }
        let Snapshot { counts, records, .. } = ledger.snapshot();
        assert_eq!((records.len(), counts.succeeded.count, counts.repeated), (1, 1, 1));
    }

    #[test]
    fn the_oldest_results_make_room_and_the_counts_stay() {
        let ledger = ledger(3);
        for id in 0..10 {
            ledger.add(message(&id.to_string(), "n", "a", if id % 2 == 0 { "" } else { "no" }));
        }
        let Snapshot { counts, records, limit } = ledger.snapshot();
        let ids: Vec<&str> = records.iter().map(|record| record.attempt_id.as_str()).collect();
        assert_eq!((ids, limit), (vec!["7", "8", "9"], 3));
        assert_eq!((counts.succeeded.count, counts.failed.count, counts.dropped), (5, 5, 7));
        assert_eq!((counts.bytes, counts.failed.milliseconds, counts.failed.buckets[1]), (500, 7500, 5));
        assert_eq!(ledger.ledger().ids.len(), 3);
    }

    #[test]
    fn texts_are_cut_at_a_character_and_that_is_counted() {
        let ledger = ledger(3);
        ledger.add(message(&"i".repeat(1000), &"n".repeat(1000), &"a".repeat(513), &"ä".repeat(2000)));
        ledger.add(message("1", "n", &"a".repeat(512), ""));
        let Snapshot { counts, records, .. } = ledger.snapshot();
        assert_eq!(counts.shortened, 1);
        let lengths = [&records[0].attempt_id, &records[0].node, &records[0].image, &records[0].error];
        assert_eq!(lengths.map(String::len), [64, 253, 512, 1023]);
        assert!(lengths.iter().all(|text| text.ends_with(CUT)));
        assert_eq!(records[1].image.len(), 512);
    }

    #[test]
    fn json_has_the_names_of_the_wire_and_leaves_out_what_is_zero() {
        let json = |message| serde_json::to_string(&Record::new(message).0).unwrap();
        assert_eq!(
            json(message("1", "n", "a", "no")),
            r#"{"attempt_id":"1","started_at":1700000000,"image":"a","error":"no","duration_ms":1500,"node":"n"}"#
        );
        assert_eq!(json(Message::default()), "{}");
    }

    #[test]
    fn an_image_is_present_on_a_node_once_an_attempt_succeeded() {
        let ledger = ledger(10);
        let results =
            [("1", "n1", "a", "no"), ("2", "n1", "a", ""), ("3", "n1", "b", "no"), ("4", "n2", "a", "")];
        for (id, node, image, error) in results {
            ledger.add(message(id, node, image, error));
        }
        assert_eq!(ledger.snapshot().fleet(), Fleet { nodes: 2, images: 2, present: 2, missing: 1 });
    }
}
