//! Reads lengths of time as people type them: `20s`, `2m`, `1h30m`, `500ms`.

use std::time::Duration;

/// A text is no length of time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected numbers with ms, s, m or h, such as 20s or 1h30m, and more than nothing")]
pub(crate) struct DurationError;

/// The sum of all numbers in `text`, each with its unit.
pub(crate) fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = split(rest, |c| c.is_ascii_digit());
        let (unit, tail) = split(tail, |c| c.is_ascii_alphabetic());
        let number: u64 = number.parse().map_err(|_| DurationError)?;
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            _ => None,
        };
        sum = part.and_then(|part| sum.checked_add(part)).ok_or(DurationError)?;
        rest = tail;
    }
    if sum.is_zero() { Err(DurationError) } else { Ok(sum) }
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_numbers_with_units() {
        let table =
            [("20s", 20_000), ("2m", 120_000), ("1h30m", 5_400_000), ("1s500ms", 1500), ("007s", 7000)];
        for (text, milliseconds) in table {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0s", "20", "s", "2 m", "-1s", "1.5s", "1d", "2m20", "18446744073709551615h"] {
            assert_eq!(parse(text), Err(DurationError), "{text}");
        }
    }
}
