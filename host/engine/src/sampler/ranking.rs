//! Tokens from the most to the least likely, sorted lazily: only as many as are read.

use firebox_contract::{Sampling, TokenId};

/// Number of tokens that are sorted first. Later sorts add four times as many as are sorted.
const FIRST_ORDERED: usize = 64;

/// The tokens that may be sampled.
pub(crate) struct Ranking {
    /// The first `ordered` are sorted, the most likely first; equal logits in order of token id.
    candidates: Vec<TokenCandidate>,
    ordered: usize,
    /// Sum of the weights of all candidates.
    weight: f32,
}

#[derive(Clone, Copy)]
struct TokenCandidate {
    token: TokenId,
    logit: f32,
    /// Probability, relative to the most likely token.
    weight: f32,
}

/// The tokens that top-p and min-p leave: the first `count`, and the sum of their weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TopTokens {
    pub(crate) count: usize,
    pub(crate) weight: f32,
}

fn likelier(a: &TokenCandidate, b: &TokenCandidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

impl Ranking {
    /// The top-k candidates, or all if k is 0, at a temperature above 0. NaN logits are left out.
    pub(crate) fn new(logits: &[f32], sampling: &Sampling) -> Self {
        let numbers = logits.iter().enumerate().filter(|(_, logit)| !logit.is_nan());
        let mut candidates: Vec<TokenCandidate> = numbers
            .map(|(token, logit)| TokenCandidate { token: token as TokenId, logit: *logit, weight: 0.0 })
            .collect();
        let top_k = sampling.top_k;
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, likelier);
            candidates.truncate(top_k);
        }
        let most = candidates.iter().fold(f32::NEG_INFINITY, |most, candidate| most.max(candidate.logit));
        let mut total = 0.0;
        for candidate in &mut candidates {
            candidate.weight = ((candidate.logit - most) / sampling.temperature).exp();
            total += f64::from(candidate.weight);
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "summed in f64 so that the order of the sum makes no difference"
        )]
        Self { candidates, ordered: 0, weight: total as f32 }
    }

    /// The smallest set of most likely tokens whose probability reaches `top_p` (Holtzman et al. 2019), without tokens
    /// less likely than `min_p` times the most likely one (Nguyen et al. 2024). At least one token.
    pub(crate) fn top(&mut self, top_p: f32, min_p: f32) -> TopTokens {
        if top_p >= 1.0 && min_p <= 0.0 {
            return TopTokens { count: self.candidates.len(), weight: self.weight };
        }
        let wanted = if top_p >= 1.0 { f32::INFINITY } else { top_p * self.weight };
        let mut top_tokens = TopTokens { count: 0, weight: 0.0 };
        while let Some((_, weight)) = self.at(top_tokens.count) {
            if top_tokens.count > 0 && !(top_tokens.weight < wanted && weight >= min_p) {
                break;
            }
            top_tokens = TopTokens { count: top_tokens.count + 1, weight: top_tokens.weight + weight };
        }
        top_tokens
    }

    /// The token at a rank, where 0 is the most likely, and its weight.
    pub(crate) fn at(&mut self, rank: usize) -> Option<(TokenId, f32)> {
        while rank >= self.ordered && self.ordered < self.candidates.len() {
            self.order_more();
        }
        self.candidates.get(rank).map(|candidate| (candidate.token, candidate.weight))
    }

    fn order_more(&mut self) {
        let rest = &mut self.candidates[self.ordered..];
        let more = (4 * self.ordered).max(FIRST_ORDERED).min(rest.len());
        if more < rest.len() {
            rest.select_nth_unstable_by(more - 1, likelier);
        }
        rest[..more].sort_unstable_by(likelier);
        self.ordered += more;
    }
}

#[cfg(test)]
mod tests {
    use firebox_contract::SamplingOverrides;

    use super::*;

