//! From logits to the next token: biases, penalties, temperature, top-k, top-p, min-p, a seeded random choice, and the
//! grammar that the answer keeps to.

pub(crate) mod grammar_guard;
mod ranking;
pub(crate) mod scores;
pub(crate) mod token_healing;

use std::collections::HashMap;

use firebox_contract::{Error, Sampling, TokenId, TokenRule};

use self::grammar_guard::{GrammarGuard, keep_only, no_token_left};
use self::ranking::Ranking;
use self::scores::{ModelLogits, TokenScores};
use self::token_healing::{TokenHealing, TokenPart};
use crate::reasoning::{ReasoningGate, ReasoningState};

/// The sampler of one sequence. The same seed and logits give the same tokens on every machine.
pub(crate) struct Sampler {
    sampling: Sampling,
    random: SplitMix64,
    /// Tokens of prompt and answer, for the penalties.
    seen: HashMap<TokenId, TokenHistory>,
    /// Set while the end of a forced opening is generated again.
    healing: Option<TokenHealing>,
    /// Set if the answer keeps to a grammar.
    grammar: Option<GrammarGuard>,
    /// Follows the reasoning, if it has a budget or the answer a grammar.
    reasoning: Option<ReasoningGate>,
    /// Tokens that end an answer. They are excluded until the answer has `min_tokens` tokens.
    end_tokens: Vec<TokenId>,
    /// Number of answer tokens so far.
    answer_tokens: usize,
    /// The scores of the last token, if the request asks for probabilities.
    scores: Option<Box<TokenScores>>,
    /// Whether plugins excluded tokens from the choice that is made.
    ruled: bool,
}

/// What the sampler has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SampledToken {
    /// A token.
    Token {
        token: TokenId,
        part: TokenPart,
        /// Whether nothing can follow it in the answer's grammar.
        complete: bool,
    },
    /// No token: the answer's grammar is complete.
    End,
}

