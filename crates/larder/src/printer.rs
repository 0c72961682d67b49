//! The only place that prints: data to stdout, talk to stderr.
//!
//! What cannot be printed ends no work that is under way: the first failure is kept for [`finish`].

use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::sync::OnceLock;

/// Why stdout takes no more.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Data could not be printed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct PrintError(#[source] &'static io::Error);

/// A line of data.
pub(crate) fn data(line: impl Display) {
    if FAILED.get().is_none() {
        keep(writeln!(io::stdout(), "{line}"));
    }
}

/// A JSON object, indented.
pub(crate) fn json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => data(text),
        Err(error) => keep(Err(error.into())),
    }
}

/// Whether all data was printed. A reader that is gone wanted no more of it, which is no failure.
pub(crate) fn finish() -> Result<(), PrintError> {
    if FAILED.get().is_none() {
        keep(io::stdout().flush());
    }
    match FAILED.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(PrintError(error)),
        _ => Ok(()),
    }
}

fn keep(written: io::Result<()>) {
    if let Err(error) = written {
        FAILED.get_or_init(|| error);
    }
}

/// A line of talk.
pub(crate) fn talk(line: impl Display) {
    // With nobody there who could be told, the exit status has to do.
    let _untold = writeln!(io::stderr(), "{line}");
}

/// An error with all its causes, on one line.
pub(crate) fn error(error: &anyhow::Error) {
    talk(format_args!("error: {}", one_line(&format!("{error:#}"))));
}

/// A part that failed, with all causes, while the rest goes on.
pub(crate) fn failure(what: &str, error: &(dyn Error + 'static)) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    talk(format_args!("error: {what}: {}", one_line(&text)));
}

/// Causes from elsewhere may have line breaks of their own.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
