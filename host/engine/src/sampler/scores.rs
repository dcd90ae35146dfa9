//! Log-probabilities of tokens by the model's own distribution.

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
    /// Logits of one block. Few blocks contain a token that is likely enough, so most are passed with one comparison.
    const BLOCK: usize = 256;
    let mut best: Vec<(f32, TokenId)> = Vec::with_capacity(top.min(logits.len()) + 1);
    let is_enough = |best: &[(f32, TokenId)], logit: f32| {
        top == 0 || (best.len() == top && best.last().is_some_and(|(least, _)| logit <= *least))
    };
    for (block, logits) in logits.chunks(BLOCK).enumerate() {
        if is_enough(&best, greatest(logits)) {
            continue;
        }
        for (at, logit) in logits.iter().enumerate() {
            if logit.is_nan() || is_enough(&best, *logit) {
                continue;
            }
            let rank = best.partition_point(|(other, _)| other >= logit);
            best.insert(rank, (*logit, (block * BLOCK + at) as TokenId));
            best.truncate(top);
        }
    }
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
