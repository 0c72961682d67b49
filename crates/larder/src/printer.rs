//! The only place that prints: data to stdout, talk to stderr.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the printer")]

use std::error::Error;
use std::fmt::Display;

/// A line of data.
pub(crate) fn data(line: impl Display) {
    println!("{line}");
}

/// A JSON object, indented.
pub(crate) fn json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("error: the report cannot be written: {error}"),
    }
}

/// A line of talk.
pub(crate) fn talk(line: impl Display) {
    eprintln!("{line}");
}

/// An error with all its causes, on one line.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {}", one_line(&format!("{error:#}")));
}

/// A part that failed, with all causes, while the rest goes on.
pub(crate) fn failure(what: &str, error: &(dyn Error + 'static)) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    eprintln!("error: {what}: {}", one_line(&text));
}

/// Causes from elsewhere may have line breaks of their own.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
