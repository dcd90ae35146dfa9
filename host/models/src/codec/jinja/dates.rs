//! Python's `strftime` of a local time without a zone, as glibc writes it in the C locale.

/// A local time, as returned by `datetime.now()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::codec) struct LocalTime {
    /// Seconds since 1970 in UTC.
    pub(in crate::codec) epoch: i64,
    /// Seconds by which the local time is ahead of UTC.
    pub(in crate::codec) offset: i64,
    /// Microseconds of the second.
    pub(in crate::codec) micros: u32,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// Maximum width of a directive's field.
const WIDTH_MAX: usize = 64;

/// The parts of a local time.
struct DateParts {
    year: i64,
    /// From 1.
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// From 0, Sunday.
    weekday: i64,
    /// From 1.
    yearday: i64,
}

/// The flags of a directive: `%-d`, `%_5H`, `%^a`.
#[derive(Default)]
struct Look {
    pad: Option<char>,
    upper: bool,
    swap: bool,
    width: usize,
}

/// `format` with its directives replaced. All other text is unchanged.
pub(in crate::codec) fn strftime(format: &str, time: LocalTime) -> String {
    let parts = DateParts::of(time);
    let mut out = String::new();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        let (before, directive) = rest.split_at(start);
        out.push_str(before);
        let (look, letter, length) = read(directive);
        rest = &directive[length..];
        match letter.and_then(|letter| field(letter, &parts, time)) {
            Some(field) => out.push_str(&look.dress(field)),
            None => out.push_str(&directive[..length]),
        }
    }
    out.push_str(rest);
    out
}

/// The flags, the letter and the length in bytes of the directive at the start of `text`.
fn read(text: &str) -> (Look, Option<char>, usize) {
    let mut look = Look::default();
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((_, flag)) = letters.next_if(|(_, letter)| matches!(letter, '-' | '_' | '0' | '^' | '#')) {
        match flag {
            '^' => look.upper = true,
            '#' => look.swap = true,
            pad => look.pad = Some(pad),
        }
    }
    while let Some((_, digit)) = letters.next_if(|(_, letter)| letter.is_ascii_digit()) {
        look.width = look.width.saturating_mul(10).saturating_add(digit as usize - '0' as usize).min(WIDTH_MAX);
    }
    letters.next_if(|(_, letter)| matches!(letter, 'E' | 'O'));
    match letters.next() {
        Some((at, letter)) => (look, Some(letter), at + letter.len_utf8()),
        None => (look, None, text.len()),
    }
}

/// The value of a directive: a number with its width and padding, or text.
enum Field {
    Number(i64, usize, char),
    Text(String),
}

impl Look {
    fn dress(&self, field: Field) -> String {
        match field {
            Field::Number(number, width, pad) => {
                let pad = self.pad.unwrap_or(pad);
                let width = if pad == '-' { 0 } else { self.width.max(width) };
                match pad {
                    '_' | ' ' => format!("{number:>width$}"),
                    _ => format!("{number:0>width$}"),
                }
            }
            Field::Text(text) => {
                let text = match (self.upper, self.swap) {
                    (_, true) if text == "AM" || text == "PM" => text.to_lowercase(),
                    (true, _) | (_, true) => text.to_uppercase(),
                    _ => text,
                };
                let width = self.width;
                if self.pad == Some('0') { format!("{text:0>width$}") } else { format!("{text:>width$}") }
            }
        }
    }
}

fn field(letter: char, parts: &DateParts, time: LocalTime) -> Option<Field> {
    let zeros = |number, width| Some(Field::Number(number, width, '0'));
    let spaces = |number| Some(Field::Number(number, 2, ' '));
    let text = |text: &str| Some(Field::Text(text.to_owned()));
    let all = |format: &str| Some(Field::Text(strftime(format, time)));
    let twelve = if parts.hour % 12 == 0 { 12 } else { parts.hour % 12 };
    let half = if parts.hour < 12 { "AM" } else { "PM" };
    let (week_year, week) = parts.iso_week();
    let name = |names: &[&'static str], index: i64| usize::try_from(index).ok().and_then(|at| names.get(at).copied());
    let (month, day) = (name(&MONTHS, parts.month - 1)?, name(&DAYS, parts.weekday)?);
    match letter {
        'a' => text(&day[..3]),
        'A' => text(day),
        'b' | 'h' => text(&month[..3]),
        'B' => text(month),
        'c' => all("%a %b %e %H:%M:%S %Y"),
        'C' => zeros(parts.year.div_euclid(100), 2),
        'd' => zeros(parts.day, 2),
        'D' | 'x' => all("%m/%d/%y"),
        'e' => spaces(parts.day),
        'f' => text(&format!("{:06}", time.micros)),
        'F' => all("%Y-%m-%d"),
        'g' => zeros(week_year.rem_euclid(100), 2),
        'G' => zeros(week_year, 4),
        'H' => zeros(parts.hour, 2),
        'I' => zeros(twelve, 2),
        'j' => zeros(parts.yearday, 3),
        'k' => spaces(parts.hour),
        'l' => spaces(twelve),
        'm' => zeros(parts.month, 2),
        'M' => zeros(parts.minute, 2),
        'n' => text("\n"),
        'p' => text(half),
        'P' => text(&half.to_lowercase()),
        'r' => all("%I:%M:%S %p"),
        'R' => all("%H:%M"),
        's' => zeros(time.epoch, 1),
        'S' => zeros(parts.second, 2),
        't' => text("\t"),
        'T' | 'X' => all("%H:%M:%S"),
        'u' => zeros(if parts.weekday == 0 { 7 } else { parts.weekday }, 1),
        'U' => zeros((parts.yearday + 6 - parts.weekday) / 7, 2),
        'V' => zeros(week, 2),
        'w' => zeros(parts.weekday, 1),
        'W' => zeros((parts.yearday + 6 - (parts.weekday + 6) % 7) / 7, 2),
        'y' => zeros(parts.year.rem_euclid(100), 2),
        'Y' => zeros(parts.year, 4),
        // A time without a zone has neither name nor offset.
        'z' | 'Z' => text(""),
        '%' => text("%"),
        _ => None,
    }
}

impl DateParts {
    /// Hinnant, "chrono-compatible low-level date algorithms".
    fn of(time: LocalTime) -> Self {
        let local = time.epoch + time.offset;
        let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap = i64::from(is_leap(year) && month > 2);
        let yearday = before.iter().take(usize::try_from(month).unwrap_or(1)).next_back().unwrap_or(&0) + day + leap;
        Self {
            year,
            month,
            day,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
            weekday: (days + 4).rem_euclid(7),
            yearday,
        }
    }

    /// Year and number of the week, as ISO 8601 counts them.
    fn iso_week(&self) -> (i64, i64) {
        let monday_first = (self.weekday + 6) % 7;
        let week = (self.yearday - 1 - monday_first + 10) / 7;
        if week < 1 {
            return (self.year - 1, weeks_in(self.year - 1));
        }
        if week > weeks_in(self.year) { (self.year + 1, 1) } else { (self.year, week) }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// 53 if the year ends on a Thursday, or the one before on a Wednesday.
fn weeks_in(year: i64) -> i64 {
    let last_day = |year: i64| (year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400)).rem_euclid(7);
    if last_day(year) == 4 || last_day(year - 1) == 3 { 53 } else { 52 }
}
