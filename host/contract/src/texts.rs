//! What the tokens of a vocabulary are as text, in order, so that the tokens that go on from a text are found by halving.

use crate::limits::{MODEL_VOCABULARY_TOKENS_MAX, TOKEN_TEXTS_BYTES_MAX};
use crate::model::TokenId;

/// The text of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenText {
    /// The token.
    pub token: TokenId,
    /// What it adds to a text, as bytes: a token may be a part of a character.
    pub bytes: Vec<u8>,
    /// A tokenizer finds it before it looks at anything else, so that no other token ever reaches into its text.
    pub whole: bool,
}

/// The texts of a vocabulary. Tokens that are no text, such as those that mark a turn, are not in it.
#[derive(Debug)]
pub struct TokenTexts {
    /// All texts, one after another.
    bytes: Vec<u8>,
    /// In ascending order of their texts.
    entries: Vec<Entry>,
    /// The places in `entries` of tokens that are not whole, in ascending order of the tokens.
    places: Vec<(TokenId, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    length: u32,
    token: TokenId,
}

impl TokenTexts {
    /// Sorts the texts; empty ones are left out. `None` for more than [`MODEL_VOCABULARY_TOKENS_MAX`] tokens or
    /// [`TOKEN_TEXTS_BYTES_MAX`] bytes.
    #[must_use]
    pub fn new(mut texts: Vec<TokenText>) -> Option<Self> {
        texts.retain(|text| !text.bytes.is_empty());
        let size: usize = texts.iter().map(|text| text.bytes.len()).sum();
        if texts.len() > MODEL_VOCABULARY_TOKENS_MAX || size > TOKEN_TEXTS_BYTES_MAX {
            return None;
        }
        texts.sort_unstable_by(|a, b| a.bytes.cmp(&b.bytes).then(a.token.cmp(&b.token)));
        let mut all =
            Self { bytes: Vec::with_capacity(size), entries: Vec::with_capacity(texts.len()), places: vec![] };
        for text in texts {
            // Both limits are far below what 32 bits hold.
            let (start, length) = (all.bytes.len() as u32, text.bytes.len() as u32);
            if !text.whole {
                all.places.push((text.token, all.entries.len() as u32));
            }
            all.bytes.extend_from_slice(&text.bytes);
            all.entries.push(Entry { start, length, token: text.token });
        }
        all.places.sort_unstable();
        Some(all)
    }

    /// The text of a token that other tokens may reach into; `None` for one that is whole, or no text.
    #[must_use]
    pub fn divisible(&self, token: TokenId) -> Option<&[u8]> {
        let at = self.places.binary_search_by_key(&token, |(token, _)| *token).ok()?;
        self.entries.get(self.places[at].1 as usize).map(|entry| self.text(entry))
    }

    /// The tokens whose text is `text` or its beginning, the shortest first, each with its number of bytes.
    pub fn within<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (TokenId, usize)> + 'a {
        // What begins as `text` does, byte by byte; where that is nothing any more, nothing longer is there either.
        let narrower = |(range, length): &(&'a [Entry], usize)| {
            let byte = text.get(*length)?;
            let range = self.going_on_with(range, *length, *byte);
            (!range.is_empty()).then_some((range, length + 1))
        };
        let ranges = std::iter::successors(narrower(&(self.entries.as_slice(), 0)), narrower);
        ranges.flat_map(|(range, length)| {
            let equal = range.iter().take_while(move |entry| entry.length as usize == length);
            equal.map(move |entry| (entry.token, length))
        })
    }

