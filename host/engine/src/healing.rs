//! Token healing (Lundberg 2023, "The art of prompt design: prompt boundaries and token healing"): where a turn begins
//! with a forced text, the end of that text is taken back and made again by the model, from tokens that spell it and may
//! go on past its end. A tokenizer cuts the text where it ends, and what the model would have written as one token
//! across that place would otherwise be tokens it has never seen follow each other.

use std::sync::Arc;

use firebox_contract::limits::TOKEN_HEALING_BYTES_MAX;
use firebox_contract::{TokenId, TokenTexts};

/// What a token is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It lies in the forced opening, which belongs to the prompt.
    Opening,
    /// Some of its text, or all, is the model's own.
    Answer,
}

/// The end of a forced opening while it is made again. No more tokens lie wholly in it than were taken back, so that the
/// prompt never becomes longer than it was.
pub(crate) struct Healing {
    texts: Arc<TokenTexts>,
    /// What was taken back.
    text: String,
    /// The same as the tokenizer had it.
    tokens: Vec<TokenId>,
    /// For each byte of `text`, and its end: how many tokens lead from there to the end, or the fewest before one that
    /// passes it. `None` where none do.
    needs: Vec<Option<usize>>,
    /// Bytes made again, and the tokens they are.
    at: usize,
    made: usize,
    /// So far they are `tokens`.
    as_before: bool,
}

impl Healing {
    /// What is to be made again of a prompt that ends with `opening`, all of it if need be, but one token of the prompt
    /// at least stays. `None` where no token passes the end of the opening.
    pub(crate) fn new(texts: Arc<TokenTexts>, opening: &str, prompt: &[TokenId]) -> Option<Self> {
        let (start, count) = taken_back(&texts, opening, prompt)?;
        let text = opening.get(start..)?.to_owned();
        let tokens = prompt[prompt.len() - count..].to_vec();
        let needs = needs(&texts, text.as_bytes());
        Some(Self { texts, text, tokens, needs, at: 0, made: 0, as_before: true })
    }

    /// The text that is made again; the end of the opening.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Tokens at the end of the prompt that it replaces.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Leaves only tokens that spell what is still to be made, or go on from it. One is always left: what the tokenizer
    /// had, if the model rules out every other.
    pub(crate) fn restrict(&self, logits: &mut [f32]) {
        let possible = |token: &TokenId| logits.get(*token as usize).filter(|logit| **logit > f32::NEG_INFINITY);
        let mut left: Vec<(TokenId, f32)> =
            self.allowed().filter_map(|token| Some((token, *possible(&token)?))).collect();
        if left.is_empty() {
            left.extend(self.fallback().map(|token| (token, 0.0)));
        }
        logits.fill(f32::NEG_INFINITY);
        for (token, logit) in left {
            if let Some(place) = logits.get_mut(token as usize) {
                *place = logit;
            }
        }
    }

    /// The model chose `token` of those that were left.
    pub(crate) fn take(&mut self, token: TokenId) -> Part {
        let length = self.inside().find(|(inside, _)| *inside == token).map(|(_, length)| length);
        let Some(length) = length else {
            self.at = self.text.len();
            return Part::Answer;
        };
        self.as_before &= self.tokens.get(self.made) == Some(&token);
        self.at += length;
        self.made += 1;
        Part::Opening
    }

    /// Whether all was made again: what follows is free.
    pub(crate) fn is_over(&self) -> bool {
        self.at >= self.text.len()
    }

    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn allowed(&self) -> impl Iterator<Item = TokenId> + '_ {
        self.inside().map(|(token, _)| token).chain(self.texts.beyond(self.rest()))
    }

    /// Tokens that lie in the rest and from whose end it can be finished, with their numbers of bytes.
    fn inside(&self) -> impl Iterator<Item = (TokenId, usize)> + '_ {
        let left = self.tokens.len() - self.made;
        let leads = move |length: usize| self.needs[self.at + length].is_some_and(|needed| needed < left);
        self.texts.within(self.rest()).filter(move |(_, length)| leads(*length))
    }

    /// The token that the tokenizer had here; where the model has already left that way, the longest that leads on.
    fn fallback(&self) -> Option<TokenId> {
        let before = self.tokens.get(self.made).filter(|_| self.as_before).copied();
        before.or_else(|| self.inside().last().map(|(token, _)| token)).or_else(|| self.allowed().next())
    }
}

