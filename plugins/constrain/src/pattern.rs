//! Patterns: regular languages over characters.

/// A regular language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// One character of these ranges, which are sorted and do not overlap.
    Class(Vec<(char, char)>),
    /// One after the other. Of none, the empty text.
    Sequence(Vec<Pattern>),
    /// One of several; there is at least one.
    Either(Vec<Pattern>),
    /// At least `min` times, and at most `max` times if there is a maximum.
    Repeat {
        /// What is repeated.
        of: Box<Pattern>,
        /// The smallest number.
        min: u32,
        /// The largest number.
        max: Option<u32>,
    },
}

impl Pattern {
    /// Exactly this text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Sequence(text.chars().map(|c| Self::Class(vec![(c, c)])).collect())
    }

    /// One character of these ranges, in any order.
    ///
    /// # Errors
    /// There is no character in them.
    pub fn class(mut ranges: Vec<(char, char)>) -> Result<Self, String> {
        ranges.retain(|(low, high)| low <= high);
        ranges.sort_unstable();
        let mut merged: Vec<(char, char)> = Vec::new();
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1 || after(last.1) == Some(low) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        if merged.is_empty() { Err("a class has no character".to_owned()) } else { Ok(Self::Class(merged)) }
    }

    /// One character outside of these ranges.
    ///
    /// # Errors
    /// There is none.
    pub fn none_of(ranges: Vec<(char, char)>) -> Result<Self, String> {
        let excluded = match Self::class(ranges) {
            Ok(Self::Class(ranges)) => ranges,
            _ => Vec::new(),
        };
        let (mut rest, mut low) = (Vec::new(), Some('\0'));
        for (first, last) in excluded {
            if let (Some(low), Some(high)) = (low, before(first)) {
                rest.push((low, high));
            }
            low = after(last);
        }
        rest.extend(low.map(|low| (low, char::MAX)));
        Self::class(rest)
    }

    /// The pattern, or nothing.
    #[must_use]
    pub fn optional(self) -> Self {
        self.repeated(0, Some(1))
    }

    /// The pattern, `min` times or more, and at most `max` times if there is a maximum.
    #[must_use]
    pub fn repeated(self, min: u32, max: Option<u32>) -> Self {
        Self::Repeat { of: Box::new(self), min, max }
    }
}

/// The next character.
fn after(c: char) -> Option<char> {
    if c == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(c) + 1) }
}

/// The character before.
fn before(c: char) -> Option<char> {
    if c == '\u{e000}' { Some('\u{d7ff}') } else { u32::from(c).checked_sub(1).and_then(char::from_u32) }
}
