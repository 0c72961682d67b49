//! Problems, each one line that names the image, the layer and the path, as far as they are known.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use larder_core::ChainId;
use serde::Serialize;

/// More than anyone reads; the rest is counted.
const MAX_PROBLEMS: usize = 1000;

/// Something that is wrong with a disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// An image that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The layer that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<ChainId>,
    /// The file, from the layer's root, or from the disk's where it is in no layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(image) = &self.image {
            write!(f, "image {image}: ")?;
        }
        if let Some(layer) = &self.layer {
            write!(f, "layer {layer}: ")?;
        }
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        write!(f, "{}", self.problem)
    }
}

/// Where a problem is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Disk,
    Image(String),
    Layer { image: Option<String>, layer: ChainId, path: Option<String> },
    File(String),
}

/// Collects problems from several threads; the same one counts once.
#[derive(Default)]
pub(super) struct Problems(Mutex<(BTreeSet<Problem>, u64)>);

impl Problems {
    pub(super) fn at(&self, place: Place, problem: impl fmt::Display) {
        let problem = one_line(&problem.to_string());
        let (image, layer, path) = match place {
            Place::Disk => (None, None, None),
            Place::Image(image) => (Some(image), None, None),
            Place::Layer { image, layer, path } => (image, Some(layer), path),
            Place::File(path) => (None, None, Some(path)),
        };
        let mut collected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = Problem { image, layer, path, problem };
        if collected.0.len() < MAX_PROBLEMS {
            collected.0.insert(problem);
        } else if !collected.0.contains(&problem) {
            collected.1 += 1;
        }
    }

    /// An error with its causes.
    pub(super) fn error(&self, place: Place, error: &(dyn std::error::Error + 'static)) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.ends_with(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        self.at(place, text);
    }

    pub(super) fn omit(&self, count: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 += count;
    }

    /// The problems, those of the disk itself first, and how many more there were.
    pub(super) fn into_sorted(self) -> (Vec<Problem>, u64) {
        let (list, more) = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        (list.into_iter().collect(), more)
    }
}

/// What is on a disk may hold line breaks and worse.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_and_told_once() {
        let problems = Problems::default();
        let layer = ChainId(larder_core::Digest::of(b"l"));
        let place = Place::Layer { image: Some("a:1".to_owned()), layer, path: Some("etc/x".to_owned()) };
        problems.at(place.clone(), "two\nlines");
        problems.at(place, "two\nlines");
        problems.at(Place::Disk, "first");
        let (list, more) = problems.into_sorted();
        let lines: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["first".to_owned(), format!("image a:1: layer {layer}: etc/x: two\\nlines")]);
        assert_eq!(more, 0);
    }
}
