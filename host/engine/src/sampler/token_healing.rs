//! Token healing (Lundberg 2023, "The art of prompt design: prompt boundaries and token healing").
//!
//! If a turn begins with a forced text (an *opening*), the last tokens of the opening are removed and the model generates
//! them again. It may choose only tokens that match the removed text, or that match its rest and continue beyond its end.
//! Without healing the tokenizer cuts the opening at its end. The model, which would have written one token across that
//! end, would then have to continue a sequence of tokens that it never saw in training.

use std::sync::Arc;

use firebox_contract::limits::TOKEN_HEALING_BYTES_MAX;
use firebox_contract::{TokenId, TokenTexts};

/// What a token belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenPart {
    /// The forced opening, which counts as prompt.
    Opening,
    /// The answer: at least a part of its text is the model's own.
    Answer,
}

/// The end of a forced opening while it is generated again. It becomes at most as many tokens as were removed, so the
/// prompt never grows.
pub(crate) struct TokenHealing {
    texts: Arc<TokenTexts>,
    /// The removed text.
    text: String,
    /// The removed tokens, as the tokenizer made them.
    tokens: Vec<TokenId>,
    /// For each byte of `text` and for its end: the fewest tokens inside of `text` that reach its end, or reach a token
    /// that continues beyond it. `None` if no tokens do.
    needs: Vec<Option<usize>>,
    /// Bytes of `text` that are generated again.
    at: usize,
    /// Number of tokens of these bytes.
    generated: usize,
    /// Whether the generated tokens equal the removed ones so far.
    as_before: bool,
}

impl TokenHealing {
    /// Healing of a prompt that ends with `opening`. At least the first token of the prompt stays. `None` if no token
    /// continues beyond the end of the opening.
    pub(crate) fn new(texts: Arc<TokenTexts>, opening: &str, prompt: &[TokenId]) -> Option<Self> {
        let (start, count) = healed_range(&texts, opening, prompt)?;
        let text = opening.get(start..)?.to_owned();
        let tokens = prompt[prompt.len() - count..].to_vec();
        let needs = needs(&texts, text.as_bytes());
        Some(Self { texts, text, tokens, needs, at: 0, generated: 0, as_before: true })
    }

    /// The text that is generated again: the end of the opening.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Number of tokens at the end of the prompt that are generated again.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Sets the logits of all tokens to -infinity that do not match the rest of the text. At least one token is left: if
    /// the model excludes all others, the one that the tokenizer made.
    pub(crate) fn restrict(&self, logits: &mut [f32]) {
        let possible = |token: &TokenId| logits.get(*token as usize).filter(|logit| **logit > f32::NEG_INFINITY);
        let mut left: Vec<(TokenId, f32)> =
            self.allowed().filter_map(|token| Some((token, *possible(&token)?))).collect();
        if left.is_empty() {
            left.extend(self.fallback().map(|token| (token, 0.0)));
        }
        logits.fill(f32::NEG_INFINITY);
        for (token, logit) in left {
            if let Some(slot) = logits.get_mut(token as usize) {
                *slot = logit;
            }
        }
    }

    /// Records the token that was sampled after [`TokenHealing::restrict`].
    pub(crate) fn take(&mut self, token: TokenId) -> TokenPart {
        let length = self.inside().find(|(inside, _)| *inside == token).map(|(_, length)| length);
        let Some(length) = length else {
            self.at = self.text.len();
            return TokenPart::Answer;
        };
        self.as_before &= self.tokens.get(self.generated) == Some(&token);
        self.at += length;
        self.generated += 1;
        TokenPart::Opening
    }

    /// Whether the whole text is generated again. Later tokens are not restricted.
    pub(crate) fn is_complete(&self) -> bool {
        self.at >= self.text.len()
    }

    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn allowed(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.inside().map(|(token, _)| token).chain(self.texts.extending(self.rest()))
    }

    /// Tokens inside of the rest from whose end the text can be completed, each with its number of bytes.
    fn inside(&self) -> impl Iterator<Item = (TokenId, usize)> + '_ {
        let left = self.tokens.len() - self.generated;
        let leads = move |length: usize| self.needs[self.at + length].is_some_and(|needed| needed < left);
        self.texts.prefixes_of(self.rest()).filter(move |(_, length)| leads(*length))
    }

    /// The token that the tokenizer made here. If other tokens were sampled before, the longest one inside of the rest.
    fn fallback(&self) -> Option<TokenId> {
        let before = self.tokens.get(self.generated).filter(|_| self.as_before).copied();
        before.or_else(|| self.inside().last().map(|(token, _)| token)).or_else(|| self.allowed().next())
    }
}

