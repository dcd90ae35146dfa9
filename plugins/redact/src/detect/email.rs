//! E-mail addresses: the ones people write, not all that RFC 5321 allows.

use crate::scan::Cursor;

/// RFC 5321, 4.5.3.1.1.
const LOCAL_BYTES_MAX: usize = 64;
/// RFC 1035, 2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// RFC 1035, 2.3.4, less the root's two.
const DOMAIN_BYTES_MAX: usize = 253;
/// Both parts, the `@` between them, and one more label that makes the domain too long.
#[cfg(test)]
pub(crate) const LOOK_AHEAD_BYTES_MAX: usize = LOCAL_BYTES_MAX + 1 + DOMAIN_BYTES_MAX + LABEL_BYTES_MAX + 1;

pub(crate) fn length(cursor: &Cursor<'_>, before: u8) -> Option<usize> {
    let first = cursor.peek(0);
    if !(first.is_ascii_alphanumeric() || first == b'_') || joins(before) {
        return None;
    }
    let local = cursor.run(0, LOCAL_BYTES_MAX, |byte| joins(byte) || byte == b'.');
    if cursor.peek(local) != b'@' {
        return None;
    }
    domain(cursor, local + 1).map(|length| local + 1 + length)
}

/// Whether a local part can continue with this byte. A dot does not count: `...ann@example.org` starts at `ann`.
fn joins(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'%' | b'+' | b'-' | b'\'')
}

/// The length of labels separated by dots, up to the last one that is a top-level domain.
fn domain(cursor: &Cursor<'_>, start: usize) -> Option<usize> {
    let mut accepted = None;
    let mut length = 0;
    let mut labels = 0;
    while length <= DOMAIN_BYTES_MAX {
        let at = start + length;
        let label = cursor.run(at, LABEL_BYTES_MAX, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if label == 0 || cursor.peek(at) == b'-' || length + label > DOMAIN_BYTES_MAX {
            break;
        }
        labels += 1;
        length += label;
        let letters = cursor.run(at, label, |byte| byte.is_ascii_alphabetic()) == label;
        if labels >= 2 && label >= 2 && (letters || internationalized(cursor, at)) {
            accepted = Some(length);
        }
        if cursor.peek(start + length) != b'.' {
            break;
        }
        length += 1;
    }
    accepted
}

fn internationalized(cursor: &Cursor<'_>, at: usize) -> bool {
    cursor.peek(at).eq_ignore_ascii_case(&b'x')
        && cursor.peek(at + 1).eq_ignore_ascii_case(&b'n')
        && cursor.peek(at + 2) == b'-'
}
