//! What a build shows while it runs: bars on a terminal, a line for each layer elsewhere, nothing when asked.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use larder_core::{ByteSize, ChainId, Layer};
use larder_disk::Reporter;

use crate::printer;

const TOTAL: &str = "{msg} [{bar:40}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
const LAYER: &str = "  {msg} [{bar:30}] {bytes}/{total_bytes}";

/// Shows a build.
pub(crate) enum Progress {
    /// Bars.
    Terminal(Box<Bars>),
    /// A line a layer.
    Lines(Mutex<Counts>),
    /// Nothing.
    Quiet,
}

/// The bars on a terminal.
pub(crate) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    layers: Mutex<HashMap<ChainId, ProgressBar>>,
}

/// How many layers there are and are done.
#[derive(Default)]
pub(crate) struct Counts {
    planned: usize,
    finished: usize,
}

impl Progress {
    /// The way that suits stderr.
    pub(crate) fn new(quiet: bool) -> Self {
        match () {
            () if quiet => Self::Quiet,
            () if std::io::stderr().is_terminal() => Self::Terminal(Box::new(Bars::new())),
            () => Self::Lines(Mutex::default()),
        }
    }

    /// Takes the bars away.
    pub(crate) fn clear(&self) {
        if let Self::Terminal(bars) = self {
            bars.total.finish_and_clear();
            lock(&bars.layers).drain().for_each(|(_, bar)| bar.finish_and_clear());
        }
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(0).with_style(style(TOTAL)).with_message("baking"));
        Self { all, total, layers: Mutex::default() }
    }
}

/// The templates are constants; a mistake in one gives the default bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enough of a digest to tell layers apart.
fn short(layer: &Layer) -> String {
    layer.descriptor.digest.hex()[..12].to_owned()
}

impl Reporter for Progress {
    fn planned(&self, layers: &[&Layer]) {
        let bytes = layers.iter().map(|layer| layer.descriptor.size).fold(0, u64::saturating_add);
        match self {
            Self::Terminal(bars) => bars.total.set_length(bytes),
            Self::Lines(counts) => {
                lock(counts).planned = layers.len();
                printer::talk(format_args!("baking {} layers, {} to fetch", layers.len(), ByteSize(bytes)));
            }
            Self::Quiet => {}
        }
    }

    fn read(&self, layer: &Layer, bytes: u64) {
        let Self::Terminal(bars) = self else { return };
        bars.total.inc(bytes);
        let mut layers = lock(&bars.layers);
        let bar = layers.entry(layer.chain_id).or_insert_with(|| {
            let bar = ProgressBar::new(layer.descriptor.size).with_style(style(LAYER));
            bars.all.add(bar.with_message(short(layer)))
        });
        bar.inc(bytes);
    }

    fn restarted(&self, layer: &Layer, bytes: u64) {
        let Self::Terminal(bars) = self else { return };
        bars.total.dec(bytes);
        if let Some(bar) = lock(&bars.layers).get(&layer.chain_id) {
            bar.dec(bytes);
        }
    }

    fn finished(&self, layer: &Layer) {
        match self {
            Self::Terminal(bars) => {
                if let Some(bar) = lock(&bars.layers).remove(&layer.chain_id) {
                    bar.finish_and_clear();
                }
            }
            Self::Lines(counts) => {
                let mut counts = lock(counts);
                counts.finished += 1;
                let (size, place) = (ByteSize(layer.descriptor.size), (counts.finished, counts.planned));
                printer::talk(format_args!("layer {}/{}: {} {size}", place.0, place.1, short(layer)));
            }
            Self::Quiet => {}
        }
    }

    fn writing_metadata(&self) {
        match self {
            Self::Terminal(bars) => bars.total.set_message("finishing"),
            Self::Lines(_) => printer::talk("writing directories and inodes"),
            Self::Quiet => {}
        }
    }
}
