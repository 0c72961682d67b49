//! Reads waits as people type them: `20s`, `2m`, `1h30m`, `500ms`; none is no wait.

use std::time::Duration;

use larder_core::parse_go_duration;

/// A text is no wait.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected numbers with ms, s, m or h, such as 20s or 1h30m, and more than nothing")]
pub(crate) struct DurationError;

/// The sum of all numbers in `text`, each with its unit.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    parse_go_duration(text).ok().filter(|wait| !wait.is_zero()).ok_or(DurationError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_numbers_with_units_and_more_than_nothing() {
        let table = [("20s", 20_000), ("2m", 120_000), ("1s500ms", 1500), ("1.5s", 1500), ("007s", 7000)];
        for (text, milliseconds) in table {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0", "0s", "0.1ns", "20", "2 m", "-1s", "1d", "18446744073709551615h"] {
            assert_eq!(parse(text), Err(DurationError), "{text}");
        }
    }
}
