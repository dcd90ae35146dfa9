//! The detectors of personal data. Each returns the number of bytes that match at the cursor.

mod card;
mod email;
mod ip;
mod phone;

use crate::scan::{Cursor, Detection};

/// Maximum bytes that a detector looks ahead.
#[cfg(test)]
pub(crate) const LOOK_AHEAD_BYTES_MAX: usize = email::LOOK_AHEAD_BYTES_MAX;

/// Maximum digits of a placeholder's number.
const PLACEHOLDER_DIGITS_MAX: usize = 6;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Email,
    Card,
    Ip,
    Phone,
}

impl Kind {
    /// All kinds, in the order in which they are tried. A card number that looks like a phone number is a card number.
    pub(crate) const ALL: [Self; 4] = [Self::Email, Self::Card, Self::Ip, Self::Phone];

    /// The name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Card => "card",
            Self::Ip => "ip",
            Self::Phone => "phone",
        }
    }

    /// The name in placeholders.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Email => "EMAIL",
            Self::Card => "CARD",
            Self::Ip => "IP",
            Self::Phone => "PHONE",
        }
    }

    fn length(self, cursor: &Cursor<'_>, before: u8) -> Option<usize> {
        match self {
            Self::Email => email::length(cursor, before),
            Self::Card => card::length(cursor, before),
            Self::Ip => ip::length(cursor, before),
            Self::Phone => phone::length(cursor, before),
        }
    }
}

/// Whether a match can start with `byte` after the byte `before`. This quickly rules out most positions.
pub(crate) fn may_begin(byte: u8, before: u8, kinds: &[Kind], placeholders: bool) -> bool {
    if byte == b'[' {
        return placeholders;
    }
    let opens = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'(' | b':' | b'_');
    opens && !before.is_ascii_alphanumeric() && !kinds.is_empty()
}

/// The match at the cursor and its length in bytes. `before` is the byte before the cursor.
pub(crate) fn at(cursor: &Cursor<'_>, before: u8, kinds: &[Kind], placeholders: bool) -> Option<(Detection, usize)> {
    if placeholders && let Some(length) = placeholder(cursor) {
        return Some((Detection::Placeholder, length));
    }
    let wanted = Kind::ALL.into_iter().filter(|kind| kinds.contains(kind));
    wanted.filter_map(|kind| Some((Detection::Secret(kind), kind.length(cursor, before)?))).next()
}

/// The length of a placeholder such as `[EMAIL_1]` at the cursor.
fn placeholder(cursor: &Cursor<'_>) -> Option<usize> {
    if cursor.peek(0) != b'[' {
        return None;
    }
    let label = Kind::ALL
        .into_iter()
        .map(Kind::label)
        .find(|label| label.bytes().enumerate().all(|(n, byte)| cursor.peek(1 + n) == byte))?;
    let digits_at = 1 + label.len() + 1;
    let digits = cursor.run(digits_at, PLACEHOLDER_DIGITS_MAX, |byte| byte.is_ascii_digit());
    let whole = cursor.peek(digits_at - 1) == b'_' && digits > 0 && cursor.peek(digits_at + digits) == b']';
    whole.then_some(digits_at + digits + 1)
}

/// Whether a number cannot start after this byte, because it would be part of a longer token.
fn inside_number(before: u8) -> bool {
    before.is_ascii_alphanumeric() || matches!(before, b'.' | b'-' | b'_')
}

fn digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}
