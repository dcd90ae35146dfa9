//! Formats and parses sizes and times: a whole number and a unit.

use std::time::Duration;

const SIZES: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIMES: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses `64MiB`, `1GiB` or `1000000B` to bytes. A number without unit has the unit `bare`, if given.
///
/// # Errors
/// A message with an example.
pub fn parse_size(text: &str, bare: Option<&str>) -> Result<u64, String> {
    parse(text, bare, SIZES, "a size", "64MiB", "B, KiB, MiB or GiB")
}

/// Parses `500ms`, `30s`, `5m`, `24h` or `90d`. A number without unit has the unit `bare`, if given.
///
/// # Errors
/// A message with an example.
pub fn parse_time(text: &str, bare: Option<&str>) -> Result<Duration, String> {
    parse(text, bare, TIMES, "a time", "30s", "ms, s, m, h or d").map(Duration::from_millis)
}

fn parse(
    text: &str,
    bare: Option<&str>,
    units: &[(&str, u64)],
    what: &str,
    example: &str,
    names: &str,
) -> Result<u64, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = (&text[..at], text[at..].trim());
    let number: u64 = digits.parse().map_err(|_| format!("\"{text}\" is not {what}; write {example}"))?;
    let unit = match (unit, bare) {
        ("", None) => return Err(format!("\"{text}\" has no unit; add {names}, as in {example}")),
        ("", Some(bare)) => bare,
        _ => unit,
    };
    let Some((_, scale)) = units.iter().find(|row| row.0 == unit) else {
        return Err(format!("\"{unit}\" is not a unit; use {names}"));
    };
    number.checked_mul(*scale).ok_or_else(|| format!("\"{text}\" is too large for {what}"))
}

/// Formats `bytes` in the largest unit that is exact.
#[must_use]
pub fn size(bytes: u64) -> String {
    write(bytes, SIZES, "B")
}

/// Formats `time` in the largest unit that is exact. Parts of a millisecond are dropped.
#[must_use]
pub fn time(time: Duration) -> String {
    write(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), TIMES, "s")
}

fn write(value: u64, units: &[(&str, u64)], zero: &str) -> String {
    let exact = units.iter().find(|(_, scale)| value != 0 && value.is_multiple_of(*scale));
    exact.map_or_else(|| format!("0{zero}"), |(unit, scale)| format!("{}{unit}", value / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_parsed_with_their_units() {
        assert_eq!(parse_size("64MiB", None), Ok(64 << 20));
        assert_eq!(parse_size("65536 KiB", None), Ok(64 << 20));
        assert_eq!(parse_size("8", Some("MiB")), Ok(8 << 20));
        assert_eq!(parse_time("500ms", None), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("90d", None), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse_time("7", Some("ms")), Ok(Duration::from_millis(7)));
        for bad in ["", "MiB", "5MB", "-1", "7", "1.5GiB", "99999999999999999999B", "18446744073709551615GiB"] {
            assert!(parse_size(bad, None).is_err(), "{bad}");
        }
        for bad in ["", "5", "5min", "-5s", "1h30m"] {
            assert!(parse_time(bad, None).is_err(), "{bad}");
        }
        assert!(parse_time("5", None).expect_err("no unit").contains("no unit"), "it says what is missing");
    }

    #[test]
    fn formatted_values_parse_to_the_same_value() {
        for value in [0, 1, 1_000, 1 << 20, 3 << 30, u64::MAX] {
            assert_eq!(parse_size(&size(value), None), Ok(value));
        }
        for value in [0, 1, 999, 60_000, 90_000, 86_400_000] {
            let value = Duration::from_millis(value);
            assert_eq!(parse_time(&time(value), None), Ok(value));
        }
    }
}