/// How often a token of prompt or answer occurs in the answer.
#[derive(Default, Clone, Copy)]
struct TokenHistory {
    answer_count: u32,
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling, prompt: &[TokenId]) -> Self {
        let random = SplitMix64(sampling.seed);
        let seen = prompt.iter().map(|token| (*token, TokenHistory::default())).collect();
        Self {
            sampling,
            random,
            seen,
            healing: None,
            grammar: None,
            reasoning: None,
            end_tokens: Vec::new(),
            answer_tokens: 0,
            scores: None,
            ruled: false,
        }
    }

    /// A sampler that first generates the end of the prompt again, as `healing` says.
    pub(crate) fn with_healing(sampling: Sampling, prompt: &[TokenId], healing: Option<TokenHealing>) -> Self {
        let healed = healing.as_ref().map_or(0, TokenHealing::tokens);
        Self { healing, ..Self::new(sampling, &prompt[..prompt.len() - healed]) }
    }

    /// The same sampler, which excludes `end_tokens` until the answer has `min_tokens` tokens.
    pub(crate) fn with_end_tokens(self, end_tokens: Vec<TokenId>) -> Self {
        Self { end_tokens, ..self }
    }

    /// The same sampler, whose answer keeps to a grammar. The end of a forced opening that is generated again is part of it.
    pub(crate) fn with_grammar(self, grammar: Option<GrammarGuard>) -> Self {
        Self { grammar, ..self }
    }

    /// The same sampler, which keeps the reasoning within its budget and its grammar out of the reasoning.
    pub(crate) fn with_reasoning(self, reasoning: Option<ReasoningGate>) -> Self {
        Self { reasoning, ..self }
    }

    /// The sampling parameters.
    pub(crate) fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Number of tokens at the end of the prompt that it generates again.
    pub(crate) fn tokens_to_heal(&self) -> usize {
        self.healing.as_ref().map_or(0, TokenHealing::tokens)
    }

    /// Whether the next token is a choice. The end of a forced opening and the end of a reasoning that used up its budget are
    /// none.
    pub(crate) fn has_choice(&self) -> bool {
        self.healing.is_none() && self.reasoning.as_ref().is_none_or(|reasoning| reasoning.forced().is_none())
    }

    /// Whether the token that comes next can be taken back. Reasoning that the sampler follows cannot.
    pub(crate) fn can_take_back(&self) -> bool {
        self.healing.is_none() && self.reasoning.as_ref().is_none_or(ReasoningGate::is_closed)
    }

    /// Samples the next token under the plugins' `rule`. `logits` is `[vocabulary]`, not empty, and is changed in place.
    ///
    /// # Errors
    /// Those of the grammar, and `Error::Refused` if the rule leaves no token.
    pub(crate) fn next(&mut self, logits: &mut [f32], rule: &TokenRule) -> Result<SampledToken, Error> {
        let model = self.sampling.logprobs.map(|top| ModelLogits::keep(logits, top));
        if let Some(healing) = &self.healing {
            healing.restrict(logits);
        }
        if self.answer_tokens < self.sampling.min_tokens {
            for end in &self.end_tokens {
                logits.get_mut(*end as usize).into_iter().for_each(|logit| *logit = f32::NEG_INFINITY);
            }
        }
        let token = match self.reasoning.as_ref().and_then(ReasoningGate::forced) {
            Some(forced) => forced,
            None => {
                self.apply(rule, logits)?;
                self.bias(logits);
                self.penalize(logits);
                let Some(token) = self.choose_within_grammar(logits)? else { return Ok(SampledToken::End) };
                token
            }
        };
        Ok(self.record(token, model.as_ref()))
    }

    /// Takes `token` as the next one, as plugins demand. `logits` are those of the model, if they are known.
    ///
    /// # Errors
    /// `Error::Refused` if the answer's grammar does not allow it.
    pub(crate) fn force(&mut self, token: TokenId, logits: Option<&[f32]>) -> Result<SampledToken, Error> {
        let model = self.sampling.logprobs.zip(logits).map(|(top, logits)| ModelLogits::keep(logits, top));
        let opening = self.reasoning.as_ref().and_then(ReasoningGate::opening_token);
        let is_open = self.reasoning.as_ref().is_some_and(|reasoning| reasoning.state() == ReasoningState::Open);
        if let Some(grammar) = self.grammar.as_mut().filter(|_| !is_open && opening != Some(token))
            && !grammar.take(token)?
        {
            return Err(Error::Refused(format!(
                "a plugin of the token stage continued the answer with token {token}, which its grammar does not allow; change \
                 the plugin, or the form of the answer"
            )));
        }
        if self.grammar.is_some() && !is_open {
            self.begin(&Ok(Some(token)), opening);
        }
        Ok(self.record(token, model.as_ref()))
    }

    /// Takes back `tokens`, the last ones.
    ///
    /// # Errors
    /// Those of the grammar.
    pub(crate) fn take_back(&mut self, tokens: &[TokenId]) -> Result<(), Error> {
        for token in tokens {
            self.answer_tokens = self.answer_tokens.saturating_sub(1);
            if let Some(seen) = self.seen.get_mut(token) {
                seen.answer_count = seen.answer_count.saturating_sub(1);
            }
        }
        self.grammar.as_mut().map_or(Ok(()), |grammar| grammar.take_back(tokens.len()))
    }

    /// Applies the plugins' rule.
    fn apply(&mut self, rule: &TokenRule, logits: &mut [f32]) -> Result<(), Error> {
        self.ruled = !rule.is_empty();
        if let Some(allow) = &rule.allow {
            keep_only(allow, logits);
        }
        for (token, bias) in &rule.bias {
            logits.get_mut(*token as usize).into_iter().for_each(|logit| *logit += bias);
        }
        self.check_choice(logits)
    }

    /// # Errors
    /// `Error::Refused` if plugins have excluded every token.
    fn check_choice(&self, logits: &[f32]) -> Result<(), Error> {
        let is_left = !self.ruled || logits.iter().any(|logit| *logit > f32::NEG_INFINITY);
        if is_left { Ok(()) } else { Err(no_token_left()) }
    }

    /// Records the token that was chosen.
    fn record(&mut self, token: TokenId, model: Option<&ModelLogits>) -> SampledToken {
        if let Some(reasoning) = &mut self.reasoning {
            reasoning.push(token);
        }
        let part = self.healing.as_mut().map_or(TokenPart::Answer, |healing| healing.take(token));
        self.healing.take_if(|healing| healing.is_complete());
        self.answer_tokens += usize::from(part == TokenPart::Answer);
        self.seen.entry(token).or_default().answer_count += u32::from(part == TokenPart::Answer);
        self.scores = model.map(|model| Box::new(model.score(token)));
        let is_closed = self.reasoning.as_ref().is_none_or(ReasoningGate::is_closed);
        let complete = is_closed && self.grammar.as_ref().is_some_and(GrammarGuard::is_complete);
        SampledToken::Token { token, part, complete }
    }

    /// The scores of the last token, if the request asks for probabilities.
    pub(crate) fn take_scores(&mut self) -> Option<Box<TokenScores>> {
        self.scores.take()
    }

    /// A token that the grammar allows, or `None` if the answer can only end. The token that would be chosen without the
    /// grammar is checked first, because a model that was asked for the form mostly keeps to it. Only if it is not allowed
    /// the set of all allowed tokens is computed, which costs many times more. At temperature 1 without top-k, top-p and
    /// min-p this draws from the same distribution as a draw among the allowed tokens. The grammar begins after the
    /// reasoning.
    fn choose_within_grammar(&mut self, logits: &mut [f32]) -> Result<Option<TokenId>, Error> {
        let Some(mut grammar) = self.grammar.take() else { return Ok(Some(self.choose(logits))) };
        let chosen = match self.reasoning.as_ref().filter(|reasoning| !reasoning.is_closed()) {
            Some(reasoning) if reasoning.state() == ReasoningState::Open => {
                grammar.exclude_ends(logits);
                self.check_choice(logits).map(|()| Some(self.choose(logits)))
            }
            Some(reasoning) => {
                let opening = reasoning.opening_token();
                let chosen = self.choose_beginning(&mut grammar, logits, opening);
                self.begin(&chosen, opening);
                chosen
            }
            None => self.choose_with(&mut grammar, logits),
        };
        self.grammar = Some(grammar);
        chosen
    }

    /// The first token of a turn: the token `opening`, with which the reasoning begins, or the first token of the grammar.
    fn choose_beginning(
        &mut self,
        grammar: &mut GrammarGuard,
        logits: &mut [f32],
        opening: Option<TokenId>,
    ) -> Result<Option<TokenId>, Error> {
        let kept = opening.and_then(|token| Some((token, *logits.get(token as usize)?)));
        let mut token = self.choose(logits);
        if Some(token) != opening && !grammar.take(token)? {
            let may_go_on = grammar.restrict(logits, self.ruled)?;
            if let Some((token, logit)) = kept {
                logits[token as usize] = logit;
            }
            if !may_go_on && kept.is_none() {
                return Ok(None);
            }
            token = self.choose(logits);
            if Some(token) != opening && !grammar.take(token)? {
                return Err(Error::Internal(format!("the grammar refused token {token}, which it had allowed")));
            }
        }
        Ok(Some(token))
    }

    /// Records whether a turn begins with reasoning.
    fn begin(&mut self, chosen: &Result<Option<TokenId>, Error>, opening: Option<TokenId>) {
        let Some(reasoning) = &mut self.reasoning else { return };
        match chosen {
            Ok(Some(token)) if Some(*token) == opening => reasoning.open(),
            _ => reasoning.close(),
        }
    }

    fn choose_with(&mut self, grammar: &mut GrammarGuard, logits: &mut [f32]) -> Result<Option<TokenId>, Error> {
        if grammar.is_complete() {
            return Ok(None);
        }
        let token = self.choose(logits);
        if logits.get(token as usize).is_some_and(|logit| *logit > f32::NEG_INFINITY) && grammar.take(token)? {
            return Ok(Some(token));
        }
        if !grammar.restrict(logits, self.ruled)? {
            return Ok(None);
        }
        let token = self.choose(logits);
        match grammar.take(token)? {
            true => Ok(Some(token)),
            false => Err(Error::Internal(format!("the grammar refused token {token}, which it had allowed"))),
        }
    }

    fn choose(&mut self, logits: &[f32]) -> TokenId {
        if self.sampling.temperature == 0.0 { argmax(logits) } else { self.draw(logits) }
    }

    /// Adds the request's logit biases, before penalties.
    fn bias(&self, logits: &mut [f32]) {
        for (token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
    }

    /// Applies the repetition penalty over prompt and answer, as Hugging Face does (Keskar et al. 2019, CTRL, section 4.1),
    /// and the presence and frequency penalties over the answer, as OpenAI defines them.
    fn penalize(&self, logits: &mut [f32]) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.sampling;
        if repetition_penalty == 1.0 && presence_penalty == 0.0 && frequency_penalty == 0.0 {
            return;
        }
        for (token, seen) in &self.seen {
            let Some(logit) = logits.get_mut(*token as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            if seen.answer_count > 0 {
                *logit -= presence_penalty + frequency_penalty * seen.answer_count as f32;
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> TokenId {
        let mut ranking = Ranking::new(logits, &self.sampling);
        let top = ranking.top(self.sampling.top_p, self.sampling.min_p);
        let mut left = self.random.unit() * top.weight;
        for rank in 0..top.count {
            let Some((token, weight)) = ranking.at(rank) else { break };
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
        // Rounding can leave a small remainder, which falls to the most likely token.
        ranking.at(0).map_or(0, |(token, _)| token)
    }
}

/// The token with the greatest logit, and the lowest id among equal ones. NaN is ignored.
fn argmax(logits: &[f32]) -> TokenId {
    /// Logits of one block. Few blocks contain a new maximum, so most are passed with one comparison.
    const BLOCK: usize = 1_024;
    let mut best = (0, f32::NEG_INFINITY);
    for (block, logits) in logits.chunks(BLOCK).enumerate() {
        if greatest(logits) <= best.1 {
            continue;
        }
        for (at, logit) in logits.iter().enumerate() {
            if *logit > best.1 {
                best = (block * BLOCK + at, *logit);
            }
        }
    }
    best.0 as TokenId
}

/// The greatest of `logits`, computed in lanes that the compiler turns into vector instructions. Each step scans the whole
/// vocabulary, about half a megabyte, for each sequence.
fn greatest(logits: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (lanes, rest) = logits.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for lane in lanes {
        for (most, logit) in most.iter_mut().zip(lane) {
            *most = if *logit > *most { *logit } else { *most };
        }
    }
    // By halves, which are vector instructions too.
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            most[lane] = if most[lane + half] > most[lane] { most[lane + half] } else { most[lane] };
        }
        half /= 2;
    }
    rest.iter().fold(most[0], |most, logit| most.max(*logit))
}

/// SplitMix64 (Steele, Lea, Flood 2014). It never changes, so a seed always gives the same text.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`, from the upper 24 bits.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use firebox_contract::SamplingOverrides;

    use super::*;

    fn sampler(ask: SamplingOverrides, prompt: &[TokenId]) -> Sampler {
        Sampler::new(ask.resolve(&SamplingOverrides::default(), 1).expect("in range"), prompt)
    }

    impl Sampler {
        fn pick(&mut self, logits: &mut [f32]) -> TokenId {
            match self.next(logits, &TokenRule::default()).expect("there is no grammar") {
                SampledToken::Token { token, .. } => token,
                SampledToken::End => panic!("there is no grammar"),
            }
        }
    }

    fn histogram(ask: SamplingOverrides, logits: &[f32]) -> Vec<usize> {
        let mut sampler = sampler(ask, &[]);
        let mut counts = vec![0; logits.len()];
        for _ in 0..20_000 {
            sampler.seen.clear();
            counts[sampler.pick(&mut logits.to_vec()) as usize] += 1;
        }
        counts
    }

    #[test]
    fn f1_sampling_parameters_change_the_text() {
        let logits = [1.0, 2.0, 3.0, 2.5];
        let greedy = histogram(SamplingOverrides { temperature: Some(0.0), ..Default::default() }, &logits);
        assert_eq!(greedy, [0, 0, 20_000, 0]);
        let plain = histogram(SamplingOverrides::default(), &logits);
        assert!(plain.iter().all(|count| *count > 500), "temperature 1 reaches every token: {plain:?}");
        let cold = histogram(SamplingOverrides { temperature: Some(0.3), ..Default::default() }, &logits);
        assert!(cold[2] > plain[2] + 3_000, "cold {cold:?} plain {plain:?}");
        let top_k = histogram(SamplingOverrides { top_k: Some(2), ..Default::default() }, &logits);
        assert_eq!((top_k[0], top_k[1]), (0, 0));
        assert!(top_k[3] > 5_000);
        let top_p = histogram(SamplingOverrides { top_p: Some(0.5), ..Default::default() }, &logits);
        assert_eq!((top_p[0], top_p[1]), (0, 0));
        let min_p = histogram(SamplingOverrides { min_p: Some(0.5), ..Default::default() }, &logits);
        assert_eq!((min_p[0], min_p[1]), (0, 0));
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [0.0f32, 1.0, 2.0];
        let total: f32 = logits.iter().map(|logit| logit.exp()).sum();
        let counts = histogram(SamplingOverrides::default(), &logits);
        assert_eq!(counts.len(), logits.len());
        for (count, logit) in counts.iter().zip(logits) {
            let expected = logit.exp() / total;
            let got = *count as f32 / 20_000.0;
            assert!((got - expected).abs() < 0.015, "got {got}, expected {expected}");
        }
    }

    #[test]
    fn argmax_finds_the_first_greatest_logit_at_every_position() {
        let mut logits: Vec<f32> = (0..5_000).map(|at| ((at * 37) % 1_000) as f32).collect();
        assert_eq!(argmax(&logits), 27, "999 is the greatest");
        for at in [4_999, 2_048, 2_047, 1_024, 1_023, 16, 15, 0] {
            logits[at] = 1_000.0;
            assert_eq!(argmax(&logits) as usize, at);
        }
        logits[..3].copy_from_slice(&[f32::NAN, f32::NAN, f32::INFINITY]);
        assert_eq!(argmax(&logits), 2);
        assert_eq!(argmax(&[f32::NAN, f32::NEG_INFINITY, f32::NAN]), 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        let draw = |seed| {
            let mut sampler = sampler(SamplingOverrides { seed: Some(seed), ..Default::default() }, &[]);
            (0..50).map(|_| sampler.pick(&mut [0.0; 100])).collect::<Vec<_>>()
        };
        assert_eq!(draw(42), draw(42));
        assert_ne!(draw(42), draw(43));
    }

    #[test]
    fn penalties_lower_the_logits_of_tokens_that_occurred() {
        let greedy = SamplingOverrides { temperature: Some(0.0), ..Default::default() };
        let mut repetition = sampler(SamplingOverrides { repetition_penalty: Some(1.5), ..greedy.clone() }, &[1]);
        assert_eq!(repetition.pick(&mut [1.0, 1.4]), 0, "the prompt counts for the repetition penalty");
        let mut presence = sampler(SamplingOverrides { presence_penalty: Some(0.5), ..greedy.clone() }, &[1]);
        assert_eq!(presence.pick(&mut [1.0, 1.4]), 1, "the prompt does not count for the presence penalty");
        assert_eq!(presence.pick(&mut [1.0, 1.4]), 0);
        let mut frequency = sampler(SamplingOverrides { frequency_penalty: Some(0.3), ..greedy }, &[]);
        assert_eq!([1, 2, 3].map(|_| frequency.pick(&mut [1.0, 1.5])), [1, 1, 0]);
    }

    #[test]
    fn biases_force_or_forbid_tokens_and_apply_before_penalties() {
        let greedy = |logit_bias| {
            let ask = SamplingOverrides {
                temperature: Some(0.0),
                repetition_penalty: Some(2.0),
                logit_bias,
                ..Default::default()
            };
            sampler(ask, &[1])
        };
        assert_eq!(greedy(vec![]).pick(&mut [1.0, 1.5, 0.5]), 0);
        assert_eq!(greedy(vec![(2, 100.0)]).pick(&mut [1.0, 1.5, 0.5]), 2, "forced");
        assert_eq!(greedy(vec![(0, -100.0)]).pick(&mut [1.0, 1.5, 0.5]), 1, "forbidden");
        assert_eq!(greedy(vec![(1, 0.4)]).pick(&mut [1.0, 1.5, 0.5]), 0, "halved after the bias: 0.95, not 1.15");
        assert_eq!(greedy(vec![(9, 100.0)]).pick(&mut [1.0, 1.5, 0.5]), 0, "a token that does not exist");
    }

    #[test]
    fn end_tokens_are_excluded_before_min_tokens() {
        for temperature in [0.0, 1.0] {
            let ask = SamplingOverrides {
                temperature: Some(temperature),
                min_tokens: Some(2),
                ..SamplingOverrides::default()
            };
            let mut sampler = sampler(ask, &[]).with_end_tokens(vec![0, 2, 9]);
            assert_eq!([0; 3].map(|_| sampler.pick(&mut [90.0, 1.0, 80.0])), [1, 1, 0]);
        }
    }

    #[test]
    fn top_p_0_takes_the_most_likely_token() {
        let mut sampler = sampler(SamplingOverrides { top_p: Some(0.0), ..SamplingOverrides::default() }, &[]);
        assert_eq!([0; 50].map(|_| sampler.pick(&mut [1.0, 1.1, 1.0])), [1; 50]);
    }

    #[test]
    fn nan_and_infinite_logits_do_not_panic() {
        let mut sampler = sampler(SamplingOverrides { top_p: Some(0.9), ..Default::default() }, &[]);
        for mut logits in [[f32::NAN, 1.0], [f32::NEG_INFINITY, 1.0], [f32::NAN, f32::NEG_INFINITY]] {
            assert!((sampler.pick(&mut logits) as usize) < 2);
        }
    }
}
