//! The machine's local time, which templates print.

use chrono::{Local, Timelike as _};

use crate::codec::jinja::LocalTime;

/// The current local time.
pub(super) fn local_time() -> LocalTime {
    let now = Local::now();
    // In a leap second the number is above a million.
    let micros = (now.nanosecond() / 1_000).min(999_999);
    LocalTime { epoch: now.timestamp(), offset: i64::from(now.offset().local_minus_utc()), micros }
}
