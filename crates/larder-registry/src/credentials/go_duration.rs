//! Lengths of time as Go writes them, which the files of Kubernetes have: `12h`, `1h30m`, `1.5s`, `300ms`, `0`.

use std::time::Duration;

/// The length that `text` says; none where it says none, or a negative one.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let next = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(next);
        sum = sum.checked_add(part(number, nanoseconds(unit)?)?)?;
        rest = tail;
    }
    Some(sum)
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

/// `number`, perhaps with a fraction, of units of so many nanoseconds.
fn part(number: &str, unit: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanoseconds = u128::from(whole) * u128::from(unit) + below_one(fraction, unit);
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanoseconds % 1_000_000_000).ok()?))
}

/// The digits after the point; more of them than matter are left out.
fn below_one(digits: &str, unit: u64) -> u128 {
    let mut scale = u128::from(unit);
    let mut sum = 0;
    for digit in digits.bytes().take(15) {
        sum += u128::from(digit - b'0') * scale;
        scale /= 10;
    }
    sum / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_go_reads_them() {
        let table = [
            ("12h", 43_200_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            (".5h", 1_800_000),
            ("1.m", 60_000),
            ("300ms", 300),
            ("5000us", 5),
            ("0", 0),
            ("0s", 0),
            ("+2s", 2000),
        ];
        for (text, milliseconds) in table {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in
            ["", "12", "h", "-1s", "1d", "1 s", ".s", "1..5s", "1.2.3s", "99999999999999999999h", "1sx"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
