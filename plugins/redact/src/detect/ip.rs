//! IPv4 and IPv6 addresses. A version number with four parts looks the same and counts as an address.

use std::net::Ipv6Addr;

use super::digit;
use crate::scan::Cursor;

/// The longest IPv6 address in text, with an IPv4 address at its end.
const V6_BYTES_MAX: usize = 45;

pub(crate) fn length(cursor: &Cursor<'_>, before: u8) -> Option<usize> {
    if before.is_ascii_alphanumeric() || matches!(before, b'.' | b':' | b'_') {
        return None;
    }
    v6(cursor).or_else(|| v4(cursor))
}

fn v4(cursor: &Cursor<'_>) -> Option<usize> {
    let mut at = 0;
    for part in 0..4 {
        let digits = cursor.run(at, 4, digit);
        let value = (0..digits).fold(0u32, |value, n| value * 10 + u32::from(cursor.peek(at + n) - b'0'));
        let padded = digits > 1 && cursor.peek(at) == b'0';
        if !(1..=3).contains(&digits) || value > 255 || padded {
            return None;
        }
        at += digits;
        if part < 3 {
            if cursor.peek(at) != b'.' {
                return None;
            }
            at += 1;
        }
    }
    let next = cursor.peek(at);
    let goes_on = next.is_ascii_alphanumeric() || next == b'_' || next == b'.' && digit(cursor.peek(at + 1));
    (!goes_on).then_some(at)
}

fn v6(cursor: &Cursor<'_>) -> Option<usize> {
    if !(cursor.peek(0).is_ascii_hexdigit() || cursor.peek(0) == b':' && cursor.peek(1) == b':') {
        return None;
    }
    let run = cursor.run(0, V6_BYTES_MAX + 1, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    let next = cursor.peek(run);
    let text = cursor.ascii(run);
    let colons = text.bytes().filter(|byte| *byte == b':').count();
    if run > V6_BYTES_MAX || colons < 2 || !text.bytes().any(digit) || next.is_ascii_alphanumeric() || next == b'_' {
        return None;
    }
    // A colon or a dot after the address may belong to the sentence.
    let shorter = text.strip_suffix(['.', ':']);
    let address = [Some(text), shorter].into_iter().flatten().find(|text| text.parse::<Ipv6Addr>().is_ok());
    address.map(str::len)
}
