//! How long an answer may get, and what is reserved for it.

use firebox_contract::{Error, FinishReason, Sampling, TokenId, limits};

use super::{Generation, Phase, exclusive};
use crate::healing::Healing;
use crate::round::{Length, Read};
use crate::sampler::Sampler;

impl Generation {
    /// How long an answer of this round may get, where there is room for so many tokens.
    pub(super) fn length(&self, room: usize) -> Length {
        let left = self.sampling.max_tokens.map(|max| max.saturating_sub(self.usage.completion_tokens));
        // The last token of an answer needs no room in the model's context, but counts for that of a tenant.
        let most = if self.context < self.road.context_tokens() { room } else { usize::MAX };
        Length {
            max: left.unwrap_or(usize::MAX).min(most),
            expected: left.unwrap_or(limits::ANSWER_TOKENS_EXPECTED).min(room),
            room,
        }
    }

    /// Tokens that this round must have, in which no end may come.
    pub(super) fn min_tokens(&self) -> usize {
        self.sampling.min_tokens.saturating_sub(self.usage.completion_tokens)
    }

    pub(super) fn sampler(&self, tokens: &[TokenId], healing: Option<Healing>) -> Sampler {
        let min_tokens = self.min_tokens();
        let sampler = Sampler::healing(Sampling { min_tokens, ..self.sampling.clone() }, tokens, healing);
        if min_tokens == 0 {
            return sampler;
        }
        let vocabulary = TokenId::try_from(self.road.worker.info().vocabulary).unwrap_or(TokenId::MAX);
        let own = (0..vocabulary).filter(|token| self.road.codec.is_end(*token) && !self.sampling.ignore_end);
        sampler.with_ends(own.chain(self.sampling.stop_tokens.iter().copied()).collect())
    }

    /// Reserves more where the answer has grown as long as was reckoned with. Where no more may be used, it ends there.
    pub(super) async fn go_on_longer(&mut self) -> Result<Option<Read>, Error> {
        let Phase::Reading(round) = &mut self.phase else { return Ok(None) };
        let Some(more) = round.more_tokens() else { return Ok(None) };
        match self.bill.reserve_more(more) {
            Ok(()) => {
                round.length.expected += more;
                Ok(None)
            }
            Err(Error::Limited { .. }) => {
                let hooks = exclusive(&mut self.tools.hooks)?;
                round.close(FinishReason::Length, hooks).await.map(Some)
            }
            Err(error) => Err(error),
        }
    }
}
