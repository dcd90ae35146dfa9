//! Tokens from the most to the least likely, put in order only as far as somebody looks.

use firebox_contract::{Sampling, TokenId};

/// Places that are put in order first; then four times as many as are.
const FIRST_PLACES: usize = 64;

/// The tokens that may be chosen.
pub(crate) struct Ranking {
    /// Most likely first, up to `ordered`; equal logits in order of token id.
    candidates: Vec<Candidate>,
    ordered: usize,
    /// Of all candidates.
    weight: f32,
}

#[derive(Clone, Copy)]
struct Candidate {
    token: TokenId,
    logit: f32,
    /// Probability as a share of that of the most likely token.
    weight: f32,
}

/// What is left after top-p and min-p: the first so many places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Kept {
    pub(crate) count: usize,
    pub(crate) weight: f32,
}

fn likelier(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

impl Ranking {
    /// The top-k candidates (all where k is 0) at a temperature above 0. NaN is none.
    pub(crate) fn new(logits: &[f32], sampling: &Sampling) -> Self {
        let numbers = logits.iter().enumerate().filter(|(_, logit)| !logit.is_nan());
        let mut candidates: Vec<Candidate> =
            numbers.map(|(token, logit)| Candidate { token: token as TokenId, logit: *logit, weight: 0.0 }).collect();
        let keep = sampling.top_k;
        if keep > 0 && keep < candidates.len() {
            candidates.select_nth_unstable_by(keep - 1, likelier);
            candidates.truncate(keep);
        }
        let most = candidates.iter().fold(f32::NEG_INFINITY, |most, candidate| most.max(candidate.logit));
        let mut total = 0.0;
        for candidate in &mut candidates {
            candidate.weight = ((candidate.logit - most) / sampling.temperature).exp();
            total += f64::from(candidate.weight);
        }
        #[allow(clippy::cast_possible_truncation, reason = "summed in f64 so that the order of a sum does not show")]
        Self { candidates, ordered: 0, weight: total as f32 }
    }

    /// The smallest set of most likely tokens whose probability reaches `top_p` (Holtzman et al. 2019), without those
    /// less likely than `min_p` times the most likely (Nguyen et al. 2024). At least one.
    pub(crate) fn keep(&mut self, top_p: f32, min_p: f32) -> Kept {
        if top_p >= 1.0 && min_p <= 0.0 {
            return Kept { count: self.candidates.len(), weight: self.weight };
        }
        let wanted = if top_p >= 1.0 { f32::INFINITY } else { top_p * self.weight };
        let mut kept = Kept { count: 0, weight: 0.0 };
        while let Some((_, weight)) = self.at(kept.count) {
            if kept.count > 0 && !(kept.weight < wanted && weight >= min_p) {
                break;
            }
            kept = Kept { count: kept.count + 1, weight: kept.weight + weight };
        }
        kept
    }

    /// The token at a place and its weight.
    pub(crate) fn at(&mut self, place: usize) -> Option<(TokenId, f32)> {
        while place >= self.ordered && self.ordered < self.candidates.len() {
            self.order_more();
        }
        self.candidates.get(place).map(|candidate| (candidate.token, candidate.weight))
    }

    fn order_more(&mut self) {
        let rest = &mut self.candidates[self.ordered..];
        let more = (4 * self.ordered).max(FIRST_PLACES).min(rest.len());
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

    /// Many equal ones among them.
    fn logits(count: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7_919) % 1_201) as f32 / 100.0).collect()
    }

    /// All in order at once, each with its probability.
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
    fn the_order_is_that_of_a_sort_however_far_one_looks() {
        for (count, top_k) in [(1, 0), (63, 0), (64, 0), (65, 1), (5_000, 0), (5_000, 700), (5_000, 9_000)] {
            let logits = logits(count);
            let mut ranking = Ranking::new(&logits, &sampling(top_k, 0.7));
            let expected = sorted(&logits, top_k, 0.7);
            for (place, (token, probability)) in expected.iter().enumerate() {
                let (got, weight) = ranking.at(place).expect("as many");
                assert_eq!(got, *token, "place {place} of {count}, top-k {top_k}");
                let got = f64::from(weight) / f64::from(ranking.weight);
                assert!((got - probability).abs() <= 1e-5 * probability, "{got} for {probability}");
            }
            assert_eq!(ranking.at(expected.len()), None);
        }
    }

    #[test]
    fn top_p_and_min_p_keep_what_a_sorted_list_says() {
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
                let kept = Ranking::new(&logits, &sampling(0, temperature)).keep(top_p, min_p);
                let what = format!("top-p {top_p} min-p {min_p} at {temperature}");
                // Where probabilities are equal, rounding may move the border by one.
                assert!(kept.count.abs_diff(expected) <= 1, "{what}: {} for {expected}", kept.count);
                assert!(kept.weight > 0.0 && kept.weight.is_finite(), "{what}: {kept:?}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_never_chosen() {
        let mut ranking = Ranking::new(&[f32::NAN, 1.0, f32::NEG_INFINITY, f32::NAN], &sampling(0, 1.0));
        assert_eq!(ranking.at(0), Some((1, 1.0)));
        assert_eq!(ranking.at(1), Some((2, 0.0)));
        assert_eq!(ranking.at(2), None);
        assert_eq!(Ranking::new(&[f32::NAN], &sampling(0, 1.0)).keep(0.5, 0.0), Kept { count: 0, weight: 0.0 });
    }
}
