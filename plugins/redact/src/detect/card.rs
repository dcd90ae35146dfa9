//! Payment card numbers: 13 to 19 digits, bare or in groups, with an issuer's prefix and a valid check digit.

use super::{digit, inside_number};
use crate::scan::Cursor;

const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;
/// Issuers write 4-4-4-4, 4-6-5, 6-13 and the like.
const FIRST_GROUP_MIN: usize = 4;

pub(crate) fn length(cursor: &Cursor<'_>, before: u8) -> Option<usize> {
    if !digit(cursor.peek(0)) || inside_number(before) {
        return None;
    }
    let mut digits = Vec::with_capacity(DIGITS_MAX);
    let mut accepted = None;
    let mut separator = None;
    let mut at = 0;
    loop {
        let group = cursor.run(at, DIGITS_MAX + 1, digit);
        if digits.len() + group > DIGITS_MAX || at == 0 && group < FIRST_GROUP_MIN {
            break;
        }
        digits.extend((0..group).map(|n| cursor.peek(at + n) - b'0'));
        at += group;
        let next = cursor.peek(at);
        // A group directly followed by a letter or a decimal does not end a number.
        if is_card(&digits) && !next.is_ascii_alphanumeric() {
            accepted = Some(at);
        }
        let separates = matches!(next, b' ' | b'-') && *separator.get_or_insert(next) == next;
        if !separates || !digit(cursor.peek(at + 1)) {
            break;
        }
        at += 1;
    }
    accepted
}

fn is_card(digits: &[u8]) -> bool {
    digits.len() >= DIGITS_MIN && issued(digits) && luhn(digits)
}

/// ISO/IEC 7812-1: the leading digits of payment cards. Most time stamps and serial numbers start with other digits.
fn issued(digits: &[u8]) -> bool {
    let four = digits.iter().take(4).fold(0u32, |value, digit| value * 10 + u32::from(*digit));
    match four {
        2221..=2720 => digits.len() == 16,
        3000..=6999 => true,
        _ => false,
    }
}

/// ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(n, digit)| {
            let doubled = u32::from(*digit) << (n % 2);
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10)
}