    fn sampling(top_k: usize, temperature: f32) -> Sampling {
        let ask = SamplingOverrides { top_k: Some(top_k), temperature: Some(temperature), ..Default::default() };
        ask.resolve(&SamplingOverrides::default(), 1).expect("in range")
    }

    /// Logits with many equal ones among them.
    fn logits(count: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7_919) % 1_201) as f32 / 100.0).collect()
    }

    /// The top-k tokens with their probabilities, by a full sort.
    fn sorted(logits: &[f32], top_k: usize, temperature: f32) -> Vec<(TokenId, f64)> {
        let mut all: Vec<(TokenId, f32)> =
            logits.iter().enumerate().map(|(at, logit)| (at as TokenId, *logit)).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(if top_k == 0 { all.len() } else { top_k });
        let most = f64::from(all[0].1);
        let weight = |logit: f32| ((f64::from(logit) - most) / f64::from(temperature)).exp();
        let total: f64 = all.iter().map(|(_, logit)| weight(*logit)).sum();
        all.into_iter().map(|(token, logit)| (token, weight(logit) / total)).collect()
    }

    #[test]
    fn ranks_equal_those_of_a_full_sort() {
        for (count, top_k) in [(1, 0), (63, 0), (64, 0), (65, 1), (5_000, 0), (5_000, 700), (5_000, 9_000)] {
            let logits = logits(count);
            let mut ranking = Ranking::new(&logits, &sampling(top_k, 0.7));
            let expected = sorted(&logits, top_k, 0.7);
            for (rank, (token, probability)) in expected.iter().enumerate() {
                let (got, weight) = ranking.at(rank).expect("as many");
                assert_eq!(got, *token, "place {rank} of {count}, top-k {top_k}");
                let got = f64::from(weight) / f64::from(ranking.weight);
                assert!((got - probability).abs() <= 1e-5 * probability, "{got} for {probability}");
            }
            assert_eq!(ranking.at(expected.len()), None);
        }
    }

    #[test]
    fn top_p_and_min_p_leave_the_tokens_of_a_full_sort() {
        let logits = logits(3_000);
        for temperature in [0.5, 1.0, 5.0] {
            let sorted = sorted(&logits, 0, temperature);
            for (top_p, min_p) in [(0.5, 0.0), (0.99, 0.0), (1.0, 0.3), (0.9, 0.2), (1.0, 0.0), (1e-9, 0.0), (1.0, 1.0)]
            {
                let mut reached = 0.0;
                let enough = |(_, probability): &&(TokenId, f64)| {
                    let wanted = top_p >= 1.0 || reached < f64::from(top_p);
                    reached += probability;
                    wanted && *probability >= f64::from(min_p) * sorted[0].1 * (1.0 - 1e-6)
                };
                let expected = sorted.iter().take_while(enough).count().max(1);
                let top_tokens = Ranking::new(&logits, &sampling(0, temperature)).top(top_p, min_p);
                let what = format!("top-p {top_p} min-p {min_p} at {temperature}");
                // If probabilities are equal, rounding may move the border by one.
                assert!(top_tokens.count.abs_diff(expected) <= 1, "{what}: {} for {expected}", top_tokens.count);
                assert!(top_tokens.weight > 0.0 && top_tokens.weight.is_finite(), "{what}: {top_tokens:?}");
            }
        }
    }

    #[test]
    fn nan_logits_are_never_sampled() {
        let mut ranking = Ranking::new(&[f32::NAN, 1.0, f32::NEG_INFINITY, f32::NAN], &sampling(0, 1.0));
        assert_eq!(ranking.at(0), Some((1, 1.0)));
        assert_eq!(ranking.at(1), Some((2, 0.0)));
        assert_eq!(ranking.at(2), None);
        assert_eq!(Ranking::new(&[f32::NAN], &sampling(0, 1.0)).top(0.5, 0.0), TopTokens { count: 0, weight: 0.0 });
    }
}
