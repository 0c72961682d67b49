//! Pins: containerd's label on an image's record, which makes CRI tell the kubelet to keep the image. Pins of others stay.

use std::collections::HashMap;

use crate::causes::with_causes;
use crate::containerd::Containerd;
use crate::labels::{PINNED, PINNED_BY, PINNED_BY_AGENT};

/// Pins or unpins the image that the runtime lists as `name`; the error says why it cannot be.
pub(super) async fn pin(containerd: Option<&Containerd>, name: &str, pinned: bool) -> Result<(), String> {
    let containerd = containerd.ok_or("the runtime is not containerd: CRI alone has no pins")?;
    let failed = |error| with_causes(&error);
    let records = containerd.list_images().await.map_err(failed)?;
    let record = records.iter().find(|record| record.name == name);
    let record = record.ok_or_else(|| format!("containerd has no record {name}"))?;
    match change(&record.labels, pinned) {
        Some(labels) => containerd.label_image(name, labels).await.map_err(failed),
        None => Ok(()),
    }
}

/// The labels to set, and those to empty, which takes them away.
fn change(labels: &HashMap<String, String>, pinned: bool) -> Option<HashMap<String, String>> {
    let owned = |pin: &str, by: &str| {
        HashMap::from([(PINNED.to_owned(), pin.to_owned()), (PINNED_BY.to_owned(), by.to_owned())])
    };
    let is_pinned = labels.get(PINNED).is_some_and(|value| value == "pinned");
    match pinned {
        true if !is_pinned => Some(owned("pinned", PINNED_BY_AGENT)),
        false if labels.contains_key(PINNED_BY) => Some(owned("", "")),
        true | false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_our_own_pins_come_and_go() {
        let (ours, theirs) =
            (labels(&[(PINNED, "pinned"), (PINNED_BY, "agent")]), labels(&[(PINNED, "pinned")]));
        let none = labels(&[]);
        assert_eq!(change(&none, true), Some(ours.clone()));
        assert_eq!(change(&ours, true), None);
        assert_eq!(change(&ours, false), Some(labels(&[(PINNED, ""), (PINNED_BY, "")])));
        assert_eq!([change(&theirs, true), change(&theirs, false), change(&none, false)], [None, None, None]);
    }
}