/// The start in `opening`, in bytes, and the number of tokens of `prompt` to generate again: back to the furthest token
/// in which a token begins that continues beyond the end of the opening.
fn healed_range(texts: &TokenTexts, opening: &str, prompt: &[TokenId]) -> Option<(usize, usize)> {
    let opening = opening.as_bytes();
    let first = opening.len().saturating_sub(TOKEN_HEALING_BYTES_MAX);
    let (mut start, mut extends, mut found) = (opening.len(), false, None);
    // The first token of a prompt stays, so that the model has something to continue.
    let tokens = prompt.get(1..).unwrap_or_default();
    for (count, token) in (1..).zip(tokens.iter().rev()) {
        let end = start;
        // Every tokenizer splits the text before an indivisible token and before one without text.
        let Some(length) = texts.divisible_text(*token).map(<[u8]>::len) else { break };
        let Some(begins) = start.checked_sub(length).filter(|begins| *begins >= first) else { break };
        if texts.divisible_text(*token) != opening.get(begins..end) {
            break;
        }
        start = begins;
        extends |= (begins..end).any(|at| texts.extending(&opening[at..]).next().is_some());
        // A character is never split: if necessary the token before is removed too.
        if extends && std::str::from_utf8(&opening[begins..]).is_ok() {
            (found, extends) = (Some((begins, count)), false);
        }
    }
    found
}

/// For each byte of `text` and for its end: the fewest tokens from there to the end, or to a token that continues beyond
/// the end.
fn needs(texts: &TokenTexts, text: &[u8]) -> Vec<Option<usize>> {
    let mut needs: Vec<Option<usize>> = vec![None; text.len()];
    needs.push(Some(0));
    for at in (0..text.len()).rev() {
        let rest = &text[at..];
        needs[at] = match texts.extending(rest).next() {
            Some(_) => Some(0),
            None => texts.prefixes_of(rest).filter_map(|(_, length)| needs[at + length]).min().map(|fewest| fewest + 1),
        };
    }
    needs
}

#[cfg(test)]
mod tests {
    use firebox_contract::TokenText;

    use super::*;

    /// A vocabulary of these texts, numbered in order. The tokens in `indivisible` are indivisible.
    fn vocabulary(texts: &[&[u8]], indivisible: &[TokenId]) -> Arc<TokenTexts> {
        let text = |(token, bytes): (TokenId, &&[u8])| TokenText {
            token,
            bytes: bytes.to_vec(),
            indivisible: indivisible.contains(&token),
        };
        Arc::new(TokenTexts::new((0..).zip(texts).map(text).collect()).expect("within the limits"))
    }

    fn words(texts: &[&str]) -> Arc<TokenTexts> {
        vocabulary(&texts.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(), &[])
    }

    /// The tokens that may be sampled now, of a vocabulary of `size`.
    fn left(healing: &TokenHealing, size: usize) -> Vec<usize> {
        let mut logits = vec![1.0; size];
        healing.restrict(&mut logits);
        (0..size).filter(|token| logits[*token] > f32::NEG_INFINITY).collect()
    }

    #[test]
    fn healing_goes_back_to_the_furthest_token_that_can_extend_the_opening() {
        let texts = words(&["p", "\"", "a", "\":", "\": {", "a\": ", "x", "pa\"", ":{", "{"]);
        // The prompt before the opening, then `"a":` as the tokenizer has it.
        let healed = |opening: &str, prompt: &[TokenId]| {
            TokenHealing::new(Arc::clone(&texts), opening, prompt)
                .map(|healing| (healing.text().to_owned(), healing.tokens()))
        };
        assert_eq!(healed("\"a\":", &[0, 1, 2, 3]), Some(("a\":".to_owned(), 2)));
        assert_eq!(healed("\"x\":", &[0, 1, 6, 3]), Some(("\":".to_owned(), 1)));
        assert_eq!(healed("\"x\"", &[0, 1, 6, 1]), Some(("\"".to_owned(), 1)));
        assert_eq!(healed("x", &[0, 6]), None, "no token continues beyond its end");
        assert_eq!(healed("a\":", &[2, 3]), Some(("\":".to_owned(), 1)), "the first token stays");
        assert_eq!(healed("\"a", &[0, 1, 2]), Some(("a".to_owned(), 1)));
        assert_eq!(
            healed("\":", &[0, 7, 3]),
            Some(("\":".to_owned(), 1)),
            "a token that begins before the opening stays"
        );
        assert_eq!(healed("q\":", &[0, 1, 3]), Some(("\":".to_owned(), 1)), "the prompt does not end with the opening");
        assert_eq!(healed("\"x9", &[0, 1, 6, 9]), None, "nor with its last token");
    }

    #[test]
    fn a_token_that_begins_inside_another_removes_the_whole_other() {
        let texts = words(&["p", "abc", "cd", "ab", "c"]);
        let mut healing = TokenHealing::new(texts, "abc", &[0, 1]).expect("`cd` extends the opening");
        assert_eq!((healing.text(), healing.tokens()), ("abc", 1));
        assert_eq!(left(&healing, 5), [1, 3]);
        assert_eq!(healing.take(3), TokenPart::Opening);
        assert_eq!(left(&healing, 5), [2], "one token was removed, so one may lie in the opening");
        assert_eq!(healing.take(2), TokenPart::Answer);
        assert!(healing.is_complete());
    }

