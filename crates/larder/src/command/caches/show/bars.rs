//! A bar for each cache, and one for each image that a node is pulling.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use larder_api::ImagePhase;

use super::{CacheView, and_left, summary};

const CACHE: &str = "{msg} [{bar:30}]{prefix}";
const IMAGE: &str = "  {msg} [{bar:20}] {percent} %";
/// Bars of images at the same time; the rest is in their cache's bar.
const MAX_IMAGES: usize = 12;

/// The bars on a terminal.
pub(super) struct Bars {
    all: MultiProgress,
    bars: RefCell<HashMap<String, ProgressBar>>,
}

/// What a bar is to show.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    key: String,
    text: String,
    /// Behind the bar of a cache; none for an image.
    left: Option<String>,
    done: u64,
    total: u64,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self { all: MultiProgress::new(), bars: RefCell::default() }
    }

    pub(super) fn show<'a>(&self, caches: impl Iterator<Item = (&'a CacheView, Option<Duration>)>) {
        let rows = rows(caches);
        let mut bars = self.bars.borrow_mut();
        bars.retain(|key, bar| {
            let stays = rows.iter().any(|row| row.key == *key);
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        for (place, row) in rows.into_iter().enumerate() {
            let bar = bars.entry(row.key).or_insert_with(|| {
                let template = if row.left.is_some() { CACHE } else { IMAGE };
                self.all.insert(place, ProgressBar::new(row.total).with_style(style(template)))
            });
            bar.set_message(row.text);
            bar.set_prefix(row.left.unwrap_or_default());
            bar.set_length(row.total);
            bar.set_position(row.done);
        }
    }

    pub(super) fn clear(&self) {
        self.bars.borrow_mut().drain().for_each(|(_, bar)| bar.finish_and_clear());
    }
}

/// Each cache, followed by what its nodes are pulling.
fn rows<'a>(caches: impl Iterator<Item = (&'a CacheView, Option<Duration>)>) -> Vec<Row> {
    let (mut rows, mut images) = (Vec::new(), 0);
    for (cache, left) in caches {
        let (key, (done, total)) = (cache.full_name(), cache.done());
        let left = left.map(and_left).unwrap_or_default();
        rows.push(Row { text: summary(cache), left: Some(left), done, total, key: key.clone() });
        let pulled = cache.by_node.iter().flat_map(|node| node.images.iter().map(move |image| (node, image)));
        let pulled = pulled.filter(|(_, image)| image.phase == ImagePhase::Pulling);
        for (node, image) in pulled.take(MAX_IMAGES - images) {
            images += 1;
            let done = image.percent.and_then(|percent| u64::try_from(percent).ok()).unwrap_or(0);
            let text = format!("{} {}", node.node, image.image);
            rows.push(Row { key: format!("{key} {text}"), text, left: None, done, total: 100 });
        }
    }
    rows
}

/// The templates are constants; a mistake in one gives the default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::view::tests::{cache, set};
    use super::super::super::view::view;
    use super::*;

    #[test]
    fn only_what_is_being_pulled_has_a_bar_and_not_too_much_of_it() {
        let names: Vec<String> = (0..MAX_IMAGES + 3).map(|number| format!("i{number}")).collect();
        let mut images: Vec<_> = names.iter().map(|name| (name.as_str(), "Pulling", Some(40))).collect();
        images[0].1 = "Warm";
        let view = view(&cache(&json!({})), std::iter::once(&set("n1", &images)));
        let rows = rows(std::iter::once((&view, Some(Duration::from_secs(90)))));
        assert_eq!(rows.len(), 1 + MAX_IMAGES);
        assert_eq!(rows[0].left.as_deref(), Some(", 1 min left"));
        assert_eq!((rows[1].text.as_str(), rows[1].done, &rows[1].left), ("n1 i1", 40, &None));
    }
}
