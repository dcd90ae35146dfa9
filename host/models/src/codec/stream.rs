//! Tokens to text, one at a time, never half a character.
//!
//! The window of Hugging Face's text-generation-inference and vLLM (`detokenize_incrementally`): the tokens since the
//! last text that was complete are decoded together with those before them, because what a token reads as depends on
//! its neighbours (byte fallback, leading spaces), and only what is new is given out.

use std::collections::HashSet;
use std::sync::Arc;

use firebox_contract::{Error, TextDecoder, TokenId};
use tokenizers::Tokenizer;

use crate::error::ModelError;

/// What decoders put in the place of bytes that are not yet, or never, a character.
const REPLACEMENT: char = '\u{FFFD}';
/// Tokens held back at most: a character has four bytes, so a longer run is no character in the making.
const HELD_TOKENS_MAX: usize = 16;

/// The state of one answer's decoding.
pub(super) struct StreamDecoder {
    tokenizer: Arc<Tokenizer>,
    /// Special tokens that are not text.
    hidden: Arc<HashSet<TokenId>>,
    file: String,
    /// The window: context whose text was given out, then tokens whose text was not.
    tokens: Vec<TokenId>,
    given: usize,
}

impl StreamDecoder {
    pub(super) fn new(tokenizer: Arc<Tokenizer>, hidden: Arc<HashSet<TokenId>>, file: String) -> Self {
        Self { tokenizer, hidden, file, tokens: Vec::new(), given: 0 }
    }

    fn decode(&self, tokens: &[TokenId]) -> Result<String, ModelError> {
        let failed =
            |error: tokenizers::Error| ModelError::Tokenizer { file: self.file.clone(), reason: error.to_string() };
        self.tokenizer.decode(tokens, false).map_err(failed)
    }

    /// The text of the tokens not given out yet, or nothing while it ends in half a character and `force` is not set.
    fn take(&mut self, force: bool) -> Result<String, ModelError> {
        let (context, fresh) = self.tokens.split_at(self.given);
        if fresh.is_empty() {
            return Ok(String::new());
        }
        let before = self.decode(context)?;
        let all = self.decode(&self.tokens)?;
        if all.ends_with(REPLACEMENT) && !force && fresh.len() < HELD_TOKENS_MAX {
            return Ok(String::new());
        }
        // A byte that turns out invalid can make the decoder read the context anew; then the fresh tokens stand alone.
        let text = match all.strip_prefix(&before) {
            Some(text) => text.to_owned(),
            None => self.decode(fresh)?,
        };
        if text.is_empty() && !force {
            return Ok(text);
        }
        self.tokens.drain(..self.given);
        self.given = self.tokens.len();
        Ok(text)
    }
}

impl TextDecoder for StreamDecoder {
    fn push(&mut self, token: TokenId) -> Result<String, Error> {
        if self.hidden.contains(&token) {
            return Ok(String::new());
        }
        self.tokens.push(token);
        Ok(self.take(false)?)
    }

    fn finish(&mut self) -> Result<String, Error> {
        let text = self.take(true)?;
        self.tokens.clear();
        self.given = 0;
        Ok(text)
    }
}
