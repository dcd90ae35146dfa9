//! The scanner: one pass from left to right over a text that may come in pieces.
//!
//! At each position the detectors look ahead through a [`Cursor`], which records whether they looked past the end of the text
//! received so far. If they did, the scanner waits for more text. So a decision never depends on where the text was cut. Every
//! detector looks a bounded distance ahead, so the buffered text is bounded, too.

use std::cell::Cell;

use crate::detect::{self, Kind};

/// Maximum buffered bytes: the longest e-mail address and the character after it.
#[cfg(test)]
pub(crate) const BUFFERED_BYTES_MAX: usize = detect::LOOK_AHEAD_BYTES_MAX;

/// A match of a detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detection {
    Secret(Kind),
    Placeholder,
}

/// The received text from a position on.
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    complete: bool,
    starved: Cell<bool>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a [u8], complete: bool) -> Self {
        Self { text, complete, starved: Cell::new(false) }
    }

    /// The byte `ahead` bytes after the position, or zero past the end of the text.
    pub(crate) fn peek(&self, ahead: usize) -> u8 {
        self.text.get(ahead).copied().unwrap_or_else(|| {
            self.starved.set(self.starved.get() || !self.complete);
            0
        })
    }

    /// The number of bytes from `ahead` on that satisfy `class`, at most `max`.
    pub(crate) fn run(&self, ahead: usize, max: usize, class: fn(u8) -> bool) -> usize {
        (0..max).take_while(|n| class(self.peek(ahead + n))).count()
    }

    /// The first `length` bytes as text; the detectors only ever accept ASCII.
    pub(crate) fn ascii(&self, length: usize) -> &'a str {
        self.text.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// A text that passes through the scanner in pieces.
#[derive(Default)]
pub(crate) struct Stream {
    /// The text that is not decided yet. It starts at the scanner's position.
    buffered: String,
    /// The byte before the position, or zero at the start.
    before: u8,
}

impl Stream {
    /// Adds the next piece and returns the text that is decided, with `rewrite` applied to each match. If `complete`, the text ends
    /// here, and the stream is ready for the next text.
    pub(crate) fn push(
        &mut self,
        piece: &str,
        complete: bool,
        kinds: &[Kind],
        placeholders: bool,
        mut rewrite: impl FnMut(Detection, &str) -> String,
    ) -> String {
        self.buffered.push_str(piece);
        let text = std::mem::take(&mut self.buffered);
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
        self.buffered.push_str(text.get(at..).unwrap_or_default());
        if complete {
            self.before = 0;
        }
        output
    }

    #[cfg(test)]
    pub(crate) fn buffered(&self) -> usize {
        self.buffered.len()
    }
}
