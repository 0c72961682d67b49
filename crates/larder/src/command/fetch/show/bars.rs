//! A bar for each image that is being pulled.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

const UNKNOWN: &str = "  {spinner} {msg}  {elapsed}";
const KNOWN: &str = "  {msg} [{bar:30}] {bytes}/{total_bytes}  {bytes_per_sec}";
/// Between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(200);

/// The bars on a terminal.
pub(in super::super) struct Bars {
    all: MultiProgress,
    images: RefCell<HashMap<String, ProgressBar>>,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self { all: MultiProgress::new(), images: RefCell::default() }
    }

    pub(super) fn suspend(&self, print: impl FnOnce()) {
        self.all.suspend(print);
    }

    pub(super) fn begin(&self, image: &str) {
        let bar = self.all.add(ProgressBar::new(0).with_style(style(UNKNOWN)).with_message(image.to_owned()));
        bar.enable_steady_tick(TICK);
        self.images.borrow_mut().insert(image.to_owned(), bar);
    }

    /// The first bytes turn the spinner into a bar.
    pub(super) fn progress(&self, image: &str, done: u64, total: u64) {
        let images = self.images.borrow();
        let Some(bar) = images.get(image) else { return };
        if bar.length() != Some(total) {
            bar.set_length(total);
            bar.set_style(style(KNOWN));
        }
        bar.set_position(done);
    }

    pub(super) fn end(&self, image: &str) {
        if let Some(bar) = self.images.borrow_mut().remove(image) {
            bar.finish_and_clear();
        }
    }
}

/// The templates are constants; a mistake in one gives the default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
