//! The texts of a vocabulary's tokens, sorted, so that the tokens that extend a text are found by binary search.

use crate::limits::{MODEL_VOCABULARY_TOKENS_MAX, TOKEN_TEXTS_BYTES_MAX};
use crate::model::TokenId;

/// The text of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenText {
    /// The token.
    pub token: TokenId,
    /// Its text as bytes. A token may be a part of a character.
    pub bytes: Vec<u8>,
    /// Whether the tokenizer splits the text at it first, as for added tokens. No other token overlaps its text.
    pub indivisible: bool,
}

/// The texts of a vocabulary. Tokens without text, such as control tokens, are left out.
#[derive(Debug)]
pub struct TokenTexts {
    /// All texts, concatenated.
    bytes: Vec<u8>,
    /// Sorted by text.
    entries: Vec<TextEntry>,
    /// The positions in `entries` of all tokens, sorted by token.
    positions: Vec<(TokenId, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct TextEntry {
    start: u32,
    length: u32,
    token: TokenId,
    indivisible: bool,
}

impl TokenTexts {
    /// Sorts the texts. Empty ones are left out. Returns `None` for more than [`MODEL_VOCABULARY_TOKENS_MAX`] tokens or
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
            Self { bytes: Vec::with_capacity(size), entries: Vec::with_capacity(texts.len()), positions: vec![] };
        for text in texts {
            // Both limits fit into 32 bits.
            let (start, length) = (all.bytes.len() as u32, text.bytes.len() as u32);
            all.positions.push((text.token, all.entries.len() as u32));
            all.bytes.extend_from_slice(&text.bytes);
            all.entries.push(TextEntry { start, length, token: text.token, indivisible: text.indivisible });
        }
        all.positions.sort_unstable();
        Some(all)
    }

    /// The text of a token that is not indivisible. `None` for an indivisible token and for one without text.
    #[must_use]
    pub fn divisible_text(&self, token: TokenId) -> Option<&[u8]> {
        self.entry(token).filter(|entry| !entry.indivisible).map(|entry| self.text(entry))
    }

    /// The text of a token. `None` for a token without text.
    #[must_use]
    pub fn text_of(&self, token: TokenId) -> Option<&[u8]> {
        self.entry(token).map(|entry| self.text(entry))
    }

    /// The tokens whose text is `start` or comes after it, sorted by text.
    pub fn from(&self, start: &[u8]) -> impl Iterator<Item = (TokenId, &[u8])> {
        let from = self.entries.partition_point(|entry| self.text(entry) < start);
        self.entries[from..].iter().map(|entry| (entry.token, self.text(entry)))
    }

    fn entry(&self, token: TokenId) -> Option<&TextEntry> {
        let at = self.positions.binary_search_by_key(&token, |(token, _)| *token).ok()?;
        self.entries.get(self.positions[at].1 as usize)
    }

    /// All tokens with their texts, sorted by text.
    pub fn iter(&self) -> impl Iterator<Item = (TokenId, &[u8])> {
        self.entries.iter().map(|entry| (entry.token, self.text(entry)))
    }

    /// The tokens whose text is a prefix of `text` or equals it, the shortest first, each with its number of bytes.
    pub fn prefixes_of<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (TokenId, usize)> + 'a {
        // Narrows the entries byte by byte to those that begin like `text`, until none is left.
        let narrower = |(range, length): &(&'a [TextEntry], usize)| {
            let byte = text.get(*length)?;
            let range = self.continued_by(range, *length, *byte);
            (!range.is_empty()).then_some((range, length + 1))
        };
        let ranges = std::iter::successors(narrower(&(self.entries.as_slice(), 0)), narrower);
        ranges.flat_map(|(range, length)| {
            let equal = range.iter().take_while(move |entry| entry.length as usize == length);
            equal.map(move |entry| (entry.token, length))
        })
    }

