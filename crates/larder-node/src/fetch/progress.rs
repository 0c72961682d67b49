//! How far the layers of an image are, from what containerd is writing. Counts; asks nobody.

use std::collections::{HashMap, HashSet};

use larder_core::Digest;

/// The layers of one image that is being pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layers {
    layers: Vec<(Digest, u64)>,
    /// What is being written, or was: once it is no longer, it is complete.
    begun: HashSet<Digest>,
}

impl Layers {
    /// Layers with their sizes in bytes; `complete` are there already.
    pub(super) fn new(layers: Vec<(Digest, u64)>, complete: impl IntoIterator<Item = Digest>) -> Self {
        Self { layers, begun: complete.into_iter().collect() }
    }

    /// Whether one of them is being written.
    pub(super) fn are_among(&self, ingests: &HashMap<Digest, u64>) -> bool {
        self.layers.iter().any(|(digest, _)| ingests.contains_key(digest))
    }

    /// Bytes so far, and in all.
    pub(super) fn tally(&mut self, ingests: &HashMap<Digest, u64>) -> (u64, u64) {
        let (mut done, mut total) = (0_u64, 0_u64);
        for (digest, size) in &self.layers {
            total = total.saturating_add(*size);
            done = done.saturating_add(match ingests.get(digest) {
                Some(offset) => {
                    self.begun.insert(*digest);
                    *offset.min(size)
                }
                None if self.begun.contains(digest) => *size,
                None => 0,
            });
        }
        (done, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_counts_while_it_is_written_and_whole_afterwards() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
        let mut layers = Layers::new(vec![(a, 100), (b, 10), (c, 1)], [c]);
        assert_eq!(layers.tally(&HashMap::new()), (1, 111));
        assert_eq!(layers.tally(&HashMap::from([(a, 40), (Digest::of(b"other"), 7)])), (41, 111));
        assert_eq!(layers.tally(&HashMap::from([(b, 11)])), (111, 111));
        assert!(layers.are_among(&HashMap::from([(b, 1)])) && !layers.are_among(&HashMap::new()));
    }
}
