//! Speculation without a second model: tokens are drafted from the sequence's own text and verified in one step.
//!
//! Answers often repeat their prompt: a quotation, an edited file, a list with the same keys. [`ngram`] drafts the tokens
//! that followed the last occurrence of the last few tokens (prompt lookup decoding, Saxena 2023). The step computes the
//! next token and all drafted tokens at once, and the sampler then draws position by position, from the same random
//! numbers as without a draft. A drafted token is accepted if it is the token that was drawn. The first one that is not
//! ends the verification, and the keys and values of the refused tokens are removed. So the draws are the same as without
//! speculation (Leviathan et al. 2023, with drafts that have probability one).
//!
//! A draft costs the time of its rows. [`Drafter`] measures how often drafts are right, also while nothing is drafted, and
//! [`StepPlan`] verifies as many as raise the tokens per second by the measured cost of a step, which is often none.

mod ngram;

use firebox_contract::TokenId;
use firebox_contract::limits::{DRAFT_MATCH_TOKENS_MAX, DRAFT_MATCH_TOKENS_MIN, DRAFT_TOKENS_MAX};

/// Kinds of matches: by their length in tokens.
const MATCHES: usize = DRAFT_MATCH_TOKENS_MAX - DRAFT_MATCH_TOKENS_MIN + 1;
/// How likely a match of each length predicts the next token, before anything was measured.
const PRIOR: [f64; MATCHES] = [0.3, 0.5, 0.7];
/// Weight of the newest token in the moving averages.
const NEWEST: f64 = 0.1;
/// How much more tokens per second a longer draft must promise. Below it, the estimate is noise.
const GAIN_MIN: f64 = 1.05;

/// Whether tokens are drafted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speculation {
    /// Each step computes one token of an answer.
    Off,
    /// The continuation of an earlier n-gram of the same text is drafted where that measures as a gain.
    #[default]
    NGram,
}

/// Tokens that may come next.
#[derive(Debug, Default)]
struct Draft {
    tokens: Vec<TokenId>,
    /// Length of the match from which they come.
    matched: usize,
}

/// Drafts tokens of one sequence.
#[derive(Debug)]
pub(crate) struct Drafter {
    /// By the length of the match, how likely its next token is right.
    accuracy: [f64; MATCHES],
    draft: Draft,
}

impl Default for Drafter {
    fn default() -> Self {
        Self { accuracy: PRIOR, draft: Draft::default() }
    }
}

impl Drafter {
    /// Drafts at most `most` tokens that may follow `tokens`. It drafts one even if `most` is 0, to measure how often it is
    /// right; the caller then verifies none.
    pub(crate) fn draft(&mut self, tokens: &[TokenId], most: usize, ends: impl Fn(TokenId) -> bool) {
        self.draft = ngram::continuation(tokens, most.clamp(1, DRAFT_TOKENS_MAX)).unwrap_or_default();
        // After an end token there is nothing to verify.
        let end = self.draft.tokens.iter().position(|token| ends(*token));
        self.draft.tokens.truncate(end.unwrap_or(usize::MAX));
    }

    /// The drafted tokens.
    pub(crate) fn tokens(&self) -> &[TokenId] {
        &self.draft.tokens
    }

    /// The number of drafted tokens that will be accepted on average, if the first `length` are verified.
    pub(crate) fn expected(&self, length: usize) -> f64 {
        let length = length.min(self.draft.tokens.len());
        let (mut all_right, mut expected) = (1.0, 0.0);
        for at in 0..length {
            all_right *= self.accuracy.get(kind(self.draft.matched + at)).copied().unwrap_or(0.0);
            expected += all_right;
        }
        expected
    }

    /// Learns that `drawn` is the token at `position` of the draft. Beyond the draft it learns nothing.
    pub(crate) fn learn(&mut self, position: usize, drawn: Option<TokenId>) {
        let Some(drafted) = self.draft.tokens.get(position) else { return };
        if let Some(accuracy) = self.accuracy.get_mut(kind(self.draft.matched + position)) {
            let is_right = if drawn == Some(*drafted) { 1.0 } else { 0.0 };
            *accuracy += (is_right - *accuracy) * NEWEST;
        }
    }