    /// The tokens whose text begins with `text` and is longer.
    pub fn extending(&self, text: &[u8]) -> impl Iterator<Item = TokenId> + '_ {
        let from = self.entries.partition_point(|entry| self.text(entry) <= text);
        let range = &self.entries[from..];
        let count = range.partition_point(|entry| self.text(entry).starts_with(text));
        range[..count].iter().map(|entry| entry.token)
    }

    /// The part of `range` whose next byte is `byte`. The texts of `range` have the same first `length` bytes.
    fn continued_by<'a>(&self, range: &'a [TextEntry], length: usize, byte: u8) -> &'a [TextEntry] {
        // A text that ends here sorts before all longer ones.
        let next = |entry: &TextEntry| self.text(entry).get(length).copied();
        let from = range.partition_point(|entry| next(entry) < Some(byte));
        let range = &range[from..];
        &range[..range.partition_point(|entry| next(entry) == Some(byte))]
    }

    fn text(&self, entry: &TextEntry) -> &[u8] {
        &self.bytes[entry.start as usize..][..entry.length as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[(&str, bool)]) -> TokenTexts {
        let text = |(token, (text, indivisible)): (usize, &(&str, bool))| TokenText {
            token: token as TokenId,
            bytes: text.as_bytes().to_vec(),
            indivisible: *indivisible,
        };
        TokenTexts::new(texts.iter().enumerate().map(text).collect()).expect("within the limits")
    }

    #[test]
    fn prefixes_and_extensions_of_a_text_are_found() {
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
        assert_eq!(all.prefixes_of(b"abce").collect::<Vec<_>>(), [(3, 1), (2, 2), (5, 2), (4, 3)]);
        assert_eq!(all.prefixes_of(b"a").collect::<Vec<_>>(), [(3, 1)]);
        assert_eq!(all.prefixes_of(b"x").count() + all.prefixes_of(b"").count(), 0);
        assert_eq!(all.extending(b"ab").collect::<Vec<_>>(), [4, 6]);
        assert_eq!(all.extending(b"a").collect::<Vec<_>>(), [2, 5, 4, 6, 7]);
        assert_eq!(all.extending(b"abc").count() + all.extending(b"z").count(), 0);
        assert_eq!(all.extending(b"").count(), 7, "all tokens with a text");
        let divisible = |token| all.divisible_text(token);
        assert_eq!((divisible(6), divisible(4), divisible(1), divisible(99)), (Some(&b"abd"[..]), None, None, None));
        assert_eq!((all.text_of(4), all.text_of(1), all.text_of(99)), (Some(&b"abc"[..]), None, None));
        assert_eq!(all.from(b"abd").collect::<Vec<_>>(), [(6, &b"abd"[..]), (7, b"ac"), (0, b"b")]);
        assert_eq!((all.from(b"").count(), all.from(b"c").count()), (7, 0));
    }

    #[test]
    fn searches_agree_with_a_scan_of_all_tokens() {
        // Texts of up to four letters of three, each twice, some with the highest byte.
        let mut all: Vec<Vec<u8>> = vec![vec![]];
        for from in 0..40 {
            for byte in [b'a', b'b', 0xFF] {
                let longer = [all[from].as_slice(), &[byte]].concat();
                all.push(longer);
            }
        }
        let texts: Vec<TokenText> = (0..all.len() * 2)
            .map(|n| TokenText { token: n as TokenId, bytes: all[n % all.len()].clone(), indivisible: n % 5 == 0 })
            .collect();
        let index = TokenTexts::new(texts.clone()).expect("within the limits");
        for asked in &all {
            let mut within: Vec<_> = index.prefixes_of(asked).collect();
            let mut beyond: Vec<_> = index.extending(asked).collect();
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
    fn more_bytes_than_the_limit_give_no_index() {
        let text = |token| TokenText { token, bytes: vec![b'x'; TOKEN_TEXTS_BYTES_MAX / 2], indivisible: false };
        assert!(TokenTexts::new(vec![text(0), text(1)]).is_some());
        assert!(
            TokenTexts::new(vec![text(0), text(1), TokenText { token: 2, bytes: vec![1], indivisible: false }])
                .is_none()
        );
    }
}
