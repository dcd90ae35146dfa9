//! Follows the reasoning of a turn token by token, on the model's thread.

use std::collections::VecDeque;
use std::sync::Arc;

use firebox_contract::{Error, TextCodec, TextDecoder, TokenId};

use super::{ReasoningFormat, ReasoningSplitter, ReasoningState};

/// The reasoning of one turn: whether it is closed, and its budget. A sampler that constrains the content asks
/// [`ReasoningGate::is_closed`] and begins then.
pub(crate) struct ReasoningGate {
    splitter: Box<dyn ReasoningSplitter>,
    decoder: Box<dyn TextDecoder>,
    /// Maximum number of reasoning tokens.
    budget: Option<usize>,
    /// Reasoning tokens so far.
    used: usize,
    /// The tokens that close the reasoning, and those that close it before it has begun.
    closing: Vec<TokenId>,
    closing_at_once: Vec<TokenId>,
    /// The state after the prompt.
    began: ReasoningState,
    /// The tokens of the opening mark.
    opening: Vec<TokenId>,
    /// Tokens so far, while the turn may still begin with reasoning.
    begun: usize,
    /// Whether the turn was found to have no reasoning.
    closed: bool,
    /// Tokens that the turn must continue with.
    forced: VecDeque<TokenId>,
}

impl ReasoningGate {
    /// The gate of a turn in `state` after the tokens of `prompt`.
    ///
    /// # Errors
    /// `Error::Model` if the tokenizer cannot encode the marks.
    pub(crate) fn new(
        codec: &Arc<dyn TextCodec>,
        format: &'static ReasoningFormat,
        (state, prompt): (ReasoningState, &[TokenId]),
        budget: Option<usize>,
    ) -> Result<Self, Error> {
        let mut gate = Self {
            splitter: format.splitter(state),
            decoder: codec.decoder(prompt),
            budget,
            used: 0,
            closing: codec.encode_markup(format.forced_close)?,
            closing_at_once: codec.encode_markup(format.close)?,
            began: state,
            opening: codec.encode_markup(format.open)?,
            begun: 0,
            closed: false,
            forced: VecDeque::new(),
        };
        gate.close_if_used_up();
        Ok(gate)
    }

    /// Whether everything from the next token on is content. A grammar of the answer begins then.
    pub(crate) fn is_closed(&self) -> bool {
        self.state() == ReasoningState::Closed && self.forced.is_empty()
    }

    /// Where the turn is.
    pub(crate) fn state(&self) -> ReasoningState {
        if self.closed { ReasoningState::Closed } else { self.splitter.state() }
    }

    /// At the beginning of a turn that may reason: the first token of the opening mark.
    pub(crate) fn opening_token(&self) -> Option<TokenId> {
        let undecided = self.state() == ReasoningState::Undecided && self.begun == 0;
        if undecided { self.opening.first().copied() } else { None }
    }

    /// Begins the reasoning: the rest of the opening mark follows its first token.
    pub(crate) fn open(&mut self) {
        // The first token is recorded next, and takes its place in the queue.
        self.forced.extend(&self.opening);
    }

    /// Records that the turn has no reasoning.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// The token that comes next whatever the model prefers, because the budget is used up.
    pub(crate) fn forced(&self) -> Option<TokenId> {
        self.forced.front().copied()
    }

    /// Records the next token of the turn.
    pub(crate) fn push(&mut self, token: TokenId) {
        if self.forced.pop_front().is_none() && self.state() == ReasoningState::Closed {
            return;
        }
        self.begun += 1;
        // A token that cannot be decoded fails the turn where its text is read.
        let text = self.decoder.push(token).unwrap_or_default();
        self.splitter.push(&text);
        if self.splitter.state() == ReasoningState::Open {
            self.used += 1;
            self.close_if_used_up();
        }
    }

    fn close_if_used_up(&mut self) {
        let is_open = self.splitter.state() == ReasoningState::Open;
        if is_open && self.forced.is_empty() && self.budget.take_if(|budget| self.used >= *budget).is_some() {
            let at_once = self.begun == 0 && self.began == ReasoningState::Undecided;
            self.forced.extend(if at_once { &self.closing_at_once } else { &self.closing });
        }
    }
}

impl std::fmt::Debug for ReasoningGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReasoningGate").field("state", &self.state()).field("used", &self.used).finish_non_exhaustive()
    }
}
