//! Keeps the sampled tokens of one answer to a grammar.

use firebox_contract::{Error, TokenConstraint, TokenId, TokenMask};

/// The grammar of an answer, and the tokens that end the answer.
pub(crate) struct GrammarGuard {
    constraint: Box<dyn TokenConstraint>,
    /// Tokens that end the answer. They are allowed where the grammar may end.
    end_tokens: Vec<TokenId>,
}

impl GrammarGuard {
    pub(crate) fn new(constraint: Box<dyn TokenConstraint>, end_tokens: Vec<TokenId>) -> Self {
        Self { constraint, end_tokens }
    }

    /// Appends `token` if it may come next. An end token changes nothing.
    pub(crate) fn take(&mut self, token: TokenId) -> Result<bool, Error> {
        let taken = self.constraint.accept(token)?;
        Ok(taken || (self.end_tokens.contains(&token) && self.constraint.may_end()?))
    }

    /// Takes back the last `count` tokens that it has taken.
    pub(crate) fn take_back(&mut self, count: usize) -> Result<(), Error> {
        self.constraint.take_back(count)
    }

    /// Sets the logits of all tokens to -infinity that may not come next. Returns false if the answer can only end. `ruled` says
    /// that a plugin has excluded tokens, which then stay excluded.
    pub(crate) fn restrict(&mut self, logits: &mut [f32], ruled: bool) -> Result<bool, Error> {
        let mask = self.constraint.mask()?;
        let may_end = self.constraint.may_end()?;
        let ends: &[TokenId] = if may_end { &self.end_tokens } else { &[] };
        let ends: Vec<(TokenId, f32)> =
            ends.iter().filter_map(|end| Some((*end, *logits.get(*end as usize)?))).collect();
        keep_only(&mask, logits);
        for (end, logit) in ends {
            logits[end as usize] = logit;
        }
        if logits.iter().any(|logit| *logit > f32::NEG_INFINITY) {
            return Ok(true);
        }
        // The model excludes all allowed tokens. The grammar goes before the model.
        let first = mask.tokens().find(|token| (*token as usize) < logits.len());
        if ruled && first.is_some() {
            return Err(no_token_left());
        }
        if let Some(token) = first {
            logits[token as usize] = 0.0;
        }
        match first {
            Some(_) => Ok(true),
            None if may_end => Ok(false),
            None => Err(Error::Usage(
                "no token of this model continues the answer as the grammar demands; change the grammar or the model"
                    .to_owned(),
            )),
        }
    }

    /// Sets the logits of the tokens that end an answer to -infinity: the grammar has not begun.
    pub(crate) fn exclude_ends(&self, logits: &mut [f32]) {
        for end in &self.end_tokens {
            logits.get_mut(*end as usize).into_iter().for_each(|logit| *logit = f32::NEG_INFINITY);
        }
    }

    /// Whether nothing can follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.constraint.has_ended()
    }
}

/// Sets the logits of all tokens that are not in `mask` to -infinity.
pub(crate) fn keep_only(mask: &TokenMask, logits: &mut [f32]) {
    let mut words = mask.words().iter();
    for block in logits.chunks_mut(32) {
        match words.next().copied().unwrap_or(0) {
            u32::MAX => {}
            word => {
                let excluded = block.iter_mut().enumerate().filter(|(bit, _)| (word >> bit) & 1 == 0);
                excluded.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
            }
        }
    }
}

/// The error when plugins exclude every token that could come next.
pub(crate) fn no_token_left() -> Error {
    Error::Refused(
        "the plugins of the token stage allow no token that can come next; change the plugins, or the form of the answer"
            .to_owned(),
    )
}