    /// Drops the draft.
    pub(crate) fn clear(&mut self) {
        self.draft = Draft::default();
    }
}

/// The kind of a match of `matched` tokens. If the draft is right, the match becomes longer with each token.
fn kind(matched: usize) -> usize {
    matched.clamp(DRAFT_MATCH_TOKENS_MIN, DRAFT_MATCH_TOKENS_MAX) - DRAFT_MATCH_TOKENS_MIN
}

/// A planned step: its rows, and the tokens of answers that it will add.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepPlan {
    pub(crate) rows: usize,
    pub(crate) tokens: f64,
}

impl StepPlan {
    /// How many drafted tokens of one sequence to verify in this step, at most `most`: the number with the most tokens per
    /// second, by `seconds` of a step with so many rows. 0 if that is not known, and if no draft gains `GAIN_MIN`. The plan
    /// then includes them.
    pub(crate) fn add_drafts(
        &mut self,
        drafter: &Drafter,
        most: usize,
        seconds: impl Fn(usize) -> Option<f64>,
    ) -> usize {
        let rate = |length: usize, tokens: f64| Some(tokens / seconds(self.rows + length)?.max(1e-9));
        let Some(without) = rate(0, self.tokens) else { return 0 };
        let (mut best, mut best_rate) = (0, without * GAIN_MIN);
        for length in 1..=most.min(drafter.tokens().len()) {
            let Some(rate) = rate(length, self.tokens + drafter.expected(length)) else { break };
            if rate > best_rate {
                (best, best_rate) = (length, rate);
            }
        }
        self.rows += best;
        self.tokens += drafter.expected(best);
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafter(tokens: &[TokenId], most: usize) -> Drafter {
        let mut drafter = Drafter::default();
        drafter.draft(tokens, most, |token| token == 0);
        drafter
    }

    /// A step of one row takes a second, and each further row `more` seconds.
    fn cost(more: f64) -> impl Fn(usize) -> Option<f64> {
        move |rows| Some(1.0 + (rows as f64 - 1.0) * more)
    }

    #[test]
    fn a_draft_ends_before_an_end_token_and_at_its_limit() {
        let text = [1, 2, 3, 4, 5, 6, 0, 8, 1, 2, 3, 4];
        assert_eq!(drafter(&text, 9).tokens(), [5, 6]);
        assert_eq!(drafter(&text, 1).tokens(), [5]);
        assert_eq!(drafter(&text, 0).tokens(), [5], "to measure");
        assert!(drafter(&[1, 2, 3], 9).tokens().is_empty());
    }

    #[test]
    fn the_length_follows_from_accuracy_and_cost() {
        let mut right = drafter(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4], DRAFT_TOKENS_MAX);
        (0..40).for_each(|_| right.learn(0, Some(5)));
        let mut wrong = drafter(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4], DRAFT_TOKENS_MAX);
        (0..40).for_each(|_| wrong.learn(0, Some(1)));
        let length = |drafter: &Drafter, more: f64| {
            let mut plan = StepPlan { rows: 1, tokens: 1.0 };
            let length = plan.add_drafts(drafter, usize::MAX, cost(more));
            assert_eq!(plan.rows, 1 + length);
            length
        };
        assert_eq!(length(&right, 0.05), DRAFT_TOKENS_MAX, "nearly all are accepted, and rows are cheap");
        assert_eq!(length(&right, 1.0), 0, "a row costs as much as a step");
        assert_eq!(length(&wrong, 0.05), 0);
        assert!((1..DRAFT_TOKENS_MAX).contains(&length(&Drafter { accuracy: [0.5; MATCHES], ..right }, 0.1)));
        assert_eq!(StepPlan { rows: 1, tokens: 1.0 }.add_drafts(&wrong, 9, |_| None), 0, "the cost is not known");
    }

    #[test]
    fn accuracy_recovers_while_nothing_is_verified() {
        let mut one = drafter(&[1, 2, 3, 4, 1, 2, 3], 1);
        (0..40).for_each(|_| one.learn(0, None));
        let low = one.expected(1);
        (0..40).for_each(|_| one.learn(0, Some(4)));
        assert!(low < 0.05 && one.expected(1) > 0.9);
    }
}