    #[test]
    fn healing_stops_at_indivisible_tokens_and_at_tokens_without_text() {
        let texts: &[&[u8]] = &[b"p", b"<call>", b">\n", b"", b"\n", b"\n{", b"<call>\n{"];
        let healed = |indivisible: &[TokenId], opening: &str, prompt: &[TokenId]| {
            TokenHealing::new(vocabulary(texts, indivisible), opening, prompt).map(|healing| healing.text().to_owned())
        };
        assert_eq!(healed(&[], "<call>", &[0, 1]).as_deref(), Some("<call>"));
        assert_eq!(healed(&[1], "<call>", &[0, 1]), None, "the tokenizer finds the tag first");
        assert_eq!(healed(&[1], "<call>\n", &[0, 1, 4]).as_deref(), Some("\n"));
        assert_eq!(healed(&[], "<call>\n", &[0, 3, 4]).as_deref(), Some("\n"));
        let mut healing = TokenHealing::new(vocabulary(texts, &[1, 5]), "<call>\n", &[0, 1, 4]).expect("healed");
        assert_eq!(left(&healing, 7), [4, 5]);
        assert_eq!(healing.take(5), TokenPart::Answer, "an indivisible token may extend the opening");
    }

    #[test]
    fn characters_are_never_split() {
        let (first, second) = "ä".as_bytes().split_at(1);
        let longer = [second, b"x"].concat();
        let texts = vocabulary(&[b"p", first, second, &longer], &[]);
        assert!(TokenHealing::new(Arc::clone(&texts), "ä", &[0, 1]).is_none(), "not the text of the opening");
        let healing = TokenHealing::new(texts, "ä", &[0, 1, 2])
            .expect("a token that begins in the second half extends the opening");
        assert_eq!((healing.text(), left(&healing, 4)), ("ä", vec![1]));
    }

    #[test]
    fn only_tokens_that_can_complete_the_opening_are_left() {
        // After `a` no token spells `bc`.
        let texts = words(&["p", "a", "ab", "c", "cd", "abc"]);
        let healing = TokenHealing::new(texts, "abc", &[0, 2, 3]).expect("`cd` extends the opening");
        assert_eq!(left(&healing, 6), [3, 4], "`ab` stays: no token that begins in it extends the opening");
        let texts = words(&["p", "a", "ab", "c", "abcd", "abc"]);
        let healing = TokenHealing::new(texts, "abc", &[0, 2, 3]).expect("`abcd` extends the opening");
        assert_eq!(left(&healing, 6), [2, 4, 5]);
    }

    #[test]
    fn a_model_that_excludes_all_tokens_gets_those_of_the_tokenizer() {
        let texts = words(&["p", "a", "b", "ab", "abc", "abx"]);
        for nothing in [f32::NAN, f32::NEG_INFINITY] {
            let mut healing =
                TokenHealing::new(Arc::clone(&texts), "ab", &[0, 1, 2]).expect("`abc` extends the opening");
            for expected in [1, 2] {
                let mut logits = vec![nothing; 6];
                healing.restrict(&mut logits);
                assert_eq!(logits.iter().position(|logit| *logit == 0.0), Some(expected));
                assert_eq!(healing.take(expected as TokenId), TokenPart::Opening);
            }
            assert!(healing.is_complete());
        }
        // A model of fewer tokens than its tokenizer has.
        let healing = TokenHealing::new(texts, "ab", &[0, 1, 2]).expect("`abc` extends the opening");
        assert_eq!(left(&healing, 4), [1, 3]);
    }

    #[test]
    fn any_choice_of_tokens_spells_the_opening_in_at_most_as_many_tokens() {
        let mut state = 7u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut healed = 0;
        for _ in 0..2_000 {
            let mut text = |longest: usize| -> Vec<u8> { (0..=random(longest)).map(|_| b"ab"[random(2)]).collect() };
            let mut all = vec![b"p".to_vec(), b"a".to_vec(), b"b".to_vec()];
            all.extend((0..6).map(|_| text(4)));
            let texts = vocabulary(&all.iter().map(Vec::as_slice).collect::<Vec<_>>(), &[]);
            let tokens: Vec<TokenId> = (0..=random(5)).map(|_| 1 + random(all.len() - 1) as TokenId).collect();
            let spelled = |tokens: &[TokenId]| tokens.iter().flat_map(|token| all[*token as usize].clone()).collect();
            let opening: Vec<u8> = spelled(&tokens);
            let opening = String::from_utf8(opening).expect("letters");
            let prompt = [&[0], tokens.as_slice()].concat();
            let Some(mut healing) = TokenHealing::new(texts, &opening, &prompt) else { continue };
            let (expected, most) = (healing.text().to_owned(), healing.tokens());
            let (mut generated, mut inside) = (Vec::new(), 0);
            while !healing.is_complete() {
                let left = left(&healing, all.len());
                let token = left[random(left.len())] as TokenId;
                generated.push(token);
                inside += usize::from(healing.take(token) == TokenPart::Opening);
            }
            let generated: Vec<u8> = spelled(&generated);
            assert!(generated.starts_with(expected.as_bytes()), "{expected} became {}", generated.escape_ascii());
            assert!(inside <= most, "{inside} tokens instead of {most}");
            healed += 1;
        }
        assert!(healed > 500, "{healed} openings were healed");
    }
}
