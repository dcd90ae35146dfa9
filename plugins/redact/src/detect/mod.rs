//! What is personal, and how it looks. Each detector says how many bytes match from the cursor's place on.

mod card;
mod email;
mod ip;
mod phone;

use crate::scan::{Cursor, Found};

/// Bytes that the farthest-looking detector reads.
#[cfg(test)]
pub(crate) const LOOK_AHEAD_BYTES_MAX: usize = email::LOOK_AHEAD_BYTES_MAX;

/// Digits of a placeholder's number.
const PLACEHOLDER_DIGITS_MAX: usize = 6;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Email,
    Card,
    Ip,
    Phone,
}

impl Kind {
    /// In the order they are tried: a card number that looks like a phone number is a card number.
    pub(crate) const ALL: [Self; 4] = [Self::Email, Self::Card, Self::Ip, Self::Phone];

    /// As the configuration names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Card => "card",
            Self::Ip => "ip",
            Self::Phone => "phone",
        }
    }

    /// As placeholders name it.
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

/// Whether anything can begin with `byte` after the byte `before`: a quick no for most places.
pub(crate) fn may_begin(byte: u8, before: u8, kinds: &[Kind], placeholders: bool) -> bool {
    if byte == b'[' {
        return placeholders;
    }
    let opens = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'(' | b':' | b'_');
    opens && !before.is_ascii_alphanumeric() && !kinds.is_empty()
}

/// What stands at the cursor, and how many bytes it has. `before` is the byte before it.
pub(crate) fn at(cursor: &Cursor<'_>, before: u8, kinds: &[Kind], placeholders: bool) -> Option<(Found, usize)> {
    if placeholders && let Some(length) = placeholder(cursor) {
        return Some((Found::Placeholder, length));
    }
    let wanted = Kind::ALL.into_iter().filter(|kind| kinds.contains(kind));
    wanted.filter_map(|kind| Some((Found::Secret(kind), kind.length(cursor, before)?))).next()
}

/// `[EMAIL_1]`
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

/// Whether a number cannot begin after this byte: it would be a part of something longer.
fn inside_number(before: u8) -> bool {
    before.is_ascii_alphanumeric() || matches!(before, b'.' | b'-' | b'_')
}

fn digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}