    /// The tokens whose text begins with `text` and goes on.
    pub fn beyond(&self, text: &[u8]) -> impl Iterator<Item = TokenId> + '_ {
        let from = self.entries.partition_point(|entry| self.text(entry) <= text);
        let range = &self.entries[from..];
        let count = range.partition_point(|entry| self.text(entry).starts_with(text));
        range[..count].iter().map(|entry| entry.token)
    }

    /// The part of `range`, whose texts are alike in their first `length` bytes, that goes on with `byte`.
    fn going_on_with<'a>(&self, range: &'a [Entry], length: usize, byte: u8) -> &'a [Entry] {
        // The text that ends here is less than every one that goes on.
        let next = |entry: &Entry| self.text(entry).get(length).copied();
        let from = range.partition_point(|entry| next(entry) < Some(byte));
        let range = &range[from..];
        &range[..range.partition_point(|entry| next(entry) == Some(byte))]
    }

    fn text(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start as usize..][..entry.length as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[(&str, bool)]) -> TokenTexts {
        let text = |(token, (text, whole)): (usize, &(&str, bool))| TokenText {
            token: token as TokenId,
            bytes: text.as_bytes().to_vec(),
            whole: *whole,
        };
        TokenTexts::new(texts.iter().enumerate().map(text).collect()).expect("within the limits")
    }

    #[test]
    fn what_goes_on_from_a_text_is_found() {
        let all = texts(&[
            ("b", false),
            ("", false),
            ("ab", false),
            ("a", false),
            ("abc", true),
            ("ab", false),
            ("abd", false),
            ("ac", false),
        ]);
        assert_eq!(all.within(b"abce").collect::<Vec<_>>(), [(3, 1), (2, 2), (5, 2), (4, 3)]);
        assert_eq!(all.within(b"a").collect::<Vec<_>>(), [(3, 1)]);
        assert_eq!(all.within(b"x").count() + all.within(b"").count(), 0);
        assert_eq!(all.beyond(b"ab").collect::<Vec<_>>(), [4, 6]);
        assert_eq!(all.beyond(b"a").collect::<Vec<_>>(), [2, 5, 4, 6, 7]);
        assert_eq!(all.beyond(b"abc").count() + all.beyond(b"z").count(), 0);
        assert_eq!(all.beyond(b"").count(), 7, "all that have a text");
        let divisible = |token| all.divisible(token);
        assert_eq!((divisible(6), divisible(4), divisible(1), divisible(99)), (Some(&b"abd"[..]), None, None, None));
    }

    #[test]
    fn it_agrees_with_looking_at_every_token() {
        // Every text of up to four of three letters, twice, besides some of the highest bytes.
        let mut all: Vec<Vec<u8>> = vec![vec![]];
        for from in 0..40 {
            for byte in [b'a', b'b', 0xFF] {
                let longer = [all[from].as_slice(), &[byte]].concat();
                all.push(longer);
            }
        }
        let texts: Vec<TokenText> = (0..all.len() * 2)
            .map(|n| TokenText { token: n as TokenId, bytes: all[n % all.len()].clone(), whole: n % 5 == 0 })
            .collect();
        let index = TokenTexts::new(texts.clone()).expect("within the limits");
        for asked in &all {
            let mut within: Vec<_> = index.within(asked).collect();
            let mut beyond: Vec<_> = index.beyond(asked).collect();
            within.sort_unstable();
            beyond.sort_unstable();
            let filled = texts.iter().filter(|text| !text.bytes.is_empty());
            let is_within = |text: &&TokenText| asked.starts_with(&text.bytes);
            let expected: Vec<_> =
                filled.clone().filter(is_within).map(|text| (text.token, text.bytes.len())).collect();
            assert_eq!(within, expected, "within {asked:?}");
            let is_beyond = |text: &&TokenText| text.bytes.starts_with(asked) && text.bytes != *asked;
            assert_eq!(beyond, filled.filter(is_beyond).map(|text| text.token).collect::<Vec<_>>(), "beyond {asked:?}");
        }
    }

    #[test]
    fn more_than_the_limit_is_no_index() {
        let text = |token| TokenText { token, bytes: vec![b'x'; TOKEN_TEXTS_BYTES_MAX / 2], whole: false };
        assert!(TokenTexts::new(vec![text(0), text(1)]).is_some());
        assert!(
            TokenTexts::new(vec![text(0), text(1), TokenText { token: 2, bytes: vec![1], whole: false }]).is_none()
        );
    }
}
