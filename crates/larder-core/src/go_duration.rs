//! Lengths of time as Go programs write and take them: `12h`, `1h30m`, `1.5s`, `250us`, `0`.

use std::time::Duration;

/// A text is no length of time; the message does not quote it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected numbers with ns, us, ms, s, m or h, such as 20s or 1h30m")]
pub struct GoDurationError;

/// The sum of all numbers in `text`, each with its unit; a bare 0 has none. None is negative.
pub fn parse_go_duration(text: &str) -> Result<Duration, GoDurationError> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut sum = (!text.is_empty()).then_some(Duration::ZERO).ok_or(GoDurationError)?;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, tail) = split(tail, |c| !(c.is_ascii_digit() || c == '.'));
        let part = nanoseconds(unit).and_then(|unit| product(number, unit));
        sum = part.and_then(|part| sum.checked_add(part)).ok_or(GoDurationError)?;
        rest = tail;
    }
    Ok(sum)
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

fn nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `number` may have a fraction; what is below a nanosecond is dropped.
fn product(number: &str, unit: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    // An hour has 3.6e12 nanoseconds: of more digits than 13, none can add one.
    let fraction = &fraction[..fraction.len().min(13)];
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(digits(fraction)?) * u128::from(unit) / u128::from(scale);
    let whole = Duration::from_nanos(digits(whole)?.checked_mul(unit)?);
    whole.checked_add(Duration::from_nanos(u64::try_from(part).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_go_does() {
        let table = [
            ("0", 0),
            ("0s", 0),
            ("20s", 20_000_000_000),
            ("12h", 43_200_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5h", 1_800_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1h0m0s", 3_600_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1.m", 60_000_000_000),
            ("300ms", 300_000_000),
            ("250us", 250_000),
            ("5000us", 5_000_000),
            ("2µs", 2_000),
            ("2μs", 2_000),
            ("+7ns", 7),
            ("+2s", 2_000_000_000),
            ("0.123456789123s", 123_456_789),
            ("0.0000000000009h", 3),
        ];
        for (text, nanoseconds) in table {
            assert_eq!(parse_go_duration(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
        let long = "9".repeat(20) + "h";
        let none = [
            "", "+", "s", "h", "12", "20", ".", ".s", "-1s", "1d", "1 s", "1sx", "1..5s", "1.2.3s",
            "9999999h", &long, "1é", "é",
        ];
        for text in none {
            assert_eq!(parse_go_duration(text), Err(GoDurationError), "{text:?}");
        }
    }
}
