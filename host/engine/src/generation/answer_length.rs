//! The length of an answer: its limits, and the tokens that are reserved for it.

use firebox_contract::{Error, FinishReason, Sampling, TokenId, limits};

use super::assistant_turn::{AnswerLength, TurnProgress};
use super::{Generation, Phase, exclusive};
use crate::sampler::Sampler;
use crate::sampler::token_healing::TokenHealing;

impl Generation {
    /// The length of this turn's answer if the context has room for `room` tokens.
    pub(super) fn answer_length(&self, room: usize) -> AnswerLength {
        let left = self.sampling.max_tokens.map(|max| max.saturating_sub(self.usage.completion_tokens));
        // The last token of an answer is never computed, so it needs no room in the model's context. It counts for a
        // tenant's own context limit.
        let most = if self.context < self.pipeline.context_tokens() { room } else { usize::MAX };
        AnswerLength {
            max: left.unwrap_or(usize::MAX).min(most),
            expected: left.unwrap_or(limits::ANSWER_TOKENS_EXPECTED).min(room),
            room,
        }
    }

    /// Tokens that this turn must have before it may end.
    pub(super) fn min_tokens(&self) -> usize {
        self.sampling.min_tokens.saturating_sub(self.usage.completion_tokens)
    }

    pub(super) fn sampler(&self, tokens: &[TokenId], healing: Option<TokenHealing>) -> Sampler {
        let min_tokens = self.min_tokens();
        let sampling = Sampling { min_tokens, ..self.sampling.clone() };
        let sampler = Sampler::with_healing(sampling, tokens, healing);
        if min_tokens == 0 {
            return sampler;
        }
        sampler.with_end_tokens(self.end_tokens().chain(self.sampling.stop_tokens.iter().copied()).collect())
    }

    /// Reserves more tokens if the answer has used those that were reserved. If the quota is used up, the turn ends.
    pub(super) async fn extend_reservation(&mut self) -> Result<Option<TurnProgress>, Error> {
        let Phase::Turn(turn) = &mut self.phase else { return Ok(None) };
        let Some(more) = turn.tokens_to_reserve() else { return Ok(None) };
        match self.usage_guard.reserve_more(more) {
            Ok(()) => {
                turn.length.expected += more;
                Ok(None)
            }
            Err(Error::Limited { .. }) => {
                let hooks = exclusive(&mut self.tools.hooks)?;
                turn.close(FinishReason::Length, hooks).await.map(Some)
            }
            Err(error) => Err(error),
        }
    }
}
