//! Phone numbers in these notations: `+49 151 12345678`, `(555) 123-4567`, `555-123-4567`, `030 1234567`.
//! Plain digits, dates, versions and sums do not count as phone numbers.

use super::{digit, inside_number};
use crate::scan::Cursor;

/// ITU-T E.164: digits of an international number.
const DIGITS_MAX: usize = 15;
/// Fewer digits after a plus sign are arithmetic.
const INTERNATIONAL_DIGITS_MIN: usize = 8;
/// Fewer digits with an area code in parentheses, or with a trunk zero, are something else.
const NATIONAL_DIGITS_MIN: usize = 9;
const NATIONAL_DIGITS_MAX: usize = 12;
/// After this many digits a space ends the number, and the following digits are another number.
const COMPLETE_DIGITS: usize = 11;

pub(crate) fn length(cursor: &Cursor<'_>, before: u8) -> Option<usize> {
    if inside_number(before) || matches!(before, b'+' | b'/') {
        return None;
    }
    match cursor.peek(0) {
        b'+' => international(cursor),
        b'(' => area_in_parentheses(cursor),
        b'0' => trunk_zero(cursor),
        b'1'..=b'9' => north_american(cursor),
        _ => None,
    }
}

/// `+49 151 12345678`, `+1 (555) 123-4567`, `+44 (0)20 7946 0958`
fn international(cursor: &Cursor<'_>) -> Option<usize> {
    let (length, digits) = groups(cursor, 1, COMPLETE_DIGITS);
    (digits >= INTERNATIONAL_DIGITS_MIN).then_some(length)
}

/// `(555) 123-4567`, `(030) 1234567`
fn area_in_parentheses(cursor: &Cursor<'_>) -> Option<usize> {
    let area = cursor.run(1, 6, digit);
    if !(2..=5).contains(&area) || cursor.peek(1 + area) != b')' {
        return None;
    }
    let (length, digits) = groups(cursor, 1, COMPLETE_DIGITS - 1);
    (NATIONAL_DIGITS_MIN..=NATIONAL_DIGITS_MAX).contains(&digits).then_some(length)
}

/// Groups of digits from `at` on: their end and the number of digits. `None` if they continue into a longer token.
fn groups(cursor: &Cursor<'_>, mut at: usize, complete: usize) -> (usize, usize) {
    let (mut digits, mut count) = (0, 0);
    loop {
        let group = cursor.run(at, DIGITS_MAX + 1, digit);
        if group == 0 || digits + group > DIGITS_MAX {
            return (0, 0);
        }
        (digits, count, at) = (digits + group, count + 1, at + group);
        let next = cursor.peek(at);
        if next.is_ascii_alphabetic() || next == b'_' {
            return (0, 0);
        }
        let gap = separator(cursor, at);
        // A single digit after a space is another number, except after the country code: +33 6 12 34 56 78.
        let lone = gap > 0 && count > 1 && !digit(cursor.peek(at + gap + 1));
        if gap == 0 || next == b' ' && (digits >= complete || lone) || digits == DIGITS_MAX {
            return (at, digits);
        }
        at += gap;
    }
}

/// The number of bytes between the digits before `at` and those after it. `None` if no digit follows.
fn separator(cursor: &Cursor<'_>, at: usize) -> usize {
    let gap = match (cursor.peek(at), cursor.peek(at + 1)) {
        (b' ', b'(') | (b')', b' ' | b'-') => 2,
        (b' ' | b'-' | b'.' | b'/' | b'(' | b')', _) => 1,
        _ => 0,
    };
    if gap > 0 && digit(cursor.peek(at + gap)) { gap } else { 0 }
}

/// `030 1234567`, `0171/1234567`, `06 12 34 56 78`: a date has fewer digits, and a time after it another separator.
fn trunk_zero(cursor: &Cursor<'_>) -> Option<usize> {
    let (mut at, mut digits, mut count) = (0, 0, 0);
    let mut separator = None;
    loop {
        let group = cursor.run(at, NATIONAL_DIGITS_MAX + 1, digit);
        digits += group;
        if group < 2 || digits > NATIONAL_DIGITS_MAX {
            return None;
        }
        (count, at) = (count + 1, at + group);
        let next = cursor.peek(at);
        let separates = matches!(next, b' ' | b'-' | b'.') || count == 1 && next == b'/';
        if next.is_ascii_alphabetic() || next == b'_' {
            return None;
        }
        // The first separator comes after the area code and may differ from the others.
        let same = count == 1 || *separator.get_or_insert(next) == next;
        if !separates || !same || !digit(cursor.peek(at + 1)) {
            break;
        }
        at += 1;
    }
    (count > 1 && digits >= NATIONAL_DIGITS_MIN).then_some(at)
}

/// `555-123-4567`, `1-800-555-1234`, by the North American Numbering Plan: neither area code nor exchange starts with 0 or 1.
fn north_american(cursor: &Cursor<'_>) -> Option<usize> {
    let prefix = if cursor.peek(0) == b'1' && matches!(cursor.peek(1), b' ' | b'-' | b'.') { 2 } else { 0 };
    let separator = cursor.peek(prefix + 3);
    if !matches!(separator, b' ' | b'-' | b'.') || prefix > 0 && cursor.peek(1) != separator {
        return None;
    }
    let group = |at: usize, length: usize| cursor.run(at, length + 1, digit) == length;
    let opens = |at: usize| matches!(cursor.peek(at), b'2'..=b'9');
    let end = prefix + 12;
    let fits = opens(prefix)
        && group(prefix, 3)
        && opens(prefix + 4)
        && group(prefix + 4, 3)
        && cursor.peek(prefix + 7) == separator
        && group(prefix + 8, 4);
    let next = cursor.peek(end);
    let goes_on = next.is_ascii_alphabetic() || next == b'_' || next == separator && digit(cursor.peek(end + 1));
    (fits && !goes_on).then_some(end)
}