/// From which byte of `opening`, and how many tokens of `prompt`: back to the furthest token in which another begins
/// that passes the end.
fn taken_back(texts: &TokenTexts, opening: &str, prompt: &[TokenId]) -> Option<(usize, usize)> {
    let opening = opening.as_bytes();
    let first = opening.len().saturating_sub(TOKEN_HEALING_BYTES_MAX);
    let (mut start, mut passes, mut found) = (opening.len(), false, None);
    // The first token of a prompt stays, so that there is something to go on from.
    let tokens = prompt.get(1..).unwrap_or_default();
    for (count, token) in (1..).zip(tokens.iter().rev()) {
        let end = start;
        // A token that is no text, or whole, is where the text before it ends for every tokenizer.
        let Some(length) = texts.divisible(*token).map(<[u8]>::len) else { break };
        let Some(begins) = start.checked_sub(length).filter(|begins| *begins >= first) else { break };
        if texts.divisible(*token) != opening.get(begins..end) {
            break;
        }
        start = begins;
        passes |= (begins..end).any(|at| texts.beyond(&opening[at..]).next().is_some());
        // A character is taken back whole, if need be with the token before.
        if passes && std::str::from_utf8(&opening[begins..]).is_ok() {
            (found, passes) = (Some((begins, count)), false);
        }
    }
    found
}

/// For each byte of `text`, and its end, the fewest tokens from there to the end, or to one that passes it.
fn needs(texts: &TokenTexts, text: &[u8]) -> Vec<Option<usize>> {
    let mut needs: Vec<Option<usize>> = vec![None; text.len()];
    needs.push(Some(0));
    for at in (0..text.len()).rev() {
        let rest = &text[at..];
        needs[at] = match texts.beyond(rest).next() {
            Some(_) => Some(0),
            None => texts.within(rest).filter_map(|(_, length)| needs[at + length]).min().map(|fewest| fewest + 1),
        };
    }
    needs
}

#[cfg(test)]
mod tests {
    use firebox_contract::TokenText;

    use super::*;

    /// A vocabulary of these texts, numbered in their order; those in `whole` are found before others.
    fn vocabulary(texts: &[&[u8]], whole: &[TokenId]) -> Arc<TokenTexts> {
        let text = |(token, bytes): (TokenId, &&[u8])| TokenText {
            token,
            bytes: bytes.to_vec(),
            whole: whole.contains(&token),
        };
        Arc::new(TokenTexts::new((0..).zip(texts).map(text).collect()).expect("within the limits"))
    }

    fn words(texts: &[&str]) -> Arc<TokenTexts> {
        vocabulary(&texts.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(), &[])
    }

    /// The tokens that may come now, of a vocabulary of `size`.
    fn left(healing: &Healing, size: usize) -> Vec<usize> {
        let mut logits = vec![1.0; size];
        healing.restrict(&mut logits);
        (0..size).filter(|token| logits[*token] > f32::NEG_INFINITY).collect()
    }

    #[test]
    fn it_goes_back_as_far_as_a_token_passes_the_end() {
        let texts = words(&["p", "\"", "a", "\":", "\": {", "a\": ", "x", "pa\"", ":{", "{"]);
        // The prompt before the opening, then `"a":` as the tokenizer has it.
        let healed = |opening: &str, prompt: &[TokenId]| {
            Healing::new(Arc::clone(&texts), opening, prompt)
                .map(|healing| (healing.text().to_owned(), healing.tokens()))
        };
        assert_eq!(healed("\"a\":", &[0, 1, 2, 3]), Some(("a\":".to_owned(), 2)));
        assert_eq!(healed("\"x\":", &[0, 1, 6, 3]), Some(("\":".to_owned(), 1)));
        assert_eq!(healed("\"x\"", &[0, 1, 6, 1]), Some(("\"".to_owned(), 1)));
        assert_eq!(healed("x", &[0, 6]), None, "nothing passes its end");
        assert_eq!(healed("a\":", &[2, 3]), Some(("\":".to_owned(), 1)), "one token stays");
        assert_eq!(healed("\"a", &[0, 1, 2]), Some(("a".to_owned(), 1)));
        assert_eq!(healed("\":", &[0, 7, 3]), Some(("\":".to_owned(), 1)), "what begins before the opening stays");
        assert_eq!(healed("q\":", &[0, 1, 3]), Some(("\":".to_owned(), 1)), "the prompt ends as nobody asked");
        assert_eq!(healed("\"x9", &[0, 1, 6, 9]), None, "the same from its last token on");
    }

