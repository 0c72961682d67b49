//! Prometheus' text format, version 0.0.4.

use std::fmt::Write as _;

/// The content type of [`Text`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Lines of metrics, as they are written.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// What a metric is: before its samples.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// A metric of one sample.
    pub(crate) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(format_args!("{name} {value}"));
    }

    /// One sample with a label.
    pub(crate) fn labelled(&mut self, name: &str, label: &str, of: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{name}{{{label}=\"{of}\"}} {value}"));
    }

    /// Anything else.
    pub(crate) fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}
