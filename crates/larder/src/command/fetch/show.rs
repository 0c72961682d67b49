//! What a fetch shows while it runs: bars on a terminal, lines elsewhere, nothing when asked; and what became of each image in
//! any case.

mod bars;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use larder_core::ByteSize;
use larder_node::fetch::{Event, Missing, Present, Reporter};

use crate::printer;
use bars::Bars;

/// Between two lines about the progress of one image.
const LINES: Duration = Duration::from_secs(10);

/// Shows a fetch.
pub(super) enum Show {
    /// Bars.
    Terminal(Bars),
    /// Lines, with the time of each image's last one.
    Lines(RefCell<HashMap<String, Instant>>),
    /// What became of images, and nothing else.
    Quiet,
}

impl Show {
    /// The way that suits stderr.
    pub(super) fn new(quiet: bool) -> Self {
        match () {
            () if quiet => Self::Quiet,
            () if std::io::stderr().is_terminal() => Self::Terminal(Bars::new()),
            () => Self::Lines(RefCell::default()),
        }
    }

    /// Prints a line, without bars in its way.
    fn say(&self, print: impl FnOnce()) {
        match self {
            Self::Terminal(bars) => bars.suspend(print),
            Self::Lines(_) | Self::Quiet => print(),
        }
    }

    fn is_quiet(&self) -> bool {
        matches!(self, Self::Quiet)
    }

    fn pulling(&self, image: &str, attempt: u32) {
        match self {
            Self::Terminal(bars) => bars.begin(image),
            Self::Lines(_) => printer::talk(format_args!("pulling {image}, attempt {attempt}")),
            Self::Quiet => {}
        }
    }

    fn progress(&self, image: &str, done: u64, total: u64) {
        match self {
            Self::Terminal(bars) => bars.progress(image, done, total),
            Self::Lines(said) => {
                let mut said = said.borrow_mut();
                if said.get(image).is_none_or(|last| last.elapsed() >= LINES) {
                    said.insert(image.to_owned(), Instant::now());
                    printer::talk(format_args!("{image}: {} of {}", ByteSize(done), ByteSize(total)));
                }
            }
            Self::Quiet => {}
        }
    }

    fn ended(&self, image: &str) {
        match self {
            Self::Terminal(bars) => bars.end(image),
            Self::Lines(said) => drop(said.borrow_mut().remove(image)),
            Self::Quiet => {}
        }
    }
}

impl Reporter for Show {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Finished { image, result } => {
                self.ended(image);
                self.say(|| finished(image, result));
            }
            Event::NoFloor(reason) => {
                self.say(|| printer::talk(format_args!("no disk floor is kept: {reason}")));
            }
            Event::Pulling { image, attempt } => self.pulling(image, attempt),
            Event::Progress { image, done, total } => self.progress(image, done, total),
            Event::Retrying { image, .. } if self.is_quiet() => self.ended(image),
            Event::Retrying { image, reason, delay } => {
                self.ended(image);
                let seconds = delay.as_secs_f64();
                self.say(|| printer::talk(format_args!("image {image}: {reason}; again in {seconds:.1} s")));
            }
            Event::Checked { present, to_pull } if !self.is_quiet() => {
                printer::talk(format_args!("{present} images are there, {to_pull} to pull"));
            }
            Event::Waiting(delay) if !self.is_quiet() => {
                printer::talk(format_args!("this node begins to pull in {:.1} s", delay.as_secs_f64()));
            }
            Event::Checked { .. } | Event::Waiting(_) | Event::Runtime { .. } | Event::Attempted(_) => {}
        }
    }
}

fn finished(image: &str, result: &Result<Present, Missing>) {
    match result {
        Ok(Present::Already { .. }) => printer::data(format_args!("{image}: present")),
        Ok(Present::Pulled { size, took, attempts: _ }) => {
            let seconds = took.as_secs_f64();
            printer::data(format_args!("{image}: pulled, {} in {seconds:.1} s", ByteSize(*size)));
        }
        Err(missing) => printer::failure(&format!("image {image}"), missing),
    }
}
