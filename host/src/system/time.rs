//! Formats and parses times in RFC 3339, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_SECONDS: u64 = 86_400;

/// Formats `moment` as `2026-11-25T02:15:03.042Z`. Times before 1970 become 1970.
#[must_use]
pub fn rfc3339(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() % DAY_SECONDS;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{:03}Z", date(moment), since.subsec_millis())
}

/// Formats the date of `moment` as `2026-11-25`, in UTC.
#[must_use]
pub fn date(moment: SystemTime) -> String {
    let days = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY_SECONDS;
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Parses `2026-11-25T02:15:03Z`, with an optional fraction and an offset such as `+01:00`, or `2026-11-25`, which means its
/// midnight.
///
/// # Errors
/// A message with an example.
pub fn parse(text: &str) -> Result<SystemTime, String> {
    read(text).ok_or_else(|| format!("\"{text}\" is not a date or time; write 2027-01-31, or 2027-01-31T12:00:00Z"))
}

fn read(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let days = days(year, month, day)?;
    let since = if rest.is_empty() { Some(0) } else { time_of_day(rest) }?;
    let seconds = i64::try_from(days * DAY_SECONDS).ok()?.checked_add(since)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Seconds since midnight UTC of `T02:15:03.5+01:00`. Fractions are dropped.
fn time_of_day(text: &str) -> Option<i64> {
    let text = text.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = text.split_at_checked(8)?;
    let mut parts = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let offset = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = rest.strip_prefix(['+', '-'])?.split_once(':')?;
            sign * i64::try_from(number(hours)? * 3_600 + number(minutes)? * 60).ok()?
        }
    };
    Some(i64::try_from(hour * 3_600 + minute * 60 + second).ok()? - offset)
}

fn number(digits: &str) -> Option<u64> {
    let all = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all { digits.parse().ok() } else { None }
}

/// Days since 1970-01-01, after Howard Hinnant's algorithm: years begin in March, so that leap days come last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted / 400, shifted % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    // A day that its month does not have converts back to another day.
    (civil(days) == (year, month, day)).then_some(days)
}

fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_formatted_and_parsed() {
        let rows = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_572_903, "2026-11-25T02:15:03.000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000Z"),
        ];
        for (seconds, text) in rows {
            let moment = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(moment), text);
            assert_eq!(parse(text), Ok(moment));
        }
    }

    #[test]
    fn every_day_converts_back() {
        for day in (0..200_000).step_by(7) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), Some(day));
        }
    }

    #[test]
    fn offsets_and_dates_without_time_are_parsed() {
        assert_eq!(parse("2026-11-25T03:15:03+01:00"), parse("2026-11-25T02:15:03Z"));
        assert_eq!(parse("2026-11-25T01:45:03.999-00:30"), parse("2026-11-25T02:15:03Z"));
        assert_eq!(parse("2026-11-25"), parse("2026-11-25T00:00:00Z"));
    }

    #[test]
    fn invalid_times_are_refused() {
        let bad =
            ["", "tomorrow", "2026-02-30", "2026-13-01", "1969-12-31", "2026-11-25T02:15:03", "2026-11-25T24:00:00Z"];
        for bad in bad.into_iter().chain(["2026-11-25T02:15:03+0100", "２026-11-25", "2026-11-25T02:15:03Zjunk"]) {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
