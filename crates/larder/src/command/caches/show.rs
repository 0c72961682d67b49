//! Caches while they become warm: bars on a terminal, lines elsewhere.

mod bars;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use larder_api::ImagePhase;

use super::pace::Pace;
use super::{CacheView, ImageView};
use crate::printer;
use bars::Bars;

/// Between two lines about one cache, unless it became Ready.
const LINES: Duration = Duration::from_secs(5);

/// Shows caches, again and again.
pub(in crate::command) struct Show {
    began: Instant,
    paces: RefCell<HashMap<String, Pace>>,
    way: Way,
}

enum Way {
    Terminal(Bars),
    /// Each cache's last line, and when it was said.
    Lines(RefCell<HashMap<String, (String, Instant)>>),
}

impl Show {
    /// The way that suits stderr.
    pub(in crate::command) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let way = if terminal { Way::Terminal(Bars::new()) } else { Way::Lines(RefCell::default()) };
        Self { began: Instant::now(), paces: RefCell::default(), way }
    }

    /// Shows what changed since the last time.
    pub(in crate::command) fn show(&self, caches: &[CacheView]) {
        let lefts: Vec<_> = caches.iter().map(|cache| self.left(cache)).collect();
        match &self.way {
            Way::Terminal(bars) => bars.show(caches.iter().zip(lefts)),
            Way::Lines(said) => {
                let mut said = said.borrow_mut();
                caches.iter().zip(lefts).for_each(|(cache, left)| say(&mut said, cache, left));
            }
        }
    }

    /// Takes the bars away.
    pub(in crate::command) fn clear(&self) {
        if let Way::Terminal(bars) = &self.way {
            bars.clear();
        }
    }

    fn left(&self, cache: &CacheView) -> Option<Duration> {
        let (now, done) = (self.began.elapsed(), cache.done());
        let mut paces = self.paces.borrow_mut();
        let pace = paces.entry(cache.full_name()).or_insert_with(|| Pace::begin(now, done.0));
        pace.left(now, done).filter(|_| done.0 < done.1)
    }
}

fn say(said: &mut HashMap<String, (String, Instant)>, cache: &CacheView, left: Option<Duration>) {
    let line = summary(cache);
    let last = said.get(&cache.full_name());
    let due = last.is_none_or(|(before, at)| *before != line && (cache.ready || at.elapsed() >= LINES));
    if due {
        printer::talk(format_args!("{line}{}", left.map(and_left).unwrap_or_default()));
        said.insert(cache.full_name(), (line, Instant::now()));
    }
}

/// Where a cache stands: `shop/web: 3 of 5 nodes warm, 56 %, 2 failed`.
fn summary(cache: &CacheView) -> String {
    let (done, total) = cache.done();
    let nodes = cache.nodes.map_or_else(
        || format!("{} nodes", cache.by_node.len()),
        |nodes| format!("{} of {} nodes warm", nodes.ready, nodes.wanted),
    );
    let percent = (done * 100).checked_div(total).map(|percent| format!(", {percent} %")).unwrap_or_default();
    let failed = failures(cache).count();
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("{}: {nodes}{percent}{failed}", cache.full_name())
}

fn failures(cache: &CacheView) -> impl Iterator<Item = &ImageView> {
    let images = cache.by_node.iter().flat_map(|node| &node.images);
    images.filter(|image| image.phase == ImagePhase::Failed)
}

fn and_left(left: Duration) -> String {
    let seconds = left.as_secs();
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!(", {seconds} s left"),
        (0, minutes, _) => format!(", {minutes} min left"),
        (hours, minutes, _) => format!(", {hours} h {minutes} min left"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::view::tests::{cache, set};
    use super::super::view::view;
    use super::*;

    #[test]
    fn a_line_says_where_a_cache_stands() {
        let sets = [
            set("n1", &[("a", "Warm", None), ("b", "Pulling", Some(50))]),
            set("n2", &[("a", "Failed", None)]),
        ];
        assert_eq!(summary(&view(&cache(&json!({})), sets.iter())), "shop/web: 2 nodes, 50 %, 1 failed");
        let counts = json!({ "nodes": { "wanted": 3, "ready": 1, "waiting": 0, "failed": 1, "unknown": 0 } });
        assert_eq!(summary(&view(&cache(&counts), std::iter::empty())), "shop/web: 1 of 3 nodes warm");
    }

    #[test]
    fn time_is_told_as_people_tell_it() {
        let left = |seconds| and_left(Duration::from_secs(seconds));
        assert_eq!([left(59), left(150), left(7260)], [", 59 s left", ", 2 min left", ", 2 h 1 min left"]);
    }
}
