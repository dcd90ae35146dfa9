//! The token stage: plugins see each token of an answer, and say which one may come next.

use std::sync::Arc;

use crate::BoxFuture;
use crate::error::Error;
use crate::generation::grammar::TokenMask;
use crate::model::TokenId;
use crate::model::token_texts::TokenTexts;

/// The sequence of one assistant turn, as the token stage sees it at its start.
#[derive(Debug, Clone)]
pub struct TokenSequence {
    /// The number of tokens of the vocabulary.
    pub vocabulary: usize,
    /// The tokens that end an answer.
    pub ends: Vec<TokenId>,
    /// The tokens of the prompt.
    pub prompt: Vec<TokenId>,
    /// The bytes of the tokens. `None` if they are not known.
    pub texts: Option<Arc<TokenTexts>>,
}

/// What the token stage of a chain needs for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenNeeds {
    /// How many of the most likely tokens each step has. With 0 the step can be sent before the logits are computed.
    pub candidates: usize,
    /// How many tokens are held back before they are sent, so that they can be taken back.
    pub hold_back: usize,
}

/// What the stage learns before a token is chosen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenStep {
    /// How many of the tokens that were accepted earlier were taken back.
    pub taken_back: usize,
    /// The tokens that were accepted since the last step, after those that were taken back.
    pub accepted: Vec<TokenId>,
    /// How many tokens at the end can be taken back now.
    pub held: usize,
    /// The most likely tokens with their logits, the most likely first: as many as are needed.
    pub candidates: Vec<(TokenId, f32)>,
}

/// The stage's decision about the next token.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenAction {
    /// Choose it under this rule.
    Choose(TokenRule),
    /// Continue with these tokens; there is at least one.
    Force(Vec<TokenId>),
    /// Take back so many tokens, at least one and at most those that are held, and ask again.
    Backtrack(usize),
    /// End the answer.
    Stop,
}

/// What the token stage changes about the choice of a token. The default changes nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenRule {
    /// The tokens that may be chosen; not empty. `None` for all.
    pub allow: Option<TokenMask>,
    /// Values that are added to logits. None is NaN or positive infinity.
    pub bias: Vec<(TokenId, f32)>,
}

impl TokenRule {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_none() && self.bias.is_empty()
    }
}

/// The token stage of one sequence. Dropping it ends the plugins' sessions.
pub trait TokenSession: Send {
    /// What it needs. It is the same for the whole sequence.
    fn needs(&self) -> TokenNeeds;

    /// Decides about the next token.
    fn next(&mut self, step: TokenStep) -> BoxFuture<'_, Result<TokenAction, Error>>;
}

/// Starts the token stage.
pub trait TokenHook {
    /// Starts a session for the sequence of an assistant turn. `None` if no plugin has the stage. `sequence` is called only if
    /// one has it.
    fn start_tokens<'a>(
        &'a mut self,
        sequence: &'a (dyn Fn() -> TokenSequence + Sync),
    ) -> BoxFuture<'a, Result<Option<Box<dyn TokenSession>>, Error>> {
        let _ = sequence;
        Box::pin(std::future::ready(Ok(None)))
    }
}