    #[test]
    fn a_token_that_begins_in_the_middle_of_one_takes_all_of_it_back() {
        let texts = words(&["p", "abc", "cd", "ab", "c"]);
        let mut healing = Healing::new(texts, "abc", &[0, 1]).expect("`cd` passes the end");
        assert_eq!((healing.text(), healing.tokens()), ("abc", 1));
        assert_eq!(left(&healing, 5), [1, 3]);
        assert_eq!(healing.take(3), Part::Opening);
        assert_eq!(left(&healing, 5), [2], "one token was taken back, so that one may lie in the opening");
        assert_eq!(healing.take(2), Part::Answer);
        assert!(healing.is_over());
    }

    #[test]
    fn whole_tokens_and_those_without_a_text_are_where_it_stops() {
        let texts: &[&[u8]] = &[b"p", b"<call>", b">\n", b"", b"\n", b"\n{", b"<call>\n{"];
        let healed = |whole: &[TokenId], opening: &str, prompt: &[TokenId]| {
            Healing::new(vocabulary(texts, whole), opening, prompt).map(|healing| healing.text().to_owned())
        };
        assert_eq!(healed(&[], "<call>", &[0, 1]).as_deref(), Some("<call>"));
        assert_eq!(healed(&[1], "<call>", &[0, 1]), None, "a tokenizer finds the tag first, whatever follows");
        assert_eq!(healed(&[1], "<call>\n", &[0, 1, 4]).as_deref(), Some("\n"));
        assert_eq!(healed(&[], "<call>\n", &[0, 3, 4]).as_deref(), Some("\n"));
        let mut healing = Healing::new(vocabulary(texts, &[1, 5]), "<call>\n", &[0, 1, 4]).expect("healed");
        assert_eq!(left(&healing, 7), [4, 5]);
        assert_eq!(healing.take(5), Part::Answer, "a whole token may pass the end");
    }

    #[test]
    fn characters_are_taken_back_whole() {
        let (first, second) = "ä".as_bytes().split_at(1);
        let longer = [second, b"x"].concat();
        let texts = vocabulary(&[b"p", first, second, &longer], &[]);
        assert!(Healing::new(Arc::clone(&texts), "ä", &[0, 1]).is_none(), "not the text of the opening");
        let healing = Healing::new(texts, "ä", &[0, 1, 2]).expect("a token passes the end from the second half on");
        assert_eq!((healing.text(), left(&healing, 4)), ("ä", vec![1]));
    }

    #[test]
    fn only_what_can_be_finished_is_left() {
        // After `a` nothing spells `bc`.
        let texts = words(&["p", "a", "ab", "c", "cd", "abc"]);
        let healing = Healing::new(texts, "abc", &[0, 2, 3]).expect("`cd` passes the end");
        assert_eq!(left(&healing, 6), [3, 4], "`ab` stays: nothing that begins in it passes the end");
        let texts = words(&["p", "a", "ab", "c", "abcd", "abc"]);
        let healing = Healing::new(texts, "abc", &[0, 2, 3]).expect("`abcd` passes the end");
        assert_eq!(left(&healing, 6), [2, 4, 5]);
    }

    #[test]
    fn a_model_that_rules_everything_out_goes_the_way_of_the_tokenizer() {
        let texts = words(&["p", "a", "b", "ab", "abc", "abx"]);
        for nothing in [f32::NAN, f32::NEG_INFINITY] {
            let mut healing = Healing::new(Arc::clone(&texts), "ab", &[0, 1, 2]).expect("`abc` passes the end");
            for expected in [1, 2] {
                let mut logits = vec![nothing; 6];
                healing.restrict(&mut logits);
                assert_eq!(logits.iter().position(|logit| *logit == 0.0), Some(expected));
                assert_eq!(healing.take(expected as TokenId), Part::Opening);
            }
            assert!(healing.is_over());
        }
        // A model of fewer tokens than its tokenizer has.
        let healing = Healing::new(texts, "ab", &[0, 1, 2]).expect("`abc` passes the end");
        assert_eq!(left(&healing, 4), [1, 3]);
    }

    #[test]
    fn whatever_the_model_wants_the_opening_is_spelled_and_no_longer_than_it_was() {
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
            let Some(mut healing) = Healing::new(texts, &opening, &prompt) else { continue };
            let (expected, most) = (healing.text().to_owned(), healing.tokens());
            let (mut made, mut inside) = (Vec::new(), 0);
            while !healing.is_over() {
                let left = left(&healing, all.len());
                let token = left[random(left.len())] as TokenId;
                made.push(token);
                inside += usize::from(healing.take(token) == Part::Opening);
            }
            let made: Vec<u8> = spelled(&made);
            assert!(made.starts_with(expected.as_bytes()), "{expected} became {}", made.escape_ascii());
            assert!(inside <= most, "{inside} tokens in the place of {most}");
            healed += 1;
        }
        assert!(healed > 500, "{healed} of the openings were made again");
    }
}
