//! The scanner: one pass from left to right over a text that may come in pieces.
//!
//! At each place the detectors look ahead through a [`Cursor`], which knows whether they looked past the end of what
//! has come so far. If they did, the place waits for more text. A decision therefore never depends on where the text
//! was cut, and since every detector looks a bounded distance ahead, what waits is bounded too.

use std::cell::Cell;

use crate::detect::{self, Kind};

/// Bytes that can wait at most: the longest e-mail address and the character that ends it.
#[cfg(test)]
pub(crate) const HELD_BYTES_MAX: usize = detect::LOOK_AHEAD_BYTES_MAX;

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Secret(Kind),
    Placeholder,
}

/// The text from a place on, as far as it has come.
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    complete: bool,
    starved: Cell<bool>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a [u8], complete: bool) -> Self {
        Self { text, complete, starved: Cell::new(false) }
    }

    /// The byte `ahead` of the place; zero past the end of the text.
    pub(crate) fn peek(&self, ahead: usize) -> u8 {
        self.text.get(ahead).copied().unwrap_or_else(|| {
            self.starved.set(self.starved.get() || !self.complete);
            0
        })
    }

    /// How many bytes from `ahead` on satisfy `class`, counting to `max` and no further.
    pub(crate) fn run(&self, ahead: usize, max: usize, class: fn(u8) -> bool) -> usize {
        (0..max).take_while(|n| class(self.peek(ahead + n))).count()
    }

    /// The first `length` bytes as text; the detectors only ever accept ASCII.
    pub(crate) fn ascii(&self, length: usize) -> &'a str {
        self.text.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// A text on its way through the scanner.
#[derive(Default)]
pub(crate) struct Stream {
    /// Text that is not decided yet; it begins where the scanner stands.
    held: String,
    /// The byte before it, zero at the beginning.
    before: u8,
}

impl Stream {
    /// Takes the next piece and returns what is decided, with `rewrite` applied to what was found. `complete` says that
    /// the text ends here; the stream is then ready for another one.
    pub(crate) fn push(
        &mut self,
        piece: &str,
        complete: bool,
        kinds: &[Kind],
        placeholders: bool,
        mut rewrite: impl FnMut(Found, &str) -> String,
    ) -> String {
        self.held.push_str(piece);
        let text = std::mem::take(&mut self.held);
        let mut output = String::with_capacity(text.len());
        let (mut at, mut plain) = (0, 0);
        while let Some(&byte) = text.as_bytes().get(at) {
            let mut length = 1;
            if detect::may_begin(byte, self.before, kinds, placeholders) {
                let cursor = Cursor::new(text.as_bytes().get(at..).unwrap_or_default(), complete);
                let found = detect::at(&cursor, self.before, kinds, placeholders);
                if cursor.starved.get() {
                    break;
                }
                if let Some((kind, bytes)) = found {
                    output.push_str(text.get(plain..at).unwrap_or_default());
                    output.push_str(&rewrite(kind, cursor.ascii(bytes)));
                    length = bytes;
                    plain = at + bytes;
                }
            }
            at += length;
            self.before = text.as_bytes().get(at - 1).copied().unwrap_or_default();
        }
        output.push_str(text.get(plain..at).unwrap_or_default());
        self.held.push_str(text.get(at..).unwrap_or_default());
        if complete {
            self.before = 0;
        }
        output
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }
}
