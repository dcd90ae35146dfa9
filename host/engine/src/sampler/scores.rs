//! Log-probabilities of tokens by the model's own distribution.

use std::cmp::Ordering;

use firebox_contract::{LOGPROB_LEAST, TokenId};

use super::greatest;

/// A sampled token and the most likely tokens at its place, each with its log-probability.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenScores {
    pub(crate) chosen: (TokenId, f32),
    pub(crate) top: Vec<(TokenId, f32)>,
}

/// The logits of one step as the model computed them, before they are changed.
pub(super) struct ModelLogits {
    logits: Vec<f32>,
    top: usize,
}

impl ModelLogits {
    /// Keeps `logits`, `[vocabulary]`, for the scores of the token that is sampled next and of the `top` most likely ones.
    pub(super) fn keep(logits: &[f32], top: usize) -> Self {
        Self { logits: logits.to_vec(), top }
    }

    /// The scores of the sampled `token`.
    pub(super) fn score(&self, token: TokenId) -> TokenScores {
        let most = self.logits.iter().copied().filter(|logit| !logit.is_nan()).fold(f32::NEG_INFINITY, f32::max);
        // Summed in F64, so that the order of the sum makes no difference.
        let sum: f64 =
            self.logits.iter().filter(|logit| !logit.is_nan()).map(|logit| f64::from((logit - most).exp())).sum();
        let norm = f64::from(most) + sum.ln();
        let logprob = |token: TokenId| {
            let logit = self.logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
            let logprob = (f64::from(logit) - norm) as f32;
            // NaN and the logits of impossible tokens have no number that JSON can write.
            if logprob > LOGPROB_LEAST { logprob.min(0.0) } else { LOGPROB_LEAST }
        };
        let top = most_likely(&self.logits, self.top).into_iter().map(|token| (token, logprob(token))).collect();
        TokenScores { chosen: (token, logprob(token)), top }
    }
}

/// The `top` most likely tokens, the most likely first and the lowest id first among equal ones.
pub(crate) fn most_likely(logits: &[f32], top: usize) -> Vec<TokenId> {
    /// Logits of one block. Small blocks leave few logits to look at one by one, large blocks few greatest ones to compare.
    const BLOCK: usize = 128;
    if top == 0 {
        return Vec::new();
    }
    let most: Vec<f32> = logits.chunks(BLOCK).map(greatest).collect();
    // Each of the `top` most likely tokens is at least as likely as `least`, because so many blocks have such a token.
    let mut least = f32::NEG_INFINITY;
    if top < most.len() {
        least = *most.clone().select_nth_unstable_by(top - 1, |a, b| b.total_cmp(a)).1;
    }
    let (mut best, mut equal) = (Vec::with_capacity(2 * top.min(logits.len())), 0);
    for (block, logits) in logits.chunks(BLOCK).enumerate().filter(|(block, _)| most[*block] >= least) {
        for (at, logit) in logits.iter().enumerate().filter(|(_, logit)| **logit >= least) {
            // No more than `top` equal ones are kept, so that logits without differences need no large list.
            equal += usize::from(*logit == least);
            if *logit > least || equal <= top {
                best.push((*logit, (block * BLOCK + at) as TokenId));
            }
        }
    }
    // No logit of the list is NaN.
    let order =
        |a: &(f32, TokenId), b: &(f32, TokenId)| b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal).then(a.1.cmp(&b.1));
    if best.len() > top {
        best.select_nth_unstable_by(top - 1, order);
        best.truncate(top);
    }
    best.sort_unstable_by(order);
    best.into_iter().map(|(_, token)| token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_the_log_softmax_of_the_logits() {
        let logits: Vec<f32> = (0..5_000).map(|at| ((at * 7_919) % 1_201) as f32 / 100.0).collect();
        let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let expected = |token: usize| f64::from(logits[token]) - total.ln();
        let scores = ModelLogits::keep(&logits, 20).score(17);
        assert!((f64::from(scores.chosen.1) - expected(17)).abs() < 1e-4);
        let mut sorted: Vec<usize> = (0..logits.len()).collect();
        sorted.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        assert_eq!(scores.top.len(), 20);
        for ((token, logprob), wanted) in scores.top.iter().zip(sorted) {
            assert_eq!(*token as usize, wanted);
            assert!((f64::from(*logprob) - expected(wanted)).abs() < 1e-4);
        }
    }

    #[test]
    fn the_most_likely_tokens_are_those_of_a_sorted_list_and_equal_ones_come_in_order() {
        let sorted = |logits: &[f32], top: usize| {
            let mut tokens: Vec<TokenId> = (0..logits.len() as TokenId).collect();
            tokens.retain(|token| !logits[*token as usize].is_nan());
            tokens.sort_by(|a, b| logits[*b as usize].partial_cmp(&logits[*a as usize]).expect("no NaN"));
            tokens.truncate(top);
            tokens
        };
        let scattered = |at: usize| ((at * 7_919) % 10_007) as f32 - 5_000.0;
        let kinds: [(&str, &dyn Fn(usize) -> f32); 7] = [
            ("scattered", &scattered),
            ("rising", &|at| at as f32),
            ("falling", &|at| -(at as f32)),
            ("equal", &|_| 1.5),
            ("few values and both zeros", &|at| if at % 3 == 0 { -0.0 } else { (at % 3) as f32 - 1.0 }),
            ("mostly excluded", &|at| if at % 97 == 0 { scattered(at) } else { f32::NEG_INFINITY }),
            ("with NaN", &|at| if at % 5 == 0 { f32::NAN } else { scattered(at) }),
        ];
        for (kind, logit) in kinds {
            for vocabulary in [1, 127, 128, 129, 1_000, 20_000] {
                let logits: Vec<f32> = (0..vocabulary).map(logit).collect();
                for top in [0, 1, 2, 64, 128, 30_000] {
                    assert_eq!(most_likely(&logits, top), sorted(&logits, top), "{kind}, {vocabulary}, {top}");
                }
            }
        }
    }

    #[test]
    fn every_score_is_a_finite_number_of_at_most_0() {
        for logits in
            [[f32::NAN, 1.0, f32::NEG_INFINITY], [f32::NAN; 3], [f32::NEG_INFINITY; 3], [f32::INFINITY, 0.0, 0.0]]
        {
            let scores = ModelLogits::keep(&logits, 3);
            for token in [0, 1, 2, 9] {
                let scores = scores.score(token);
                let all = scores.top.iter().chain([&scores.chosen]);
                assert!(
                    all.into_iter().all(|(_, logprob)| (LOGPROB_LEAST..=0.0).contains(logprob)),
                    "{logits:?} {scores:?}"
                );
            }
        }
        assert!(ModelLogits::keep(&[0.0; 4], 0).score(1).top.is_empty());
    }
}
